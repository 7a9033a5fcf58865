"""When a forecast is made, and what is made of it: rows of forecasts and costs.

Which model forecasts is the ladder's decision, how its band is calibrated `calibrating`'s; what energy costs is
planning's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, Protocol

from agent.contract.errors import UnavailableError
from agent.contract.features import Floats
from agent.contract.rows import Forecast
from agent.contract.slots import Slot
from agent.contract.tariff.tariff import Month
from agent.daemon.history import History
from agent.planning.billing.earlier import (
    REACH_MS,
    MonthBefore,
    brought_forward,
    keys_that_count,
    month_before,
    months_that_count,
)
from agent.planning.billing.forward import Earlier
from agent.planning.costs import CostWatch

_MINUTE_MS = 60_000


class Forecaster(Protocol):
    """What this module needs of the ladder."""

    def forecast(self, start_ms: int, power_kw: Floats) -> Forecast:
        """Forecast what follows the history."""
        ...


class Calibrator(Protocol):
    """What this module needs of on-line calibration."""

    def publish(self, raw: Forecast) -> Forecast:
        """Return the forecast with its band calibrated."""
        ...


class Made(NamedTuple):
    """A forecast as the model gave it, by which models are judged, and as it is published."""

    raw: Forecast
    published: Forecast


class Forecasting:
    """Makes a forecast whenever `every_minutes` of plant time are over, at the end of a slot.

    Invariants:
        - origins lie on the grid of `every_minutes` in UTC and only rise;
        - whoever falls behind makes the latest forecast only.

    Attributes:
        latest: the newest forecast as published; None before the first.
        shortage: why there is none, in words; empty where there is one.
    """

    def __init__(
        self,
        ladder: Forecaster,
        history: History,
        calibrator: Calibrator,
        *,
        every_minutes: int,
        last_origin_ms: int | None = None,
    ) -> None:
        """Begin after the forecast from `last_origin_ms`, where one is stored."""
        self._ladder = ladder
        self._history = history
        self._calibrator = calibrator
        self._every_ms = every_minutes * _MINUTE_MS
        self._last_origin_ms = last_origin_ms
        self.latest: Forecast | None = None
        self.shortage = "no slot has been closed yet"

    def forget(self) -> None:
        """Let go of what was forecast by a clock that was wrong."""
        self._last_origin_ms = self.latest = None
        self.shortage = "the clock was set, slots are made anew"

    def due_origin_ms(self) -> int | None:
        """Return the origin of the forecast that is due, or None."""
        end_ms = self._history.end_ms
        if end_ms is None:
            return None
        origin_ms = end_ms - end_ms % self._every_ms
        if self._last_origin_ms is not None and origin_ms <= self._last_origin_ms:
            return None
        return origin_ms

    def make(self, origin_ms: int) -> Made | None:
        """Forecast from `origin_ms`; None, with `shortage`, when there is too little history."""
        self._last_origin_ms = origin_ms
        try:
            raw = self._ladder.forecast(*self._history.power_kw(origin_ms))
        except UnavailableError as exc:
            self.latest, self.shortage = None, str(exc)
            return None
        self.shortage = ""
        self.latest = self._calibrator.publish(raw)
        return Made(raw, self.latest)


class Costs:
    """Rows of the `costs` stream under the plant's tariff.

    What earlier months count for is read from the store when the agent starts and when a billing month begins, a month
    at a time: a year of slots is neither in memory nor in the way of a turn.
    """

    def __init__(
        self, watch: CostWatch, history: History, stored: Callable[[int, int], Iterable[Slot]] | None = None
    ) -> None:
        self._watch = watch
        self._history = history
        self._stored = stored
        self._wanted: list[Month] | None = None  # months that are still to be read; None: to be found out
        self._of_ms = -1  # begin of the month that they count in
        self._before: dict[int, MonthBefore] = {}
        self.earlier: Earlier = {}
        self.used_kwh: Mapping[str, float] = {}

    @property
    def trouble(self) -> str:
        """What is wrong in the series of prices and emission factors, in words; empty where nothing is."""
        factors = self._watch.factors
        found = self._watch.tariff.series_trouble(), "" if factors is None else factors.series_trouble()
        return "; ".join(text for text in found if text)

    @property
    def is_gathered(self) -> bool:
        """Whether all that earlier months count for is known."""
        return self._stored is None or self._wanted == []

    def forget(self) -> None:
        """Read earlier months again: the store has other slots of them by now."""
        self._wanted, self._before = None, {}

    def gather(self, now_ms: int) -> bool:
        """Read the next of the earlier months that count in that of an instant; return whether all are known.

        Raises:
            StorageError: when the disk cannot be read; the next call tries again.
        """
        tariff, stored = self._watch.tariff, self._stored
        month_ms = tariff.month_start_ms(now_ms)
        if stored is None or (self.is_gathered and month_ms == self._of_ms):
            return True
        if self._wanted is None or month_ms != self._of_ms:
            months, keys = months_that_count(tariff, now_ms), keys_that_count(tariff, now_ms)
            known = self._before
            self._before = {
                month.start_ms: known[month.start_ms]
                for month in months
                if month.start_ms in known and keys <= known[month.start_ms].keys
            }
            self._of_ms = month_ms
            self._wanted = [month for month in months if month.start_ms not in self._before]
        if self._wanted:
            month = self._wanted[-1]
            slots = stored(month.start_ms - REACH_MS, month.end_ms)
            self._before[month.start_ms] = month_before(tariff, now_ms, month, slots)
            self._wanted.pop()
        if self._wanted:
            return False
        forward = self._watch.forward = brought_forward(tariff, now_ms, self._before.values())
        if now_ms >= tariff.begin_ms:
            version, year_ms = tariff.version_at(now_ms), tariff.year_start(tariff.month_at(now_ms)).start_ms
            self.earlier, self.used_kwh = forward.earlier(version), forward.used_kwh(version, year_ms)
        else:
            self.earlier, self.used_kwh = {}, {}
        return True

    def rows(self, now_ms: int, forecast: Forecast | None) -> list[dict[str, Any]]:
        """Return today's, this month's and the next day's cost, as far as they can be told."""
        while not self.gather(now_ms):
            pass
        return self._watch.rows(now_ms, self._history.between(0, now_ms), forecast)
