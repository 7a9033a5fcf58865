"""What the centre's marks say of the blocks here: which are safe, which it lacks, which rows nobody has any more.

Chooses only. No transaction; never a look at every block for one acknowledgement.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from agent.contract.acknowledgement import Mark
from agent.store.pieces import Piece
from agent.store.shelves import Shelves

Span = tuple[int, int]  # first and last sequence number
_PAGE = 256
_PLACE = "WHERE stream = ?1 AND epoch = ?2"
_BEFORE = "SELECT coalesce(max(first), 0) FROM block WHERE stream = ?1 AND epoch = ?2 AND first <= ?3"


def covered(shelves: Shelves, mark: Mark) -> list[Piece]:
    """Return the waiting blocks whose every row is safe under `mark`."""
    where = f"{_PLACE} AND acknowledged = 0 AND first BETWEEN ?3 AND ?4 AND last <= ?4 ORDER BY first"
    return [piece for span in mark.safe() for piece in shelves.pieces("block", where, [mark.stream, mark.epoch, *span])]


def uncovered(shelves: Shelves, marks: Sequence[Mark]) -> Iterator[list[Piece]]:
    """Yield, a page at a time, the acknowledged blocks of which a row is not safe under `marks`."""
    by_place = {(mark.stream, mark.epoch): mark for mark in marks}
    where = f"{_PLACE} AND acknowledged = 1 AND first > ?3 ORDER BY first LIMIT {_PAGE}"
    for state in shelves.states():
        if state.rows == state.waiting_rows:
            continue
        mark, first = by_place.get((state.stream, state.epoch)), 0
        while page := shelves.pieces("block", where, [state.stream, state.epoch, first]):
            yield [piece for piece in page if mark is None or not mark.covers(piece.first, piece.last)]
            first = page[-1].first


def unaccounted(shelves: Shelves, mark: Mark) -> list[Span]:
    """Return what the centre misses below `mark.high` although nothing of this stream and epoch waits for it.

    While something waits, what is missing may be on its way; to tell would mean to look at the whole backlog.
    """
    if not mark.missing:
        return []
    return [] if shelves.waiting_blocks(mark.stream, mark.epoch) else list(mark.missing)


def meeting(shelves: Shelves, stream: str, epoch: int, span: Span) -> list[Piece]:
    """Return the blocks that hold a row of `span`."""
    where = f"{_PLACE} AND first BETWEEN ({_BEFORE}) AND ?4 AND last >= ?3 ORDER BY first"
    return shelves.pieces("block", where, [stream, epoch, *span])


def without(span: Span, held: Iterable[Span]) -> list[Span]:
    """Return what of `span` lies in none of `held`."""
    left: list[Span] = []
    at, end = span
    for first, last in sorted(held):
        if first > at and at <= end:
            left.append((at, min(first - 1, end)))
        at = max(at, last + 1)
    return [*left, (at, end)] if at <= end else left
