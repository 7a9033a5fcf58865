"""Whole local days of a load curve as a matrix of half-hours, whatever its slots and its zone. Pure: arrays in and out.

Decides which days count as whole and what a half-hour of them is; what days have in common is `profiles.py`'s.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agent.contract.features import Floats, Ints
from agent.contract.featurespec import DAY_S
from agent.contract.slotcalendar import SlotCalendar
from trainer.dataset.snapshot import Snapshot

DAY_STEPS = 48
LEVEL_DAYS = 28  # whole weeks: the level must not follow the week
_PART_S = 300  # divides every slot length, and every offset of a zone from UTC
_STEP_S = DAY_S // DAY_STEPS
_KNOWN_PARTS = _STEP_S // _PART_S // 2  # half of a half-hour, as on import


@dataclass(frozen=True, eq=False)
class Days:
    """Whole local days of one plant, ascending.

    Attributes:
        ordinal: [D] as in `datetime.date.toordinal`.
        power_kw: [D, 48] means of the half-hours from local midnight on, all known.
        holiday: [D].
    """

    ordinal: Ints
    power_kw: Floats
    holiday: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.ordinal)

    @property
    def weekday(self) -> Ints:
        """[D] 0 for Monday."""
        return (self.ordinal + 6) % 7

    @property
    def month(self) -> Ints:
        """[D] 1 for January."""
        return np.array([dt.date.fromordinal(int(day)).month for day in self.ordinal], dtype=np.int64)

    @property
    def kind(self) -> Ints:
        """[D] what the calendar says: 0 working day, 1 Saturday, 2 Sunday or holiday."""
        return np.where(self.holiday, 2, np.maximum(self.weekday - 4, 0))

    @property
    def hourly_kw(self) -> Floats:
        """[D, 24] means of the hours: the finest that every plant has."""
        hourly: Floats = self.power_kw.reshape(len(self), 24, -1).mean(axis=2)
        return hourly


def whole_days(snapshot: Snapshot) -> Days:
    """Cut a load curve into its whole local days.

    Slots longer than half an hour count for each half-hour that they cover. An hour that the clocks skip is bridged,
    one that they repeat is averaged. A half-hour of which less than half is known makes its day not whole.
    """
    parts = np.repeat(snapshot.power_kw, snapshot.slot_s // _PART_S)
    holidays = [dt.date.fromisoformat(day).toordinal() for day in snapshot.holidays]
    calendar = SlotCalendar(snapshot.zone, holidays, _PART_S, snapshot.start_ms, len(parts))
    first = int(calendar.ordinal[0])
    count = int(calendar.ordinal[-1]) - first + 1
    place = (calendar.ordinal - first) * DAY_STEPS + calendar.second_of_day // _STEP_S
    known = np.isfinite(parts)

    def tally(places: Ints, weights: Floats | None = None) -> Floats:
        found = np.bincount(places, weights, count * DAY_STEPS).astype(np.float64)
        return found.reshape(count, DAY_STEPS)

    lived, seen = tally(place), tally(place[known])
    power_kw = np.full((count, DAY_STEPS), np.nan)
    np.divide(tally(place[known], parts[known]), seen, out=power_kw, where=seen >= _KNOWN_PARTS)
    skipped = (lived == 0) & lived.any(axis=1, keepdims=True)
    skipped[[0, -1]] = False  # there, time has not begun or is over
    for day in np.flatnonzero(skipped.any(axis=1)):
        there = np.flatnonzero(~skipped[day])
        power_kw[day] = np.interp(np.arange(DAY_STEPS), there, power_kw[day, there])
    whole = np.isfinite(power_kw).all(axis=1)
    ordinal = first + np.flatnonzero(whole)
    return Days(ordinal, power_kw[whole], calendar.holiday(ordinal))


def level_kw(ordinal: Ints, day_kw: Floats) -> Floats:
    """Return the slowly moving level around each day: the mean of the days within two weeks of it.

    Args:
        ordinal: [D] days, ascending.
        day_kw: [D] a mean of each, not negative.
    """
    total = np.concatenate([[0.0], np.cumsum(day_kw)])
    low = np.searchsorted(ordinal, ordinal - LEVEL_DAYS // 2)
    high = np.searchsorted(ordinal, ordinal + LEVEL_DAYS // 2)  # one of its ends is out: whole weeks
    level: Floats = (total[high] - total[low]) / (high - low)
    return level
