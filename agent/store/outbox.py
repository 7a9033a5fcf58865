"""What waits for the centre, and in which order it leaves."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from agent.contract.blocks import Block
from agent.contract.topics import STREAMS
from agent.store import unopened
from agent.store.pieces import Piece
from agent.store.shelves import Shelves

_PAGE = 256


@dataclass(frozen=True, slots=True)
class StoredBlock:
    """One block on its way. `id` names it for as long as it is in this store; `backlog`: others go before it."""

    id: int
    block: Block
    backlog: bool = False


def waiting(
    shelves: Shelves,
    *,
    limit_bytes: int,
    skip: Collection[int],
    now_streams: Sequence[str],
    live_from_ms: int,
    backlog: bool,
) -> list[tuple[Piece, bool]]:
    """Choose blocks, each with whether it is backlog.

    First `now_streams`, one after the other; then what reaches to `live_from_ms`; then, when `backlog` is set, the
    rest; the oldest first.
    About `limit_bytes` of the first and as much of all else, of either at least one: those that the centre refuses
    must not take the place of the others.
    """
    rest = [stream for stream in STREAMS if stream not in now_streams]
    live = sorted((piece for stream in rest for piece in _since(shelves, stream, live_from_ms)), key=_by_id)
    taken = {*skip}
    chosen: list[tuple[Piece, bool]] = []
    at_once = ((piece, False) for stream in now_streams for piece in of_stream(shelves, stream))
    others = itertools.chain(
        ((piece, False) for piece in live), ((piece, True) for piece in _oldest(shelves, rest if backlog else ()))
    )
    for pieces in (at_once, others):
        size = 0
        for piece, is_old in pieces:
            if piece.id in taken:
                continue
            if size and size + piece.size > limit_bytes:
                break
            chosen.append((piece, is_old))
            taken.add(piece.id)
            size += piece.size
    return chosen


def _by_id(piece: Piece) -> int:
    return piece.id


def _oldest(shelves: Shelves, streams: Sequence[str]) -> Iterator[Piece]:
    return heapq.merge(*(of_stream(shelves, stream) for stream in streams), key=_by_id)


def _since(shelves: Shelves, stream: str, time_ms: int) -> list[Piece]:
    # The + keeps SQLite from going through the whole backlog by the other index.
    # What a wrong clock stamped goes with the backlog, wherever its times lie.
    apart = ", ".join(map(str, unopened.corrected(shelves, stream))) or "0"
    state = f"+acknowledged = 0 AND epoch NOT IN ({apart})"
    where = f"WHERE stream = ? AND end_ms >= ? AND {state} ORDER BY end_ms LIMIT {_PAGE}"
    return shelves.pieces("block", where, [stream, time_ms])


def of_stream(shelves: Shelves, stream: str) -> Iterator[Piece]:
    """Yield the waiting blocks of one stream, oldest first; what is acknowledged meanwhile may be left out."""
    epoch, first = 0, 0
    where = f"WHERE stream = ? AND acknowledged = 0 AND (epoch, first) > (?, ?) ORDER BY epoch, first LIMIT {_PAGE}"
    while page := shelves.pieces("block", where, [stream, epoch, first]):
        yield from page
        epoch, first = page[-1].epoch, page[-1].first
