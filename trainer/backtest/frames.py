"""Times without a zone in files and options, and the frame in which they stand: to instants and back. Pure."""

from __future__ import annotations

from agent.contract.errors import ConfigError
from agent.contract.wallclock import WallClock
from agent.contract.zones import parse_zone, to_local

_DATE_LENGTH = len("2018-10-20")


class Frame:
    """The zone or fixed offset in which the times of a file are written.

    Attributes:
        name: `UTC`, an IANA name, or an offset such as `+01:00`.
    """

    def __init__(self, name: str, where: str = "--timestamps-in") -> None:
        """Look the zone up.

        Raises:
            ConfigError: when it is unknown.
        """
        self.name = name
        try:
            self._zone = parse_zone(name)
            self._clock = WallClock(name)
        except ConfigError as exc:
            raise ConfigError(exc.what, where=where, todo=exc.todo) from exc

    def instant(self, text: str, where: str, *, after_ms: int = -1) -> int:
        """Return epoch milliseconds of a time, as `2018-10-20T00:00`; a date alone is its midnight.

        Args:
            text: with an offset or without.
            where: for errors.
            after_ms: of a time that the clocks show twice, the first pass is meant unless it is not after this.

        Raises:
            ConfigError: when it is malformed, does not exist in the frame, or states an offset that the frame has not.
        """
        stamp = f"{text} 00:00" if len(text) == _DATE_LENGTH else text
        try:
            return self._clock.instant(stamp, after_ms)
        except ConfigError as exc:
            raise ConfigError(exc.what, where=where, todo=exc.todo) from exc

    def stamp(self, time_ms: int) -> str:
        """Return the time without a zone, as `2018-10-20T00:00`; the same for both passes of an hour."""
        local = to_local(time_ms, self._zone).replace(tzinfo=None)
        whole = local == local.replace(second=0, microsecond=0)
        return local.isoformat(timespec="minutes" if whole else "auto")
