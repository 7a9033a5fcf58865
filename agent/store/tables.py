"""The small tables beside the blocks: named counters, what the centre said last, the latest time of each channel.

Decides how such a value lies in its table; what it means, and when it is written, is its user's decision. Callers hold
the transaction.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from sqlite_utils import Database

from agent.contract.acknowledgement import Mark
from agent.store.schema import whole


class Counters:
    """Whole numbers by name."""

    def __init__(self, db: Database, path: Path) -> None:
        self._db, self._path = db, path

    def get(self, name: str) -> int:
        """Return one, 0 where nothing was added.

        Raises:
            DamagedError: when it is no whole number.
        """
        found = self._db.execute("SELECT value FROM counter WHERE name = ?", [name]).fetchone()
        return whole(found[0], self._path) if found else 0

    def set(self, name: str, value: int) -> None:
        """Set one."""
        self._db.execute("INSERT OR REPLACE INTO counter VALUES (?, ?)", [name, value])

    def add(self, name: str, amount: int) -> None:
        """Add to one."""
        self._db.execute(
            "INSERT INTO counter VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = value + excluded.value",
            [name, amount],
        )

    def names(self, prefix: str) -> list[str]:
        """List the names that begin so."""
        found = self._db.execute("SELECT name FROM counter WHERE name GLOB ?", [f"{prefix}*"]).fetchall()
        return [str(name) for (name,) in found]

    def drop(self, name: str) -> None:
        """Forget one."""
        self._db.execute("DELETE FROM counter WHERE name = ?", [name])


class LastMarks:
    """What the centre said last of each stream and epoch."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def put(self, mark: Mark) -> None:
        """Keep what it said of a stream and epoch."""
        missing = json.dumps(mark.missing)
        self._db.execute(
            "INSERT OR REPLACE INTO mark VALUES (?, ?, ?, ?)", [mark.stream, mark.epoch, mark.high, missing]
        )

    def get(self, stream: str, epoch: int) -> Mark | None:
        """Return what it said of one stream and epoch."""
        query = "SELECT high, missing FROM mark WHERE stream = ? AND epoch = ?"
        found = self._db.execute(query, [stream, epoch]).fetchone()
        return None if found is None else _mark(stream, epoch, *found)

    def all(self) -> dict[tuple[str, int], Mark]:
        """Return everything, by stream and epoch."""
        found = self._db.execute("SELECT stream, epoch, high, missing FROM mark").fetchall()
        return {(stream, epoch): _mark(stream, epoch, high, missing) for stream, epoch, high, missing in found}

    def forget(self) -> None:
        """Forget everything."""
        self._db.execute("DELETE FROM mark")


def _mark(stream: str, epoch: int, high: int, missing: str) -> Mark:
    return Mark(epoch, stream, high, tuple((first, last) for first, last in json.loads(missing)))


class ChannelTimes:
    """The latest time of each channel, sealed, under a tag that does not tell its name.

    Args:
        db: the database.
        path: of its file, for complaints.
        tag: makes a name that only the holder of the storage key can make.
    """

    def __init__(self, db: Database, path: Path, tag: Callable[[str], bytes]) -> None:
        self._db, self._path, self._tag = db, path, tag

    def put(self, last_ms: Mapping[str, int]) -> None:
        """Keep the times of these channels."""
        rows = [(self._name(channel), time_ms, self._seal(channel, time_ms)) for channel, time_ms in last_ms.items()]
        self._db.conn.executemany("INSERT OR REPLACE INTO channel_time VALUES (?, ?, ?)", rows)
        self._db.conn.executemany("DELETE FROM channel_state WHERE tag = ?", [row[:1] for row in rows])

    def get(self, channels: Iterable[str]) -> dict[str, int]:
        """Return the times of these channels; what is damaged is left out."""
        unsealed = dict(self._db.execute("SELECT tag, last_ms FROM channel_state").fetchall())  # by versions before
        tags = {channel: self._name(channel) for channel in channels}
        times = {channel: whole(unsealed[tag], self._path) for channel, tag in tags.items() if tag in unsealed}
        if not self._db.execute("SELECT 1 FROM sqlite_master WHERE name = 'channel_time'").fetchone():
            return times  # read only, from a store that this version has not opened for writing yet
        found = {
            tag: (time_ms, seal) for tag, time_ms, seal in self._db.execute("SELECT * FROM channel_time").fetchall()
        }
        for channel, tag in tags.items():
            time_ms, seal = found.get(tag, (0, b""))
            if seal == self._seal(channel, time_ms):
                times[channel] = time_ms
        return times

    def _name(self, channel: str) -> bytes:
        return self._tag(f"channel/{channel}")

    def _seal(self, channel: str, time_ms: int) -> bytes:
        return self._tag(f"channel/{channel} {time_ms}")
