"""The peak watch at work: the running interval from readings as they come, the month's peak from the history.

What an interval is heading for is `planning.peakwatch`'s decision, how likely a new peak is `planning.newpeak`'s. Holds
nothing that the store could not give again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from agent.config import Config
from agent.contract.channels import Channel, Reading
from agent.contract.errors import EdgewattError
from agent.contract.rows import Forecast
from agent.contract.tariff.tariff import Tariff
from agent.contract.zones import parse_zone
from agent.daemon.history import History
from agent.planning.billing.forward import Earlier
from agent.planning.demandmeter import DemandMeter
from agent.planning.newpeak import NewPeak, new_peak
from agent.planning.peakwatch import MonthPeak, Outlook, Terms, month_peak, outlook

_STEP_S = 900  # of the tariff's windows
_log = logging.getLogger(__name__)


class Measurements(Protocol):
    """What this module needs of a store."""

    def readings(self, channel: str, start_ms: int, end_ms: int) -> Sequence[Reading]:
        """Return the readings of one channel in [start_ms, end_ms), by time."""
        ...


class Peaks:
    """Watches the demand under one or more terms.

    Attributes:
        forecast: the newest that was published; None before the first.
    """

    def __init__(
        self,
        store: Measurements,
        channel: Channel,
        history: History,
        terms_at: Callable[[int, Earlier], tuple[Terms, ...]],
        now_ms: int,
        earlier: Earlier | None = None,
    ) -> None:
        """Begin with the readings of the running interval that the store has.

        Args:
            store: has them.
            channel: the plant's load.
            history: its slots of this month.
            terms_at: gives the terms, at least one, of the billing month that holds a time, from the demand of earlier
                months.
            now_ms: plant clock.
            earlier: that demand, where it is known by now.
        """
        self._store, self._channel, self._history = store, channel, history
        self._terms_at, self._earlier = terms_at, earlier or {}
        self.forecast: Forecast | None = None
        self.begin(now_ms)

    def begin(self, now_ms: int) -> None:
        """Measure the interval that holds `now_ms` from the store."""
        self._terms = self._terms_at(now_ms, self._earlier)
        self._month = self._terms[0].month(now_ms)
        self._meters = [DemandMeter(self._channel, terms) for terms in self._terms]
        since_ms = min(meter.since_ms(now_ms) for meter in self._meters)
        self.saw(self._store.readings(self._channel.name, since_ms, now_ms + 1))
        self.recount()

    def take_earlier(self, earlier: Earlier, now_ms: int) -> None:
        """Learn of the demand of earlier months, which a ratchet or a price by the year makes count."""
        if earlier != self._earlier:
            self._earlier = earlier
            self.begin(now_ms)

    def saw(self, readings: Sequence[Reading]) -> None:
        """Take note of readings that were stored."""
        for meter in self._meters:
            meter.saw(readings)

    def recount(self) -> None:
        """Look for the month's peak again: the history has changed."""
        self._found: list[MonthPeak] | None = None

    def month(self, time_ms: int) -> tuple[int, int]:
        """Return [start, end) of the billing month that holds a time."""
        return self._terms[0].month(time_ms)

    def outlooks(self, now_ms: int) -> list[tuple[Terms, Outlook]]:
        """Return how the running interval stands under each of the terms; a new month has its own."""
        if not self._month[0] <= now_ms < self._month[1]:
            self.begin(now_ms)
        return [
            (terms, outlook(terms, now_ms, meter.measured(now_ms), peak.kw, self.forecast))
            for terms, meter, peak in zip(self._terms, self._meters, self._month_peaks(now_ms), strict=True)
        ]

    def told(self, now_ms: int) -> list[dict[str, Any]]:
        """Return all that `edgewatt peak` shows, for each of the terms."""
        answers = []
        for (terms, now), peak in zip(self.outlooks(now_ms), self._month_peaks(now_ms), strict=True):
            ahead = None if self.forecast is None else new_peak(terms, now_ms, peak.kw, self.forecast)
            answers.append(
                {
                    "name": terms.name,
                    "interval_s": terms.interval_s,
                    "chosen_target_kw": terms.target_kw,
                    "free_kw": terms.free_kw,
                    "per_kw": terms.per_kw,
                    "currency": terms.currency,
                    "interval": _plain(now),
                    "month_peak": _plain(peak),
                    "new_peak": None if ahead is None else _plain(ahead),
                }
            )
        return answers

    def _month_peaks(self, now_ms: int) -> list[MonthPeak]:
        if self._found is None:
            slots = self._history.between(*self._month)
            self._found = [month_peak(terms, slots, now_ms) for terms in self._terms]
        return self._found


def demand_terms(config: Config, tariff: Tariff | None, now_ms: int, earlier: Earlier) -> tuple[Terms, ...]:
    """Return the demand that is billed in the month that holds `now_ms`.

    Where the tariff has demand charges they are its, with their intervals, windows and prices; else what `[peak]` says.
    """
    found = () if tariff is None else tuple(_charged(tariff, config.peak.target_kw, now_ms, earlier))
    if found:
        return found
    return (
        Terms(
            interval_s=config.demand_interval_s,
            zone=parse_zone(config.plant.zone),
            target_kw=config.peak.target_kw,
            per_kw=config.peak.price_per_kw,
        ),
    )


def _charged(tariff: Tariff, target_kw: float | None, now_ms: int, earlier: Earlier) -> Iterator[Terms]:
    if not any(version.demands for version in tariff.versions):
        return
    from agent.planning.billing.marginal import marginal_prices  # noqa: PLC0415 - a device loads only what it needs

    month = tariff.month_at(now_ms)
    start_ms = max(month.start_ms, tariff.begin_ms)  # a tariff may begin within its first month
    if start_ms >= month.end_ms:
        return
    try:
        steps = (month.end_ms - start_ms) // (_STEP_S * 1000)
        charges = marginal_prices(tariff, start_ms, _STEP_S, steps, earlier=earlier).demand
    except EdgewattError as exc:
        _log.warning("the tariff's demand charges are not watched: %s", exc)
        return
    for charge in charges:
        yield Terms(
            interval_s=charge.interval_s,
            zone=tariff.zone,
            target_kw=target_kw,
            per_kw=charge.per_kw,
            free_kw=charge.free_kw,
            counts=_window(start_ms, charge.counts),
            billing_day=tariff.billing_day,
            name=charge.name,
            currency=tariff.currency,
        )


def _window(begin_ms: int, counts: NDArray[np.bool_]) -> Callable[[int], bool]:
    def holds(start_ms: int) -> bool:
        step = (start_ms - begin_ms) // (_STEP_S * 1000)
        return 0 <= step < len(counts) and bool(counts[step])

    return holds


def _plain(value: MonthPeak | Outlook | NewPeak) -> dict[str, Any]:
    """A value object as JSON: kilowatts to six digits."""
    return {
        name: float(f"{field:.6g}") if isinstance(field, float) else field for name, field in value._asdict().items()
    }
