"""What leaves the store and in which order (the published order stands in README.md). Chooses; does not delete."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from agent.contract.rows import gap_row
from agent.store import unopened
from agent.store.pieces import Piece
from agent.store.shelves import Shelves

DAY_MS = 86_400_000
RAW = "readings"
SPARE = ("health", "forecasts", "costs")
KEPT = ("alerts", "events", "slots")  # never given up unacknowledged
KEEP_SPARE_DAYS = 62  # the month so far and the one before it
KEEP_SLOTS_DAYS = 400  # a year to compare with; about 350 bytes a slot
BATCH = 64  # blocks that leave in one transaction

# (streams, acknowledged) in the order in which space is made.
ORDER: tuple[tuple[tuple[str, ...], bool], ...] = (
    ((RAW,), True),
    (SPARE, True),
    ((RAW,), False),
    (SPARE, False),
    (KEPT, True),
)


def used_bytes(shelves: Shelves) -> int:
    """Bytes of the database that hold something; pages that were given back are used again first."""
    return (_pragma(shelves, "page_count") - _pragma(shelves, "freelist_count")) * _pragma(shelves, "page_size")


def spare_bytes(shelves: Shelves) -> int:
    """Bytes of the database that are used again before the file grows."""
    return _pragma(shelves, "freelist_count") * _pragma(shelves, "page_size")


def kept_bytes(shelves: Shelves) -> int:
    """Bytes of alerts, events and slots that wait for the centre."""
    return sum(state.waiting_bytes for state in shelves.states() if state.stream in KEPT)


def safe_readings(shelves: Shelves) -> list[Piece]:
    """Choose a batch of the oldest acknowledged readings."""
    if not _acknowledged_rows(shelves).get(RAW):
        return []
    where = f"WHERE stream = ? AND acknowledged = 1 ORDER BY epoch, first LIMIT {BATCH}"
    return shelves.pieces("block", where, [RAW])


def too_old(shelves: Shelves, before_ms: int) -> list[Piece]:
    """Choose a batch of readings that wait and end before a time."""
    return _ending(shelves, RAW, before_ms, "+acknowledged = 0")


def _pragma(shelves: Shelves, name: str) -> int:
    return int(shelves.db.execute(f"PRAGMA {name}").fetchone()[0])


def aged(shelves: Shelves, now_ms: int, keep_raw_days: float, raw_from_ms: int | None) -> list[Piece]:
    """Choose up to a batch of acknowledged blocks of each stream whose time to stay is over.

    Readings from `raw_from_ms` on stay, however old: what is made of them is not made yet.
    """
    days = {RAW: keep_raw_days, "slots": KEEP_SLOTS_DAYS} | dict.fromkeys((*SPARE, "alerts", "events"), KEEP_SPARE_DAYS)
    chosen: list[Piece] = []
    safe = _acknowledged_rows(shelves)
    for stream, keep in days.items():
        if not safe.get(stream):
            continue
        before_ms = int(now_ms - keep * DAY_MS)
        if stream == RAW and raw_from_ms is not None:
            before_ms = min(before_ms, raw_from_ms)
        chosen += _ending(shelves, stream, before_ms, "acknowledged = 1")
    return chosen


def _ending(shelves: Shelves, stream: str, before_ms: int, state: str) -> list[Piece]:
    """Return up to a batch of blocks that end before a time, by the clock as it is known to have been."""
    shifts = {epoch: clock.shift_ms for epoch, clock in unopened.corrected(shelves, stream).items()}
    apart = ", ".join(map(str, shifts)) or "0"
    where = f"WHERE stream = ? AND end_ms < ? AND {state} AND epoch NOT IN ({apart}) ORDER BY end_ms LIMIT {BATCH}"
    found = shelves.pieces("block", where, [stream, before_ms])
    where = f"WHERE stream = ? AND end_ms < ? AND {state} AND epoch = ? ORDER BY end_ms LIMIT {BATCH}"
    for epoch, shift_ms in shifts.items():
        found += shelves.pieces("block", where, [stream, before_ms - shift_ms, epoch])
    return found


def victims(
    shelves: Shelves, *, only_acknowledged: bool = False, may_take_kept: bool = True
) -> tuple[list[Piece], bool]:
    """Choose the next batch to make space, all of one class, and say whether they are acknowledged."""
    safe = _acknowledged_rows(shelves)
    for streams, acknowledged in ORDER:
        if (only_acknowledged and not acknowledged) or (streams is KEPT and not may_take_kept):
            continue
        for stream in streams:
            if acknowledged and not safe.get(stream):
                continue
            where = f"WHERE stream = ? AND acknowledged = ? ORDER BY epoch, first LIMIT {BATCH}"
            found = shelves.pieces("block", where, [stream, int(acknowledged)])
            if found:
                return found, acknowledged
    return [], True


def _acknowledged_rows(shelves: Shelves) -> dict[str, int]:
    """Rows of each stream that may leave, by counters: in a long outage nobody should search for them in vain."""
    rows: dict[str, int] = {}
    for state in shelves.states():
        rows[state.stream] = rows.get(state.stream, 0) + state.rows - state.waiting_rows
    return rows


def gaps(pieces: Sequence[Piece], reason: str, now_ms: int) -> list[dict[str, object]]:
    """Declare the rows of pieces of one stream lost, neighbours together."""
    ranges: list[tuple[str, int, int, int]] = []
    for piece in sorted(pieces, key=lambda piece: (piece.epoch, piece.first)):
        stream, epoch, first, last = ranges[-1] if ranges else ("", 0, 0, 0)
        if (stream, epoch, last + 1) == (piece.stream, piece.epoch, piece.first):
            ranges[-1] = stream, epoch, first, piece.last
        else:
            ranges.append((piece.stream, piece.epoch, piece.first, piece.last))
    return gap_rows(ranges, reason, now_ms)


def gap_rows(ranges: Iterable[tuple[str, int, int, int]], reason: str, now_ms: int) -> list[dict[str, object]]:
    """Declare ranges lost, each of a stream, an epoch, a first and a last number."""
    return [gap_row(now_ms, *lost, reason) for lost in ranges]
