"""Looks at every block in turn, so that damage shows while its rows can still be told, and not when they are wanted.

SQLite's own check misses a flipped bit in a value, a number or a flag. Decides what is wrong with a block: one that
does not open is set apart alone; where a row, an index or a counter contradicts what opens, nothing in the file can be
relied on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from agent.contract.errors import RejectedError
from agent.store.pieces import BLOCK, Piece
from agent.store.schema import DamagedError
from agent.store.shelves import Shelves

MOST_BLOCKS = 16  # of a step
_WHOLE_STEP = 2**20  # bytes
_AT, _DONE_MS = "scrub_at", "scrubbed_ms"
_KEY = "stream = ?2 AND epoch = ?3 AND first = ?4"
# The flag as the row says it, and which row each index names for what the row says: it is to be this one. It is not
# asked for by its number, since a damaged entry compares by one number and gives another.
_SAID = f"""
SELECT acknowledged,
  (SELECT id FROM block INDEXED BY block_place WHERE {_KEY}),
  (SELECT id FROM block INDEXED BY block_waiting WHERE {_KEY} AND acknowledged = 0),
  ?1 IN (SELECT id FROM block INDEXED BY block_time WHERE stream = ?2 AND end_ms = ?5 AND start_ms = ?6)
FROM block WHERE id = ?1
"""  # noqa: S608 - this module's own text


class Scrub:
    """Goes over the blocks by their number, again and again.

    Args:
        shelves: what is looked at; changes of counters are followed.
        path: of the database, for messages.
        now_ms: plant clock.
        damaged: takes what does not open.
        whole: begin with the first block, not where the last one ended; nothing changes meanwhile.

    Attributes:
        finished_ms: when every block had been looked at last; 0 before.
    """

    def __init__(
        self,
        shelves: Shelves,
        path: Path,
        now_ms: Callable[[], int],
        damaged: list[tuple[Piece, str]],
        *,
        whole: bool = False,
    ) -> None:
        self._shelves, self._path, self._now_ms, self._damaged = shelves, path, now_ms, damaged
        self._at = 0 if whole else shelves.counters.get(_AT)
        self.finished_ms = 0 if whole else shelves.counters.get(_DONE_MS)
        self._noted = self._at, self.finished_ms
        # Rows, and of what waits rows, blocks and bytes, of what this pass has been over; None where it began earlier.
        self._sums: dict[tuple[str, int], list[int]] | None = None if self._at else {}
        self._doubtful: set[tuple[str, int]] = set()
        self._alone = whole
        shelves.follow(self._count)

    def step(self, budget_bytes: int) -> int:
        """Look at the next blocks, at one at least, and return at how many; 0 at the end of a pass.

        Raises:
            DamagedError: when the file contradicts itself.
            StorageError: when it cannot be read.
        """
        pieces = self._shelves.pieces(BLOCK, f"WHERE id > ? ORDER BY id LIMIT {MOST_BLOCKS}", [self._at])
        if not pieces:
            self._end_pass()
        looked = 0
        for piece in pieces:
            looked += 1
            waits = self._look(piece)
            self._at = piece.id
            self._add(piece, piece.count, int(waits))
            budget_bytes -= piece.size
            if budget_bytes <= 0:
                break
        return looked

    def note(self) -> None:
        """Keep, in a transaction, how far it is: seldom, since each writes to the disk."""
        now = self._at, self.finished_ms
        if now != self._noted:
            self._shelves.counters.set(_AT, self._at)
            self._shelves.counters.set(_DONE_MS, self.finished_ms)
            self._noted = now

    def _look(self, piece: Piece) -> bool:
        """Return whether a block waits for the centre."""
        values = [piece.id, piece.stream, piece.epoch, piece.first, piece.end_ms, piece.start_ms]
        said = self._shelves.db.execute(_SAID, values).fetchone()
        if said is None:  # another number in its row than the one by which it is found
            raise self._contradiction("its number", piece)
        acknowledged, placed, waiting, timed = said
        waits = not acknowledged
        if placed != piece.id or not timed or waiting != (piece.id if waits else None):
            raise self._contradiction("an index", piece)
        before, after = self._shelves.neighbours(piece)
        if (before and before.last >= piece.first) or (after and after.first <= piece.last):
            raise self._contradiction("another block", piece)
        try:
            self._shelves.open(piece)
        except RejectedError as exc:
            self._damaged.append((piece, exc.what))
        return waits

    def _contradiction(self, what: str, piece: Piece) -> DamagedError:
        rows = f"rows {piece.first}..{piece.last} of {piece.stream}"
        return DamagedError(f"is damaged ({what} contradicts {rows})", where=str(self._path))

    # -- counters -------------------------------------------------------------------------------------------------

    def _count(self, piece: Piece, rows: int, waiting: int) -> None:
        """Follow a change of the counters for a block that this pass has been over."""
        if piece.place == BLOCK and piece.id <= self._at:
            self._add(piece, rows, waiting)

    def _add(self, piece: Piece, rows: int, waiting: int) -> None:
        if self._sums is not None:
            sums = self._sums.setdefault((piece.stream, piece.epoch), [0, 0, 0, 0])
            for number, amount in enumerate((rows, waiting * piece.count, waiting, waiting * piece.size)):
                sums[number] += amount

    def _end_pass(self) -> None:
        """Compare the counters with what was looked at.

        Sums are wrong after a transaction that failed: what differs twice is counted anew, block by block. So is what
        differs once where nobody writes between.
        """
        if self._sums is not None:
            differ = set()
            for state in self._shelves.states():
                kept = [state.rows, state.waiting_rows, state.waiting_blocks, state.waiting_bytes]
                place = state.stream, state.epoch
                if kept == self._sums.get(place, [0, 0, 0, 0]):
                    continue
                differ.add(place)
                if (self._alone or place in self._doubtful) and kept != self._shelves.counted(*place):
                    raise DamagedError(
                        f"is damaged (a counter contradicts the blocks of {state.stream})", where=str(self._path)
                    )
            self._doubtful = differ
        self._at, self._sums, self.finished_ms = 0, {}, self._now_ms()


@dataclass(frozen=True, slots=True)
class Verified:
    """What looking at every block has found.

    Attributes:
        blocks: that were looked at.
        damaged: those that do not open, each in words.
        contradiction: why the file as a whole cannot be relied on; empty where it can.
    """

    blocks: int
    damaged: tuple[str, ...]
    contradiction: str


def look_over(shelves: Shelves, path: Path, progress: Callable[[int], None]) -> Verified:
    """Look at every block, in one transaction.

    Args:
        shelves: what is looked at.
        path: of the database, for messages.
        progress: called now and then with the number of blocks looked at.
    """
    damaged: list[tuple[Piece, str]] = []
    blocks, contradiction = 0, ""
    scrub = Scrub(shelves, path, lambda: 1, damaged, whole=True)
    try:
        while not scrub.finished_ms:
            blocks += scrub.step(_WHOLE_STEP)
            progress(blocks)
        shelves.check_trust()
    except DamagedError as exc:
        contradiction = exc.what
    found = [f"rows {piece.first}..{piece.last} of {piece.stream}: {what}" for piece, what in damaged]
    return Verified(blocks, tuple(found), contradiction)
