"""Memory and disk under one transaction: every change of the store's state is made here, all or nothing.

Decides what belongs together in a transaction; not when it is due (`store.py`), how long rows stay (`custody.py`), nor
what is packed (`packing.py`). Owned by one thread.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from agent.contract.blocks import Block, encode_readings, encode_rows
from agent.contract.channels import Channel
from agent.contract.corrections import EXACT_MS, MAX_EPOCHS, Correction, correction_row
from agent.contract.errors import RejectedError, StorageError
from agent.contract.rows import event_row, gap_row
from agent.contract.topics import STREAMS
from agent.store import packing, retention
from agent.store.buffer import Buffer, ReadingCheck
from agent.store.clocks import Clocks, Stamping
from agent.store.damage import aside, ends
from agent.store.damage.ends import MOST_EPOCHS
from agent.store.damage.legacy import Legacy
from agent.store.damage.salvage import Salvage
from agent.store.damage.scrub import Scrub
from agent.store.damage.taking import Held
from agent.store.identity import Identity
from agent.store.marks import Span
from agent.store.pieces import BLOCK, RING, Piece
from agent.store.reader import Reader
from agent.store.ring import RingFullError
from agent.store.schema import DamagedError, FullError, open_database, transaction, translated
from agent.store.shelves import Shelves
from agent.store.wear import Wear

DIRECT_ROWS = 8_192  # a commit of so many readings is a block at once
MOST_PIECES = 2_000
_FULL_RING = 0.5
_ROW_BYTES = 256  # and more than a row takes on disk
_LEAST_ROOM = 65_536  # for tables and indices
_LOG_LOST = "the log of the store has lost them"
_REMOVED = "the store was removed or destroyed, these at least were in it"
_log = logging.getLogger(__name__)


class Journal:
    """The state of an open store.

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
        salvaged: how often everything that was set aside had been salvaged.
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
        self.clocks, self._stamping = Clocks(), stamping
        self._first_stamping = stamping()  # rows may be stamped from here on, however late the database is opened
        self._late = False
        self.wear = Wear(written_bytes, now_ms)
        self._path, self._identity, self._channels, self._now_ms = path, identity, dict(channels), now_ms
        self.check = ReadingCheck(channels)
        self.buffers = {stream: Buffer(1, limits[stream]) for stream in STREAMS}
        self.durable = dict.fromkeys(STREAMS, 0)
        self.pieces: list[Piece] = []
        self.notes: dict[str, bytes] = {}
        self.no_room: FullError | None = None
        self.writes = self.ring_writes = self.births = self.salvaged = 0
        self._moving: set[Piece] = set()  # of the ring, in the transaction at hand
        self._legacy = Legacy(path)
        self._ended: dict[tuple[int, str], int] = {}
        self._behind: dict[tuple[int, str], int] = {}
        self._behind_why = _LOG_LOST

    # -- opening, and beginning anew ------------------------------------------------------------------------------

    def open(self) -> None:
        """Open the database, or make it. Reads counters and the journal, never all rows.

        Raises:
            DamagedError: when it is damaged or encrypted under another key.
            StorageError: when the disk cannot be used.
        """
        late, self._late = self._late, True
        self._identity.settle()  # before all else: an epoch that is not on disk could be drawn once more
        if not self._path.exists():
            aside.set_aside(self._path, self._identity.epoch)  # a log without its database
        removed = ends.find(self._identity.ends(), self._identity.storage_key)
        db = open_database(self._path)
        try:
            self.shelves = Shelves(db, self._identity.storage_key, self._path)
            self.reader = Reader(self.shelves, self._path)
            self.salvage = Salvage(self.shelves, self._identity, self._path, self.check, self.transaction, self._now_ms)
            with transaction(db, self._path):
                self._check_key()
                told = self.shelves.told_ends()
                why = self.shelves.open_ring()
                newest = self._load(told, late=late)
                # Nothing is in it yet, whoever made it: a start before this one, which got no further, may have.
                self._behind_why = _LOG_LOST if newest else _REMOVED
                behind = {} if why else self._told_beyond(told if newest else removed)
                self._ended |= behind  # until they are declared
                self.salvage.begin({} if newest else behind)
                self._behind = {} if self.salvage.is_due and not newest else behind  # else salvage tells
                # What is salvaged may have them, and the centre asks for those that it misses.
                lost = [] if self.salvage.is_due else self.shelves.lost_from_ring(newest)
                self.scrub = Scrub(self.shelves, self._path, self._now_ms, self.reader.damaged)
            self.salvage.look()
            self._places = {path: _inode(path) for path in (self._path, self.shelves.ring.path)}
        except BaseException:
            self.shelves.close()
            raise
        with contextlib.suppress(StorageError):
            if why:
                self._tell(f"the store {why}: what can be read there is salvaged")
            if lost:
                self.buffers["events"].extend(retention.gap_rows(lost, "damaged in the journal", self._now_ms()))
                self.change()  # before anything is written where they were
            if not self.salvage.is_due and not self._legacy.waits:
                self._declare_behind()
            self.note_beside()

    def _told_beyond(self, told: Mapping[tuple[int, str], int]) -> dict[tuple[int, str], int]:
        """Return what the ring tells of earlier epochs beyond all that the tables know: it went with their log."""
        known, epoch = self._ends(), self._identity.epoch
        return {place: last for place, last in told.items() if place[0] < epoch and last > known.get(place, 0)}

    def note_beside(self) -> None:
        """Tell the identity how far each stream went: should the store be removed, that is all that is left of it."""
        lasts = {**self._ended, **{(self._identity.epoch, stream): last for stream, last in self.durable.items()}}
        told = {place: last for place, last in lasts.items() if last}
        if told:
            with contextlib.suppress(StorageError):
                self._identity.note_ends(ends.seal(told, self._identity.storage_key))

    def _declare_behind(self) -> None:
        """Declare rows of which only the ring, or the identity, still tells that they were."""
        if not self._behind:
            return
        self._pack_earlier()
        with translated(self._path):
            behind, known = self._told_beyond(self._behind), self._ends()
            if self._behind_why == _REMOVED:  # all of it went, but for what was in memory
                behind, known = self._behind, {}
        if behind:
            lost = [
                (stream, epoch, *span)
                for (epoch, stream), last in behind.items()
                for span in self._not_held((epoch, stream), known.get((epoch, stream), 0) + 1, last)
            ]
            gaps = retention.gap_rows(lost, self._behind_why, self._now_ms())
            with self.transaction(gaps):
                for (epoch, stream), last in behind.items():
                    self.shelves.note_last(stream, epoch, last)  # or the next start would declare them once more
            _log.warning("%s: rows of %d streams are declared as lost", self._behind_why, len(lost))
        self._behind = {}

    def _not_held(self, place: tuple[int, str], first: int, last: int) -> Iterator[Span]:
        held = Held(self.shelves)
        while first <= last:
            spans, through = held.missing(place, first, last)
            yield from spans
            first = through + 1

    def _pack_earlier(self) -> None:
        """Make blocks of what the ring holds of epochs before: a number that the tables know of one must not pass it.

        Else the next start would take it for packed.
        """
        if any(piece.place == RING and piece.epoch != self._identity.epoch for piece in self.pieces):
            self.pack(STREAMS)

    def _check_key(self) -> None:
        tag = self.shelves.tag("key check")
        self.shelves.db.execute("INSERT OR IGNORE INTO meta VALUES ('key_check', ?)", [tag])
        if self.shelves.db.execute("SELECT value FROM meta WHERE name = 'key_check'").fetchone()[0] != tag:
            raise DamagedError("is encrypted under another storage key", where=str(self._path))

    def _load(self, told: Mapping[tuple[int, str], int], *, late: bool) -> int:
        """Begin an epoch, and return the newest one before it."""
        newest = self.reader.newest_epoch()
        if newest >= self._identity.epoch:  # the identity is older than the store
            self._identity.new_epoch(above=newest)
        stamping = self._stamping()
        if stamping is not None and self._first_stamping is not None:
            stamping = replace(stamping, at_ms=self._first_stamping.at_ms)
        self.pieces = self.shelves.journal()
        self.clocks.open(self.shelves.clocks, self._identity.epoch, stamping, late=late, held=self._held)
        self.births += 1
        self._ended = _newest(self._ends())
        self.shelves.forget_epochs(before=self._identity.epoch, told={epoch for epoch, _ in told})
        for stream in STREAMS:
            self.buffers[stream].renumber()
            self.durable[stream] = 0
        for channel, time_ms in self.reader.channel_times(list(self._channels)).items():
            self.check.last_ms[channel] = max(time_ms, self.check.last_ms.get(channel, time_ms))
        return newest

    def _held(self) -> set[int] | None:
        """Return the epochs of which there are rows here; None where that is not known."""
        if self.shelves.thinned.has_any() or aside.names(self._path):
            return None  # thinned values do not tell theirs, and what was set aside may come back
        return {state.epoch for state in self.shelves.states() if state.rows} | {piece.epoch for piece in self.pieces}

    def begin_anew(self, reason: DamagedError) -> None:
        """Set the damaged database aside and open a new one under a new epoch; rows in memory go there.

        Raises:
            StorageError: when the disk cannot be used; to be called again then.
        """
        self._identity.new_epoch()  # first: not even the old database without its log may give a number out twice
        self._legacy.set_aside(self._identity.epoch)
        self.open()
        try:
            # Nothing in memory goes along: were this to fail, the ring of the new database would be no more.
            with transaction(self.shelves.db, self._path):
                self._legacy.settle(self.shelves, self.salvage)
        except BaseException:
            self.shelves.close()
            raise
        name = self._legacy.name
        self._legacy.clear()
        aside_as = f"it was set aside as {name}" if name else "nothing of it is left"
        with contextlib.suppress(StorageError):  # the event stays in memory then
            if not self.salvage.is_due:
                self._declare_behind()
            self._tell(f"the store {reason.what}; {aside_as} and a new one was begun", set_aside=name)

    def give_up(self) -> None:
        """Close a database that is damaged. What waits in the ring is as it was written: it goes to the next one."""
        self.note_beside()  # it may be all that is left
        self._legacy.of(self.shelves, self._identity.epoch, self.durable)
        self.shelves.close()

    def _tell(self, text: str, **more: Any) -> None:
        _log.warning("%s", text)
        event = event_row(self._now_ms(), "store", text, epoch=self._identity.epoch, **more)
        self.buffers["events"].extend([event])
        self.change()

    @property
    def is_long(self) -> bool:
        """Whether it is to be packed before its time: a start must not read more, and the ring needs room."""
        return len(self.pieces) >= MOST_PIECES or self.shelves.ring.used >= _FULL_RING

    # -- changing -------------------------------------------------------------------------------------------------

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
        epoch = self._identity.epoch
        self.shelves.note_ends({**self._ended, **{(epoch, stream): last for stream, last in self.durable.items()}})

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
        self._note_clock()
        self.change()
        with self.transaction():
            packed = self._pack_into([piece for piece in self.pieces if piece.stream in streams])
            released = self._note_released(packed)
            self.scrub.note()
            self.wear.note(self.shelves.counters)
        self._forget(packed, released)
        self._ended = _newest(self._ends()) | self._behind
        self.quarantine()

    def begin_epoch(
        self, offset_ms: int, time_ms: int, text: str, *, own_times: Sequence[str], slots_first_ms: int | None
    ) -> None:
        """Go on under a new epoch, whose clock is another, with the events that correct the epochs before.

        Raises:
            StorageError: when the disk cannot be used; the clock is the one before then, whatever the epoch.
        """
        self.pack(STREAMS)
        epoch = self._identity.new_epoch()
        for stream, buffer in self.buffers.items():
            buffer.renumber()
            self.durable[stream] = 0
        if (stamping := self._stamping()) is None:
            raise ValueError("this store was not told of a clock")
        self.clocks.begin(epoch, stamping)
        until_now = self.clocks.known[epoch]
        shift_ms = offset_ms - until_now.offset_ms
        since_ms = until_now.began_ms + until_now.offset_ms - EXACT_MS  # so far it may have gone faster or slower
        times = self.check.moved(shift_ms, own_times, since_ms, time_ms)
        slots = slots_first_ms is not None
        found: list[Correction] = self.clocks.corrected(epoch, offset_ms, slots_first_ms, slots=slots)
        changed = self.clocks.after(found, own_times, epoch, offset_ms)
        parts = [found[at : at + MAX_EPOCHS] for at in range(0, max(1, len(found)), MAX_EPOCHS)]
        with self.transaction([correction_row(time_ms, text, part, own_times) for part in parts]):
            for one, clock in changed.items():
                self.shelves.clocks.put(one, clock)
            self.shelves.times.put(times)
        self.clocks.known |= changed
        self.clocks.aside_ms = 0
        self.check.move(times, shift_ms)

    def _note_clock(self) -> None:
        stamping = self._stamping()
        if stamping is not None:
            self.clocks.note(self._identity.epoch, stamping.offset_ms)

    def close_clock(self) -> None:
        """Keep by which clock the epoch was stamped to the end: the next run goes on by it.

        Raises:
            StorageError: when the disk cannot be used.
        """
        stamping = self._stamping()
        if stamping is not None:
            self.clocks.note(self._identity.epoch, stamping.offset_ms, least_ms=1)
        if self.clocks.drifted:
            with self.transaction():
                pass

    def _ends(self) -> dict[tuple[int, str], int]:
        """Return the last number of each epoch and stream of which there are rows."""
        ends = {(state.epoch, state.stream): state.last for state in self.shelves.states()}
        for piece in self.pieces:
            place = piece.epoch, piece.stream
            ends[place] = max(piece.last, ends.get(place, 0))
        return ends

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

    def check_place(self) -> None:
        """See that the files are where they were opened: what is written to a file without a name is lost.

        Raises:
            DamagedError: when the database or its ring was removed or replaced.
        """
        for path, opened in self._places.items():
            try:
                found = _inode(path)
            except FileNotFoundError:
                raise DamagedError("was removed while it was open", where=str(path)) from None
            if found != opened:
                raise DamagedError("was replaced while it was open", where=str(path))

    def mend(self, salvage_bytes: int, scrub_bytes: int) -> None:
        """Salvage a little of what was set aside, or else look at some blocks.

        Raises:
            DamagedError: when the database contradicts itself.
            StorageError: when the disk cannot be used.
        """
        self.shelves.check_trust()
        if not self.salvage.is_due:
            self.scrub.step(scrub_bytes)
            return
        self._pack_earlier()
        if not self.salvage.step(salvage_bytes):
            self.salvaged += 1
            self._correct_times()
            self._declare_behind()

    def _correct_times(self) -> None:
        """Look anew for latest times that lie ahead: that their clock was wrong may have come back after them."""
        now_ms = self._now_ms()
        ahead = [channel for channel, time_ms in self.check.last_ms.items() if time_ms > now_ms]
        if ahead:
            with translated(self._path):
                self.check.lower(self.reader.times_in_blocks(ahead))
            with self.transaction():
                self.shelves.times.put(self.check.last_ms)


def _inode(path: Path) -> tuple[int, int]:
    about = path.stat()
    return about.st_dev, about.st_ino


def _newest(ends: Mapping[tuple[int, str], int]) -> dict[tuple[int, str], int]:
    """Return those of the newest epochs: more are not kept beside the store, and each commit goes over them."""
    newest = sorted({epoch for epoch, _ in ends})[-MOST_EPOCHS:]
    return {place: last for place, last in ends.items() if place[0] in newest}
