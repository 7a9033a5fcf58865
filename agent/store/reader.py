"""Queries over what is on disk: rows by time, latest times, counters. Reads only; a damaged piece is skipped and noted.

One reader belongs to one thread. `Reader.open` serves the command line while the daemon is down, or beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from agent.contract.blocks import Block, decode_columns, decode_readings, decode_rows
from agent.contract.channels import Reading
from agent.contract.corrections import DERIVED, Correction, moved
from agent.contract.errors import RejectedError
from agent.contract.topics import STREAMS, URGENT
from agent.store import unopened
from agent.store.clocks import EpochClock
from agent.store.damage.scrub import Verified, look_over
from agent.store.outbox import of_stream
from agent.store.pieces import BLOCK, GoneError, Piece
from agent.store.schema import open_database_read_only, transaction, translated
from agent.store.shelves import RAW, Shelves
from agent.store.stats import StoreStats, stats_of

_T = TypeVar("_T")
_OLDEST_PIECES = 64  # looked into for a first time; a start must not read all there is
_NEWEST_BLOCKS = 32  # looked into for a latest time, likewise
_OPENED_BLOCKS = 4  # slots are built one by one from the same few blocks
_OVERLAPS = "WHERE stream = ? AND end_ms >= ? AND start_ms < ? ORDER BY epoch, first"


@dataclass(frozen=True, slots=True, eq=False)
class _Columns:
    """Readings of one channel in one block, by time: a tenth of the memory of the rows themselves."""

    channel: str
    times_ms: NDArray[np.int64]
    values: NDArray[np.float64]
    qualities: NDArray[np.int64]

    @classmethod
    def of(cls, channel: str, rows: Sequence[Reading]) -> _Columns:
        times_ms = np.array([row.time_ms for row in rows], dtype=np.int64)
        order = np.argsort(times_ms, kind="stable")
        values = np.array([row.value for row in rows], dtype=np.float64)
        qualities = np.array([row.quality for row in rows], dtype=np.int64)
        return cls(channel, times_ms[order], values[order], qualities[order])

    def between(self, start_ms: int, end_ms: int) -> list[Reading]:
        low, high = np.searchsorted(self.times_ms, [start_ms, end_ms]).tolist()
        columns = (column[low:high].tolist() for column in (self.times_ms, self.values, self.qualities))
        return [Reading(self.channel, *row) for row in zip(*columns, strict=True)]


class Reader:
    """Answers from the tables of one database."""

    def __init__(self, shelves: Shelves, path: Path) -> None:
        self._shelves = shelves
        self._path = path
        self.damaged: list[tuple[Piece, str]] = []
        self._opened: dict[tuple[int, str], _Columns] = {}

    @classmethod
    def open(cls, path: Path, key: bytes) -> Self:
        """Open a store for reading only, beside its daemon or alone.

        Raises:
            StorageError: when there is none or it cannot be read.
        """
        return cls(Shelves(open_database_read_only(path), key, path), path)

    def close(self) -> None:
        """Close the database."""
        self._shelves.close()

    def readings(self, channel: str, start_ms: int, end_ms: int) -> list[Reading]:
        """Return the readings of one channel in [start_ms, end_ms), by time.

        Raises:
            StorageError: when the disk cannot be read.
        """
        found: list[Reading] = []
        with transaction(self._shelves.db, self._path):
            journal = self._shelves.journal()
            clocks = self._shelves.clocks.corrected()
            if clocks and not self._shelves.thinned.has_any():  # these may be of any epoch
                clocks = unopened.corrected(self._shelves, "readings", journal)
            shifts = {epoch: clock.shift_of(channel) for epoch, clock in clocks.items()}
            for shift_ms in {0, *shifts.values()}:
                low, high = start_ms - shift_ms, end_ms - shift_ms
                rows = [
                    row
                    for epoch, row in self._shelves.thinned.readings(channel, low, high)
                    if shifts.get(epoch, 0) == shift_ms
                ]
                for piece in self._overlapping("readings", low, high, journal):
                    if shifts.get(piece.epoch, 0) == shift_ms:
                        rows += self._columns(piece, channel).between(low, high)
                found += [row._replace(time_ms=row.time_ms + shift_ms) for row in rows] if shift_ms else rows
        return sorted(found, key=lambda row: row.time_ms)

    def rows(self, stream: str, start_ms: int, end_ms: int) -> list[dict[str, Any]]:
        """Return the rows of any other stream in [start_ms, end_ms), by time, equal times in order of writing.

        Of an epoch whose clock was wrong the times are as they should have been, and what was made of them is left out.

        Raises:
            StorageError: when the disk cannot be read.
        """
        found: list[dict[str, Any]] = []
        with transaction(self._shelves.db, self._path):
            clocks = unopened.corrected(self._shelves, stream)
            shifts = {} if stream in DERIVED else {epoch: clock.shift_ms for epoch, clock in clocks.items()}
            for shift_ms in sorted({0, *shifts.values()}):
                for piece in self._overlapping(stream, start_ms - shift_ms, end_ms - shift_ms):
                    if shifts.get(piece.epoch, 0) == shift_ms:
                        rows = self._try(piece, decode_rows)
                        found += _corrected(stream, rows, piece.epoch, clocks.get(piece.epoch), start_ms, end_ms)
        return sorted(found, key=lambda row: int(row["time_ms"]))

    def fingerprints(self, stream: str, width_ms: int, since_ms: int) -> dict[int, str]:
        """Return what tells whether `rows` gives the same as before for whole spans, without opening a block.

        Args:
            stream: any but the readings.
            width_ms: of a span; they begin at its multiples.
            since_ms: from when on spans are of interest.

        Returns:
            By number of the span a text that is another whenever its rows may be: a block came or went, a clock was
            corrected. A span without blocks, or with rows that are no block yet, has none.

        Raises:
            StorageError: when the disk cannot be read.
        """
        with transaction(self._shelves.db, self._path):
            return unopened.fingerprints(self._shelves, stream, width_ms, since_ms)

    def note(self, name: str) -> bytes | None:
        """Return a note, None where there is none.

        Raises:
            RejectedError: when it is damaged.
            StorageError: when the disk cannot be read.
        """
        with transaction(self._shelves.db, self._path):
            return self._shelves.notes.get(name)

    def last_time_ms(self, stream: str, channel: str | None = None) -> int | None:
        """Return the latest time on disk of a stream, or of one channel of the readings; None where there is none.

        Raises:
            StorageError: when the disk cannot be read.
        """
        with transaction(self._shelves.db, self._path):
            if channel is not None:
                return self.channel_times([channel]).get(channel)
            journal = [piece for piece in self._shelves.journal() if piece.stream == stream] if stream == RAW else []
            clocks = unopened.corrected(self._shelves, stream, journal)
            ends = [
                *((piece.epoch, piece.end_ms) for piece in journal),
                *unopened.ends(self._shelves, self._path, stream, clocks),
            ]
        times = (_end(stream, end_ms, epoch, clocks.get(epoch)) for epoch, end_ms in ends)
        return max((time_ms for time_ms in times if time_ms is not None), default=None)

    def first_time_ms(self, channel: str, since_ms: int = 0) -> int | None:
        """Return the oldest time of a channel's readings from `since_ms` on; None where the oldest pieces have none.

        Raises:
            StorageError: when the disk cannot be read.
        """
        where = f"WHERE stream = ? AND end_ms >= ? ORDER BY end_ms LIMIT {_OLDEST_PIECES}"
        with transaction(self._shelves.db, self._path):
            journal = [piece for piece in self._shelves.journal() if piece.stream == "readings"]
            clocks = unopened.corrected(self._shelves, "readings", journal)
            shifts = {epoch: clock.shift_of(channel) for epoch, clock in clocks.items()}
            firsts = []
            for shift_ms in {0, *shifts.values()}:
                low = since_ms - shift_ms
                for piece in [*self._shelves.pieces(BLOCK, where, ["readings", low]), *journal]:
                    if shifts.get(piece.epoch, 0) != shift_ms:
                        continue
                    rows = self._try(piece, lambda block: decode_readings(block)[1])
                    times = [row.time_ms for row in rows if row.channel == channel and row.time_ms >= low]
                    if times:
                        firsts.append(min(times) + shift_ms)
                        break
        return min(firsts, default=None)

    def channel_times(self, channels: Sequence[str]) -> dict[str, int]:
        """Return the latest durable time of each channel: what was noted when packing, and the journal since.

        Of a channel of which nothing is noted, or something damaged, the newest blocks tell.
        """
        times, clocks = self._shelves.times.get(channels), self._shelves.clocks.corrected()
        times |= self.times_in_blocks([channel for channel in channels if channel not in times])
        journal = (piece for piece in self._shelves.journal() if piece.stream == "readings")
        for piece in sorted(journal, key=lambda piece: -piece.end_ms):  # the newest mostly tell all there is to know
            if not clocks and all(times.get(channel, -1) >= piece.end_ms for channel in channels):
                break
            for row in self._try(piece, lambda block: decode_readings(block)[1]):
                if row.channel in channels:
                    time_ms = row.time_ms + clocks.get(piece.epoch, EpochClock()).shift_of(row.channel)
                    times[row.channel] = max(time_ms, times.get(row.channel, time_ms))
        return times

    def times_in_blocks(self, channels: Sequence[str]) -> dict[str, int]:
        """Return the latest time of channels in the newest blocks, as far as these have them."""
        times: dict[str, int] = {}
        clocks = self._shelves.clocks.corrected() if channels else {}
        where = f"WHERE stream = ? ORDER BY end_ms DESC LIMIT {_NEWEST_BLOCKS}"
        for piece in self._shelves.pieces(BLOCK, where, ["readings"]) if channels else ():
            if not clocks and all(times.get(channel, -1) >= piece.end_ms for channel in channels):
                break
            clock = clocks.get(piece.epoch, EpochClock())
            for columns in self._try(piece, lambda block: [decode_columns(block)]):
                for number, channel in enumerate(columns.channels):
                    found = columns.times_ms[columns.places == number]
                    if channel.name in channels and len(found):
                        time_ms = int(found.max()) + clock.shift_of(channel.name)
                        times[channel.name] = max(time_ms, times.get(channel.name, time_ms))
        return times

    def waiting(self) -> Iterator[Block]:
        """Yield what the centre has not acknowledged: the journal, alerts and events, then the rest, oldest first.

        What a writer packs meanwhile may come twice; damaged pieces are skipped and noted.

        Raises:
            StorageError: when the disk cannot be read.
        """
        with translated(self._path):
            yield from self._opened_pieces(self._shelves.journal())
            for stream in sorted(STREAMS, key=lambda stream: stream not in URGENT):
                yield from self._opened_pieces(of_stream(self._shelves, stream))

    def _opened_pieces(self, pieces: Iterable[Piece]) -> Iterator[Block]:
        for piece in pieces:
            try:
                yield self._shelves.open(piece)
            except GoneError:  # packed, or let go, by a writer beside: as a block it comes once more
                continue
            except RejectedError as exc:
                self.damaged.append((piece, exc.what))

    def verify(self, progress: Callable[[int], None] = lambda _: None) -> Verified:
        """Look at every block, as the scrub does, from one moment of the database.

        Args:
            progress: called now and then with the number of blocks looked at.

        Raises:
            StorageError: when the disk cannot be read.
        """
        with transaction(self._shelves.db, self._path):
            return look_over(self._shelves, self._path, progress)

    def stats(self) -> StoreStats:
        """Return the store in numbers.

        Raises:
            StorageError: when the disk cannot be read.
        """
        with transaction(self._shelves.db, self._path):
            return stats_of(self._shelves, self._path)

    def _overlapping(
        self, stream: str, start_ms: int, end_ms: int, journal: Sequence[Piece] | None = None
    ) -> list[Piece]:
        """List the pieces that may hold rows in [start_ms, end_ms), blocks first; of readings with the `journal`."""
        blocks = self._shelves.pieces(BLOCK, _OVERLAPS, [stream, start_ms, end_ms])
        if journal is None:
            return [*blocks, *self._shelves.journal_of(stream, start_ms, end_ms)]
        mine = (piece for piece in journal if piece.stream == stream)
        return [*blocks, *(piece for piece in mine if piece.end_ms >= start_ms and piece.start_ms < end_ms)]

    def _columns(self, piece: Piece, channel: str) -> _Columns:
        key = piece.id, channel
        columns = self._opened.pop(key, None) if piece.place == BLOCK else None
        if columns is None:
            rows = self._try(piece, lambda block: decode_readings(block)[1])
            columns = _Columns.of(channel, [row for row in rows if row.channel == channel])
            if piece.place != BLOCK or not rows:  # journal numbers are used again; what is damaged is not kept
                return columns
        self._opened[key] = columns  # the last one used is the last to go
        if len(self._opened) > _OPENED_BLOCKS:
            del self._opened[next(iter(self._opened))]
        return columns

    def _try(self, piece: Piece, decode: Callable[[Block], list[_T]]) -> list[_T]:
        try:
            return decode(self._shelves.open(piece))
        except RejectedError as exc:
            self.damaged.append((piece, exc.what))
            return []


def _corrected(
    stream: str, rows: list[dict[str, Any]], epoch: int, clock: EpochClock | None, start_ms: int, end_ms: int
) -> list[dict[str, Any]]:
    """Return the rows of a piece in [start_ms, end_ms) as the clock of their epoch is known to have been."""
    if clock is not None and stream in DERIVED:
        told = Correction(epoch, clock.shift_ms, clock.slots_from_ms)
        rows = [row for row in rows if told.counts(stream, row["time_ms"])]
    elif clock is not None:
        rows = [moved(row, clock.shift_ms) for row in rows]
    return [row for row in rows if start_ms <= row["time_ms"] < end_ms]


def _end(stream: str, end_ms: int, epoch: int, clock: EpochClock | None) -> int | None:
    """Return up to when rows of an epoch reach that ends then as it is written; None where none of it counts."""
    if clock is None:
        return end_ms
    if stream not in DERIVED:
        return end_ms + clock.shift_ms
    told = Correction(epoch, clock.shift_ms, clock.slots_from_ms)
    return next((at for at in (end_ms, clock.slots_from_ms - 1) if at >= 0 and told.counts(stream, at)), None)
