"""The demand that is billed: how the running interval stands, what the load may be for the rest of it, what lies ahead.

Decides what counts as demand (the mean over a billing interval), what an interval is heading for, and how likely the
forecast sets a new peak of the month. Pure functions of slots, of what has been measured of the running interval and of
a forecast: no state, so a restart changes nothing. What a peak costs comes from the caller.
"""

from __future__ import annotations

import datetime as dt
import itertools
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from agent.contract.errors import ConfigError
from agent.contract.features import Floats
from agent.contract.featurespec import DAY_S
from agent.contract.rows import Forecast
from agent.contract.slots import DEMAND_INTERVALS_S, MIN_COMPLETENESS, Slot
from agent.contract.zones import clock_ms, to_local

_Q90 = 1.2815515655446004  # standard normal quantile of 0.9
_FIT_LEVELS = (0.1, 0.5, 0.9)


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


class NewPeak(NamedTuple):
    """What a forecast says of a new peak of the month.

    Attributes:
        probability: that some billed interval until `until_ms` is above what is paid for already.
        at_ms: when it is likeliest.
        kw: the peak that is to be expected if it comes, on the likeliest day; None at probability 0.
        cost_if_set: what that would cost this month; None without a price.
        cost_expected: probability and height together, over all days.
    """

    probability: float
    until_ms: int
    at_ms: int
    kw: float | None
    cost_if_set: float | None
    cost_expected: float | None


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
        told = [(slot.power_kw, slot.length_s) for slot in parts if slot.completeness >= MIN_COMPLETENESS]
        measured = [(kw, length_s) for kw, length_s in told if kw is not None]
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


def new_peak(terms: Terms, now_ms: int, peak_kw: float | None, forecast: Forecast) -> NewPeak | None:
    """Return how likely the forecast sets a new peak within this month; None where nothing of it is ahead.

    The peak of each 24 h of the forecast has quantiles of its own. Between and beyond the 10, 50 and 90 % levels its
    distribution is that of two half normals that meet in the median: straight lines on normal probability paper. Days
    are taken as independent of each other. Where a day's highest slots are over, or not billed, what is left of it is
    judged by its highest slot; where the interval is of several slots, a day's peak is lowered by what averaging takes
    off the highest slot of its path.

    Raises:
        ConfigError: when the forecast lacks one of the three levels.
    """
    if not set(_FIT_LEVELS) <= set(forecast.quantiles):
        raise ConfigError("the forecast has no levels 0.1, 0.5 and 0.9 to judge a peak by", where="forecast")
    paid_kw = max(terms.free_kw, peak_kw or 0.0)
    days = [day for day in _days_ahead(terms, now_ms, forecast) if day is not None]
    if not days:
        return None
    found = [(_exceedance(levels, paid_kw), at_ms, end_ms) for levels, at_ms, end_ms in days]
    probability = 1.0 - math.prod(1.0 - chance for (chance, _), _, _ in found)
    (chance, excess_kw), at_ms, _ = max(found, key=lambda day: day[0])
    kw = paid_kw + excess_kw / chance if chance > 0 else None
    priced = terms.per_kw is not None
    return NewPeak(
        probability=probability,
        until_ms=max(end_ms for _, _, end_ms in found),
        at_ms=at_ms,
        kw=kw,
        cost_if_set=(kw - paid_kw) * (terms.per_kw or 0.0) if priced and kw is not None else None,
        cost_expected=sum(excess for (_, excess), _, _ in found) * (terms.per_kw or 0.0) if priced else None,
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


def _days_ahead(terms: Terms, now_ms: int, forecast: Forecast) -> Iterable[tuple[Floats, int, int] | None]:
    """Yield of each 24 h of the forecast the levels [3] of the peak that is left, when it is likeliest, and its end."""
    slot_ms, per_day = forecast.slot_s * 1000, DAY_S // forecast.slot_s
    columns = [forecast.quantiles.index(level) for level in _FIT_LEVELS]
    path, peaks = forecast.power_kw[:, columns], forecast.peak_kw[:, columns]
    starts = np.array(forecast.starts_ms())
    intervals = np.array([terms.interval(int(at))[0] for at in starts])
    smooth = np.stack([_interval_means(path[:, level], intervals) for level in range(len(columns))], axis=1)
    _, month_end_ms = terms.month(now_ms)
    counted = np.array(
        [
            at + slot_ms > now_ms and at < month_end_ms and terms.counts(int(of))
            for at, of in zip(starts, intervals, strict=True)
        ]
    )
    for day in range(len(peaks)):
        part = slice(day * per_day, min((day + 1) * per_day, len(path)))
        left = np.flatnonzero(counted[part])
        if not len(left):
            yield None
            continue
        likeliest = int(left[np.argmax(smooth[part][left, 1])])
        if smooth[part][likeliest, 1] == smooth[part][:, 1].max():
            levels = peaks[day] - (path[part].max(axis=0) - smooth[part].max(axis=0))
        else:
            levels = smooth[part][left].max(axis=0)
        yield levels, int(starts[part][likeliest]), int(starts[part][left[-1]]) + slot_ms


def _interval_means(values: Floats, intervals: np.ndarray[tuple[int], np.dtype[np.int64]]) -> Floats:
    """Give each slot the mean of the slots of its interval."""
    index = np.cumsum(np.diff(intervals, prepend=intervals[:1]) != 0)  # np.unique would load numpy.ma, a megabyte
    means: Floats = (np.bincount(index, weights=values) / np.bincount(index))[index]
    return means


def _exceedance(levels: Floats, limit_kw: float) -> tuple[float, float]:
    """Return P(X > limit) and E[(X - limit)+] of the two half normals through the levels 0.1, 0.5 and 0.9."""
    low, middle, high = (float(level) for level in levels)
    below, above = max(0.0, middle - low) / _Q90, max(0.0, high - middle) / _Q90
    if limit_kw >= middle:
        if above == 0.0:
            return 0.0, 0.0
        z = (limit_kw - middle) / above
        return _upper(z), above * (_density(z) - z * _upper(z))
    tail_kw = above * _density(0.0)  # E[(X - median)+]
    if below == 0.0:
        return 1.0, tail_kw + middle - limit_kw
    z = (middle - limit_kw) / below
    return 1.0 - _upper(z), tail_kw + below * (z * (1.0 - _upper(z)) + _density(z) - _density(0.0))


def _upper(z: float) -> float:
    return 0.5 * math.erfc(z / math.sqrt(2.0))


def _density(z: float) -> float:
    return math.exp(-0.5 * z * z) / math.sqrt(2.0 * math.pi)
