"""Which acknowledgements count: genuine, for this device, of the present centre, and not seen before.

Decides only that; what a good one frees is `uplink.py`'s. Floors are raised by `keep`, after the marks are applied.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from agent.contract.acknowledgement import Acknowledgement
from agent.contract.errors import RejectedError
from agent.contract.trust import FleetTrust, KeyUse
from agent.store.identity import CLOCK_FLOOR

SINCE_FLOOR = "ack-since"
_COUNTER, _BEGAN = "ack/", "ack-began/"  # floors of each centre id
_SKEW_MS = 60_000  # clocks of two ingest workers
_CLOCK_STEP_MS = 3_600_000  # the trusted clock is written at most so often: each is an fsync


class Floors(Protocol):
    """Counters that never go back, kept durably."""

    def floor(self, name: str) -> int:
        """Return a floor; 0 where none was set."""
        ...

    def floors(self) -> Mapping[str, int]:
        """Return all that were set."""
        ...

    def raise_floor(self, name: str, value: int) -> None:
        """Raise it durably."""
        ...


class Verdict(enum.StrEnum):
    """What became of an acknowledgement."""

    ACCEPTED = "accepted"
    REPLAYED = "replayed"
    REJECTED = "rejected"


@dataclass(frozen=True, slots=True)
class AckResult:
    """What an acknowledgement did.

    Attributes:
        blocks: blocks that became safe.
        recalled: blocks that wait again, because a restored centre lacks them.
        reason: why it was not accepted; empty when it was.
        new_centre: whether it came from another database of the centre than the one before.
    """

    verdict: Verdict
    blocks: int = 0
    recalled: int = 0
    reason: str = ""
    new_centre: bool = False


class AckJudge:
    """Remembers how far each centre has counted, by floors that outlive it."""

    def __init__(self, device: str) -> None:
        self._device = device
        self._last_issued_ms = 0

    def judge(self, payload: bytes, trust: FleetTrust, floors: Floors) -> Acknowledgement | AckResult:
        """Return the acknowledgement when it counts, else what is wrong with it."""
        try:
            ack = Acknowledgement.from_bytes(payload, trust.verifiers(KeyUse.ACK), device=self._device)
        except RejectedError as exc:
            return AckResult(Verdict.REJECTED, reason=str(exc))
        known = floors.floor(_name(ack))
        reason = ""
        if ack.counter <= known:
            reason = f"counter {ack.counter} was reached before ({known})"
        elif known == 0 and ack.issued_at_ms <= max(self._last_issued_ms, floors.floor(CLOCK_FLOOR)):
            reason = "it is of an unknown centre and older than the last one accepted"
        elif ack.issued_at_ms < floors.floor(SINCE_FLOOR) - _SKEW_MS:
            reason = "it is of a centre that was replaced since"
        return AckResult(Verdict.REPLAYED, reason=reason) if reason else ack

    def is_new(self, ack: Acknowledgement, floors: Floors) -> bool:
        """Whether no acknowledgement of this centre id was kept yet."""
        return floors.floor(_name(ack)) == 0

    def knows_any(self, floors: Floors) -> bool:
        """Whether any centre's acknowledgement was kept yet."""
        return floors.floor(SINCE_FLOOR) > 0

    def keep(self, ack: Acknowledgement, floors: Floors) -> None:
        """Let neither this acknowledgement nor an older one count again.

        Raises:
            StorageError: when a floor cannot be written.
        """
        new = self.is_new(ack, floors)
        if new:
            floors.raise_floor(SINCE_FLOOR, ack.issued_at_ms)
            floors.raise_floor(_BEGAN + ack.centre, ack.issued_at_ms)
        if new or ack.issued_at_ms - floors.floor(CLOCK_FLOOR) >= _CLOCK_STEP_MS:
            floors.raise_floor(CLOCK_FLOOR, ack.issued_at_ms)
        floors.raise_floor(_name(ack), ack.counter)
        self._last_issued_ms = max(self._last_issued_ms, ack.issued_at_ms)


def last_seen(floors: Floors) -> tuple[str, int] | None:
    """Return the id of the present centre and the counter of the last acknowledgement kept, None before the first."""
    began = {name: value for name, value in floors.floors().items() if name.startswith(_BEGAN)}
    if not began:
        return None
    centre = max(began, key=began.__getitem__).removeprefix(_BEGAN)
    return centre, floors.floor(_COUNTER + centre)


def _name(ack: Acknowledgement) -> str:
    return _COUNTER + ack.centre
