"""Which dates are holidays: by date, or by a rule that holds every year, so that a list does not grow stale."""

from __future__ import annotations

import datetime as dt
import re
from functools import lru_cache

from agent.contract.zones import year_days

_WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_YEARLY = re.compile(r"(\d\d)-(\d\d)")
_NTH = re.compile(r"(?:([1-5])(?:st|nd|rd|th)|(last)) (mon|tue|wed|thu|fri|sat|sun) of ([1-9]|1[0-2])")
_EASTER = re.compile(r"easter([+-]\d{1,3})?")


class Holidays:
    """A set of dates. Entries: `2026-05-14`, `12-25`, `4th thu of 11`, `last mon of 5`, `easter+1`."""

    def __init__(self, entries: tuple[str | dt.date, ...] = ()) -> None:
        """Take entries as in a tariff file.

        Raises:
            ValueError: when an entry is none of these forms.
        """
        self.entries = entries
        for entry in entries:
            _dates(entry, 2024)
        self._of_year = lru_cache(maxsize=16)(
            lambda year: frozenset(date for entry in entries for date in _dates(entry, year))
        )

    def __contains__(self, date: dt.date) -> bool:
        return date in self._of_year(date.year)


def _dates(entry: str | dt.date, year: int) -> list[dt.date]:
    """Return the holiday of a year; none where the year has no such day."""
    if isinstance(entry, dt.date):
        return [entry]
    if match := _YEARLY.fullmatch(entry):
        month, day = int(match[1]), int(match[2])
        dt.date(2024, month, day)  # refuses what no year has
        return [] if (month, day) == (2, 29) and year_days(year) == 365 else [dt.date(year, month, day)]
    if match := _NTH.fullmatch(entry):
        return _nth(year, int(match[4]), _WEEKDAYS.index(match[3]), None if match[2] else int(match[1]))
    if match := _EASTER.fullmatch(entry):
        return [_easter(year) + dt.timedelta(days=int(match[1] or 0))]
    return [dt.date.fromisoformat(entry)]


def _nth(year: int, month: int, weekday: int, count: int | None) -> list[dt.date]:
    first = dt.date(year, month, 1)
    dates = [first + dt.timedelta(days=(weekday - first.weekday()) % 7 + 7 * week) for week in range(5)]
    dates = [date for date in dates if date.month == month]
    if count is None:
        return dates[-1:]
    return dates[count - 1 : count]


def _easter(year: int) -> dt.date:
    """Western Easter Sunday, by Gauss's method with the corrections for the Gregorian calendar."""
    century = year // 100
    shift = (15 + century - century // 4 - (8 * century + 13) // 25) % 30
    moon = (19 * (year % 19) + shift) % 30
    if moon == 29 or (moon == 28 and year % 19 > 10):
        moon -= 1
    full_moon = dt.date(year, 3, 21) + dt.timedelta(days=moon)
    return full_moon + dt.timedelta(days=7 - (full_moon.weekday() + 1) % 7)
