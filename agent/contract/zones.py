"""Time zones by name or fixed offset, and the local days that tariffs and calendars live in."""

from __future__ import annotations

import datetime as dt
import re
import zoneinfo
from functools import lru_cache

from agent.contract.errors import ConfigError

_OFFSET = re.compile(r"([+-])([0-9]{2}):([0-9]{2})")
# Files of the machine rather than places (`localtime` differs from one to the next), and zones with leap seconds.
_NOT_A_ZONE = re.compile(r"localtime|posixrules|Factory|(posix|right)/.*")


@lru_cache(maxsize=64)
def parse_zone(text: str) -> dt.tzinfo:
    """Return the zone for `UTC`, an IANA name such as `Europe/Berlin`, or a fixed offset such as `+10:00`.

    Raises:
        ConfigError: when the name is unknown, the offset is beyond 14 hours, or the machine has no time zone data.
    """
    match = _OFFSET.fullmatch(text)
    if match:
        sign = -1 if match[1] == "-" else 1
        minutes = int(match[2]) * 60 + int(match[3])
        if minutes > 14 * 60 or int(match[3]) > 59:
            raise ConfigError(f"offset {text!r} is beyond +-14:00", todo="Give it as +HH:MM")
        return dt.timezone(sign * dt.timedelta(minutes=minutes))
    todo = "Give an IANA name such as Europe/Berlin, or an offset such as +10:00"
    if _NOT_A_ZONE.fullmatch(text):
        raise ConfigError(f"{text!r} is not a place's time zone", todo=todo)
    try:
        return zoneinfo.ZoneInfo(text)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError) as exc:
        if text == "UTC":  # needs no rules
            return dt.UTC
        if not _has_rules():
            raise ConfigError(
                f"time zone {text!r} cannot be looked up: this machine has no time zone data",
                todo="Install it (pip install tzdata, or apt install tzdata), or give a fixed offset such as +01:00",
            ) from exc
        raise ConfigError(f"time zone {text!r} is unknown", todo=f"{todo}; new zones come with tzdata") from exc


def check_zone(text: str, where: str) -> None:
    """Refuse what `parse_zone` does, with the option that said it.

    Raises:
        ConfigError: see `parse_zone`.
    """
    try:
        parse_zone(text)
    except ConfigError as exc:
        raise ConfigError(exc.what, where=where, todo=exc.todo) from exc


def _has_rules() -> bool:
    """Whether any zone can be looked up: neither the system's files nor the tzdata package may be there."""
    try:
        zoneinfo.ZoneInfo("Europe/London")
    except (zoneinfo.ZoneInfoNotFoundError, OSError):
        return False
    return True


def to_local(time_ms: int, zone: dt.tzinfo) -> dt.datetime:
    """Return the aware local time of an instant."""
    return dt.datetime.fromtimestamp(time_ms / 1000, zone)


def clock_ms(time_ms: int, zone: dt.tzinfo) -> int:
    """Return an instant by the zone's wall clock, counted from its own 1970 on: what intervals of an hour follow."""
    offset = to_local(time_ms, zone).utcoffset() or dt.timedelta()
    return time_ms + round(offset.total_seconds() * 1000)


def local_day_bounds_ms(date: dt.date, zone: dt.tzinfo) -> tuple[int, int]:
    """Return [start, end) of one local day in epoch milliseconds: 23, 24 or 25 hours apart."""
    start = dt.datetime.combine(date, dt.time(), zone)
    end = dt.datetime.combine(date + dt.timedelta(days=1), dt.time(), zone)
    return round(start.timestamp() * 1000), round(end.timestamp() * 1000)


def year_days(year: int) -> int:
    """Return 365, or 366 in a leap year."""
    return dt.date(year, 12, 31).timetuple().tm_yday


def utc_iso(time_ms: int) -> str:
    """Return `2026-11-22T01:00:00Z`."""
    return dt.datetime.fromtimestamp(time_ms / 1000, dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
