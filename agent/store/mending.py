"""What comes back of what went, a little at a time beside the sampling, and what does not, which is declared as lost.

Decides the order: what was set aside first, then a look whether what is here is whole; rows that only the ring or the
identity still tells of are declared once nothing is salvaged any more. How is decided in `damage/`.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from agent.contract.errors import StorageError
from agent.contract.topics import STREAMS
from agent.store import retention
from agent.store.damage import ends
from agent.store.damage.ends import Place
from agent.store.damage.taking import Held
from agent.store.identity import Identity
from agent.store.journal import Journal
from agent.store.marks import Span
from agent.store.pieces import RING
from agent.store.schema import translated

_LOG_LOST = "the log of the store has lost them"
_REMOVED = "the store was removed or destroyed, these at least were in it"
_log = logging.getLogger(__name__)


class Mending:
    """Mends one store while it is open.

    Attributes:
        salvaged: how often everything that was set aside had been salvaged.
    """

    def __init__(self, journal: Journal, identity: Identity, path: Path, now_ms: Callable[[], int]) -> None:
        self._journal, self._identity, self._path, self._now_ms = journal, identity, path, now_ms
        self._removed = False
        self.salvaged = 0

    def begin(self, told: Mapping[Place, int], *, removed: bool) -> None:
        """Note, in the transaction that opens the database, what is missing in it, and what there is to be salvaged.

        Args:
            told: how far streams went, as is told beside the database.
            removed: whether the database is new, so that all of it went.
        """
        journal, self._removed = self._journal, removed
        behind = self._beyond(told)
        journal.ended |= behind  # until they are declared
        journal.salvage.begin(behind if removed else {})
        journal.behind = {} if journal.salvage.is_due and removed else behind  # else salvage tells

    def step(self, salvage_bytes: int, scrub_bytes: int) -> None:
        """Salvage a little of what was set aside, or else look at some blocks.

        Raises:
            DamagedError: when the database contradicts itself.
            StorageError: when the disk cannot be used.
        """
        journal = self._journal
        journal.shelves.check_trust()
        if not journal.salvage.is_due:
            journal.scrub.step(scrub_bytes)
            return
        self._pack_earlier()
        if not journal.salvage.step(salvage_bytes):
            self.salvaged += 1
            self._correct_times()
            self.declare_behind()

    def declare_behind(self) -> None:
        """Declare rows of which only the ring, or the identity, still tells that they were.

        Raises:
            StorageError: when the disk cannot be used.
        """
        journal = self._journal
        if not journal.behind:
            return
        self._pack_earlier()
        with translated(self._path):
            behind, known = self._beyond(journal.behind), journal.ends()
            if self._removed:  # all of it went, but for what was in memory
                behind, known = journal.behind, {}
        if behind:
            lost = [
                (stream, epoch, *span)
                for (epoch, stream), last in behind.items()
                for span in self._not_held((epoch, stream), known.get((epoch, stream), 0) + 1, last)
            ]
            why = _REMOVED if self._removed else _LOG_LOST
            with journal.transaction(retention.gap_rows(lost, why, self._now_ms())):
                for (epoch, stream), last in behind.items():
                    journal.shelves.note_last(stream, epoch, last)  # or the next start would declare them once more
            _log.warning("%s: rows of %d streams are declared as lost", why, len(lost))
        journal.behind = {}

    def note_beside(self) -> None:
        """Tell the identity how far each stream went: should the store be removed, that is all that is left of it."""
        told = {place: last for place, last in self._journal.lasts().items() if last}
        if told:
            with contextlib.suppress(StorageError):
                self._identity.note_ends(ends.seal(told, self._identity.storage_key))

    def _beyond(self, told: Mapping[Place, int]) -> dict[Place, int]:
        """Return what is told of earlier epochs beyond all that the tables know: it went with their log."""
        known, epoch = self._journal.ends(), self._identity.epoch
        return {place: last for place, last in told.items() if place[0] < epoch and last > known.get(place, 0)}

    def _not_held(self, place: Place, first: int, last: int) -> Iterator[Span]:
        held = Held(self._journal.shelves)
        while first <= last:
            spans, through = held.missing(place, first, last)
            yield from spans
            first = through + 1

    def _pack_earlier(self) -> None:
        """Make blocks of what the ring holds of epochs before: a number that the tables know of one must not pass it.

        Else the next start would take it for packed.
        """
        if any(piece.place == RING and piece.epoch != self._identity.epoch for piece in self._journal.pieces):
            self._journal.pack(STREAMS)

    def _correct_times(self) -> None:
        """Look anew for latest times that lie ahead: that their clock was wrong may have come back after them."""
        journal, now_ms = self._journal, self._now_ms()
        ahead = [channel for channel, time_ms in journal.check.last_ms.items() if time_ms > now_ms]
        if ahead:
            with translated(self._path):
                journal.check.lower(journal.reader.times_in_blocks(ahead))
            with journal.transaction():
                journal.shelves.times.put(journal.check.last_ms)
