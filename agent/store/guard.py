"""What a failing disk means: it is remembered and tried again, and a database that is lost is replaced by another.

Decides when the disk is tried again, which error is told, and when another database is begun; what is written is the
journal's decision, when it is due the store's. Owned by one thread.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from agent.contract.errors import StorageError
from agent.store.damage import aside
from agent.store.journal import Journal
from agent.store.opening import Opening
from agent.store.reader import Reader
from agent.store.schema import DamagedError, FullError, translated

RETRY_AFTER_S = 1.0
REOPEN_AFTER_S = 3.0
_T = TypeVar("_T")
_log = logging.getLogger(__name__)


class Guard:
    """Opens the database, and runs all that uses it.

    Attributes:
        error: why the disk cannot be used; None where it can.
        due_at: when it is to be written next: at the end of the window, or at the next try of one that fails.
        is_open: whether the database was opened; before, it is tried every few seconds.

    Args:
        journal: what is guarded.
        opening: opens it, and begins another.
        path: the database file.
        monotonic: seconds that never step.
        window_s: how long rows may wait in memory once something was written.
        make_room: lets go of what the centre holds, on a disk that is full.
        succeeded: is told after every action that succeeded.
    """

    def __init__(
        self,
        journal: Journal,
        opening: Opening,
        path: Path,
        monotonic: Callable[[], float],
        window_s: float,
        *,
        make_room: Callable[[], object],
        succeeded: Callable[[], None],
    ) -> None:
        self._journal, self._opening = journal, opening
        self._path, self._monotonic, self._window_s = path, monotonic, window_s
        self._make_room, self._succeeded = make_room, succeeded
        self.error: StorageError | None = None
        self.is_open = False
        self.due_at = self._open_at = monotonic()
        self._lost: DamagedError | None = None
        self._lock: int | None = None

    def begin(self) -> None:
        """Open the database; where that fails it is told and tried again.

        Raises:
            StorageError: when another process has the store.
            ConfigError: when the file belongs to another program or to a newer edgewatt.
        """
        try:
            self._bring_up()
        except aside.InUseError:
            raise
        except StorageError as exc:
            self.error = exc
            _log.warning("%s; readings are kept in memory until the store can be opened", exc)
        except BaseException:
            self.unlock()
            raise

    def close(self) -> None:
        """Close the database, and let another process have it."""
        if self.is_open:
            self._opening.close(well=self._lost is None)
        self.unlock()

    def unlock(self) -> None:
        """Let another process have the database."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    @property
    def is_whole(self) -> bool:
        """Whether the database is open, and none is to be begun in its place."""
        return self.is_open and self._lost is None

    def check(self) -> None:
        """See that there is a database that can be asked.

        Raises:
            StorageError: when there is none, and why.
        """
        if not self.is_whole:
            raise self.error or self._lost or StorageError("is not open yet", where=str(self._path))

    def may_write(self) -> bool:
        """Whether the disk is well, or it is time to try it again."""
        return self.error is None or self._monotonic() >= self.due_at

    def run(self, action: Callable[[], None], *, reads: bool = False) -> bool:
        """Run an action and say whether it succeeded.

        A disk that fails is remembered and tried again later; a damaged store is replaced, and the action's result is
        then that rows in memory are durable in the new one. An action that only reads puts no writing off.
        """
        before, ring_before = self._journal.writes, self._journal.ring_writes
        try:
            self._bring_up()
            try:
                with translated(self._path):
                    action()
            except DamagedError as exc:
                self.give_up(exc)
                self._bring_up()
        except StorageError as exc:
            self.error = exc
            if not reads:
                self.due_at = self._monotonic() + max(self._window_s, RETRY_AFTER_S)
            if isinstance(exc, FullError) and self.is_open:
                with contextlib.suppress(StorageError), translated(self._path):
                    self._make_room()  # what the centre holds need not stand in the way
            return False
        if self._journal.writes > before:
            self.error = None
        if self._journal.writes > before or self._journal.ring_writes > ring_before:
            self.due_at = self._monotonic() + self._window_s
        self._succeeded()
        return True

    def must(self, action: Callable[[], None]) -> None:
        """Run an action of which the caller has to know that it failed.

        Raises:
            StorageError: when the disk cannot be used.
        """
        if not self.run(action) and self.error is not None:
            raise self.error

    def ask(self, question: Callable[[Reader], _T], nothing: _T) -> _T:
        """Return the answer of the database, or `nothing` where it was not opened yet.

        Raises:
            StorageError: when the disk cannot be read. Where it is damaged, another is begun: the next is answered.
        """
        if not self.is_open:
            return nothing
        if self._lost is not None:
            raise StorageError(
                f"is being begun anew and cannot be asked ({self.error or self._lost.what})", where=str(self._path)
            )
        try:
            return question(self._journal.reader)
        except DamagedError as exc:
            damage = exc

            def meet() -> None:
                raise damage

            self.run(meet)
            raise

    def give_up(self, reason: DamagedError) -> None:
        """Close the database; with the next action another one is begun in its place."""
        if self._lost is None:
            self._opening.give_up()
            self._lost = reason

    def _bring_up(self) -> None:
        """Open the database, where that did not succeed yet, or begin another in the place of one that is lost."""
        if not self.is_open:
            now = self._monotonic()
            if now < self._open_at:
                raise self.error or StorageError("is not open yet", where=str(self._path))
            self._open_at = now + REOPEN_AFTER_S
            self._lock = aside.lock(self._path) if self._lock is None else self._lock
            if self._lost is None:
                try:
                    self._opening.open()
                except DamagedError as exc:
                    self._lost = exc
        if self._lost is not None:
            self._opening.begin_anew(self._lost)
            self._lost = None
        if not self.is_open:
            self.is_open, self.error = True, None
