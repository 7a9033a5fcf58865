"""The device's one memory: rows are taken in, made durable, packed, offered to the centre, and let go by rule.

Decides when things happen (commit window, packing, retention, what a failing disk means); how is decided in the modules
beside it. Owned by one thread. The promise is in README.md.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from agent.contract.acknowledgement import Mark
from agent.contract.blocks import Block, Row, encode_readings, encode_rows
from agent.contract.channels import Channel, Reading
from agent.contract.errors import RejectedError, StorageError
from agent.contract.rows import event_row, gap_row
from agent.contract.topics import STREAMS
from agent.store import aside, outbox, packing, retention
from agent.store.buffer import Buffer, ReadingCheck, accept_rows
from agent.store.identity import Identity
from agent.store.outbox import StoredBlock
from agent.store.reader import Reader, StoreStats
from agent.store.schema import DamagedError, open_database, transaction
from agent.store.shelves import Piece, Shelves

COMMIT_ROWS = 50_000  # readings that are written before the window is over, so that the ring stays for bad times
DIRECT_ROWS = 8_192  # a commit of so many readings is a block at once
JOURNAL_PIECES = 2_000  # packed before their time, so that a start never reads more
OTHER_RING_ROWS = 2_000
RETAIN_EVERY_S = 60.0
RETRY_AFTER_S = 1.0


class Ticket(NamedTuple):
    """Receipt for appended rows: durable once `durable_through()[stream]` of this epoch has reached `last`."""

    stream: str
    epoch: int
    last: int


class Store:
    """Journal, blocks and outbox of one device.

    Invariants: a sequence number of an epoch is given out once; what is offered to the centre is durable; a row leaves
    only acknowledged, or in the transaction that makes its gap event durable; no method but `readings`, `rows` and the
    constructor raises StorageError: rows then wait in memory and `stats().storage_error` says why.

    Args:
        path: the database file; its folder is made.
        identity: storage key, boot and epoch. `begin_boot` has been called.
        channels: of the readings, by name.
        now_ms: plant clock, for the store's own events and for ages.
        monotonic: seconds that never step, for windows.
        commit_window_s: how long readings may wait in memory; all other streams are committed at once.
        pack_after_s: how long rows may lie in the journal.
        max_bytes: bound of the database; see `retention.ORDER` for what leaves first.
        keep_acknowledged_days: how long acknowledged readings stay while there is space.
        ring_readings: most readings held in memory while the disk cannot be written.

    Raises:
        StorageError: when the disk or the folder cannot be used, or another process has the store.
        ConfigError: when the file belongs to another program or to a newer edgewatt.
    """

    def __init__(
        self,
        path: Path,
        identity: Identity,
        channels: Mapping[str, Channel],
        *,
        now_ms: Callable[[], int],
        monotonic: Callable[[], float],
        commit_window_s: float = 1.0,
        pack_after_s: float = 60.0,
        max_bytes: int = 1 << 30,
        keep_acknowledged_days: float = 7,
        ring_readings: int = 100_000,
    ) -> None:
        self._path, self._identity, self._channels = path, identity, dict(channels)
        self._now_ms, self._monotonic = now_ms, monotonic
        self._window_s, self._pack_after_s = commit_window_s, pack_after_s
        self._max_bytes, self._keep_days = max_bytes, keep_acknowledged_days
        self._check = ReadingCheck(channels)
        self._limits = dict.fromkeys(STREAMS, OTHER_RING_ROWS) | {"readings": ring_readings}
        self._buffers: dict[str, Buffer] = {}
        self._durable: dict[str, int] = {}
        self._journal: list[Piece] = []
        self._error: StorageError | None = None
        self._lost: DamagedError | None = None
        self._commit_at = self._retain_at = self._monotonic()
        self._pack_at: float | None = None
        self._lock = aside.lock(path)
        try:
            self._open_or_begin_anew()
        except BaseException:
            os.close(self._lock)
            raise

    @staticmethod
    def open_read_only(path: Path, key: bytes) -> Reader:
        """Open for the command line: reads only, beside the daemon or while it is down.

        Raises:
            StorageError: when there is no store or it cannot be read.
        """
        return Reader.open(path, key)

    # -- taking in ------------------------------------------------------------------------------------------------

    def append(self, stream: str, rows: Sequence[Reading] | Sequence[Row]) -> Ticket:
        """Take rows in and number them. Readings may wait for the commit window; other streams are committed at once.

        Raises:
            ConfigError: when a row cannot be stored; nothing of the call is taken in then.
        """
        now = self._monotonic()
        if stream == "readings":
            self._check.accept(rows)  # type: ignore[arg-type]  # the stream says what the rows are
            buffer = self._buffers[stream]
            if not buffer.rows and now >= self._commit_at and self._error is None:
                self._commit_at = now + self._window_s
            buffer.extend(rows)
            due = now >= self._commit_at or (len(buffer.rows) >= COMMIT_ROWS and self._error is None)
        else:
            copies = accept_rows(stream, rows)  # type: ignore[arg-type]
            buffer = self._buffers[stream]
            buffer.extend(copies)
            due = self._error is None or now >= self._commit_at
        if due:
            self.commit()
        return Ticket(stream, self._identity.epoch, self._buffers[stream].last)

    def commit(self) -> bool:
        """Make everything in memory durable now; return whether that is so."""
        if any(buffer.rows or buffer.dropped for buffer in self._buffers.values()):
            return self._guarded(self._change)
        return True

    def durable_through(self) -> dict[str, int]:
        """Return, by stream, the sequence number of the present epoch up to which rows survive a power cut.

        Rows that the ring gave up before are declared by a gap event which is as durable.
        """
        return dict(self._durable)

    def tick(self) -> None:
        """Do what is due: commit, pack, set damaged pieces apart, retention. To be called every second or so."""
        now = self._monotonic()
        if now < self._commit_at:
            return
        if self.commit() and self._pack_is_due(now):
            self._guarded(lambda: self._pack(STREAMS))
        if now >= self._retain_at:
            self._retain_at = now + RETAIN_EVERY_S
            self._guarded(self._retain)

    def close(self) -> None:
        """Commit what is in memory and close."""
        self.commit()
        self._shelves.db.close()
        os.close(self._lock)

    # -- the way to the centre ------------------------------------------------------------------------------------

    def unacknowledged(
        self, limit_bytes: int, *, skip: Collection[int] = (), now_streams: Sequence[str] = ("alerts", "events")
    ) -> list[StoredBlock]:
        """Return durable blocks that wait for the centre: those of `now_streams` first, then the oldest.

        Args:
            limit_bytes: of stored size, for all together; one block is always returned where there is one.
            skip: ids that are on their way already.
            now_streams: streams whose journal is packed for this, however young.
        """
        found: list[StoredBlock] = []

        def collect() -> None:
            if any(piece.stream in now_streams for piece in self._journal):
                self._pack(now_streams)
            for piece in outbox.waiting(self._shelves, limit_bytes=limit_bytes, skip=skip, now_streams=now_streams):
                try:
                    found.append(StoredBlock(piece.id, self._shelves.open("block", piece)))
                except RejectedError as exc:
                    self._reader.damaged.append(("block", piece, exc.what))

        self._guarded(collect)
        if self._reader.damaged:
            self._guarded(self._quarantine)
        return found

    def apply_marks(self, marks: Sequence[Mark]) -> int:
        """Mark the blocks that the centre holds, and return how many; repeated or unknown marks change nothing.

        A mark beyond what this store ever made in the present epoch, or of a later epoch, shows that an old image of
        the device was restored. The marks of that epoch are then not believed; the store begins a new epoch and appends
        a `store` event, so that no number is used twice from here on.
        """
        epoch = self._identity.epoch
        ahead = [mark for mark in marks if mark.epoch > epoch or self._is_beyond(mark)]
        if ahead:
            highest = max(mark.epoch for mark in ahead)
            self._guarded(lambda: self._begin_epoch(highest))
        count = 0

        def apply() -> None:
            nonlocal count
            pieces = [
                piece
                for mark in marks
                if not ahead or mark.epoch < epoch
                for piece in outbox.covered(self._shelves, mark)
            ]
            if pieces:
                with self._transaction():
                    self._shelves.acknowledge(pieces)
            count = len(pieces)

        return count if self._guarded(apply) else 0

    # -- asking ---------------------------------------------------------------------------------------------------

    def readings(self, channel: str, start_ms: int, end_ms: int) -> list[Reading]:
        """Return the readings of one channel in [start_ms, end_ms), by time, those in memory included.

        Raises:
            StorageError: when the disk cannot be read.
        """
        scale = 10.0 ** self._channels[channel].decimals if channel in self._channels else 1.0
        fresh = [
            row._replace(value=float(np.rint(row.value * scale) / scale))  # as it will be on disk
            for row in self._buffers["readings"].rows
            if row.channel == channel and start_ms <= row.time_ms < end_ms
        ]
        return sorted(self._reader.readings(channel, start_ms, end_ms) + fresh, key=lambda row: row.time_ms)

    def rows(self, stream: str, start_ms: int, end_ms: int) -> list[dict[str, Any]]:
        """Return the rows of any other stream in [start_ms, end_ms), by time, those in memory included.

        Raises:
            StorageError: when the disk cannot be read.
        """
        fresh = [dict(row) for row in self._buffers[stream].rows if start_ms <= row["time_ms"] < end_ms]
        return sorted(self._reader.rows(stream, start_ms, end_ms) + fresh, key=lambda row: int(row["time_ms"]))

    def last_time_ms(self, stream: str, channel: str | None = None) -> int | None:
        """Return the latest time taken in of a stream, or of one channel of the readings; None where there is none."""
        if channel is not None:
            return self._check.last_ms.get(channel)
        fresh = [row.time_ms if stream == "readings" else row["time_ms"] for row in self._buffers[stream].rows]
        stored = self._reader.last_time_ms(stream)
        return max(fresh if stored is None else [*fresh, stored], default=None)

    def last_seq(self, stream: str) -> int:
        """Return the last sequence number given out in the present epoch, 0 where there is none."""
        return self._buffers[stream].last

    def stats(self) -> StoreStats:
        """Return the store in numbers, at the cost of a few index look-ups."""
        try:
            stored = self._reader.stats()
        except StorageError as exc:
            self._error = self._error or exc
            stored = StoreStats.unknown()
        return replace(
            stored,
            epoch=self._identity.epoch,
            boot=self._identity.boot,
            pending_rows=sum(len(buffer.rows) for buffer in self._buffers.values()),
            storage_error=str(self._error) if self._error else "",
        )

    # -- opening, and beginning anew ------------------------------------------------------------------------------

    def _open_or_begin_anew(self) -> None:
        try:
            self._open()
        except DamagedError as exc:
            self._begin_anew(exc)

    def _open(self) -> None:
        if not self._path.exists():
            # Born anew: what an earlier store gave out under the old epoch must not be given out again.
            self._identity.new_epoch()
            aside.set_aside(self._path, self._identity.epoch)  # a log without its database
        db = open_database(self._path)
        try:
            self._shelves = Shelves(db, self._identity.storage_key)
            self._reader = Reader(self._shelves, self._path)
            with transaction(db, self._path):
                self._check_key()
                self._load()
        except BaseException:
            db.close()
            raise

    def _check_key(self) -> None:
        tag = self._shelves.tag("key check")
        self._shelves.db.execute("INSERT OR IGNORE INTO meta VALUES ('key_check', ?)", [tag])
        if self._shelves.db.execute("SELECT value FROM meta WHERE name = 'key_check'").fetchone()[0] != tag:
            raise DamagedError("is encrypted under another storage key", where=str(self._path))

    def _load(self) -> None:
        newest = self._reader.newest_epoch()
        if newest > self._identity.epoch or self._identity.epoch == 0:
            self._identity.new_epoch(above=newest)  # the identity is older than the store
        epoch = self._identity.epoch
        self._journal = self._shelves.pieces("journal", "ORDER BY id", [])
        self._pack_at = self._monotonic() if self._journal else None
        for stream in STREAMS:
            journal = [piece.last for piece in self._journal if (piece.stream, piece.epoch) == (stream, epoch)]
            last = max([self._shelves.last(stream, epoch), *journal])
            if stream in self._buffers:
                self._buffers[stream].renumber()
            else:
                self._buffers[stream] = Buffer(last + 1, self._limits[stream])
            self._durable[stream] = last
        for channel, time_ms in self._reader.channel_times(list(self._channels)).items():
            self._check.last_ms[channel] = max(time_ms, self._check.last_ms.get(channel, time_ms))

    def _begin_anew(self, reason: DamagedError) -> None:
        """Set the damaged file aside and open a new store under a new epoch; rows in memory go there."""
        self._lost = reason
        self._identity.new_epoch()
        name = aside.set_aside(self._path, self._identity.epoch)
        self._open()
        self._lost = None
        text = f"the store {reason.what}; it was set aside as {name} and a new one was begun"
        self._buffers["events"].extend(
            [event_row(self._now_ms(), "store", text, epoch=self._identity.epoch, set_aside=name)]
        )
        self._change()

    def _is_beyond(self, mark: Mark) -> bool:
        return mark.epoch == self._identity.epoch and mark.high > self._durable[mark.stream]

    def _begin_epoch(self, above: int) -> None:
        """Leave an epoch whose numbers were given out before, by the device that this one is an old image of.

        Blocks of this boot carry such numbers with other content, which the centre refuses: they move to the new epoch.
        """
        self._pack(STREAMS)
        old, epoch = self._identity.epoch, self._identity.new_epoch(above=above)
        where = "WHERE stream = ? AND acknowledged = 0 AND epoch = ? AND boot = ? ORDER BY first"
        moved = 0
        with transaction(self._shelves.db, self._path):
            for stream, buffer in self._buffers.items():
                last = 0
                for piece in self._shelves.pieces("block", where, [stream, old, self._identity.boot]):
                    try:
                        block = packing.moved(self._shelves.open("block", piece), epoch, last + 1)
                    except RejectedError:
                        continue  # set apart when it is next offered
                    last = self._shelves.put_block(block).last
                    self._shelves.remove([piece], acknowledged=False)
                    moved += piece.count
                self._buffers[stream] = Buffer(last + 1, buffer.limit)
        self._durable = {stream: buffer.last for stream, buffer in self._buffers.items()}
        text = f"the centre holds more of epoch {old} than this device ever had: an old image was restored"
        self._buffers["events"].extend([event_row(self._now_ms(), "store", text, epoch=epoch, rows_moved=moved)])
        self._change()

    # -- changing -------------------------------------------------------------------------------------------------

    def _guarded(self, action: Callable[[], None]) -> bool:
        """Run an action; a disk that fails is remembered and tried again later, a damaged store is replaced."""
        try:
            if self._lost is not None:
                self._begin_anew(self._lost)
            try:
                action()
            except DamagedError as exc:
                self._shelves.db.close()
                self._begin_anew(exc)
        except StorageError as exc:
            self._failed(exc)
            return False
        return True

    def _failed(self, error: StorageError) -> None:
        self._error = error
        self._commit_at = self._monotonic() + max(self._window_s, RETRY_AFTER_S)
        with contextlib.suppress(StorageError):  # what the centre holds need not stand in the way
            pieces, _ = retention.victims(self._shelves, only_acknowledged=True)
            if pieces:
                with transaction(self._shelves.db, self._path):
                    self._shelves.remove(pieces, acknowledged=True)

    def _change(self) -> None:
        with self._transaction():
            pass

    @contextlib.contextmanager
    def _transaction(self, events: Sequence[Mapping[str, Any]] = ()) -> Iterator[None]:
        """One transaction with all rows in memory, these events, and what the caller does in it: all or nothing."""
        gaps = [
            gap_row(self._now_ms(), stream, self._identity.epoch, *buffer.dropped, "memory full, disk not writable")
            for stream, buffer in self._buffers.items()
            if buffer.dropped
        ]
        queue = self._buffers["events"].rows
        before = len(queue)
        queue += [*gaps, *events]
        try:
            with transaction(self._shelves.db, self._path):
                pieces = self._write()
                yield
        except BaseException:
            del queue[before:]
            raise
        self._error = None
        if pieces and self._pack_at is None:
            self._pack_at = self._monotonic() + self._pack_after_s
        self._journal += pieces
        for stream, buffer in self._buffers.items():
            self._durable[stream] = buffer.last
            buffer.written(buffer.last)
        self._commit_at = self._monotonic() + self._window_s

    def _write(self) -> list[Piece]:
        pieces: list[Piece] = []
        for stream, buffer in self._buffers.items():
            step = packing.most_rows(stream)
            for at in range(0, len(buffer.rows), step):
                block = self._encode(stream, buffer.rows[at : at + step], buffer.first + at)
                if block.header.count >= DIRECT_ROWS:
                    self._shelves.put_block(block)
                    self._shelves.note_times(self._check.last_ms)
                else:
                    pieces.append(self._shelves.put_journal(block))
        return pieces

    def _encode(self, stream: str, rows: list[Any], first: int) -> Block:
        epoch, boot = self._identity.epoch, self._identity.boot
        if stream == "readings":
            return encode_readings(rows, self._channels, epoch=epoch, boot=boot, first=first)
        return encode_rows(stream, rows, epoch=epoch, boot=boot, first=first)

    def _pack_is_due(self, now: float) -> bool:
        return (self._pack_at is not None and now >= self._pack_at) or len(self._journal) >= JOURNAL_PIECES

    def _pack(self, streams: Sequence[str]) -> None:
        """Make blocks of the journal of these streams, and commit what is in memory."""
        packed: set[int] = set()
        with self._transaction():
            for run in packing.runs(piece for piece in self._journal if piece.stream in streams):
                try:
                    self._shelves.replace(run, packing.join([self._shelves.open("journal", piece) for piece in run]))
                except RejectedError:
                    self._note_damaged(run)  # the others of the run are packed next time
                    continue
                packed |= {piece.id for piece in run}
            self._shelves.note_times(self._check.last_ms)
        self._journal = [piece for piece in self._journal if piece.id not in packed]
        self._pack_at = self._monotonic() + self._pack_after_s if self._journal else None
        self._quarantine()

    def _note_damaged(self, run: Sequence[Piece]) -> None:
        for piece in run:
            try:
                packing.join([self._shelves.open("journal", piece)])
            except RejectedError as exc:
                self._reader.damaged.append(("journal", piece, exc.what))

    def _quarantine(self) -> None:
        """Set damaged pieces apart, each with the gap event that tells the centre."""
        found = {(table, piece.id): (table, piece, what) for table, piece, what in self._reader.damaged}
        self._reader.damaged.clear()
        for table, piece, what in found.values():
            gaps = retention.gaps([piece], f"damaged on disk ({what})", self._now_ms())
            with self._transaction(gaps):
                self._shelves.quarantine(table, piece, what)
            if table == "journal":
                self._journal = [other for other in self._journal if other.id != piece.id]

    def _retain(self) -> None:
        self._quarantine()
        while pieces := retention.aged(self._shelves, self._now_ms(), self._keep_days):
            with self._transaction():
                self._shelves.remove(pieces, acknowledged=True)
        if retention.used_bytes(self._shelves) <= self._max_bytes:
            return
        while retention.used_bytes(self._shelves) > 0.95 * self._max_bytes:
            pieces, acknowledged = retention.victims(self._shelves)
            if not pieces:
                return  # only what must stay is left
            events = [] if acknowledged else retention.gaps(pieces, "the store is full", self._now_ms())
            with self._transaction(events):
                self._shelves.remove(pieces, acknowledged=acknowledged)
                if not acknowledged:
                    self._shelves.add("evicted_rows", sum(piece.count for piece in pieces))
