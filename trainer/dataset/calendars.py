"""Holidays: the centre's part of the calendar. Devices never compute one; they get dates inside the feature spec."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable

import holidays as library

from agent.contract.errors import ConfigError

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
