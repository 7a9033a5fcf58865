"""What waits for the centre, and in which order it leaves."""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from agent.contract.blocks import Block
from agent.contract.topics import STREAMS
from agent.store.pieces import Piece
from agent.store.shelves import Shelves

URGENT = ("alerts", "events")
_PAGE = 256


@dataclass(frozen=True, slots=True)
class StoredBlock:
    """One block on its way. `id` names it for as long as it is in this store."""

    id: int
    block: Block


def waiting(shelves: Shelves, *, limit_bytes: int, skip: Collection[int], now_streams: Sequence[str]) -> list[Piece]:
    """Choose blocks of about `limit_bytes` altogether, at least one: `now_streams` first, then the oldest."""
    rest = [stream for stream in STREAMS if stream not in now_streams]
    chosen: list[Piece] = []
    size = 0
    for streams in (now_streams, rest):
        for piece in heapq.merge(*(of_stream(shelves, stream) for stream in streams), key=lambda piece: piece.id):
            if piece.id in skip:
                continue
            if chosen and size + piece.size > limit_bytes:
                return chosen
            chosen.append(piece)
            size += piece.size
    return chosen


def of_stream(shelves: Shelves, stream: str) -> Iterator[Piece]:
    """Yield the waiting blocks of one stream, oldest first; what is acknowledged meanwhile may be left out."""
    epoch, first = 0, 0
    where = f"WHERE stream = ? AND acknowledged = 0 AND (epoch, first) > (?, ?) ORDER BY epoch, first LIMIT {_PAGE}"
    while page := shelves.pieces("block", where, [stream, epoch, first]):
        yield from page
        epoch, first = page[-1].epoch, page[-1].first
