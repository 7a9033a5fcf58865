"""Which assignment is in force, and what of it is still to be done.

Judges what comes, keeps it on the disk, and raises the counters that never go back. Knows nothing of models and of how
they are fetched. Called in the daemon's thread.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from pathlib import Path
from typing import TYPE_CHECKING

from agent.contract.assignment import Assignment, Item, ItemKind
from agent.contract.durable import write_durable
from agent.contract.errors import RejectedError, StorageError
from agent.contract.trust import FleetTrust, KeyUse
from agent.store.identity import CLOCK_FLOOR

if TYPE_CHECKING:
    from agent.update.repository import Floors

COUNTER_FLOOR = "assignment"
SETTLED_FLOOR = "assignment-settled"
TRUST_SETTLED_FLOOR = "trust-settled"
_FILE = "assignment.bin"

_log = logging.getLogger(__name__)


class Assigned:
    """The assignment in force.

    Invariants:
        - it counts only when signed, for this device, not expired when it came, and not older than one seen before.
        - what was settled once stays so over restarts.

    Attributes:
        assignment: the one in force; None without one.
    """

    def __init__(
        self, folder: Path, device: str, floors: Floors, trust: FleetTrust, *, real_ms: Callable[[], int]
    ) -> None:
        """Go on from what is in `folder`; what is not valid any more is left there and does not count.

        Raises:
            StorageError: when the file cannot be read.
        """
        self.assignment: Assignment | None = None
        self._path, self._device, self._floors, self._real_ms = folder / _FILE, device, floors, real_ms
        self._payload = b""
        try:
            payload = self._path.read_bytes() if self._path.exists() else b""
            if payload:
                self.assignment = self._verified(payload, trust)
                self._payload = payload
                floors.raise_floor(COUNTER_FLOOR, self.assignment.counter)
        except RejectedError as exc:
            _log.warning("the assignment that was kept is not valid any more: %s", exc)
        except OSError as exc:
            raise StorageError(
                f"cannot be read ({exc.strerror})", where=str(self._path), todo="Mend the rights"
            ) from exc

    @property
    def counter(self) -> int:
        """Counter of the assignment in force; 0 without one."""
        return self.assignment.counter if self.assignment else 0

    def take(self, payload: bytes, trust: FleetTrust) -> Assignment | None:
        """Judge a message and put it in force; None for the one that is in force already.

        Raises:
            RejectedError: when it is not genuine, for another device, a replay, or expired; nothing has changed then.
            StorageError: when it cannot be kept.
        """
        if payload == self._payload and self.assignment is not None:
            return None
        assignment = self._verified(payload, trust)
        if self.is_expired(assignment):
            raise RejectedError("is expired", where="assignment", todo="Assign again at the centre")
        # The file first: a counter without its file would make the same assignment look replayed after a power cut.
        write_durable(self._path, payload)
        self._floors.raise_floor(COUNTER_FLOOR, assignment.counter)
        self.assignment, self._payload = assignment, payload
        return assignment

    def is_expired(self, assignment: Assignment) -> bool:
        """Whether its time is over. A clock behind the floor is wrong; the floor is the least that the time can be."""
        return assignment.expires_at_ms <= max(self._real_ms(), self._floors.floor(CLOCK_FLOOR))

    def wanted(self, here: Collection[str]) -> Item | None:
        """Return the item that is still to be fetched: keys first, since later words may be signed by them.

        Args:
            here: SHA-256 of the models that run or are on trial.
        """
        if self.assignment is None:
            return None
        item = self.assignment.item(ItemKind.TRUST)
        if item is not None and not self._is_settled(TRUST_SETTLED_FLOOR):
            return item
        item = self.assignment.item(ItemKind.MODEL)
        if item is None or self._is_settled(SETTLED_FLOOR) or item.sha256 in here:
            return None
        return item

    def settle(self, assignment: Assignment, kind: ItemKind) -> None:
        """Nothing more is to be done for an assignment's item of one kind."""
        floor = TRUST_SETTLED_FLOOR if kind is ItemKind.TRUST else SETTLED_FLOOR
        self._floors.raise_floor(floor, assignment.counter)

    def _is_settled(self, floor: str) -> bool:
        return self._floors.floor(floor) >= self.counter

    def _verified(self, payload: bytes, trust: FleetTrust) -> Assignment:
        assignment = Assignment.from_bytes(payload, trust.verifiers(KeyUse.ASSIGN), device=self._device)
        floor = self._floors.floor(COUNTER_FLOOR)
        if assignment.counter < floor:
            raise RejectedError(
                f"has counter {assignment.counter}, {floor} was seen before: it is a replay", where="assignment"
            )
        if assignment.counter == floor and self._payload and payload != self._payload:
            raise RejectedError(f"is another one with the same counter {floor}", where="assignment")
        return assignment
