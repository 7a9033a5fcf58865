"""Blocks that the centre does not acknowledge: when each is tried again, and with how many others.

The centre refuses whole envelopes and does not say why. One that went unanswered goes again in halves, until what is
refused goes alone: it holds up no others.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from agent.contract.acknowledgement import Mark
from agent.contract.blocks import BlockHeader
from agent.sync.pacing import MAX_RESEND_S

_GIVEN_UP_WAITING = 3  # refusals after which one line says that the centre does not take a block
_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Parked:
    refusals: int  # 0: nobody has answered anything since it was sent
    not_before_s: float
    sent_s: float  # the last time but for what is in flight
    header: BlockHeader


class Parking:
    """Keeps parked blocks by their id, each with a pause of its own; none is ever given up.

    Args:
        resend_after_s: what the pauses begin with.
        jittered: spreads a pause.
    """

    def __init__(self, resend_after_s: float, jittered: Callable[[float], float]) -> None:
        self._resend_s, self._jittered = resend_after_s, jittered
        self._parked: dict[int, _Parked] = {}
        self._halved: dict[int, tuple[int, BlockHeader]] = {}

    def __len__(self) -> int:
        return sum(parked.refusals > 0 for parked in self._parked.values())

    def halve(self, blocks: Mapping[int, BlockHeader]) -> None:
        """Let blocks that went together, and were not acknowledged in time, go with half as many."""
        most = max(len(blocks) // 2, 1)
        self._halved |= {block_id: (most, header) for block_id, header in blocks.items()}

    def most_together(self, block_ids: Sequence[int]) -> int:
        """Return how many of these, from the first on, may go into one envelope."""
        most = len(block_ids)
        for count, block_id in enumerate(block_ids, start=1):
            most = min(most, self._halved[block_id][0]) if block_id in self._halved else most
            if count > most:
                return max(count - 1, 1)
        return most

    def park(self, block_id: int, header: BlockHeader, now_s: float, sent_s: float, *, alone: bool) -> None:
        """A block was sent at `sent_s`, others since were acknowledged, it was not."""
        before = self._parked.get(block_id)
        refusals = before.refusals if before else 0
        refusals = refusals + 1 if alone else max(refusals, 1)  # among others it may be another's fault
        # Once may be chance: again at once. After that the centre has a reason, and others go first.
        pause_s = 0.0 if refusals == 1 else min(self._resend_s * 2.0 ** min(refusals, 16), 12 * MAX_RESEND_S)
        self._parked[block_id] = _Parked(refusals, now_s + self._jittered(pause_s), sent_s, header)
        if refusals == _GIVEN_UP_WAITING:
            _log.warning(
                "the centre does not acknowledge rows %d..%d of %s (epoch %d): they are kept and offered again later",
                header.first,
                header.last,
                header.stream,
                header.epoch,
            )

    def unanswered(self, block_id: int, header: BlockHeader, now_s: float, sent_s: float) -> None:
        """A block was sent at `sent_s`, and nothing was acknowledged since: it may be the block or the centre."""
        parked = self._parked.setdefault(block_id, _Parked(0, 0.0, sent_s, header))
        parked.sent_s = sent_s
        if parked.refusals:  # no longer than the centre is asked at all
            pause_s = min(self._resend_s * 2.0 ** min(parked.refusals, 16), MAX_RESEND_S)
            parked.not_before_s = now_s + self._jittered(pause_s)

    def knows(self, block_id: int) -> bool:
        """Whether a block was sent and not acknowledged, whosever fault that is."""
        return block_id in self._parked

    def is_refused(self, block_id: int) -> bool:
        """Whether the centre, while awake, has not taken a block."""
        parked = self._parked.get(block_id)
        return parked is not None and parked.refusals > 0

    def sent_before_s(self, block_id: int, sent_s: float) -> float:
        """Return when a block was sent before its sending at `sent_s`; this, where that was the first."""
        before = self._parked.get(block_id)
        return before.sent_s if before else sent_s

    def waiting(self, now_s: float) -> set[int]:
        """Return the ids whose pause is not over."""
        return {block_id for block_id, parked in self._parked.items() if parked.not_before_s > now_s}

    def release(self, marks: Sequence[Mark]) -> None:
        """Forget the blocks that the marks cover."""
        self._parked = {
            block_id: parked for block_id, parked in self._parked.items() if not is_covered(parked.header, marks)
        }
        self._halved = {
            block_id: halved for block_id, halved in self._halved.items() if not is_covered(halved[1], marks)
        }

    def hurry(self) -> None:
        """End all pauses, and forget what may have been the line's fault."""
        self._parked = {block_id: parked for block_id, parked in self._parked.items() if parked.refusals}
        self._halved = {block_id: halved for block_id, halved in self._halved.items() if block_id in self._parked}
        for parked in self._parked.values():
            parked.not_before_s = 0.0

    def clear(self) -> None:
        """Forget all: another centre may take them."""
        self._parked.clear()
        self._halved.clear()


def is_covered(header: BlockHeader, marks: Sequence[Mark]) -> bool:
    """Whether every row of a block is safe under the marks."""
    return any(
        mark.stream == header.stream and mark.epoch == header.epoch and mark.covers(header.first, header.last)
        for mark in marks
    )
