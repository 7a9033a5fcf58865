"""What is known of the times of rows without opening a block: of whose clock, how far they reach, what has changed.

Answers from columns and indices of the tables. Callers hold the transaction.
"""
# ruff: noqa: S608 - table names and numbers of epochs are this room's own; values are always bound

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

from agent.contract.jsonform import MAX_TIME_MS
from agent.store.clocks import EpochClock
from agent.store.pieces import BLOCK, JOURNAL, Piece
from agent.store.schema import whole
from agent.store.shelves import Shelves

_PRINT = 32


def corrected(shelves: Shelves, stream: str, journal: Iterable[Piece] = ()) -> dict[int, EpochClock]:
    """Return the clocks of epochs whose times are wrong, of which there are rows of a stream, or pieces here."""
    clocks = shelves.clocks.corrected()
    if not clocks:
        return {}
    held = {piece.epoch for piece in journal if piece.stream == stream}
    for query in (
        "SELECT epoch FROM stream_state WHERE stream = ? AND rows > 0",
        "SELECT DISTINCT epoch FROM journal WHERE stream = ?",
    ):
        held |= {epoch for (epoch,) in shelves.db.execute(query, [stream]).fetchall()}
    return {epoch: clock for epoch, clock in clocks.items() if epoch in held}


def ends(shelves: Shelves, path: Path, stream: str, apart: Iterable[int]) -> list[tuple[int, int]]:
    """Return the greatest time in the tables of each epoch in `apart`, and that of all others under epoch 0."""
    names = ", ".join(str(int(epoch)) for epoch in apart)
    queries: list[str] = []
    for table in (BLOCK, JOURNAL):
        others = f"SELECT 0, max(end_ms) FROM {table} WHERE stream = ?"
        queries.append(f"{others} AND epoch NOT IN ({names})" if names else others)
        if names:
            queries.append(
                f"SELECT epoch, max(end_ms) FROM {table} WHERE stream = ? AND epoch IN ({names}) GROUP BY epoch"
            )
    found = [row for query in queries for row in shelves.db.execute(query, [stream]).fetchall()]
    return [(whole(epoch, path), whole(end_ms, path)) for epoch, end_ms in found if end_ms is not None]


def fingerprints(shelves: Shelves, stream: str, width_ms: int, since_ms: int) -> dict[int, str]:
    """Return, by number of the span of `width_ms`, what is another whenever its rows may be; see `Reader`."""
    clocks = sorted((epoch, clock.shift_ms, clock.slots_from_ms) for epoch, clock in corrected(shelves, stream).items())
    # Answered by the index alone. The number of a block is never given again: what is added has the greatest.
    query = (
        "SELECT start_ms / ?, end_ms / ?, count(*), max(id) FROM block WHERE stream = ? AND end_ms >= ?"
        " AND end_ms <= ? AND start_ms >= 0 GROUP BY 1, 2 ORDER BY 1, 2"
    )
    found: dict[int, list[list[int]]] = {}
    values = [width_ms, width_ms, stream, since_ms, MAX_TIME_MS]
    for first, last, count, newest in shelves.db.execute(query, values).fetchall():
        for number in range(first, last + 1):
            found.setdefault(number, []).append([first, last, count, newest])
    for piece in shelves.journal_of(stream, since_ms, MAX_TIME_MS):
        for number in range(piece.start_ms // width_ms, piece.end_ms // width_ms + 1):
            found.pop(number, None)
    return {
        number: hashlib.sha256(json.dumps([groups, clocks]).encode()).hexdigest()[:_PRINT]
        for number, groups in found.items()
    }
