"""What waits for the centre: in which order blocks leave, and which an acknowledgement covers."""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from agent.contract.acknowledgement import Mark
from agent.contract.blocks import Block
from agent.contract.topics import STREAMS
from agent.store.pieces import Piece
from agent.store.shelves import Shelves

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
        for piece in heapq.merge(*(_of(shelves, stream) for stream in streams), key=lambda piece: piece.id):
            if piece.id in skip:
                continue
            if chosen and size + piece.size > limit_bytes:
                return chosen
            chosen.append(piece)
            size += piece.size
    return chosen


def _of(shelves: Shelves, stream: str) -> Iterator[Piece]:
    epoch, first = 0, 0
    where = f"WHERE stream = ? AND acknowledged = 0 AND (epoch, first) > (?, ?) ORDER BY epoch, first LIMIT {_PAGE}"
    while page := shelves.pieces("block", where, [stream, epoch, first]):
        yield from page
        epoch, first = page[-1].epoch, page[-1].first


def covered(shelves: Shelves, mark: Mark) -> list[Piece]:
    """Return the waiting blocks whose every row is safe under `mark`."""
    where = "WHERE stream = ? AND epoch = ? AND acknowledged = 0 AND first <= ? ORDER BY first"
    pieces = shelves.pieces("block", where, [mark.stream, mark.epoch, mark.high])
    return [piece for piece in pieces if mark.covers(piece.first, piece.last)]


def uncovered(shelves: Shelves, marks: Sequence[Mark]) -> list[Piece]:
    """Return the acknowledged blocks of which a row is not safe under `marks`."""
    by_place = {(mark.stream, mark.epoch): mark for mark in marks}

    def is_safe(piece: Piece) -> bool:
        mark = by_place.get((piece.stream, piece.epoch))
        return mark is not None and mark.covers(piece.first, piece.last)

    return [piece for piece in shelves.pieces("block", "WHERE acknowledged = 1", []) if not is_safe(piece)]
