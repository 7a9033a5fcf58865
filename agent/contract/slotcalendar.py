"""The calendar of consecutive slots: local day, time of day and shifts of the clocks, as arrays. Knows no load."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from agent.contract.zones import parse_zone

Ints = NDArray[np.int64]

_DAY_S = 86_400
_QUARTER_S = 900  # no zone has changed its clocks within one
_QUARTERS = _DAY_S // _QUARTER_S


class SlotCalendar:
    """Local time of `count` slots of `slot_s` from `start_ms` on.

    Attributes:
        ordinal: [count] day as in `datetime.date.toordinal`.
        second_of_day: [count] local seconds since midnight at the slot's start.
    """

    def __init__(self, zone: str, holidays: Collection[int], slot_s: int, start_ms: int, count: int) -> None:
        """Look up the offsets of `zone` once; `holidays` are ordinals."""
        self._slot_s = slot_s
        self._holidays = np.array(sorted(holidays), dtype=np.int64)
        utc_s = start_ms // 1000 + np.arange(count, dtype=np.int64) * slot_s
        first = int(utc_s[0]) // _QUARTER_S
        self._offset_s = _offsets(zone, first, int(utc_s[-1]) // _QUARTER_S)[utc_s // _QUARTER_S - first]
        local_s = utc_s + self._offset_s
        self.ordinal: Ints = local_s // _DAY_S + dt.date(1970, 1, 1).toordinal()
        self.second_of_day: Ints = local_s % _DAY_S

    def shift(self, targets: Ints, back: int) -> Ints:
        """How many slots the clocks moved between each target and `back` slots before it."""
        sources = np.maximum(targets - back, 0)
        moved_s = self._offset_s[targets] - self._offset_s[sources]
        moved: Ints = np.sign(moved_s) * (np.abs(moved_s) // self._slot_s)  # half an hour is no step of whole hours
        return moved

    def holiday(self, ordinal: Ints) -> NDArray[np.bool_]:
        """Whether days are holidays."""
        return np.isin(ordinal, self._holidays)

    def kind(self, ordinal: Ints) -> Ints:
        """Return the weekday of days, Monday 0; of holidays that of Sundays, 6."""
        return np.where(self.holiday(ordinal), 6, (ordinal + 6) % 7)

    def working(self, ordinal: Ints) -> NDArray[np.bool_]:
        """Whether days are Monday to Friday and no holidays."""
        return ((ordinal + 6) % 7 < 5) & ~self.holiday(ordinal)


@lru_cache(maxsize=8)
def _offsets(zone: str, first_quarter: int, last_quarter: int) -> Ints:
    """UTC offset in seconds of each quarter-hour from the first to the last."""
    info = parse_zone(zone)
    # One look-up a day; quarter by quarter only within the few days on which the offset changes.
    marks = np.arange(first_quarter, last_quarter + _QUARTERS + 1, _QUARTERS)
    at_mark = [_offset(info, int(mark)) for mark in marks]
    result = np.empty(len(marks) * _QUARTERS, dtype=np.int64)
    for index, value in enumerate(at_mark):
        following = at_mark[min(index + 1, len(at_mark) - 1)]
        piece = slice(index * _QUARTERS, (index + 1) * _QUARTERS)
        if value == following:
            result[piece] = value
        else:
            result[piece] = [_offset(info, int(marks[index]) + quarter) for quarter in range(_QUARTERS)]
    return result[: last_quarter - first_quarter + 1]


def _offset(info: dt.tzinfo, quarter: int) -> int:
    offset = dt.datetime.fromtimestamp(quarter * _QUARTER_S, info).utcoffset()
    return int(offset.total_seconds()) if offset is not None else 0
