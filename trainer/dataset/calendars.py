"""Holidays: the centre's part of the calendar. Devices never compute one; they get dates inside the feature spec."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable

import holidays as library
import numpy as np

from agent.contract.errors import ConfigError
from agent.contract.features import Floats
from agent.contract.slotcalendar import SlotCalendar

MOST = 400  # the feature spec's own limit
YEARS_AHEAD = 3
_WHERE = "--holidays"
_TODO = "Give a country as DE, a part of it as AU-VIC, or dates as 2026-12-25,2026-12-26"


def holiday_dates(text: str, years: Iterable[int]) -> tuple[str, ...]:
    """Return local dates in ISO form, ascending, at most `MOST` (the latest ones).

    Args:
        text: `AU-VIC` (ISO 3166 country and subdivision), `DE`, a list of ISO dates parted by commas, or nothing.
        years: the years to cover; explicit dates are taken as they are.

    Raises:
        ConfigError: when country, subdivision or a date is unknown.
    """
    text = text.strip()
    if not text:
        return ()
    if text[0].isdigit():
        return _listed(text)
    country, _, part = text.partition("-")
    try:
        found = library.country_holidays(country.upper(), subdiv=part or None, years=sorted(set(years)))
    except (NotImplementedError, KeyError, ValueError) as exc:
        raise ConfigError(f"holidays of {text!r} are not known", where=_WHERE, todo=_TODO) from exc
    return tuple(sorted(day.isoformat() for day in found))[-MOST:]


def marked_dates(start_ms: int, slot_s: int, zone: str, marks: Floats) -> tuple[tuple[str, ...], str, str]:
    """Return the local dates that a series marks as holidays, ascending, and its own first and last date.

    A date is marked when most of its known slots are: some files change the day at the midnight of their own frame.

    Args:
        start_ms: start of the first slot.
        slot_s: slot length.
        zone: the plant's zone.
        marks: [T] 1 on holidays, 0 on other days, NaN where unknown.

    Raises:
        ConfigError: when a mark is neither.
    """
    known = np.isfinite(marks)
    wrong = marks[known & ((marks < 0) | (marks > 1))]
    if len(wrong):
        raise ConfigError(f"a holiday is marked by {wrong[0]:g}", where="holiday column", todo="Write 1 or 0")
    ordinal = SlotCalendar(zone, (), slot_s, start_ms, len(marks)).ordinal
    days, day = np.unique(ordinal, return_inverse=True)
    marked = np.bincount(day[known], marks[known], minlength=len(days))
    found = days[marked * 2 > np.bincount(day[known], minlength=len(days))]
    dates = tuple(dt.date.fromordinal(int(number)).isoformat() for number in found)
    first, last = (dt.date.fromordinal(int(ordinal[at])).isoformat() for at in (0, -1))
    return dates, first, last


def years_to_cover(first_ms: int, last_ms: int) -> range:
    """Years from the first slot to three years beyond the last one."""
    first, last = (dt.datetime.fromtimestamp(value / 1000, dt.UTC).year for value in (first_ms, last_ms))
    return range(first, last + YEARS_AHEAD + 1)


def _listed(text: str) -> tuple[str, ...]:
    try:
        days = sorted({dt.date.fromisoformat(day.strip()).isoformat() for day in text.split(",") if day.strip()})
    except ValueError as exc:
        raise ConfigError(f"a date of {text!r} does not exist ({exc})", where=_WHERE, todo=_TODO) from exc
    if len(days) > MOST:
        raise ConfigError(f"{len(days)} dates where at most {MOST} are used", where=_WHERE)
    return tuple(days)
