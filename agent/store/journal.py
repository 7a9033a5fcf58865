"""Memory and disk under one transaction: every change of the store's state is made here, all or nothing.

Decides what belongs together in a transaction; not when it is due (`store.py`), how long rows stay (`custody.py`), what
is packed (`packing.py`), nor what is found when the database is opened (`opening.py`). Owned by one thread.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from agent.contract.blocks import Block, encode_readings, encode_rows
from agent.contract.channels import Channel
from agent.contract.errors import RejectedError, StorageError
from agent.contract.rows import gap_row
from agent.contract.topics import STREAMS
from agent.store import packing, retention
from agent.store.buffer import Buffer, ReadingCheck
from agent.store.clocks import DRIFT_MS, Clocks, Stamping
from agent.store.damage.ends import MOST_EPOCHS, Place
from agent.store.damage.salvage import Salvage
from agent.store.damage.scrub import Scrub
from agent.store.identity import Identity
from agent.store.pieces import BLOCK, RING, Piece
from agent.store.reader import Reader
from agent.store.ring import RingFullError
from agent.store.schema import DamagedError, FullError, transaction
from agent.store.shelves import Shelves
from agent.store.wear import Wear

DIRECT_ROWS = 8_192  # a commit of so many readings is a block at once
MOST_PIECES = 2_000
_FULL_RING = 0.5
_ROW_BYTES = 256  # and more than a row takes on disk
_LEAST_ROOM = 65_536  # for tables and indices
_log = logging.getLogger(__name__)


class Journal:
    """The state of an open store: `Opening` fills it.

    Invariants: `durable` is what the disk holds of the present epoch; `pieces` is its journal, in the table and in the
    ring; a failed change leaves memory and disk as they were, but for readings that the ring took before it.

    Attributes:
        buffers: rows in memory, by stream.
        durable: last sequence number on disk, by stream, of the present epoch.
        pieces: the journal, not packed yet.
        notes: notes that wait for the next transaction, by name.
        no_room: why they wait although rows do not: there was no room for them. None lets them be tried again.
        check: what readings are accepted, and each channel's latest time.
        clocks: by which clock each epoch was stamped.
        writes: transactions that succeeded.
        ring_writes: records that the ring took.
        births: how often a database was opened or begun.
        ended: last number of each stream of the newest epochs before this one: it is told beside the database, too.
        behind: those of `ended` of which only what is told beside is left; to be declared.
        stamping: the plant clock as it is now, where it is a steady one.
    """

    shelves: Shelves
    reader: Reader
    salvage: Salvage
    scrub: Scrub

    def __init__(
        self,
        path: Path,
        identity: Identity,
        channels: Mapping[str, Channel],
        limits: Mapping[str, int],
        now_ms: Callable[[], int],
        written_bytes: Callable[[], int],
        stamping: Callable[[], Stamping | None],
    ) -> None:
        self._path, self._identity, self._channels, self._now_ms = path, identity, dict(channels), now_ms
        self.clocks, self.stamping = Clocks(), stamping
        self.wear = Wear(written_bytes, now_ms)
        self.check = ReadingCheck(channels)
        self.buffers = {stream: Buffer(1, limits[stream]) for stream in STREAMS}
        self.durable = dict.fromkeys(STREAMS, 0)
        self.pieces: list[Piece] = []
        self.notes: dict[str, bytes] = {}
        self.no_room: FullError | None = None
        self.writes = self.ring_writes = self.births = 0
        self.ended: dict[Place, int] = {}
        self.behind: dict[Place, int] = {}
        self._moving: set[Piece] = set()  # of the ring, in the transaction at hand

    @property
    def is_long(self) -> bool:
        """Whether it is to be packed before its time: a start must not read more, and the ring needs room."""
        return len(self.pieces) >= MOST_PIECES or self.shelves.ring.used >= _FULL_RING

    @property
    def unwritten(self) -> bool:
        """Whether something in memory waits for the disk."""
        return bool(self._due_notes) or any(buffer.rows or buffer.dropped for buffer in self.buffers.values())

    @property
    def _due_notes(self) -> dict[str, bytes]:
        return self.notes if self.no_room is None else {}

    @property
    def waiting_bytes(self) -> int:
        """How much room is surely enough for what is to be written next: rows, notes, and the journal as blocks."""
        rows = sum(len(buffer.rows) for buffer in self.buffers.values())
        notes = sum(map(len, self._due_notes.values()))
        return _LEAST_ROOM + _ROW_BYTES * rows + notes + sum(piece.size for piece in self.pieces)

    def change(self) -> None:
        """Make everything in memory durable.

        Raises:
            StorageError: when the disk cannot be used; it is in memory still, but for readings that the ring took.
        """
        try:
            self._change()
        except FullError as exc:
            if not self.notes or self.no_room is not None:
                raise
            self.no_room = exc  # a note may be a thousand times a row: rows first
            self._change()

    def _change(self) -> None:
        self._fill_ring()
        if self.unwritten:
            with self._transaction():
                pass

    def _fill_ring(self) -> None:
        """Write the readings in memory to the ring, as far as they belong there; the others wait for a transaction.

        What is to be on disk with a note, not before its epoch's clock, or with the gap of what was dropped, belongs
        into one transaction with it.
        """
        buffer = self.buffers["readings"]
        alone = not (buffer.dropped or self._due_notes or self.clocks.unsaved)
        if not buffer.rows or not alone or len(buffer.rows) >= DIRECT_ROWS:
            return
        try:
            piece = self.shelves.put_ring(self._encode("readings", buffer.rows, buffer.first))
        except RingFullError:
            return
        except StorageError as exc:  # the database may do better; where it does not, it says so
            _log.warning("%s", exc)
            return
        self.pieces.append(piece)
        self.durable["readings"] = buffer.last
        buffer.written(buffer.last)
        self.ring_writes += 1

    @contextlib.contextmanager
    def transaction(self, events: Sequence[Mapping[str, Any]] = ()) -> Iterator[None]:
        """One transaction with all rows in memory, these events, and what the caller does in it.

        Readings go to the ring before it, and are durable even when it fails.
        """
        self._fill_ring()
        with self._transaction(events):
            yield

    @contextlib.contextmanager
    def _transaction(self, events: Sequence[Mapping[str, Any]] = ()) -> Iterator[None]:
        """Do so without the ring. Readings that go to the tables take with them what it holds.

        So what it holds always follows what the tables hold, without a hole: by a hole a lost record is known.
        """
        released = 0
        gaps = [
            gap_row(self._now_ms(), stream, self._identity.epoch, *buffer.dropped, "memory full, disk not writable")
            for stream, buffer in self.buffers.items()
            if buffer.dropped
        ]
        queue = self.buffers["events"].rows
        before = len(queue)
        queue += [*gaps, *events]
        try:
            with transaction(self.shelves.db, self._path):
                pieces = self._write()
                if self.buffers["readings"].rows:
                    self._moving = self._pack_into([piece for piece in self.pieces if piece.place == RING])
                    released = self._note_released(self._moving)
                for name, data in self._due_notes.items():
                    self.shelves.notes.put(name, data)
                self.clocks.save(self.shelves.clocks)
                yield
        except BaseException:
            del queue[before:]
            self._moving = set()
            raise
        if self._moving:
            self._forget(self._moving, released)
            self._moving = set()
        self.pieces += pieces
        self._due_notes.clear()
        self.clocks.saved()
        for stream, buffer in self.buffers.items():
            self.durable[stream] = buffer.last
            buffer.written(buffer.last)
        self.writes += 1
        self.shelves.note_ends(self.lasts())

    def _write(self) -> list[Piece]:
        pieces: list[Piece] = []
        for stream, buffer in self.buffers.items():
            step = packing.most_rows(stream)
            for at in range(0, len(buffer.rows), step):
                block = self._encode(stream, buffer.rows[at : at + step], buffer.first + at)
                if block.header.count >= DIRECT_ROWS:
                    self.shelves.put_block(block)
                    self.shelves.times.put(self.check.last_ms)
                else:
                    pieces.append(self.shelves.put_journal(block))
        return pieces

    def _encode(self, stream: str, rows: list[Any], first: int) -> Block:
        epoch, boot = self._identity.epoch, self._identity.boot
        if stream == "readings":
            return encode_readings(rows, self._channels, epoch=epoch, boot=boot, first=first)
        return encode_rows(stream, rows, epoch=epoch, boot=boot, first=first)

    def pack(self, streams: Sequence[str]) -> None:
        """Make blocks of the journal of these streams, and commit what is in memory.

        Raises:
            StorageError: when the disk cannot be used.
        """
        self.note_clock()
        self.change()
        with self.transaction():
            packed = self._pack_into([piece for piece in self.pieces if piece.stream in streams])
            released = self._note_released(packed)
            self.scrub.note()
            self.wear.note(self.shelves.counters)
        self._forget(packed, released)
        self.ended = self.newest_ends() | self.behind
        self.quarantine()

    def note_clock(self, least_ms: int = DRIFT_MS) -> None:
        """Note how far the clock of the present epoch has drifted, from `least_ms` on; written with what comes next."""
        stamping = self.stamping()
        if stamping is not None:
            self.clocks.note(self._identity.epoch, stamping.offset_ms, least_ms)

    def renumber(self) -> None:
        """Number what is in memory anew, under an epoch that has just begun."""
        for stream, buffer in self.buffers.items():
            buffer.renumber()
            self.durable[stream] = 0

    def ends(self) -> dict[Place, int]:
        """Return the last number of each epoch and stream of which there are rows."""
        ends = {(state.epoch, state.stream): state.last for state in self.shelves.states()}
        for piece in self.pieces:
            place = piece.epoch, piece.stream
            ends[place] = max(piece.last, ends.get(place, 0))
        return ends

    def newest_ends(self) -> dict[Place, int]:
        """Return those of the newest epochs: more are not kept beside the store, and each commit goes over them."""
        ends = self.ends()
        newest = sorted({epoch for epoch, _ in ends})[-MOST_EPOCHS:]
        return {place: last for place, last in ends.items() if place[0] in newest}

    def lasts(self) -> dict[Place, int]:
        """Return what is to be told beside the database: `ended`, and what is durable of the present epoch."""
        epoch = self._identity.epoch
        return {**self.ended, **{(epoch, stream): last for stream, last in self.durable.items()}}

    def _pack_into(self, pieces: Sequence[Piece]) -> set[Piece]:
        """Make blocks of pieces, in a transaction, and return of which; damaged ones are noted."""
        packed: set[Piece] = set()
        for run in packing.runs(pieces):
            try:
                blocks = [self.shelves.open(piece) for piece in run]
                self.shelves.check_trust()  # they are joined by what their rows say
                block = packing.join(blocks)
            except RejectedError:
                self._note_damaged(run)  # the others of the run are packed next time
                continue
            self.shelves.replace(run, block)
            packed |= set(run)
        self.shelves.times.put(self.check.last_ms)  # all these rows are on disk now, or in this transaction
        return packed

    def _note_released(self, gone: Collection[Piece]) -> int:
        """Note, in a transaction, up to which record the ring holds nothing that is not among these pieces."""
        left = [piece.id for piece in self.pieces if piece.place == RING and piece not in {*gone, *self._moving}]
        released = min(left) - 1 if left else self.shelves.ring.last
        if any(piece.place == RING for piece in gone):
            self.shelves.note_released(released)
        return released

    def _forget(self, gone: Collection[Piece], released: int) -> None:
        """Do so in memory, once the transaction is on disk."""
        self.pieces = [piece for piece in self.pieces if piece not in gone]
        self.shelves.ring.drop(piece for piece in gone if piece.place == RING)
        self.shelves.ring.release(released)

    def _note_damaged(self, run: Sequence[Piece]) -> None:
        for piece in run:
            try:
                packing.join([self.shelves.open(piece)])
            except RejectedError as exc:
                self.reader.damaged.append((piece, exc.what))

    def quarantine(self) -> None:
        """Set damaged pieces apart, each with the gap event that tells the centre.

        Raises:
            StorageError: when the disk cannot be used.
        """
        found = dict(self.reader.damaged)
        self.reader.damaged.clear()
        # Those of the ring together, and with them all that it holds: the tables must not run ahead of it.
        ringed = [piece for piece in found if piece.place == RING]
        for group in ([ringed] if ringed else []) + [[piece] for piece in found if piece.place != RING]:
            waiting = [piece for piece in group if self.shelves.waits(piece)]
            gaps = [gap for piece in waiting for gap in self._damaged(piece, found[piece])]
            with self.transaction(gaps):
                gone = set(group)
                if ringed is group:
                    gone |= self._pack_into(
                        [one for one in self.pieces if one.place == RING and one not in {*found, *self._moving}]
                    )
                for piece in group:
                    self.shelves.quarantine(piece, found[piece])
                released = self._note_released(gone)
            self._forget(gone, released)

    def _damaged(self, piece: Piece, what: str) -> list[dict[str, object]]:
        """Declare the rows that can have been in a block: where its row is damaged, too, its neighbours tell."""
        reason = f"damaged on disk ({what})"
        before, after = self.shelves.neighbours(piece) if piece.place == BLOCK else (None, None)
        if (before and before.last >= piece.first) or (after and after.first <= piece.last):
            raise DamagedError(f"is damaged (rows of {piece.stream} lie in two blocks)", where=str(self._path))
        first = before.last + 1 if before and not self.salvage.is_due else piece.first
        last = after.first - 1 if after and not self.salvage.is_due else piece.last
        return retention.gap_rows([(piece.stream, piece.epoch, first, last)], reason, self._now_ms())
