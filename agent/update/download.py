"""One download at a time, in a thread of its own: fetch, parse, check. Nothing is decided or written here.

A model is loaded and tried; the centre's keys are parsed only: whether they may be taken is `trustnews.py`'s to say.

`begin`, `take` and `close` are called by one thread, the one that decides.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agent.contract import jsonform
from agent.contract.assignment import Assignment, Item, ItemKind
from agent.contract.bundle import Bundle, Manifest
from agent.contract.errors import EdgewattError, RejectedError, StorageError
from agent.contract.trust import MAX_TRUST_BYTES, FleetTrust

if TYPE_CHECKING:
    from agent.update.late import LateRepository
    from agent.update.repository import Repository, Target


@dataclass(frozen=True, slots=True)
class Fetched:
    """What a download brought: a checked bundle, or keys; or an error and whether what was fetched is to blame."""

    assignment: Assignment
    item: Item
    target: Target | None = None
    manifest: Manifest | None = None
    trust: FleetTrust | None = None
    error: EdgewattError | None = None
    blames_bundle: bool = False


class Download:
    """Fetches what an assignment names and has it checked.

    Args:
        repository: where targets come from.
        check: loads a bundle, compares its golden outputs, measures it; raises RejectedError when the bundle is to
            blame. Called in the download's thread.
    """

    def __init__(self, repository: Repository | LateRepository, check: Callable[[bytes], None]) -> None:
        self._repository, self._check = repository, check
        self._thread: threading.Thread | None = None
        self._fetched: Fetched | None = None

    @property
    def running(self) -> bool:
        """Whether one was begun and its result not taken yet."""
        return self._thread is not None

    def begin(self, assignment: Assignment, item: Item) -> None:
        """Start one; none may be running."""
        self._thread = threading.Thread(target=self._work, args=(assignment, item), name="update", daemon=True)
        self._thread.start()

    def take(self) -> Fetched | None:
        """Return the result of a download that is over, once; None while there is none."""
        if self._thread is None or self._thread.is_alive():
            return None
        self._thread.join()
        self._thread, fetched, self._fetched = None, self._fetched, None
        return fetched

    def close(self) -> None:
        """End the one that is running; what it brought is dropped."""
        self._repository.close()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _work(self, assignment: Assignment, item: Item) -> None:
        """Runs in the thread; its last act is to leave a result, whatever happens."""
        try:
            target = self._repository.fetch(item, assignment.min_snapshot_version)
        except EdgewattError as exc:
            self._fetched = Fetched(assignment, item, error=exc)
            return
        except Exception as exc:  # noqa: BLE001  # a thread that dies in silence would leave the updater waiting for ever
            self._fetched = Fetched(assignment, item, error=StorageError(f"the update client failed: {exc!r}"))
            return
        try:
            if item.kind is ItemKind.TRUST:
                value = jsonform.loads(target.data, where=item.path, max_bytes=MAX_TRUST_BYTES)
                self._fetched = Fetched(assignment, item, target, trust=FleetTrust.from_json(value, item.path))
                return
            manifest = Bundle.from_bytes(target.data).manifest
            self._check(target.data)
            self._fetched = Fetched(assignment, item, target, manifest)
        except RejectedError as exc:
            self._fetched = Fetched(assignment, item, target, error=exc, blames_bundle=True)
        except EdgewattError as exc:  # such as a runtime that is not installed: the device's fault
            self._fetched = Fetched(assignment, item, error=exc)
        except Exception as exc:  # noqa: BLE001  # whatever a model makes its runtime raise is the model's fault
            error = RejectedError(f"cannot be run ({type(exc).__name__}: {exc})", where=item.path)
            self._fetched = Fetched(assignment, item, target, error=error, blames_bundle=True)
