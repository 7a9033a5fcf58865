"""Rows in memory that are not on disk yet, with the sequence numbers that they will have there. No input or output.

Decides what is taken in and what is dropped when the disk stays away; not when rows are written.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from agent.contract.blocks import Row, encode_rows
from agent.contract.channels import MAX_STEPS, Channel, Quality, Reading
from agent.contract.errors import ConfigError
from agent.contract.jsonform import MAX_TIME_MS

_DROP = 1024  # readings that go at once when the ring is full: moving the rest costs as much for one as for many


class Buffer:
    """The unwritten rows of one stream: a run without a hole that ends with the last sequence number given out.

    Invariants: `first + len(rows)` is the next sequence number; rows leave at the front only.

    Attributes:
        first: sequence number of `rows[0]`.
        dropped: range given up since the last write because the ring was full.
        limit: most rows held.
    """

    def __init__(self, first: int, limit: int) -> None:
        self.first = first
        self.rows: list[Any] = []
        self.dropped: tuple[int, int] | None = None
        self.limit = limit

    @property
    def last(self) -> int:
        """The last sequence number given out."""
        return self.first + len(self.rows) - 1

    def extend(self, rows: Sequence[Any]) -> None:
        """Take rows in; where that is more than `limit`, the oldest are dropped and remembered as a gap."""
        self.rows.extend(rows)
        excess = len(self.rows) - self.limit
        if excess > 0:
            count = min(len(self.rows), max(excess, min(_DROP, self.limit // 2)))
            start = self.dropped[0] if self.dropped else self.first
            self.dropped = (start, self.first + count - 1)
            del self.rows[:count]
            self.first += count

    def written(self, last: int) -> None:
        """Forget the rows up to `last`, and the gap before them: both are on disk."""
        del self.rows[: last - self.first + 1]
        self.first = last + 1
        self.dropped = None

    def renumber(self) -> None:
        """Begin at 1 again, in a new epoch; what was dropped has its numbers there, too, and is declared by them."""
        lost = 0 if self.dropped is None else self.dropped[1] - self.dropped[0] + 1
        self.first = lost + 1
        self.dropped = (1, lost) if lost else None


class ReadingCheck:
    """Accepts what a block can hold, before a sequence number is given out, and keeps each channel's latest time."""

    def __init__(self, channels: Mapping[str, Channel]) -> None:
        # A little below what the block allows, so that rounding there cannot tip a value over.
        self._limits = {name: 0.999 * MAX_STEPS / 10.0**channel.decimals for name, channel in channels.items()}
        self.last_ms: dict[str, int] = {}
        self._fresh_ms: dict[str, int] = {}  # of this run

    @property
    def channels(self) -> Collection[str]:
        """The names that are accepted."""
        return self._limits.keys()

    def accept(self, readings: Sequence[Reading]) -> None:
        """Check all, then note their times; nothing is noted when one is refused.

        Raises:
            ConfigError: when a channel is not configured, a value is not a finite number that fits, or a time or a
                quality is out of range.
        """
        limits, worst = self._limits, max(Quality)
        latest: dict[str, int] = {}
        try:
            for channel, time_ms, value, quality in readings:
                limit = limits[channel]
                if not (-limit < value < limit and 0 <= time_ms <= MAX_TIME_MS and 0 <= quality <= worst):
                    raise ConfigError(f"reading {value!r} at {time_ms} of channel {channel} cannot be stored")
                if time_ms > latest.get(channel, -1):
                    latest[channel] = time_ms
        except KeyError as exc:
            raise ConfigError(
                f"channel {exc.args[0]!r} is not configured", todo="Add it under [[channel]], or to its source"
            ) from exc
        self._fresh_ms |= latest
        for channel, time_ms in latest.items():
            if time_ms > self.last_ms.get(channel, -1):
                self.last_ms[channel] = time_ms

    def moved(self, shift_ms: int, own_times: Collection[str], since_ms: int, now_ms: int) -> dict[str, int]:
        """Return the latest times under another clock, but of channels with times of their own.

        What was read last is the latest, whatever the clock said.

        Args:
            shift_ms: how far that is ahead of the clock until now.
            own_times: these channels.
            since_ms: by the clock until now, when runs before this one began to stamp by it.
            now_ms: by the other clock.
        """
        times = {}
        for name, time_ms in self.last_ms.items():
            if name in self._fresh_ms:
                times[name] = self._fresh_ms[name] + shift_ms
            elif since_ms <= time_ms <= now_ms - shift_ms:  # not read in this run yet
                times[name] = time_ms + shift_ms
            else:
                times[name] = min(time_ms, now_ms)
        return self.last_ms | {name: time_ms for name, time_ms in times.items() if name not in own_times}

    def lower(self, times: Mapping[str, int]) -> None:
        """Take latest times that were found again in the place of those known, but what was read in this run counts."""
        for name, time_ms in times.items():
            self.last_ms[name] = max(time_ms, self._fresh_ms.get(name, time_ms))

    def move(self, times: Mapping[str, int], shift_ms: int) -> None:
        """Take `moved` over."""
        self.last_ms = dict(times)
        self._fresh_ms = {name: time_ms + shift_ms for name, time_ms in self._fresh_ms.items()}


def accept_rows(stream: str, rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Return copies of rows that a block can hold.

    Raises:
        ConfigError: when one has no valid `time_ms`, cannot be written as JSON, or is longer than 64 KiB.
    """
    copies = [dict(row) for row in rows]
    for row in copies:
        encode_rows(stream, [row], epoch=1, boot=0, first=1)
    return copies
