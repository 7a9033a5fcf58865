"""How rows lie in the tables: journal pieces and blocks, sealed, with counters beside them.

Decides the layout and keeps the counters true; not when anything is written, packed or given up. Callers hold the
transaction.
"""
# ruff: noqa: S608 - table and column names are this room's constants; values are always bound

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlite_utils import Database

from agent.contract.blocks import Block, seal_block, unseal_block
from agent.contract.errors import RejectedError
from agent.store.notes import Notes

_PLACE = "id, stream, epoch, boot, first, last, start_ms, end_ms"


@dataclass(frozen=True, slots=True)
class Piece:
    """Where one sealed run of rows lies, and what its header says. `size` is its bytes as stored."""

    id: int
    stream: str
    epoch: int
    boot: int
    first: int
    last: int
    start_ms: int
    end_ms: int
    size: int

    @property
    def count(self) -> int:
        """Number of rows."""
        return self.last - self.first + 1


@dataclass(frozen=True, slots=True)
class StreamState:
    """Counters of one stream and epoch, over its blocks; the journal is not in them."""

    stream: str
    epoch: int
    last: int
    rows: int
    waiting_rows: int
    waiting_blocks: int
    waiting_bytes: int


class Shelves:
    """Reads and writes pieces under one storage key."""

    def __init__(self, db: Database, key: bytes) -> None:
        self.db = db
        self._key = key
        self.notes = Notes(db, key, self.tag)

    def put_journal(self, block: Block) -> Piece:
        """Write a run of rows to the journal."""
        return self._insert("journal", block, seal_block(block, self._key))

    def put_block(self, block: Block) -> Piece:
        """Write an immutable block."""
        piece = self._insert("block", block, seal_block(block, self._key))
        self._count(piece, rows=piece.count, waiting=1)
        return piece

    def replace(self, run: Sequence[Piece], block: Block) -> None:
        """Put the block that was made of a run of journal pieces in their place."""
        self.put_block(block)
        self.drop_journal(run)

    def drop_journal(self, pieces: Iterable[Piece]) -> None:
        """Remove journal pieces that are blocks now."""
        self.db.conn.executemany("DELETE FROM journal WHERE id = ?", [(piece.id,) for piece in pieces])

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

    def waits(self, table: str, piece: Piece) -> bool:
        """Whether the centre has not acknowledged a piece."""
        if table == "journal":
            return True
        found = self.db.execute("SELECT acknowledged FROM block WHERE id = ?", [piece.id]).fetchone()
        return found is not None and not found[0]

    def quarantine(self, table: str, piece: Piece, reason: str) -> None:
        """Set a damaged piece apart; it is not deleted."""
        columns = "stream, epoch, boot, first, last, start_ms, end_ms"
        self.db.execute(
            f"INSERT INTO quarantine ({columns}, reason, data) SELECT {columns}, ?, data FROM {table} WHERE id = ?",
            [reason, piece.id],
        )
        if table == "journal":
            self._count(piece)  # its numbers stay given out
            self.drop_journal([piece])
        else:
            self.remove([piece], acknowledged=not self.waits(table, piece))
        self.add("quarantined", 1)

    def open(self, table: str, piece: Piece) -> Block:
        """Decrypt one piece.

        Raises:
            RejectedError: when it is gone, damaged, or not what its row says it is.
        """
        found = self.db.execute(f"SELECT data FROM {table} WHERE id = ?", [piece.id]).fetchone()
        if found is None:
            raise RejectedError("is gone", where=f"{table} {piece.id}")
        block = unseal_block(found[0], self._key)
        header = block.header
        stated = (piece.stream, piece.epoch, piece.boot, piece.first, piece.last)
        if stated != (header.stream, header.epoch, header.boot, header.first, header.last):
            raise RejectedError("does not fit its row", where=f"{table} {piece.id}")
        return block

    def pieces(self, table: str, where: str, values: list[Any]) -> list[Piece]:
        """List pieces without opening them; `where` is this room's own text, never data."""
        query = f"SELECT {_PLACE}, length(data) FROM {table} {where}"
        return [Piece(*row) for row in self.db.execute(query, values).fetchall()]

    def states(self) -> list[StreamState]:
        """All counters: one for each stream and epoch."""
        columns = "stream, epoch, last, rows, waiting_rows, waiting_blocks, waiting_bytes"
        found = self.db.execute(f"SELECT {columns} FROM stream_state ORDER BY epoch, stream").fetchall()
        return [StreamState(*row) for row in found]

    def last(self, stream: str, epoch: int) -> int:
        """The highest sequence number among counters and blocks, by index; 0 where there is none."""
        queries = (
            "SELECT last FROM stream_state WHERE stream = ? AND epoch = ?",
            "SELECT last FROM block WHERE stream = ? AND epoch = ? ORDER BY first DESC LIMIT 1",
        )
        found = [self.db.execute(query, [stream, epoch]).fetchone() for query in queries]
        return max((int(row[0]) for row in found if row), default=0)

    def add(self, name: str, amount: int) -> None:
        """Add to a named counter."""
        self.db.execute(
            "INSERT INTO counter VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = value + excluded.value",
            [name, amount],
        )

    def counter(self, name: str) -> int:
        """Return a named counter, 0 where nothing was added."""
        found = self.db.execute("SELECT value FROM counter WHERE name = ?", [name]).fetchone()
        return int(found[0]) if found else 0

    def note_times(self, last_ms: Mapping[str, int]) -> None:
        """Keep the latest time of each channel, under a tag that does not tell its name."""
        rows = [(self.tag(f"channel/{name}"), time_ms) for name, time_ms in last_ms.items()]
        self.db.conn.executemany("INSERT OR REPLACE INTO channel_state VALUES (?, ?)", rows)

    def noted_times(self, channels: Iterable[str]) -> dict[str, int]:
        """Return what `note_times` kept of these channels."""
        found = dict(self.db.execute("SELECT tag, last_ms FROM channel_state").fetchall())
        tags = {name: self.tag(f"channel/{name}") for name in channels}
        return {name: int(found[tag]) for name, tag in tags.items() if tag in found}

    def tag(self, text: str) -> bytes:
        """A name for `text` that only the holder of the storage key can make."""
        return hmac.digest(self._key, b"edgewatt/store/v1\0" + text.encode(), hashlib.sha256)[:16]

    def _insert(self, table: str, block: Block, data: bytes) -> Piece:
        header = block.header
        row = (header.stream, header.epoch, header.boot, header.first, header.last, header.start_ms, header.end_ms)
        cursor = self.db.execute(
            f"INSERT INTO {table} (stream, epoch, boot, first, last, start_ms, end_ms, data)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            [*row, data],
        )
        return Piece(int(cursor.lastrowid), *row, len(data))

    def _count(self, piece: Piece, *, rows: int = 0, waiting: int = 0) -> None:
        """Adjust the counters of the piece's stream; `waiting` is +1, 0 or -1 blocks of its size."""
        self.db.execute(
            "INSERT INTO stream_state VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (stream, epoch) DO UPDATE SET"
            " last = max(last, excluded.last), rows = rows + excluded.rows,"
            " waiting_rows = waiting_rows + excluded.waiting_rows,"
            " waiting_blocks = waiting_blocks + excluded.waiting_blocks,"
            " waiting_bytes = waiting_bytes + excluded.waiting_bytes",
            [piece.stream, piece.epoch, piece.last, rows, waiting * piece.count, waiting, waiting * piece.size],
        )
