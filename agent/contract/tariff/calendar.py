"""When a price holds: seasons, kinds of days, holidays, and periods of the day, all in local time.

Decides which period a local minute belongs to, and that each has exactly one; prices are `model`'s.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from agent.contract.tariff.holidays import Holidays

DAY_MIN = 1440
WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun", "hol")
HOLIDAY = 7  # a kind of day of its own
Ints = NDArray[np.int64]
DayRange = tuple[tuple[int, int], tuple[int, int]]  # (month, day) of the first and the last day


class Day(NamedTuple):
    """All that a tariff knows a day by; `weekday` is 0 for Monday to 6, or 7 for a holiday of its own kind."""

    month: int
    seasons: frozenset[str]
    weekday: int


@dataclass(frozen=True, slots=True)
class When:
    """Limits that hold together; None is no limit.

    Attributes:
        windows: local minutes [from, to) of the day.
        periods: names in the tariff's common calendar.
    """

    seasons: frozenset[str] | None = None
    months: frozenset[int] | None = None
    weekdays: frozenset[int] | None = None
    windows: tuple[tuple[int, int], ...] = ((0, DAY_MIN),)
    periods: frozenset[str] | None = None

    def in_force(self, day: Day) -> bool:
        """Whether seasons and months allow a day: days on which it is not in force lower a charge by the month."""
        return (self.seasons is None or bool(self.seasons & day.seasons)) and (
            self.months is None or day.month in self.months
        )

    def on(self, day: Day) -> bool:
        """Whether it holds at some time of a day, as far as seasons, months and weekdays go."""
        return self.in_force(day) and (self.weekdays is None or day.weekday in self.weekdays)

    def row(self, day: Day, step_min: int) -> NDArray[np.bool_]:
        """Whether it holds, [1440 / step_min] steps of a day; `periods` aside."""
        row = np.zeros(DAY_MIN // step_min, dtype=np.bool_)
        if self.on(day):
            for begin, end in self.windows:
                row[begin // step_min : end // step_min] = True
        return row

    @property
    def marks(self) -> list[int]:
        """Minutes of the day at which it begins or ends."""
        return [mark for window in self.windows for mark in window]


ALWAYS = When()


@dataclass(frozen=True, slots=True)
class Period:
    """A name for certain times; several entries may share it."""

    name: str
    when: When = ALWAYS


class Calendar:
    """The days of a tariff."""

    def __init__(
        self, holidays: Holidays, holidays_as: int, seasons: Mapping[str, Sequence[DayRange]] | None = None
    ) -> None:
        """Name days by `seasons` and weekdays; a holiday counts as the weekday `holidays_as`."""
        self.holidays = holidays
        self.holidays_as = holidays_as
        self.seasons = dict(seasons or {})
        self._seasons_of = lru_cache(maxsize=400)(self._find_seasons)
        self.day = lru_cache(maxsize=1024)(self._day)

    def kinds(self) -> Iterator[Day]:
        """Yield every kind of day that can come, once."""
        first = dt.date(2024, 1, 1).toordinal()  # a leap year
        dates = [dt.date.fromordinal(first + index) for index in range(366)]
        weekdays = range(8 if self.holidays_as == HOLIDAY else 7)
        for month, seasons in dict.fromkeys((date.month, self._seasons_of(date.month, date.day)) for date in dates):
            for weekday in weekdays:
                yield Day(month, seasons, weekday)

    def _day(self, ordinal: int) -> Day:
        date = dt.date.fromordinal(ordinal)
        weekday = self.holidays_as if date in self.holidays else date.weekday()
        return Day(date.month, self._seasons_of(date.month, date.day), weekday)

    def _find_seasons(self, month: int, day: int) -> frozenset[str]:
        at = month, day
        return frozenset(
            name
            for name, ranges in self.seasons.items()
            if any(
                first <= at <= last if first <= last else at >= first or at <= last  # over New Year
                for first, last in ranges
            )
        )


class TimeOfUse:
    """Periods of a calendar: each local minute belongs to exactly one.

    Invariants (`problems` names what breaks them):
        every minute of every kind of day has a period, and only one, the last one aside if it has no limits: then it
        takes the rest;
        every period holds at some minute.
    """

    def __init__(self, calendar: Calendar, periods: tuple[Period, ...]) -> None:
        """Take periods in the order of the file."""
        self.calendar = calendar
        self.periods = periods
        self.names = tuple(dict.fromkeys(period.name for period in periods))
        self.step_min = math.gcd(DAY_MIN, *(mark for period in periods for mark in period.when.marks))
        self._rest = len(periods) - 1 if periods and periods[-1].when == ALWAYS else None
        self._row = lru_cache(maxsize=512)(self._find_row)

    def row(self, day: Day) -> Ints:
        """Index into `names` of each step of a day of this kind; -1 where there is none."""
        row: Ints = self._row(day)
        return row

    def indices(self, ordinal: Ints, minute: Ints) -> Ints:
        """Index into `names` at local minutes of days that follow each other without a gap."""
        first = int(ordinal[0])
        rows = np.stack([self._row(self.calendar.day(at)) for at in range(first, int(ordinal[-1]) + 1)])
        found: Ints = rows[ordinal - first, minute // self.step_min]
        return found

    def problems(self) -> Iterator[str]:
        """Yield what breaks the invariants, with days and hours."""
        gaps = _Places()
        overlaps: dict[tuple[str, str], _Places] = {}
        used: set[int] = set()
        strict = [index for index in range(len(self.periods)) if index != self._rest]
        for day in self.calendar.kinds():
            rows = [self.periods[index].when.row(day, self.step_min) for index in strict]
            held = np.sum(rows, axis=0) if rows else np.zeros(DAY_MIN // self.step_min, dtype=np.int64)
            used |= {index for index, row in zip(strict, rows, strict=True) if row.any()}
            if (held == 0).any():
                if self._rest is None:
                    gaps.add(day, held == 0, self.step_min)
                else:
                    used.add(self._rest)
            if (held > 1).any():
                for place, one in enumerate(strict):
                    for later in range(place + 1, len(strict)):
                        if (both := rows[place] & rows[later]).any():
                            pair = self.periods[one].name, self.periods[strict[later]].name
                            overlaps.setdefault(pair, _Places()).add(day, both, self.step_min)
        for (first, second), places in overlaps.items():
            yield f"{first!r} and {second!r} overlap {places}; let each time have one period"
        if gaps:
            yield f"none covers {gaps}; let the last period have no limits, then it takes the rest"
        for index, period in enumerate(self.periods):
            if index not in used:
                why = (
                    "the periods before it cover all times" if index == self._rest else "its limits exclude each other"
                )
                yield f"{period.name!r} never holds: {why}"

    def _find_row(self, day: Day) -> Ints:
        row = np.full(DAY_MIN // self.step_min, -1, dtype=np.int64)
        for period in reversed(self.periods):
            row[period.when.row(day, self.step_min)] = self.names.index(period.name)
        return row


def ever_holds(when: When, calendar: Calendar, common: TimeOfUse | None) -> bool:
    """Whether there is a minute at which `when` holds; `common` is the calendar that its periods are of."""
    for day in calendar.kinds():
        row = when.row(day, 1)
        if when.periods is not None and common is not None:
            wanted = np.array([name in when.periods for name in common.names])
            row &= np.repeat(wanted[common.row(day)], common.step_min)
        if row.any():
            return True
    return False


class _Places:
    """Times of days, gathered to be said in words."""

    def __init__(self) -> None:
        self._found: dict[tuple[int, int], set[tuple[int, int]]] = {}

    def __bool__(self) -> bool:
        return bool(self._found)

    def add(self, day: Day, steps: NDArray[np.bool_], step_min: int) -> None:
        """Add the steps of a day that are true."""
        edges = np.flatnonzero(np.diff(np.concatenate([[False], steps, [False]]).astype(np.int8))) * step_min
        for begin, end in zip(edges[::2], edges[1::2], strict=True):
            self._found.setdefault((int(begin), int(end)), set()).add((day.month, day.weekday))

    def __str__(self) -> str:
        words = []
        for (begin, end), days in sorted(self._found.items()):
            by_months: dict[tuple[int, ...], list[str]] = {}
            for index in sorted({weekday for _, weekday in days}):
                months = tuple(sorted({month for month, weekday in days if weekday == index}))
                by_months.setdefault(months, []).append(WEEKDAYS[index])
            for months, names in by_months.items():
                span = f"{begin // 60:02}:{begin % 60:02}-{end // 60:02}:{end % 60:02}"
                when = "" if len(months) == 12 else f" in months {', '.join(map(str, months))}"
                words.append(f"{', '.join(names)} {span}{when}")
        return "; ".join(words)
