"""Brings back what still opens of a store that was set aside, little by little, beside the work of the new one.

Four phases, in steps of one transaction each, so that it goes on where it was after a kill: *search* for what looks
like a block; *take* what opens and is not held, under its own epoch and numbers; *judge* what did not open; *declare*
the rows that did not come back. Decides what a step does and what it may cost; not when one is due. It has no thread.
"""

from __future__ import annotations

import contextlib
import heapq
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from agent.contract.blocks import HEAD_BYTES, Block, decode_readings
from agent.contract.errors import RejectedError
from agent.contract.rows import event_row
from agent.store import retention
from agent.store.buffer import ReadingCheck
from agent.store.clocks import EpochClock
from agent.store.damage import aside, ends
from agent.store.damage.carving import DATABASE, LOG, RING, Carver, Find
from agent.store.damage.logform import PAGE
from agent.store.damage.salvagelog import DECLARE, DONE, JUDGE, SEARCH, TAKE, Place, SalvageLog, SalvageState
from agent.store.damage.taking import Held, Taking
from agent.store.identity import Identity
from agent.store.marks import without
from agent.store.pieces import BLOCK
from agent.store.schema import transaction
from agent.store.shelves import Shelves

LOOK_BYTES = 16 * 2**20  # of each file, for the latest times: a start waits for it
LOOK_BLOCKS = 32
LEAST_FREE_BYTES = 64 * 2**20  # of the disk: what is made now goes before what was made once
_BLOCK_COST = 16_384  # the work for a row of the tables, in bytes of the budget
_JUDGED = 512
_LOOK_STEP = 2**20
_PARTS = (DATABASE, RING, LOG)

Change = Callable[[Sequence[Mapping[str, Any]]], AbstractContextManager[None]]


class Salvage:
    """Salvages what is set aside beside a database, one after the other.

    Invariants: a step is done whole or not at all; a row comes back under its own epoch and number, or is declared lost
    where its stream is known to have gone so far; a row that is held is not taken; nothing of the present epoch is.

    Args:
        shelves: of the database that goes on.
        identity: storage key and present epoch.
        path: of the database.
        check: whose latest times of channels rise by what comes back.
        change: a transaction with events in it.
        now_ms: plant clock.
    """

    def __init__(
        self,
        shelves: Shelves,
        identity: Identity,
        path: Path,
        check: ReadingCheck,
        change: Change,
        now_ms: Callable[[], int],
    ) -> None:
        self._shelves, self._identity, self._path = shelves, identity, path
        self._check, self._change, self._now_ms = check, change, now_ms
        self._log = SalvageLog(shelves.db)
        self._left: list[str] = []
        self._done: set[str] = set()  # only these may be deleted: what was set aside since is not known here
        self._carvers: dict[str, Carver] = {}
        self._read_bytes = 0
        self._owed_bytes = 0  # read beyond their budget by the steps before

    @property
    def is_due(self) -> bool:
        """Whether something is to be salvaged still."""
        return bool(self._left)

    # -- beginning ------------------------------------------------------------------------------------------------

    def begin(self, gone: Mapping[Place, int]) -> None:
        """Note what is set aside, in a transaction: also what a store before this one was not done with.

        Args:
            gone: how far streams went of which there is nothing here, as the identity tells.
        """
        there = aside.names(self._path)
        for state in self._log.states():
            if state.is_whole and state.name in there:
                aside.remove(self._path, state.name)
                there.remove(state.name)
            if state.phase == DONE and state.name not in there:
                self._log.forget(state.name)
        for name in there:
            self._log.begin(name, sum(self._sizes(name).values()), self._now_ms())
        self._done = {state.name for state in self._log.states() if state.phase == DONE}
        self._left = [name for name in there if name not in self._done]
        for name in self._left[:1]:
            self._log.note_seen(name, {place: (1, last) for place, last in gone.items()}, from_first=False)

    def expect(self, name: str, lasts: Mapping[Place, int]) -> None:
        """Note, in a transaction, the last durable number of each stream; rows made after it are in memory still."""
        self._log.expect(name, lasts)

    def look(self) -> None:
        """Learn the latest times of channels before anything is taken, as far as the end of each file tells them.

        So that a source which is played does not begin again.
        """
        if all(channel in self._check.last_ms for channel in self._check.channels):
            return  # damage showed while running
        for name in self._left:
            finds = (find for find in self._ends_of(name) if find.header.stream == retention.RAW)
            newest = heapq.nlargest(LOOK_BLOCKS, finds, key=lambda find: find.header.end_ms)
            carver = self._carver(name)
            opened = (carver.open(find.part, find.at, find.size) for find in newest)
            self._note_times(found[0] for found in opened if found is not None)

    def _ends_of(self, name: str) -> Iterator[Find]:
        for part, size in self._sizes(name).items():
            for at in range(max(0, size - LOOK_BYTES), size, _LOOK_STEP):
                yield from self._carver(name).search(part, at, _LOOK_STEP)

    def _note_times(self, blocks: Iterable[Block]) -> None:
        """Raise the latest times by blocks of readings, the newest first, as their clocks are known to have been."""
        last_ms, clocks = self._check.last_ms, self._shelves.clocks.corrected()
        for block in blocks:
            if not clocks and all(last_ms.get(channel, -1) >= block.header.end_ms for channel in self._check.channels):
                return
            clock = clocks.get(block.header.epoch, EpochClock())
            with contextlib.suppress(RejectedError):
                for row in decode_readings(block)[1]:
                    if row.channel in self._check.channels:
                        time_ms = row.time_ms + clock.shift_of(row.channel)
                        last_ms[row.channel] = max(time_ms, last_ms.get(row.channel, time_ms))

    # -- a step ---------------------------------------------------------------------------------------------------

    def step(self, budget_bytes: int) -> bool:
        """Do a part of what there is to do, reading about so many bytes; return whether there is more to do.

        What a step reads beyond its budget, for the block that it was at, the next ones read less.

        Raises:
            StorageError: when the disk cannot be used; nothing has changed then.
        """
        if not self._left:
            return False
        budget_bytes -= self._owed_bytes
        self._owed_bytes, self._read_bytes = max(0, -budget_bytes), 0
        if budget_bytes > 0 and self._has_room():
            phases = {SEARCH: self._search, TAKE: self._take, JUDGE: self._judge, DECLARE: self._declare}
            state = self._next()
            try:
                phases[state.phase](state, budget_bytes)
            finally:
                self._owed_bytes = max(0, self._read_bytes - budget_bytes)
        return bool(self._left)

    def _next(self) -> SalvageState:
        """Whatever is set aside is taken before anything is declared lost."""
        states = {state.name: state for state in self._log.states()}
        return min((states[name] for name in self._left), key=lambda state: state.phase in (JUDGE, DECLARE))

    def _has_room(self) -> bool:
        disk = os.statvfs(self._path.parent)
        return disk.f_bavail * disk.f_frsize + retention.spare_bytes(self._shelves) >= LEAST_FREE_BYTES

    def _search(self, state: SalvageState, budget_bytes: int) -> None:
        at = state.at
        if not at and not aside.is_lone(state.name):
            self._note_ends(state.name)
        for part, size in self._sizes(state.name).items():
            if at < size:
                length = min(size - at, max(budget_bytes - HEAD_BYTES, PAGE))
                finds = self._carver(state.name).search(part, at, length)
                with self._transaction():
                    self._log.add(state.name, [(_turn(one), one) for one in finds if self._is_past(one)])
                    self._log.count(state.name, at=length)
                return
            at -= size
        self._enter(state.name, TAKE)

    def _note_ends(self, name: str) -> None:
        """Learn of the ring how far streams went."""
        content = aside.read(self._path.with_name(name + RING), 0, PAGE)
        lasts = ends.find(content, self._identity.storage_key)
        past = {place: (1, last) for place, last in lasts.items() if place[0] != self._identity.epoch}
        with self._transaction():
            self._log.note_seen(name, past, from_first=False)

    def _is_past(self, find: Find) -> bool:
        return find.header.epoch != self._identity.epoch

    def _take(self, state: SalvageState, budget_bytes: int) -> None:
        name, carver = state.name, self._carver(state.name)
        queue = self._log.found(name, max(1, budget_bytes // _BLOCK_COST))
        if not queue:
            self._enter(name, JUDGE)
            return
        known = 0
        with self._transaction():
            taking = Taking(self._shelves, self._log.ends(name))
            for number, row in enumerate(queue):
                if self._read_bytes >= budget_bytes:
                    del queue[number:]
                    break
                place = row.epoch, row.stream
                if not taking.missing(place, row.first, row.last):
                    known += 1
                    taking.see(place, row.first, row.last)
                    continue
                opened = carver.open(row.part, row.at, row.size)
                if opened is None or not taking.put(*opened):
                    self._log.fail(name, row)
            taking.finish()
            self._log.remove(name, queue)
            self._log.note_seen(name, taking.seen, from_first=aside.is_lone(name))
            self._log.count(name, blocks=taking.blocks, rows=taking.rows, known=known)

    def _judge(self, state: SalvageState, _budget_bytes: int) -> None:
        """Count what did not open and is nowhere else, and let it tell how far its stream went.

        Its header is believed in nothing else, and only of an epoch of which something opened: too great a number
        declares rows lost that never were, too small a one would leave lost rows untold.
        """
        name = state.name
        queue = self._log.found(name, _JUDGED, failed=True)
        if not queue:
            self._note_times(self._newest_readings())
            self._enter(name, DECLARE)
            return
        with self._transaction():
            known = self._log.ends(name)
            taking = Taking(self._shelves, known)
            damaged = [row for row in queue if taking.missing((row.epoch, row.stream), row.first, row.last)]
            for row in damaged:
                if any(row.epoch == epoch for epoch, _ in known):
                    taking.see((row.epoch, row.stream), row.first, row.last)
            self._log.remove(name, queue, failed=True)
            self._log.note_seen(name, taking.seen, from_first=aside.is_lone(name))
            self._log.count(name, damaged=len(damaged))

    def _newest_readings(self) -> Iterator[Block]:
        where = f"WHERE stream = ? ORDER BY end_ms DESC LIMIT {LOOK_BLOCKS}"
        for piece in self._shelves.pieces(BLOCK, where, [retention.RAW]):
            with contextlib.suppress(RejectedError):
                yield self._shelves.open(piece)

    def _declare(self, state: SalvageState, _budget_bytes: int) -> None:
        known = self._log.ends(state.name).items()
        found = next(((place, end) for place, end in known if end.told < end.last), None)
        if found is None:
            self._finish(state)
            return
        (epoch, stream), end = found
        lost, through = Held(self._shelves).missing((epoch, stream), end.told + 1, end.last)
        begun = lost[0][1] if lost and lost[0][0] == 1 else 0  # the oldest may have left as others do
        mark = self._shelves.marks.all().get((stream, epoch))
        if mark is not None:
            lost = [left for span in lost for left in without(span, mark.safe())]
        destroyed = 0 if state.damaged else sum(first > begun for first, _ in lost)
        reason = f"not found again in {state.name}"
        gaps = retention.gap_rows([(stream, epoch, *span) for span in lost], reason, self._now_ms())
        with self._change(gaps):
            self._shelves.note_last(stream, epoch, through)  # or what tells of it beside would declare it once more
            self._log.note_told(state.name, (epoch, stream), through)
            self._log.count(state.name, lost_rows=sum(last - first + 1 for first, last in lost), damaged=destroyed)

    def _finish(self, state: SalvageState) -> None:
        name, now_ms = state.name, self._now_ms()
        text = f"{name} was salvaged: {state.blocks} blocks with {state.rows} rows came back"
        if state.damaged:
            text += f", {state.damaged} are damaged"
        if state.damaged and not state.blocks + state.known:
            text += "; none opens under this device's storage key"
        counts = {key: getattr(state, key) for key in ("blocks", "rows", "damaged", "lost_rows", "bytes")}
        seconds = max(0, now_ms - state.began_ms) // 1000
        with self._change([event_row(now_ms, "store", text, set_aside=name, **counts, seconds=seconds)]):
            self._log.enter(name, DONE)
        self._left.remove(name)
        self._done.add(name)
        self._carvers.pop(name, None)
        if next(one for one in self._log.states() if one.name == name).is_whole:
            aside.remove(self._path, name)

    # -- space ----------------------------------------------------------------------------------------------------

    def kept_bytes(self) -> int:
        """Bytes of what is kept although its salvage is over: something in it is damaged."""
        return sum(sum(aside.sizes(self._path, name).values()) for name in self._kept())

    def discard_kept(self) -> bool:
        """Delete what is kept so the longest, and return whether there was something.

        Raises:
            OSError: when the folder cannot be written.
        """
        kept = self._kept()
        if kept:
            aside.remove(self._path, kept[-1])
        return bool(kept)

    def _kept(self) -> list[str]:
        return [name for name in aside.names(self._path) if name in self._done]

    # -- means ----------------------------------------------------------------------------------------------------

    def _transaction(self) -> AbstractContextManager[None]:
        return transaction(self._shelves.db, self._path)

    def _enter(self, name: str, phase: str) -> None:
        with self._transaction():
            self._log.enter(name, phase)

    def _sizes(self, name: str) -> dict[str, int]:
        sizes = aside.sizes(self._path, name)
        return {part: sizes[part] for part in _PARTS if part in sizes}

    def _carver(self, name: str) -> Carver:
        def read(part: str, at: int, size: int) -> bytes:
            data = aside.read(self._path.with_name(name + part), at, size)
            self._read_bytes += len(data)
            return data

        if name not in self._carvers:
            self._carvers[name] = Carver(read, self._identity.storage_key)
        return self._carvers[name]


def _turn(find: Find) -> int:
    """What must not leave unacknowledged comes first; readings, by far the most, after the others.

    What the log holds comes in the end, as it was written: behind its last commit may lie what a failed transaction
    left, whose numbers others were given since.
    """
    stream = find.header.stream
    if find.part == LOG:
        return 3 + find.at
    return 0 if stream in retention.KEPT else 2 if stream == retention.RAW else 1
