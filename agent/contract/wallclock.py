"""Stamps of a file -> instants: the hour that clocks show twice, the one they skip, and stamps that are no time.

Decides what instant a stamp means, given the one before it. That rows ascend is `loadcsv`'s to decide.
"""

from __future__ import annotations

import datetime as dt
import re

from agent.contract.errors import ConfigError
from agent.contract.zones import parse_zone

_STAMP = re.compile(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d(:\d\d(\.\d{1,6})?)?( ?(Z|[+-]\d\d:\d\d))?", re.ASCII)
END_MS = 7_258_118_400_000  # 2200-01-01 in UTC: no file reaches it, and calendars must not run out of years behind it
_EPOCH = dt.datetime(1970, 1, 1)  # noqa: DTZ001 - arithmetic on wall times, whose zone is applied beside it
_MILLISECOND = dt.timedelta(milliseconds=1)
_FIRST_DAY, _LAST_DAY = dt.date(1, 1, 2).toordinal(), dt.date(9999, 12, 30).toordinal()


class WallClock:
    """Turns the stamps of one frame into instants."""

    def __init__(self, name: str) -> None:
        """Raise ConfigError when `name` is no zone (see `parse_zone`)."""
        self._zone = parse_zone(name)
        self._name = name
        self._quiet: dict[int, dt.timedelta | None] = {}

    def instant(self, stamp: str | dt.datetime, previous: int) -> int:
        """Return UTC epoch milliseconds.

        Args:
            stamp: text as `2014-01-31 13:30`, or a wall time; an aware datetime is an instant whatever the frame.
            previous: instant of the row above, -1 for none: of a doubled hour's two passes it chooses.

        Raises:
            ConfigError: when the stamp is malformed, before 1970, in 2200 or later, skipped by the clocks, or of
                another offset.
        """
        if isinstance(stamp, str):
            time_ms = self._of_text(stamp, previous)
        elif stamp.tzinfo is not None:
            time_ms = _since_epoch(stamp.replace(tzinfo=None), stamp.utcoffset() or dt.timedelta())
        else:
            time_ms = self._of_wall(stamp, previous, str(stamp))
        if time_ms < 0:
            raise ConfigError(f"time {str(stamp)!r} lies before 1970", todo="Correct the row")
        if time_ms >= END_MS:
            raise ConfigError(f"time {str(stamp)!r} lies after 2199", todo="Correct the year")
        return time_ms

    def _of_text(self, text: str, previous: int) -> int:
        if _STAMP.fullmatch(text) is None:
            raise ConfigError(f"time {text!r} is not of the form 2014-01-31 13:30", todo="Write times as in ISO 8601")
        try:
            stated = dt.datetime.fromisoformat(text.replace(" Z", "Z").replace(" +", "+").replace(" -", "-"))
        except ValueError as exc:
            raise ConfigError(f"time {text!r} does not exist ({exc})", todo="Correct the row") from exc
        if stated.tzinfo is None:
            return self._of_wall(stated, previous, text)
        wall, offset = stated.replace(tzinfo=None), stated.utcoffset() or dt.timedelta()
        if offset not in self._offsets(wall):
            raise ConfigError(
                f"time {text!r} has an offset that {self._name} does not have then",
                todo="Give the zone in which the file was written",
            )
        return _since_epoch(wall, offset)

    def _of_wall(self, wall: dt.datetime, previous: int, text: str) -> int:
        early, late = self._offsets(wall)
        if early < late:
            raise ConfigError(
                f"time {text!r} does not exist in {self._name}: clocks went forward over it",
                todo="The file is probably in standard time all year: give that fixed offset, such as +01:00, as zone",
            )
        time_ms = _since_epoch(wall, early)
        if time_ms <= previous and late != early:
            return _since_epoch(wall, late)
        return time_ms

    def _offsets(self, wall: dt.datetime) -> tuple[dt.timedelta, dt.timedelta]:
        """Offsets of a wall time before and after a change of the clocks; mostly one and the same."""
        day = wall.toordinal()
        if day not in self._quiet:
            self._quiet[day] = self._all_day(day)
        offset = self._quiet[day]
        return (offset, offset) if offset is not None else (self._offset(wall, 0), self._offset(wall, 1))

    def _all_day(self, day: int) -> dt.timedelta | None:
        """The offset of a whole day, None where clocks are changed near it."""
        if not _FIRST_DAY <= day <= _LAST_DAY:
            return None
        noons = (dt.datetime.combine(dt.date.fromordinal(day + step), dt.time(12)) for step in (-1, 0, 1))
        offsets = {self._offset(noon, fold) for noon in noons for fold in (0, 1)}
        return offsets.pop() if len(offsets) == 1 else None

    def _offset(self, wall: dt.datetime, fold: int) -> dt.timedelta:
        return self._zone.utcoffset(wall.replace(tzinfo=self._zone, fold=fold)) or dt.timedelta()


def _since_epoch(wall: dt.datetime, offset: dt.timedelta) -> int:
    return (wall - _EPOCH - offset) // _MILLISECOND
