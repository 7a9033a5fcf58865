"""The demand that is billed: the month's peak, how the running interval stands, what the load may be for its rest.

Decides what counts as demand (the mean over a billing interval), and what an interval is heading for; whether a peak
lies ahead is `newpeak.py`'s. Pure functions of slots, of what has been measured of the running interval and of a
forecast: no state, so a restart changes nothing.
"""

from __future__ import annotations

import datetime as dt
import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

from agent.contract.errors import ConfigError
from agent.contract.rows import Forecast
from agent.contract.slots import DEMAND_INTERVALS_S, Slot
from agent.contract.zones import clock_ms, to_local


def always(start_ms: int) -> bool:  # noqa: ARG001 - as every window
    """Every interval counts."""
    return True


@dataclass(frozen=True)
class Terms:
    """What demand is measured over, and what it costs.

    Attributes:
        interval_s: 15, 30 or 60 min.
        zone: whose clock bounds the month and aligns the intervals; UTC where the meter counts in it.
        target_kw: contracted, or chosen; None where only the month's own peak matters.
        per_kw: money for each kW of the month's highest interval; None where it is not known.
        free_kw: what is paid for anyway (contract, ratchet): a peak below it costs nothing more.
        counts: whether the interval that starts at a time is one that is billed.
        billing_day: on which the billing month begins, 1 to 28.
        name: of the charge.
        currency: of `per_kw`.
    """

    interval_s: int
    zone: dt.tzinfo
    target_kw: float | None = None
    per_kw: float | None = None
    free_kw: float = 0.0
    counts: Callable[[int], bool] = always
    billing_day: int = 1
    name: str = "demand"
    currency: str = ""

    def __post_init__(self) -> None:
        if self.interval_s not in DEMAND_INTERVALS_S:
            lengths = ", ".join(str(length // 60) for length in DEMAND_INTERVALS_S)
            raise ConfigError(f"demand over {self.interval_s / 60:g} min is not billed", todo=f"Use {lengths} min")

    def interval(self, time_ms: int) -> tuple[int, int]:
        """Return [start, end) of the interval that holds a time: whole ones from a full hour of the zone's clock."""
        length_ms = self.interval_s * 1000
        start_ms = time_ms - clock_ms(time_ms, self.zone) % length_ms
        return start_ms, start_ms + length_ms

    def month(self, time_ms: int) -> tuple[int, int]:
        """Return [start, end) of the local billing month that holds a time."""
        local = to_local(time_ms, self.zone)
        number = local.year * 12 + local.month - 1 - (local.day < self.billing_day)
        first, after = (
            dt.datetime(month // 12, month % 12 + 1, self.billing_day, tzinfo=self.zone)
            for month in (number, number + 1)
        )
        return round(first.timestamp() * 1000), round(after.timestamp() * 1000)


class MonthPeak(NamedTuple):
    """The highest interval of the month so far.

    Attributes:
        kw: its mean; None where no interval is known.
        start_ms: when it began.
        known, unknown: billed intervals that are over; of the unknown ones some of it was not measured.
    """

    kw: float | None
    start_ms: int | None
    known: int
    unknown: int


class Measured(NamedTuple):
    """What has been measured of one interval.

    Attributes:
        energy_kwh: over the part that readings cover.
        covered_ms: how long that part is.
        recent_kw: mean load of the last minutes; None where they were not measured.
    """

    energy_kwh: float
    covered_ms: float
    recent_kw: float | None


class Outlook(NamedTuple):
    """How the running interval stands at `now_ms`.

    Attributes:
        counts: whether it is billed.
        covered: share of the time so far that was measured.
        target_kw: the greater of the chosen target, the month's peak so far and what is paid for anyway; None where
            there is none of them.
        rest_kw, rest_by: load that is expected until its end, and by what: `last minutes`, `forecast`, `mean so far`.
        predicted_kw: mean of the whole interval then.
        allowable_kw: steady load that would end it at the target; below 0 where it is too late.
    """

    start_ms: int
    end_ms: int
    now_ms: int
    counts: bool
    energy_kwh: float
    covered: float
    target_kw: float | None
    rest_kw: float | None
    rest_by: str
    predicted_kw: float | None
    allowable_kw: float | None


def month_peak(terms: Terms, slots: Iterable[Slot], now_ms: int) -> MonthPeak:
    """Return the peak of the month that holds `now_ms`, from the slots that are over.

    An interval of which a slot is missing, or was measured by less than half, is unknown: its mean could be anything.
    Of an interval shorter than the slots nothing better is known than the slot that begins with it.

    Args:
        terms: of the demand.
        slots: in time order, of one length; those of other months are left out.
        now_ms: plant clock.
    """
    begin_ms, end_ms = terms.month(now_ms)
    running_ms, _ = terms.interval(now_ms)
    peak_kw = peak_ms = None
    known = unknown = 0
    month = (slot for slot in slots if begin_ms <= slot.start_ms < min(end_ms, running_ms))
    for start_ms, parts in itertools.groupby(month, lambda slot: terms.interval(slot.start_ms)[0]):
        if not terms.counts(start_ms):
            continue
        measured = [(kw, slot.length_s) for slot in parts if (kw := slot.known_kw) is not None]
        known_s = sum(length_s for _, length_s in measured)
        if known_s < terms.interval_s:
            unknown += 1
            continue
        known += 1
        mean_kw = sum(kw * length_s for kw, length_s in measured) / known_s
        if peak_kw is None or mean_kw > peak_kw:
            peak_kw, peak_ms = mean_kw, start_ms
    return MonthPeak(peak_kw, peak_ms, known, unknown)


def outlook(terms: Terms, now_ms: int, measured: Measured, peak_kw: float | None, forecast: Forecast | None) -> Outlook:
    """Return how the interval that holds `now_ms` stands.

    What was not measured of it, and what is left, is taken at the mean of the last minutes; where they were not
    measured, at the forecast's median; else at the interval's own mean so far.

    Args:
        terms: of the demand.
        now_ms: plant clock.
        measured: of this interval.
        peak_kw: of the month so far.
        forecast: the newest; None where there is none.
    """
    start_ms, end_ms = terms.interval(now_ms)
    length_h, left_h = (end_ms - start_ms) / 3.6e6, (end_ms - now_ms) / 3.6e6
    passed_ms = now_ms - start_ms
    covered_ms = min(measured.covered_ms, passed_ms)
    rest_kw, rest_by = _rest(now_ms, measured, forecast)
    counts = terms.counts(start_ms)
    target_kw = _paid_kw(terms, peak_kw) if counts else None
    predicted_kw = allowable_kw = None
    if rest_kw is not None:
        so_far_kwh = measured.energy_kwh + rest_kw * (passed_ms - covered_ms) / 3.6e6
        predicted_kw = (so_far_kwh + rest_kw * left_h) / length_h
        if target_kw is not None:
            allowable_kw = (target_kw * length_h - so_far_kwh) / left_h
    return Outlook(
        start_ms=start_ms,
        end_ms=end_ms,
        now_ms=now_ms,
        counts=counts,
        energy_kwh=measured.energy_kwh,
        covered=covered_ms / passed_ms if passed_ms else 0.0,
        target_kw=target_kw,
        rest_kw=rest_kw,
        rest_by=rest_by,
        predicted_kw=predicted_kw,
        allowable_kw=allowable_kw,
    )


def _paid_kw(terms: Terms, peak_kw: float | None) -> float | None:
    """Return up to where a peak costs nothing more, or is allowed."""
    known = [kw for kw in (terms.target_kw, peak_kw, terms.free_kw or None) if kw is not None]
    return max(known, default=None)


def _rest(now_ms: int, measured: Measured, forecast: Forecast | None) -> tuple[float | None, str]:
    if measured.recent_kw is not None:
        return measured.recent_kw, "last minutes"
    if forecast is not None and 0.5 in forecast.quantiles:
        step = (now_ms - forecast.origin_ms) // (forecast.slot_s * 1000)
        if 0 <= step < len(forecast.power_kw):
            return float(forecast.level(0.5)[step]), "forecast"
    if measured.covered_ms > 0:
        return measured.energy_kwh * 3.6e6 / measured.covered_ms, "mean so far"
    return None, ""
