"""How long rows stay: what the centre's word makes safe, what is let go for its age, and what for space.

Chooses by `marks.py` and `retention.py`; changes through the journal's transactions only. Owned by one thread.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from agent.contract.acknowledgement import Mark
from agent.contract.errors import RejectedError
from agent.store import retention
from agent.store.identity import CLOCK_FLOOR, Identity
from agent.store.journal import Journal
from agent.store.marks import covered, meeting, unaccounted, uncovered, without
from agent.store.pieces import Piece
from agent.store.schema import transaction

_WORK_S = 0.25
_THINNED = 8  # blocks at once: each is opened, and may have thousands of readings


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a store may hold.

    Attributes:
        max_bytes: of the database.
        reserved_bytes: of them, for alerts, events and slots that wait for the centre: nothing else fills these.
        keep_acknowledged_days: how long acknowledged readings stay while there is space.
        keep_unacknowledged_days: how long others do; 0: as long as there is space.
    """

    max_bytes: int
    reserved_bytes: int
    keep_acknowledged_days: float
    keep_unacknowledged_days: float


class Custody:
    """Applies the centre's word and the bounds of one store."""

    def __init__(
        self, journal: Journal, identity: Identity, path: Path, bounds: Bounds, now_ms: Callable[[], int]
    ) -> None:
        self._journal, self._identity, self._path = journal, identity, path
        self._bounds, self._now_ms = bounds, now_ms
        self._makes_space = False  # until there is more than was wanted
        self._declared: set[tuple[str, int, int, int]] = set()  # gaps by which the centre was answered
        self._declared_in = journal.births

    # -- the centre's word ----------------------------------------------------------------------------------------

    def acknowledge(self, marks: Sequence[Mark]) -> int:
        """Apply marks, and return how many blocks became safe.

        Raises:
            StorageError: when the disk cannot be used.
        """
        shelves = self._journal.shelves
        safe = {piece.id: piece for mark in marks for piece in covered(shelves, mark)}
        news = [mark for mark in marks if _differs(shelves.marks.get(mark.stream, mark.epoch), mark)]
        if safe or news:
            with self._journal.transaction():
                shelves.acknowledge(safe.values())
                for mark in news:
                    shelves.marks.put(mark)
        self._look_for(marks)
        return len(safe)

    def recall(self, marks: Sequence[Mark]) -> int:
        """Let acknowledged blocks that `marks` do not cover wait again, and return how many.

        Raises:
            StorageError: when the disk cannot be used.
        """
        count, shelves = 0, self._journal.shelves
        with self._journal.transaction():
            shelves.marks.forget()  # what another database has said
        for pieces in uncovered(shelves, marks):  # a page at a time: all of it may be as large as the store
            with self._journal.transaction():
                shelves.recall(pieces)
            count += len(pieces)
        return count

    def _look_for(self, marks: Sequence[Mark]) -> None:
        """Answer what the centre misses: by the block that was taken for safe, or by a gap."""
        journal, again = self._journal, dict[int, Piece]()
        lost: list[tuple[str, int, int, int]] = []
        for mark in marks:
            for span in unaccounted(journal.shelves, mark):
                pieces = meeting(journal.shelves, mark.stream, mark.epoch, span)
                again |= {piece.id: piece for piece in pieces}
                held = [(piece.first, piece.last) for piece in pieces] + self._unpacked(mark.stream, mark.epoch)
                lost += [(mark.stream, mark.epoch, *part) for part in without(span, held)]
        if self._declared_in != journal.births:  # what another file told of may be lost with it
            self._declared_in = journal.births
            self._declared.clear()
        if journal.salvage.is_due:
            lost.clear()  # it may be there
        lost = [gap for gap in lost if gap not in self._declared]  # it may be on its way
        if again or lost:
            with journal.transaction(retention.gap_rows(lost, "not on the device any more", self._now_ms())):
                journal.shelves.recall(again.values())
            self._declared |= set(lost)

    def _unpacked(self, stream: str, epoch: int) -> list[tuple[int, int]]:
        pieces, buffer = self._journal.pieces, self._journal.buffers[stream]
        places = [(piece.first, piece.last) for piece in pieces if (piece.stream, piece.epoch) == (stream, epoch)]
        if epoch == self._identity.epoch and buffer.rows:
            places.append((buffer.first, buffer.last))
        return places

    # -- letting go -----------------------------------------------------------------------------------------------

    def retain(self, raw_from_ms: int | None = None) -> bool:
        """Let go what is too old, but for readings from `raw_from_ms` on; above the bounds make space.

        Space is made down to 95 % of the bound, in the published order: what was salvaged and set aside, acknowledged
        readings become one value a minute, then `retention.ORDER`. Sampling waits meanwhile: what takes longer than a
        quarter of a second is left to the next call. Return whether nothing was left.

        Raises:
            StorageError: when the disk cannot be used.
        """
        until = time.monotonic() + _WORK_S
        return all(time.monotonic() < until for _ in self._changes(raw_from_ms))

    def _changes(self, raw_from_ms: int | None) -> Iterator[None]:
        """Make one change after the other."""
        journal, bounds = self._journal, self._bounds
        while pieces := retention.aged(journal.shelves, self._old_by_ms(), bounds.keep_acknowledged_days, raw_from_ms):
            with journal.transaction():
                journal.shelves.remove(pieces, acknowledged=True)
            yield
        thinned = journal.shelves.thinned
        if thinned.has_before(before_ms := self._old_by_ms() - round(bounds.keep_acknowledged_days * retention.DAY_MS)):
            with journal.transaction():
                thinned.drop_before(before_ms)
            yield
        if bounds.keep_unacknowledged_days:
            before_ms = self._now_ms() - round(bounds.keep_unacknowledged_days * retention.DAY_MS)
            while pieces := retention.too_old(journal.shelves, before_ms):
                self._give_up(pieces, f"older than {bounds.keep_unacknowledged_days:g} days")
                yield
        most = bounds.max_bytes - max(0, bounds.reserved_bytes - retention.kept_bytes(journal.shelves))
        self._makes_space = self._makes_space or self._used_bytes() > most
        while self._makes_space and self._used_bytes() > 0.95 * most and self._make_space():
            yield
        self._makes_space = False

    def make_room(self, *, for_notes: bool = False) -> None:
        """Let what was salvaged go, or a batch of acknowledged blocks, to make space for what waits.

        Where the database has pages to spare already, blocks that went would make no room: then it is others that fill
        the disk, and the log that cannot grow. What is in that goes to the database, so that it is written anew.

        Args:
            for_notes: what waits are notes alone. A copy of slots is not worth the slots.

        Raises:
            StorageError: when the disk cannot be used.
        """
        journal = self._journal
        if journal.salvage.discard_kept():
            return
        if not journal.shelves.checkpoint() or retention.spare_bytes(journal.shelves) > journal.waiting_bytes:
            return
        pieces, _ = retention.victims(journal.shelves, only_acknowledged=True, may_take_kept=not for_notes)
        if pieces:
            with transaction(journal.shelves.db, self._path):
                journal.shelves.remove(pieces, acknowledged=True)

    def _make_space(self) -> bool:
        """Let one batch go; False when only what must stay is left."""
        journal = self._journal
        if journal.salvage.discard_kept() or self._thin():
            return True
        pieces, acknowledged = retention.victims(journal.shelves)
        if not pieces:
            return False
        if acknowledged:
            with journal.transaction():
                journal.shelves.remove(pieces, acknowledged=True)
        else:
            self._give_up(pieces, "the store is full")
        return True

    def _thin(self) -> bool:
        """Keep one value a minute of the oldest acknowledged readings; where there are none, let such values go."""
        journal, shelves = self._journal, self._journal.shelves
        pieces = retention.safe_readings(shelves)[:_THINNED]
        if not pieces and not shelves.thinned.has_any():
            return False
        with journal.transaction():
            for piece in pieces:
                try:
                    shelves.thinned.put(shelves.open(piece))
                except RejectedError:
                    continue  # the centre has it; a damaged copy is worth nothing
            shelves.remove(pieces, acknowledged=True)
            if not pieces:
                shelves.thinned.drop_oldest(retention.BATCH)
        return True

    def _give_up(self, pieces: Sequence[Piece], reason: str) -> None:
        shelves = self._journal.shelves
        with self._journal.transaction(retention.gaps(pieces, reason, self._now_ms())):
            shelves.remove(pieces, acknowledged=False)
            shelves.counters.add("evicted_rows", sum(piece.count for piece in pieces))

    def _old_by_ms(self) -> int:
        """The time by which the acknowledged is old: not later than the centre's word, were the clock years ahead."""
        heard_ms = self._identity.floor(CLOCK_FLOOR)
        return min(self._now_ms(), heard_ms) if heard_ms else self._now_ms()

    def _used_bytes(self) -> int:
        return retention.used_bytes(self._journal.shelves) + self._journal.salvage.kept_bytes()


def _differs(old: Mark | None, new: Mark) -> bool:
    return old is None or (old.high, old.missing) != (new.high, new.missing)
