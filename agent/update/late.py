"""The client of the repository, loaded when something is first to be fetched.

Most runs of an agent install nothing, and python-tuf takes megabytes of a small device's memory.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agent.contract.assignment import Item
    from agent.update.repository import Repository, Target

Deliver = Callable[[bytes], None]


class LateRepository:
    """A `Repository` that is made by the first `fetch`; `fetch` may be called by one thread, all else by another.

    Args:
        make: makes the repository and what takes pieces for it that come by themselves.
    """

    def __init__(self, make: Callable[[], tuple[Repository, Deliver]]) -> None:
        self._make = make
        self._made: tuple[Repository, Deliver] | None = None
        self._closed = False
        self._lock = threading.Lock()

    def fetch(self, item: Item, min_snapshot_version: int) -> Target:
        """See `Repository.fetch`."""
        with self._lock:
            if self._made is None:
                self._made = self._make()
            repository, _ = self._made
            if self._closed:
                repository.close()
        return repository.fetch(item, min_snapshot_version)

    def keep_floors(self) -> None:
        """See `Repository.keep_floors`."""
        if self._made is not None:
            self._made[0].keep_floors()

    def close(self) -> None:
        """See `Repository.close`."""
        with self._lock:
            self._closed = True
            if self._made is not None:
                self._made[0].close()

    def deliver(self, payload: bytes) -> None:
        """Take a piece; one that nobody can have asked for is passed over."""
        if self._made is not None:
            self._made[1](payload)
