"""Forecasts of the days before from the same local time of day: a guarded plan learns from them how far forecasts err.

Decides which forecasts these are, and that they are read one at a time: of a week in steps of five minutes each takes
20 ms, and a turn of the daemon is not to wait for four weeks of them.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import time
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from agent.contract.errors import RejectedError
from agent.contract.features import Floats
from agent.contract.rows import Forecast, ForecastSource
from agent.contract.zones import to_local
from agent.planning.pv import forecast_pv
from agent.planning.schedule.prospect import HISTORY_DAYS

MEDIAN = 0.5
_MADE_SOON_MS = 600_000  # of its origin a forecast is made, where nothing is wrong
_MADE_WITHIN_MS = 7_200_000  # and where the device was off meanwhile


class Rows(Protocol):
    """What this module needs of a store."""

    def rows(self, stream: str, start_ms: int, end_ms: int) -> Sequence[Mapping[str, Any]]:
        """Return the rows of a stream in [start_ms, end_ms)."""
        ...


class MediansBefore:
    """Reads them.

    Attributes:
        found: by days before, the medians [steps]; where PV is measured less PV as it was expected then, since the
            battery meets what is left.
    """

    def __init__(self, store: Rows, forecast: Forecast, zone: dt.tzinfo, pv_kw: Floats | None = None) -> None:
        """Begin.

        Args:
            store: has the forecasts of four weeks: 28 looks are each at the one that is wanted.
            forecast: from whose time of day.
            zone: of that time.
            pv_kw: what PV gave in the slots up to its origin; None where it is not measured.
        """
        self._store, self._forecast, self._zone, self._pv_kw = store, forecast, zone, pv_kw
        self._left = list(range(HISTORY_DAYS, 0, -1))
        self.found: dict[int, Floats] = {}

    def read(self, for_s: float) -> bool:
        """Go on for about so long in real time, but by one day at least; return whether all is read.

        Raises:
            StorageError: when the disk cannot be read.
        """
        until_s = time.monotonic() + for_s
        while self._left:
            back = self._left.pop()
            median_kw = self._median_kw(back)
            if median_kw is not None:
                self.found[back] = median_kw
            if time.monotonic() >= until_s:
                break
        return not self._left

    def _median_kw(self, back: int) -> Floats | None:
        origin_ms = days_before_ms(self._forecast.origin_ms, back, self._zone)
        before = self._made_at(origin_ms, 0, _MADE_SOON_MS) or self._made_at(origin_ms, _MADE_SOON_MS, _MADE_WITHIN_MS)
        if before is None:
            return None
        median_kw = before.level(MEDIAN)
        if self._pv_kw is None:
            return median_kw
        slots = (self._forecast.origin_ms - origin_ms) // (before.slot_s * 1000)
        known_kw = self._pv_kw[: max(len(self._pv_kw) - slots, 0)]
        less: Floats = median_kw - forecast_pv(known_kw, before.slot_s, len(median_kw)).power_kw
        return less

    def _made_at(self, origin_ms: int, soonest_ms: int, latest_ms: int) -> Forecast | None:
        """Return what was served from an origin, made so long after it."""
        found = None
        for row in self._store.rows("forecasts", origin_ms + soonest_ms, origin_ms + latest_ms):
            if row["origin_ms"] == origin_ms and row["source"] != ForecastSource.CANDIDATE:
                with contextlib.suppress(RejectedError, ValueError):  # of a later version
                    made = Forecast.from_row(row)
                    made.level(MEDIAN)
                    found = made if made.slot_s == self._forecast.slot_s else found
        return found


def days_before_ms(time_ms: int, days: int, zone: dt.tzinfo) -> int:
    """Return the same time by the local clock some days before; where that was skipped, what the clock showed then."""
    return round((to_local(time_ms, zone) - dt.timedelta(days=days)).timestamp() * 1000)
