"""The device's one memory: rows are taken in, made durable, packed, offered to the centre, and let go by rule.

Decides when things happen (commit window, packing, mending, retention); what belongs together in a transaction is
decided in `journal.py`, what a failing disk means in `guard.py`. Owned by one thread. The promise is in README.md.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from agent.contract.acknowledgement import Mark
from agent.contract.blocks import Row
from agent.contract.channels import Channel, Reading
from agent.contract.errors import StorageError
from agent.contract.topics import STREAMS, URGENT
from agent.store.buffer import accept_rows
from agent.store.clocks import Stamping
from agent.store.custody import Bounds, Custody
from agent.store.damage.salvage import LEAST_FREE_BYTES
from agent.store.epochs import Epochs
from agent.store.guard import Guard
from agent.store.identity import Identity
from agent.store.journal import Journal
from agent.store.mending import Mending
from agent.store.offering import Offering
from agent.store.opening import Opening
from agent.store.outbox import StoredBlock
from agent.store.schema import DamagedError, FullError, translated
from agent.store.stats import StoreStats

COMMIT_ROWS = 50_000  # readings that are written before the window is over, so that the ring stays for bad times
OTHER_RING_ROWS = 2_000
RETAIN_EVERY_S = 60.0
NOTE_EVERY_S = 3600.0
MEND_EVERY_S = 0.25
SCRUB_KIB_S = 256


class Ticket(NamedTuple):
    """Receipt for appended rows: durable once `durable_through()[stream]` of this epoch has reached `last`."""

    stream: str
    epoch: int
    last: int


class Store:
    """Journal, blocks and outbox of one device.

    Invariants: a sequence number of an epoch is given out once; what is offered to the centre is durable; a row leaves
    only acknowledged, or in the transaction that makes its gap event durable; no method but `readings`, `rows`, `note`,
    `fingerprints`, `last_time_ms` and the constructor raises StorageError: rows wait in memory and
    `stats().storage_error` says why.
    So it is, too, as long as the database could not be opened: all that is known then is what is in memory.

    Args:
        path: the database file; its folder is made.
        identity: storage key, boot and epoch. `begin_boot` has been called.
        channels: of the readings, by name.
        now_ms: plant clock, for the store's own events and for ages.
        monotonic: seconds that never step, for windows.
        commit_window_s: how long readings may wait in memory; all other streams are committed at once.
        pack_after_s: how long rows may lie in the journal.
        max_bytes, reserved_bytes, keep_acknowledged_days, keep_unacknowledged_days: see `Bounds`.
        ring_readings: most readings held in memory while the disk cannot be written.
        salvage_kib_s: how much is read in a second of a store that was set aside.
        written_bytes: what this process has caused to be written, for the wear of the flash.
        stamping: the plant clock as it is now, where it is a steady one.

    Raises:
        StorageError: when another process has the store.
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
        pack_after_s: float = 300.0,
        max_bytes: int = 1 << 30,
        reserved_bytes: int = 0,
        keep_acknowledged_days: float = 7,
        keep_unacknowledged_days: float = 0,
        ring_readings: int = 100_000,
        salvage_kib_s: int = 2048,
        written_bytes: Callable[[], int] = lambda: 0,
        stamping: Callable[[], Stamping | None] = lambda: None,
    ) -> None:
        self._path, self._identity, self._monotonic = path, identity, monotonic
        self._window_s, self._pack_after_s = commit_window_s, pack_after_s
        self._scales = {name: 10.0**channel.decimals for name, channel in channels.items()}
        limits = dict.fromkeys(STREAMS, OTHER_RING_ROWS) | {"readings": ring_readings}
        self._journal = Journal(path, identity, channels, limits, now_ms, written_bytes, stamping)
        bounds = Bounds(max_bytes, reserved_bytes, keep_acknowledged_days, keep_unacknowledged_days)
        self._custody = Custody(self._journal, identity, path, bounds, now_ms)
        self._mending = Mending(self._journal, identity, path, now_ms)
        self._opening = Opening(self._journal, self._mending, path, identity, channels, now_ms)
        self._epochs = Epochs(self._journal, identity)
        self._guard = Guard(
            self._journal,
            self._opening,
            path,
            monotonic,
            commit_window_s,
            make_room=self._custody.make_room,
            succeeded=self._time_packing,
        )
        self._offering = Offering(
            self._journal, self._guard, path, now_ms=now_ms, monotonic=monotonic, live_s=2 * pack_after_s
        )
        self._raw_from_ms: int | None = None
        self._salvage_kib_s = salvage_kib_s
        self._retain_at = self._mended_at = self._monotonic()
        self._note_at = self._monotonic() + NOTE_EVERY_S
        self._guard.begin()
        self._pack_at = self._monotonic() if self._journal.pieces else None

    # -- taking in ------------------------------------------------------------------------------------------------

    def append(self, stream: str, rows: Sequence[Reading] | Sequence[Row]) -> Ticket:
        """Take rows in and number them. Readings may wait for the commit window; other streams are committed at once.

        Raises:
            ConfigError: when a row cannot be stored; nothing of the call is taken in then.
        """
        now = self._monotonic()
        if stream == "readings":
            self._journal.check.accept(rows)  # type: ignore[arg-type]  # the stream says what the rows are
            buffer, guard = self._journal.buffers[stream], self._guard
            if not buffer.rows and now >= guard.due_at and guard.error is None:
                guard.due_at = now + self._window_s  # a window begins with its first row
            buffer.extend(rows)
            due = now >= guard.due_at or (len(buffer.rows) >= COMMIT_ROWS and guard.error is None)
        else:
            copies = accept_rows(stream, rows)  # type: ignore[arg-type]  # likewise
            self._journal.buffers[stream].extend(copies)
            due = self._guard.may_write()
        if due:
            self.commit()
        return Ticket(stream, self._identity.epoch, self._journal.buffers[stream].last)

    def keep(self, name: str, data: bytes) -> None:
        """Take a note in, in place of the one of that name.

        It is durable with the next commit, in one transaction with the rows that wait: what is kept before `append` is
        on disk with those rows or not at all. Where the disk has no room for it rows go first, and it is tried again
        every minute. The twelve notes written last are kept.
        """
        self._journal.notes[name] = data

    def commit(self) -> bool:
        """Make everything in memory durable now; return whether that is so."""
        if self._guard.is_whole and not self._journal.unwritten:
            return True
        return self._guard.run(self._journal.change)

    def begin_epoch(
        self, offset_ms: int, time_ms: int, text: str, *, own_times: Sequence[str], slots_first_ms: int | None
    ) -> bool:
        """Go on under a new epoch with another clock, and correct all that the clock until now has stamped.

        Args:
            offset_ms: of the clock that is right, as in `Stamping`; it is to be used once this has returned True.
            time_ms: the time by it.
            text: for people.
            own_times: channels that have times of their own, as from a file.
            slots_first_ms: by the clock until now, start of the first slot that can be made anew from the readings
                that are still here; None where slots are not made of what this clock stamps.

        Returns:
            Whether that is durable; where it is not, nothing was corrected, and rows go on by the clock until now.
        """
        if not (self._guard.may_write() and self.commit()):
            return False
        begun = False

        def begin() -> None:
            nonlocal begun
            self._epochs.begin(offset_ms, time_ms, text, own_times=own_times, slots_first_ms=slots_first_ms)
            begun = True

        self._guard.run(begin)
        return begun

    @property
    def offset_ms(self) -> int | None:
        """The offset of the clock by which the present epoch is stamped; None where it is no steady one."""
        clock = self._journal.clocks.known.get(self._identity.epoch)
        return None if clock is None else clock.offset_ms

    @property
    def epochs_of_start(self) -> int:
        """How many epochs there were in this start of the machine: `begin_epoch` names every one of them."""
        return self._journal.clocks.of_start(self._identity.epoch)

    @property
    def aside_ms(self) -> int:
        """How far the clock of this run is ahead of the one before it in this start of the machine, 0 where it is not.

        Where the store was opened late, rows were stamped before the clock of the run before was known. `begin_epoch`
        brings them together.
        """
        return self._journal.clocks.aside_ms

    def durable_through(self) -> dict[str, int]:
        """Return, by stream, the sequence number of the present epoch up to which rows survive a power cut.

        Rows that the ring gave up before are declared by a gap event which is as durable.
        """
        return dict(self._journal.durable)

    def tick(self) -> None:
        """Do what is due: commit, pack, set damaged pieces apart, retention. To be called every second or so."""
        now = self._monotonic()
        tries_notes = now >= self._retain_at and self._journal.no_room is not None
        if tries_notes:
            self._journal.no_room = None
            self._guard.run(lambda: self._custody.make_room(for_notes=True))
        # Each commit begins a new window; packing must not wait for a turn in which there was none. Notes are tried in
        # this turn: between two it would seem that there is room.
        well = self.commit() if tries_notes or now >= self._guard.due_at else self._guard.error is None
        if not well:
            return
        due = self._pack_at is not None and now >= self._pack_at
        due = due or (self._journal.is_long and self._guard.error is None)
        if due and not self._guard.run(lambda: self._journal.pack(STREAMS)):
            self._pack_at = now + self._pack_after_s  # it costs the more the longer it fails
        self._mend(now)
        if self._journal.reader.damaged:
            self._guard.run(self._journal.quarantine)
        if now >= self._retain_at:
            self._retain_at = now + RETAIN_EVERY_S
            self._guard.run(self._retain)

    def _time_packing(self) -> None:
        """Let the journal be packed some time after it has begun."""
        if not self._journal.pieces:
            self._pack_at = None
        elif self._pack_at is None:
            self._pack_at = self._monotonic() + self._pack_after_s

    def _mend(self, now: float) -> None:
        """Salvage a little of what was set aside, or else look whether what is here is whole."""
        seconds = min(now - self._mended_at, 1.0)
        if seconds >= MEND_EVERY_S:
            self._mended_at = now
            self._guard.run(self._opening.check_place, reads=True)
            salvage_bytes, scrub_bytes = (int(kib * 1024 * seconds) for kib in (self._salvage_kib_s, SCRUB_KIB_S))
            self._guard.run(lambda: self._mending.step(salvage_bytes, scrub_bytes))

    def _retain(self) -> None:
        if self._monotonic() >= self._note_at:
            self._note_at = self._monotonic() + NOTE_EVERY_S
            self._mending.note_beside()
        if not self._custody.retain(self._raw_from_ms):
            self._retain_at = self._monotonic()  # goes on with the next turn

    def keep_readings_from(self, time_ms: int | None) -> None:
        """Let no reading from this time on leave for its age: something is still to be made of it. None: any may.

        Readings can be old when they come: a file that is replayed, a clock that was wrong. Space is made as ever.
        """
        self._raw_from_ms = time_ms

    def close(self) -> None:
        """Commit what is in memory and close."""
        self._journal.no_room = None
        self.commit()
        if self._guard.is_whole and self._guard.error is None:
            self._guard.run(self._epochs.close)
        self._guard.close()

    # -- the way to the centre ------------------------------------------------------------------------------------

    def unacknowledged(
        self,
        limit_bytes: int,
        *,
        skip: Collection[int] = (),
        now_streams: Sequence[str] = URGENT,
        backlog: bool = True,
    ) -> list[StoredBlock]:
        """Return durable blocks that wait for the centre: `now_streams`, then what is new, then the oldest.

        Args:
            limit_bytes: of stored size, for `now_streams` and for all else; of either at least one block is returned.
            skip: ids that are on their way already.
            now_streams: streams whose journal is packed for this, however young.
            backlog: whether what was packed longer ago than twice `pack_after_s` is wanted.
        """
        return self._offering.unacknowledged(limit_bytes, skip=skip, now_streams=now_streams, backlog=backlog)

    def apply_marks(self, marks: Sequence[Mark]) -> int:
        """Mark the blocks that the centre holds, and return how many became safe; repeated marks change nothing.

        What a mark names as missing although nothing of its stream and epoch waits is looked for: a block that counted
        as safe waits again, and what this device does not have is declared as a gap.
        """
        count = 0

        def apply() -> None:
            nonlocal count
            count = self._custody.acknowledge(marks)

        self._guard.must(apply)
        return count

    def recall(self, marks: Sequence[Mark]) -> int:
        """Let acknowledged blocks that `marks` do not cover wait again, and return how many.

        For the first acknowledgement of a centre that was restored from a backup: what that lacks is sent again, as far
        as it is still here.
        """
        count = 0

        def recall() -> None:
            nonlocal count
            count = self._custody.recall(marks)

        self._guard.must(recall)
        return count

    def repair(self) -> bool:
        """Set the database aside, begin another, and salvage in the background what opens; return whether it began.

        Raises:
            StorageError: when there is not room for it; nothing has changed then.
        """
        if not self._guard.is_open:
            self._guard.check()
        free = os.statvfs(self._path.parent)
        if free.f_bavail * free.f_frsize < LEAST_FREE_BYTES:
            raise FullError(
                f"cannot be repaired with less than {LEAST_FREE_BYTES >> 20} MiB free",
                where=str(self._path.parent),
                todo="Free space on the disk first",
            )
        self._guard.give_up(DamagedError("is to be salvaged, as was asked for", where=str(self._path)))
        return self._guard.run(lambda: None)

    # -- asking ---------------------------------------------------------------------------------------------------

    def readings(self, channel: str, start_ms: int, end_ms: int) -> list[Reading]:
        """Return the readings of one channel in [start_ms, end_ms), by time, those in memory included.

        Raises:
            StorageError: when the disk cannot be read.
        """
        scale = self._scales.get(channel, 1.0)
        fresh = [
            row._replace(value=float(np.rint(row.value * scale) / scale))  # as it will be on disk
            for row in self._journal.buffers["readings"].rows
            if row.channel == channel and start_ms <= row.time_ms < end_ms
        ]
        stored: list[Reading] = self._guard.ask(lambda reader: reader.readings(channel, start_ms, end_ms), [])
        return sorted(stored + fresh, key=lambda row: row.time_ms)

    def rows(self, stream: str, start_ms: int, end_ms: int) -> list[dict[str, Any]]:
        """Return the rows of any other stream in [start_ms, end_ms), by time, those in memory included.

        Raises:
            StorageError: when the disk cannot be read.
        """
        fresh = [dict(row) for row in self._journal.buffers[stream].rows if start_ms <= row["time_ms"] < end_ms]
        stored: list[dict[str, Any]] = self._guard.ask(lambda reader: reader.rows(stream, start_ms, end_ms), [])
        return sorted(stored + fresh, key=lambda row: int(row["time_ms"]))

    def fingerprints(self, stream: str, width_ms: int, since_ms: int) -> dict[int, str]:
        """Return what tells whether `rows` gives the same as before for whole spans; see `Reader.fingerprints`.

        Raises:
            StorageError: when the disk cannot be read.
        """
        fresh = {int(row["time_ms"]) // width_ms for row in self._journal.buffers[stream].rows}
        stored: dict[int, str] = self._guard.ask(lambda reader: reader.fingerprints(stream, width_ms, since_ms), {})
        return {number: text for number, text in stored.items() if number not in fresh}

    def note(self, name: str) -> bytes | None:
        """Return what `keep` took in last under this name; None where there is none.

        Raises:
            RejectedError: when it is damaged.
            StorageError: when the disk cannot be read.
        """
        waiting = self._journal.notes.get(name)
        return self._guard.ask(lambda reader: reader.note(name), None) if waiting is None else waiting

    def last_time_ms(self, stream: str, channel: str | None = None) -> int | None:
        """Return the latest time taken in of a stream, or of one channel of the readings; None where there is none.

        Raises:
            StorageError: when the disk cannot be read.
        """
        if channel is not None:
            return self._journal.check.last_ms.get(channel)
        waiting = self._journal.buffers[stream].rows
        fresh = [row.time_ms if stream == "readings" else row["time_ms"] for row in waiting]
        stored = self._guard.ask(lambda reader: reader.last_time_ms(stream), None)
        return max(fresh if stored is None else [*fresh, stored], default=None)

    def first_time_ms(self, channel: str, since_ms: int = 0) -> int | None:
        """Return the oldest time of a channel's readings from `since_ms` on; None where the oldest pieces have none.

        Raises:
            StorageError: when the disk cannot be read.
        """
        stored = self._guard.ask(lambda reader: reader.first_time_ms(channel, since_ms), None)
        waiting = self._journal.buffers["readings"].rows
        fresh = [row.time_ms for row in waiting if row.channel == channel and row.time_ms >= since_ms]
        return min(fresh if stored is None else [stored, *fresh], default=None)

    def last_seq(self, stream: str) -> int:
        """Return the last sequence number given out in the present epoch, 0 where there is none."""
        return self._journal.buffers[stream].last

    @property
    def is_open(self) -> bool:
        """Whether the database was opened; before, it knows of nothing but what is in memory."""
        return self._guard.is_open

    @property
    def births(self) -> int:
        """How often its database was begun or opened; the ids of blocks are those of one birth."""
        return self._journal.births

    @property
    def is_salvaging(self) -> bool:
        """Whether rows may still come back from what was set aside."""
        return self._guard.is_open and self._journal.salvage.is_due

    @property
    def salvaged(self) -> int:
        """How often, since the start, rows have come back from all that was set aside: old ones, of every stream."""
        return self._mending.salvaged

    def stats(self) -> StoreStats:
        """Return the store in numbers, at the cost of a few index look-ups."""
        today = yesterday = 0
        try:
            self._guard.check()
            stored = self._journal.reader.stats()
            with translated(self._path):
                today, yesterday = (self._journal.wear.day(self._journal.shelves.counters, days) for days in (0, 1))
        except StorageError as exc:
            self._guard.error = self._guard.error or exc
            stored = StoreStats.unknown()
        return replace(
            stored,
            epoch=self._identity.epoch,
            boot=self._identity.boot,
            scrubbed_ms=self._journal.scrub.finished_ms if self._guard.is_open else 0,
            pending_rows=sum(len(buffer.rows) for buffer in self._journal.buffers.values()),
            storage_error=str(self._guard.error or self._journal.no_room or ""),
            written_today_bytes=today,
            written_yesterday_bytes=yesterday,
        )
