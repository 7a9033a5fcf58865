"""Taking readings in: from every source to the store, and to those who watch them.

Decides which readings of a turn are taken, and which source or channel is in trouble. A value that cannot be stored
takes no other with it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.contract.channels import Reading
from agent.contract.errors import ConfigError
from agent.daemon.troubles import Troubles
from agent.sources.base import Source

if TYPE_CHECKING:
    from agent.daemon.rooms import Rooms


class Sampling:
    """Polls the sources."""

    def __init__(self, troubles: Troubles) -> None:
        self._troubles = troubles
        self._read_errors: dict[int, int] = {}

    def turn(self, rooms: Rooms, now_ms: int, *, whole: bool) -> None:
        """Take what the sources have.

        Args:
            rooms: the sources, the store, and who is told.
            now_ms: plant clock.
            whole: whether the store was opened: it alone knows how far a source with its own times was taken in.
        """
        for number, source in enumerate(rooms.sources):
            if source.has_own_times and not whole:
                continue
            readings: list[Reading] = []
            well = self._troubles.run(f"source {number + 1}", lambda s=source, r=readings: r.extend(s.poll(now_ms)))  # type: ignore[misc]
            if readings:
                self._take(rooms, readings)
            if well:
                self._look_at(number, source)

    def _take(self, rooms: Rooms, readings: list[Reading]) -> None:
        try:
            rooms.store.append("readings", readings)
        except ConfigError:
            readings = [reading for reading in readings if self._take_one(rooms, reading)]
        if rooms.time.is_settled:
            rooms.closer.saw(readings)
        self._troubles.run("watch", lambda: rooms.watching.saw(readings))

    def _take_one(self, rooms: Rooms, reading: Reading) -> bool:
        try:
            rooms.store.append("readings", [reading])
        except ConfigError as exc:
            self._troubles.note(f"channel {reading.channel}", str(exc))
            return False
        self._troubles.note(f"channel {reading.channel}", "")
        return True

    def _look_at(self, number: int, source: Source) -> None:
        stats = source.stats()
        if stats.read_errors > self._read_errors.get(number, 0):
            self._troubles.note(f"source {number + 1}", stats.last_error)
        self._read_errors[number] = stats.read_errors
