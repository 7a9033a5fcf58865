"""A clock that was set: rows go on under a new epoch, and all that the clock until now has stamped is corrected.

Decides what is in the one transaction that does so. What a step means for each epoch is decided in `clocks.py`, whether
the new clock is believed by the daemon.
"""

from __future__ import annotations

from collections.abc import Sequence

from agent.contract.corrections import EXACT_MS, MAX_EPOCHS, Correction, correction_row
from agent.contract.topics import STREAMS
from agent.store.identity import Identity
from agent.store.journal import Journal


class Epochs:
    """Begins epochs in an open store, and ends the last one."""

    def __init__(self, journal: Journal, identity: Identity) -> None:
        self._journal, self._identity = journal, identity

    def begin(
        self, offset_ms: int, time_ms: int, text: str, *, own_times: Sequence[str], slots_first_ms: int | None
    ) -> None:
        """Go on under a new epoch, whose clock is another, with the events that correct the epochs before.

        Raises:
            StorageError: when the disk cannot be used; the clock is the one before then, whatever the epoch.
        """
        journal, clocks = self._journal, self._journal.clocks
        journal.pack(STREAMS)
        epoch = self._identity.new_epoch()
        journal.renumber()
        if (stamping := journal.stamping()) is None:
            raise ValueError("this store was not told of a clock")
        clocks.begin(epoch, stamping)
        until_now = clocks.known[epoch]
        shift_ms = offset_ms - until_now.offset_ms
        since_ms = until_now.began_ms + until_now.offset_ms - EXACT_MS  # so far it may have gone faster or slower
        times = journal.check.moved(shift_ms, own_times, since_ms, time_ms)
        slots = slots_first_ms is not None
        found: list[Correction] = clocks.corrected(epoch, offset_ms, slots_first_ms, slots=slots)
        changed = clocks.after(found, own_times, epoch, offset_ms)
        parts = [found[at : at + MAX_EPOCHS] for at in range(0, max(1, len(found)), MAX_EPOCHS)]
        with journal.transaction([correction_row(time_ms, text, part, own_times) for part in parts]):
            for one, clock in changed.items():
                journal.shelves.clocks.put(one, clock)
            journal.shelves.times.put(times)
        clocks.known |= changed
        clocks.aside_ms = 0
        journal.check.move(times, shift_ms)

    def close(self) -> None:
        """Keep by which clock the epoch was stamped to the end: the next run goes on by it.

        Raises:
            StorageError: when the disk cannot be used.
        """
        self._journal.note_clock(least_ms=1)
        if self._journal.clocks.drifted:
            with self._journal.transaction():
                pass
