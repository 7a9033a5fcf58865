"""Which durable blocks are offered to the centre, and for how long one that the disk does not give is passed over.

The order is decided in `outbox.py`. Owned by one thread.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from agent.contract.errors import RejectedError, StorageError
from agent.store import outbox
from agent.store.guard import Guard
from agent.store.journal import Journal
from agent.store.outbox import StoredBlock
from agent.store.schema import DamagedError, translated

UNREADABLE_S = 600.0  # a block that the disk does not give is passed over for so long
_MOST_UNREADABLE = 64


class Offering:
    """Offers the blocks of one store.

    Args:
        journal: that holds them.
        guard: runs all that uses it.
        path: the database file.
        now_ms: plant clock.
        monotonic: seconds that never step.
        live_s: what was packed longer ago is backlog.
    """

    def __init__(
        self,
        journal: Journal,
        guard: Guard,
        path: Path,
        *,
        now_ms: Callable[[], int],
        monotonic: Callable[[], float],
        live_s: float,
    ) -> None:
        self._journal, self._guard, self._path = journal, guard, path
        self._now_ms, self._monotonic, self._live_ms = now_ms, monotonic, round(1000 * live_s)
        self._unreadable: dict[tuple[int, int], float] = {}  # birth of the database and block; until when

    def unacknowledged(
        self, limit_bytes: int, *, skip: Collection[int], now_streams: Sequence[str], backlog: bool
    ) -> list[StoredBlock]:
        """Return what waits; see `Store.unacknowledged`."""
        journal, now = self._journal, self._monotonic()
        found: list[StoredBlock] = []
        if not self._guard.is_open:
            return found
        self._unreadable = {
            (birth, block): until
            for (birth, block), until in self._unreadable.items()
            if birth == journal.births and until > now
        }

        def collect() -> None:
            found.clear()
            chosen = outbox.waiting(
                journal.shelves,
                limit_bytes=limit_bytes,
                skip={*skip, *(block for _, block in self._unreadable)},
                now_streams=now_streams,
                live_from_ms=self._now_ms() - self._live_ms,
                backlog=backlog,
            )
            for piece, is_old in chosen:
                try:
                    with translated(self._path):
                        found.append(StoredBlock(piece.id, journal.shelves.open(piece), is_old))
                except RejectedError as exc:
                    journal.reader.damaged.append((piece, exc.what))
                except StorageError as exc:
                    if isinstance(exc, DamagedError):
                        raise
                    self._guard.error = exc  # of this block alone, as long as others can be read
                    self._unreadable[journal.births, piece.id] = now + UNREADABLE_S

        if any(piece.stream in now_streams for piece in journal.pieces) and self._guard.may_write():
            self._guard.run(lambda: journal.pack(now_streams))
        before = -1
        while not found and before < len(self._unreadable) <= _MOST_UNREADABLE:  # the others must not wait for them
            before = len(self._unreadable)
            self._guard.run(collect, reads=True)
        if journal.reader.damaged:
            self._guard.run(journal.quarantine)
        return found
