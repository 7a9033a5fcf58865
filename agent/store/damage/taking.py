"""Which rows of a block that was found are missing here, and how they are written: whole as sealed, or packed anew."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping

from agent.contract.blocks import Block, BlockHeader, decode_rows
from agent.contract.corrections import KIND, read_correction
from agent.contract.errors import RejectedError
from agent.store import packing
from agent.store.damage.salvagelog import End, Place
from agent.store.marks import Span, without
from agent.store.pieces import BLOCK, Piece
from agent.store.shelves import Shelves

_SMALL_ROWS = 100  # what waited for its block is packed
_PAGE = 512


class Held:
    """Which rows are held, as long as a transaction lasts."""

    def __init__(self, shelves: Shelves) -> None:
        self._shelves = shelves
        self._journal: dict[Place, list[Span]] = {}
        for piece in shelves.journal():
            self._journal.setdefault((piece.epoch, piece.stream), []).append((piece.first, piece.last))

    def missing(self, place: Place, first: int, last: int) -> tuple[list[Span], int]:
        """Return which rows of a range are not held, and how far that was looked at: not always to its end."""
        epoch, stream = place
        where = "WHERE stream = ? AND epoch = ? AND first <= ? ORDER BY first DESC LIMIT 1"
        before = self._shelves.pieces(BLOCK, where, [stream, epoch, first])
        where = f"WHERE stream = ? AND epoch = ? AND first > ? AND first <= ? ORDER BY first LIMIT {_PAGE}"
        after = self._shelves.pieces(BLOCK, where, [stream, epoch, first, last])
        if len(after) == _PAGE:
            last = min(last, after[-1].last)
        spans = [(piece.first, piece.last) for piece in [*before, *after]] + self._journal.get(place, [])
        return without((first, last), spans), last


class Taking:
    """What is taken in one transaction.

    Attributes:
        blocks, rows: that were taken.
        seen: the least and greatest number of each stream that was taken, or is held and was found.
    """

    def __init__(self, shelves: Shelves, ends: Mapping[Place, End]) -> None:
        self._shelves, self._ends = shelves, ends
        self._held, self._marks = Held(shelves), shelves.marks.all()
        self._small: dict[Piece, Block] = {}
        self.seen: dict[Place, Span] = {}
        self.blocks = self.rows = 0

    def missing(self, place: Place, first: int, last: int) -> list[Span]:
        """Return which of these rows are not held; none beyond the end of the stream where that is known exactly."""
        end = self._ends.get(place)
        if end is not None and end.exact:
            last = min(last, end.last)
        spans: list[Span] = []
        while first <= last:
            more, through = self._held.missing(place, first, last)
            spans, first = spans + more, through + 1
        taken = [(one.first, one.last) for one in self._small if (one.epoch, one.stream) == place]
        return [left for span in spans for left in without(span, taken)]

    def put(self, block: Block, data: bytes) -> bool:
        """Take what is missing of a block that is sealed as `data`; return whether its rows could be read."""
        head = block.header
        place = head.epoch, head.stream
        spans = self.missing(place, head.first, head.last)
        if spans == [(head.first, head.last)] and head.count > _SMALL_ROWS:
            self._added(self._shelves.put_sealed(block, data))
        else:
            try:
                parts = [packing.part(block, *span) for span in spans]
            except RejectedError:
                return False
            self._small |= {_piece(part.header): part for part in parts}
        if head.stream == "events":
            self._learn(block)
        self.blocks += 1
        self.rows += sum(last - first + 1 for first, last in spans)
        self.see(place, head.first, head.last)
        return True

    def _learn(self, block: Block) -> None:
        """Corrections of a clock come back with their events."""
        with contextlib.suppress(RejectedError):
            for row in decode_rows(block):
                if row.get("kind") == KIND:
                    self._shelves.clocks.learn(*read_correction(row), block.header.epoch)

    def see(self, place: Place, first: int, last: int) -> None:
        """Note that these rows were found and are held."""
        low, high = self.seen.get(place, (first, last))
        self.seen[place] = min(first, low), max(last, high)

    def finish(self) -> None:
        """Write what was gathered."""
        for run in packing.runs(self._small):
            self._added(self._shelves.put_block(packing.join([self._small[piece] for piece in run])))

    def _added(self, piece: Piece) -> None:
        """What the centre is known to hold need not be sent again."""
        mark = self._marks.get((piece.stream, piece.epoch))
        if mark is not None and mark.covers(piece.first, piece.last):
            self._shelves.acknowledge([piece])


def _piece(head: BlockHeader) -> Piece:
    place = (head.stream, head.epoch, head.boot, head.first, head.last, head.start_ms, head.end_ms)
    return Piece("found", 0, *place, 0)
