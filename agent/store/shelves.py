"""How rows lie in the tables and in the ring: journal pieces and blocks, sealed, with counters beside them.

Decides the layout and keeps the counters true; not when anything is written, packed or given up. Callers hold the
transaction.
"""
# ruff: noqa: S608 - table and column names are this room's constants; values are always bound

from __future__ import annotations

import contextlib
import errno
import hashlib
import hmac
import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sqlite_utils import Database

from agent.contract.blocks import Block, BlockHeader, seal_block, unseal_block
from agent.contract.topics import STREAMS
from agent.store.clocks import ClockTable
from agent.store.damage import aside
from agent.store.damage.ends import WITHIN as ENDS_WITHIN
from agent.store.damage.ends import find as find_ends
from agent.store.damage.ends import seal as seal_ends
from agent.store.notes import Notes
from agent.store.pieces import BLOCK, JOURNAL, RING, GoneError, Piece, StreamState
from agent.store.ring import DamagedRingError
from agent.store.ringshelf import RingShelf
from agent.store.schema import DamagedError, translated, whole
from agent.store.tables import ChannelTimes, Counters, LastMarks
from agent.store.thinning import Thinned

_PLACE = "id, stream, epoch, boot, first, last, start_ms, end_ms"
RAW = "readings"  # what the ring holds
_RING_ID, _RING_RELEASED = "ring", "ring_released"


class Shelves:
    """Reads and writes pieces under one storage key; one writer, or as many readers as like.

    Attributes:
        ring: the writer's after `open_ring`; else what `journal` saw of it last.
        distrusted: of which piece the row says something else than what opened; empty where all is well.
    """

    def __init__(self, db: Database, key: bytes, path: Path) -> None:
        self.db = db
        self._key, self._path = key, path
        self.ring = RingShelf(path.with_name(f"{path.name}-ring"))
        self.notes = Notes(db, key, self.tag)
        self.thinned = Thinned(db, key)
        self.clocks = ClockTable(db, key)
        self.counters, self.marks = Counters(db, path), LastMarks(db)
        self.times = ChannelTimes(db, path, self.tag)
        self.distrusted = ""
        self._follow: Callable[[Piece, int, int], None] = lambda *_: None

    def close(self) -> None:
        """Close the files."""
        self.db.close()
        self.ring.close()

    def open_ring(self) -> str:
        """Open the ring that belongs to the database, or make one; return why there had to be another, or nothing.

        Raises:
            OSError: when it cannot be made or opened.
        """
        ident, why = self._ring_id(), ""
        if ident is not None:
            try:
                self.ring.open(ident, self.counters.get(_RING_RELEASED))
            except FileNotFoundError:
                why = "has lost its journal of readings"
            except DamagedRingError:
                why = "has another journal of readings than its own, or a part of it"
            except OSError as exc:
                if exc.errno != errno.EIO:
                    raise
                why = "has a journal of readings that the disk does not give whole"
        if not self.ring.is_open:
            aside.set_ring_aside(self._path)
            ident = self.ring.create()
            self.db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", [_RING_ID, ident])
            self.note_released(0)
            self.ring.open(ident, 0)
        self._drop_packed()
        return why

    def _drop_packed(self) -> None:
        """Leave out what the tables hold, too: of a record whose write failed and which was whole all the same.

        Readings that go to the tables take with them what the ring holds: what is behind the tables' last number is
        packed. Of records that overlap each other the later one was told, and holds what the earlier one did.
        """
        ends = self._ends()
        begins: dict[tuple[str, int], int] = {}
        for piece in reversed(self.ring.pieces()):
            place = piece.stream, piece.epoch
            if piece.last <= ends[place] or piece.last >= begins.get(place, piece.last + 1):
                self.ring.drop([piece])
            else:
                begins[place] = piece.first

    def _ends(self) -> dict[tuple[str, int], int]:
        """Return the last number in the tables, by stream and epoch of what is in the ring."""
        ends = {place: self.last(*place) for place in {(piece.stream, piece.epoch) for piece in self.ring.pieces()}}
        for piece in self.pieces(JOURNAL, "", []):
            place = piece.stream, piece.epoch
            ends[place] = max(piece.last, ends.get(place, 0))
        return ends

    def put_ring(self, block: Block) -> Piece:
        """Write a run of rows to the ring; it is on disk then, whatever becomes of a transaction.

        Raises:
            RingFullError: when there is no room for it.
            StorageError: when the disk fails.
        """
        return self.ring.put(block.header, seal_block(block, self._key))

    def note_released(self, through: int) -> None:
        """Note that records of the ring up to this number are blocks; to be released once that is on disk."""
        self.counters.set(_RING_RELEASED, through)

    def told_ends(self) -> dict[tuple[int, str], int]:
        """Return what the ring's file tells of how far each stream went."""
        return find_ends(aside.read(self.ring.path, 0, ENDS_WITHIN), self._key)

    def note_ends(self, lasts: Mapping[tuple[int, str], int]) -> None:
        """Tell the ring's file how far each stream of each epoch went; what is told is on disk already."""
        self.ring.note(seal_ends({place: last for place, last in lasts.items() if last}, self._key))

    def journal(self) -> list[Piece]:
        """List what is durable and no block yet."""
        if not self.ring.is_open and (ident := self._ring_id()) is not None:
            # The database first: what leaves the ring meanwhile still lies in the file, for a lap.
            released = self.counters.get(_RING_RELEASED)
            with translated(self._path), contextlib.suppress(DamagedRingError, FileNotFoundError):
                self.ring.look(ident, released)
                self._drop_packed()
        return [*self.pieces(JOURNAL, "ORDER BY id", []), *self.ring.pieces()]

    def journal_of(self, stream: str, start_ms: int, end_ms: int) -> list[Piece]:
        """List those of any stream but the readings that may hold rows in [start_ms, end_ms): the ring has none."""
        where = "WHERE stream = ? AND end_ms >= ? AND start_ms < ? ORDER BY id"
        return self.pieces(JOURNAL, where, [stream, start_ms, end_ms])

    def lost_from_ring(self, newest: int) -> list[tuple[str, int, int, int]]:
        """List ranges (stream, epoch, first, last) that are missing before, between or after what the ring holds.

        Args:
            newest: the epoch that wrote to it last.
        """
        lost: list[tuple[str, int, int, int]] = []
        ends = self._ends()
        for piece in self.ring.pieces():
            place = piece.stream, piece.epoch
            if piece.first > ends[place] + 1:
                lost.append((*place, ends[place] + 1, piece.first - 1))
            ends[place] = piece.last
        last = max(ends.get((RAW, newest), 0), self.last(RAW, newest))
        through = self.ring.lost_after(newest, last)
        return [*lost, (RAW, newest, last + 1, through)] if through > last else lost

    def _ring_id(self) -> bytes | None:
        found = self.db.execute("SELECT value FROM meta WHERE name = ?", [_RING_ID]).fetchone()
        return bytes(found[0]) if found else None

    def put_journal(self, block: Block) -> Piece:
        """Write a run of rows to the journal."""
        return self._insert(JOURNAL, block, seal_block(block, self._key))

    def put_block(self, block: Block) -> Piece:
        """Write an immutable block."""
        return self.put_sealed(block, seal_block(block, self._key))

    def put_sealed(self, block: Block, data: bytes) -> Piece:
        """Write a block that is sealed already."""
        piece = self._insert(BLOCK, block, data)
        self._count(piece, rows=piece.count, waiting=1)
        return piece

    def replace(self, run: Sequence[Piece], block: Block) -> None:
        """Put the block that was made of a run of journal pieces in their place."""
        self.put_block(block)
        self.drop_journal(run)

    def drop_journal(self, pieces: Iterable[Piece]) -> None:
        """Remove journal pieces that are blocks now; those of the ring are released."""
        rows = [(piece.id,) for piece in pieces if piece.place == JOURNAL]
        self.db.conn.executemany("DELETE FROM journal WHERE id = ?", rows)

    def acknowledge(self, pieces: Iterable[Piece]) -> None:
        """Mark blocks as safe at the centre."""
        for piece in pieces:
            self.db.execute("UPDATE block SET acknowledged = 1 WHERE id = ?", [piece.id])
            self._count(piece, waiting=-1)

    def recall(self, pieces: Iterable[Piece]) -> None:
        """Let acknowledged blocks wait for the centre again."""
        for piece in pieces:
            self.db.execute("UPDATE block SET acknowledged = 0 WHERE id = ?", [piece.id])
            self._count(piece, waiting=1)

    def remove(self, pieces: Iterable[Piece], *, acknowledged: bool) -> None:
        """Remove blocks."""
        for piece in pieces:
            self.db.execute("DELETE FROM block WHERE id = ?", [piece.id])
            self._count(piece, rows=-piece.count, waiting=0 if acknowledged else -1)

    def waits(self, piece: Piece) -> bool:
        """Whether the centre has not acknowledged a piece."""
        if piece.place != BLOCK:
            return True
        found = self.db.execute("SELECT acknowledged FROM block WHERE id = ?", [piece.id]).fetchone()
        return found is not None and not found[0]

    def quarantine(self, piece: Piece, reason: str) -> None:
        """Set a damaged piece apart; it is not deleted."""
        place = (piece.stream, piece.epoch, piece.boot, piece.first, piece.last, piece.start_ms, piece.end_ms)
        self.db.execute(
            "INSERT INTO quarantine (stream, epoch, boot, first, last, start_ms, end_ms, reason, data)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [*place, reason, self._data(piece) or b""],
        )
        if piece.place == BLOCK:
            self.remove([piece], acknowledged=not self.waits(piece))
        else:
            self._count(piece)  # its numbers stay given out
            self.drop_journal([piece])
        self.counters.add("quarantined", 1)

    def open(self, piece: Piece) -> Block:
        """Decrypt one piece. Where it opens, its header is true, whatever its row says.

        Raises:
            RejectedError: when it is gone or damaged.
        """
        data = self._data(piece)
        if data is None:
            raise GoneError("is gone", where=f"{piece.place} {piece.id}")
        block = unseal_block(data, self._key)
        stated = (piece.stream, piece.epoch, piece.boot, piece.first, piece.last, piece.start_ms, piece.end_ms)
        if stated != _row(block.header):
            self.distrusted = f"rows {piece.first}..{piece.last} of {piece.stream}"
        return block

    def check_trust(self) -> None:
        """Refuse to go on with rows that were found to be false.

        Raises:
            DamagedError: when a row said something else than what opened.
        """
        if self.distrusted:
            raise DamagedError(f"is damaged (its block contradicts {self.distrusted})", where=str(self._path))

    def _data(self, piece: Piece) -> bytes | None:
        if piece.place == RING:
            return self.ring.data(piece)
        found = self.db.execute(f"SELECT data FROM {piece.place} WHERE id = ?", [piece.id]).fetchone()
        return None if found is None else bytes(found[0])

    def pieces(self, table: str, where: str, values: list[Any]) -> list[Piece]:
        """List pieces without opening them; `where` is this room's own text, never data."""
        query = f"SELECT {_PLACE}, length(data) FROM {table} {where}"
        return [Piece(table, *row) for row in self._sane(query, values, 1)]

    def states(self) -> list[StreamState]:
        """All counters: one for each stream and epoch."""
        columns = "stream, epoch, last, rows, waiting_rows, waiting_blocks, waiting_bytes"
        found = self._sane(f"SELECT {columns} FROM stream_state ORDER BY epoch, stream", [], 0)
        return [StreamState(*row) for row in found]

    def _sane(self, query: str, values: list[Any], stream: int) -> list[tuple[Any, ...]]:
        """Ask for a stream, which stands at that place, and whole numbers; a damaged row may hold anything."""
        rows: list[tuple[Any, ...]] = self.db.execute(query, values).fetchall()
        for row in rows:
            for number in (*row[:stream], *row[stream + 1 :]):
                whole(number, self._path)
            if row[stream] not in STREAMS:
                raise DamagedError("is damaged (a row is of no stream)", where=str(self._path))
        return rows

    def checkpoint(self) -> bool:
        """Let the database have what is in its log, which is written from its begin then; False: it has no room."""
        try:
            self.db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        except sqlite3.OperationalError:
            return False
        return True

    def counted(self, stream: str, epoch: int) -> list[int]:
        """Count rows, and of what waits rows, blocks and bytes; reads every block of the stream."""
        waits = "acknowledged = 0"
        sums = (
            f"sum(last - first + 1), sum((last - first + 1) * ({waits})), sum({waits}), sum(length(data) * ({waits}))"
        )
        found = self.db.execute(f"SELECT {sums} FROM block WHERE stream = ? AND epoch = ?", [stream, epoch]).fetchone()
        return [number or 0 for number in found]

    def follow(self, changed: Callable[[Piece, int, int], None]) -> None:
        """Tell of every change of a counter: the piece, and its rows and blocks that wait, more or fewer."""
        self._follow = changed

    def neighbours(self, piece: Piece) -> tuple[Piece | None, Piece | None]:
        """Return the blocks of the same stream and epoch before and after one."""
        where = "WHERE stream = ? AND epoch = ? AND first"
        place = [piece.stream, piece.epoch, piece.first]
        before = self.pieces(BLOCK, f"{where} < ? ORDER BY first DESC LIMIT 1", place)
        after = self.pieces(BLOCK, f"{where} > ? ORDER BY first LIMIT 1", place)
        return next(iter(before), None), next(iter(after), None)

    def last(self, stream: str, epoch: int) -> int:
        """The highest sequence number among counters and blocks, by index; 0 where there is none."""
        queries = (
            "SELECT last FROM stream_state WHERE stream = ? AND epoch = ?",
            "SELECT last FROM block WHERE stream = ? AND epoch = ? ORDER BY first DESC LIMIT 1",
        )
        found = [self.db.execute(query, [stream, epoch]).fetchone() for query in queries]
        return max((int(row[0]) for row in found if row), default=0)

    def note_last(self, stream: str, epoch: int, last: int) -> None:
        """Note that numbers were given out up to this one, of which there may be no rows."""
        self.db.execute(
            "INSERT INTO stream_state (stream, epoch, last) VALUES (?, ?, ?) ON CONFLICT (stream, epoch) DO UPDATE SET"
            " last = max(last, excluded.last)",
            [stream, epoch, last],
        )

    def forget_epochs(self, *, before: int, told: Iterable[int]) -> None:
        """Drop counters and marks of epochs before this one of which no row is left, neither here nor in the ring.

        Counters stay where the ring's file tells of an epoch: without them what was let go would pass for lost.
        """
        kept = {piece.epoch for piece in self.journal()}
        kept |= {state.epoch for state in self.states() if state.rows or state.epoch >= before}
        for table, more in (("stream_state", set(told)), ("mark", set())):
            found = self.db.execute(f"SELECT DISTINCT epoch FROM {table}").fetchall()
            gone = [(epoch,) for (epoch,) in found if epoch not in kept | more]
            self.db.conn.executemany(f"DELETE FROM {table} WHERE epoch = ?", gone)

    def waiting_blocks(self, stream: str, epoch: int) -> int:
        """Return how many blocks of one stream and epoch wait for the centre."""
        query = "SELECT waiting_blocks FROM stream_state WHERE stream = ? AND epoch = ?"
        found = self.db.execute(query, [stream, epoch]).fetchone()
        return int(found[0]) if found else 0

    def tag(self, text: str) -> bytes:
        """A name for `text` that only the holder of the storage key can make."""
        return hmac.digest(self._key, b"edgewatt/store/v1\0" + text.encode(), hashlib.sha256)[:16]

    def _insert(self, table: str, block: Block, data: bytes) -> Piece:
        row = _row(block.header)
        cursor = self.db.execute(
            f"INSERT INTO {table} (stream, epoch, boot, first, last, start_ms, end_ms, data)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            [*row, data],
        )
        return Piece(table, int(cursor.lastrowid), *row, len(data))

    def _count(self, piece: Piece, *, rows: int = 0, waiting: int = 0) -> None:
        """Adjust the counters of the piece's stream; `waiting` is +1, 0 or -1 blocks of its size."""
        self._follow(piece, rows, waiting)
        self.db.execute(
            "INSERT INTO stream_state VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (stream, epoch) DO UPDATE SET"
            " last = max(last, excluded.last), rows = rows + excluded.rows,"
            " waiting_rows = waiting_rows + excluded.waiting_rows,"
            " waiting_blocks = waiting_blocks + excluded.waiting_blocks,"
            " waiting_bytes = waiting_bytes + excluded.waiting_bytes",
            [piece.stream, piece.epoch, piece.last, rows, waiting * piece.count, waiting, waiting * piece.size],
        )


def _row(head: BlockHeader) -> tuple[str, int, int, int, int, int, int]:
    return head.stream, head.epoch, head.boot, head.first, head.last, head.start_ms, head.end_ms
