"""The store in numbers, by counters and a few look-ups in an index: never by counting rows."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from agent.contract.topics import STREAMS
from agent.store.clocks import EpochClock
from agent.store.damage import aside
from agent.store.damage.salvagelog import SalvageLog, SalvageState
from agent.store.pieces import BLOCK, Piece
from agent.store.retention import KEPT
from agent.store.shelves import Shelves


@dataclass(frozen=True, slots=True)
class StoreStats:
    """What can be told of a store at any time.

    Attributes:
        epoch, boot: of the writer; the newest epoch on disk and 0 when read without one.
        rows: rows on disk of each stream.
        pending_rows: rows in memory, not durable yet.
        backlog_rows, backlog_blocks, backlog_bytes: durable and not acknowledged; rows include the journal.
        oldest_unacknowledged_ms: time of the oldest of them.
        bytes_on_disk: the database with its log.
        evicted_rows: given up unacknowledged, each declared by a gap event.
        quarantined: damaged blocks that were set apart.
        storage_error: why the disk cannot be written at present; empty when it can.
        set_aside: names of damaged files that lie beside the store.
        salvage: how far each of them was salvaged.
        scrubbed_ms: when every block had been looked at last; 0 before.
        kept_bytes: of alerts, events and slots that wait for the centre.
        written_today_bytes, written_yesterday_bytes: to the disk by this agent, in days of UTC; 0 without a writer.
    """

    epoch: int
    boot: int
    rows: dict[str, int]
    pending_rows: int
    backlog_rows: int
    backlog_blocks: int
    backlog_bytes: int
    oldest_unacknowledged_ms: int | None
    bytes_on_disk: int
    evicted_rows: int
    quarantined: int
    storage_error: str = ""
    set_aside: tuple[str, ...] = field(default=())
    salvage: tuple[SalvageState, ...] = field(default=())
    scrubbed_ms: int = 0
    kept_bytes: int = 0
    written_today_bytes: int = 0
    written_yesterday_bytes: int = 0

    @classmethod
    def unknown(cls) -> StoreStats:
        """What is said while the disk cannot be read."""
        return cls(0, 0, dict.fromkeys(STREAMS, 0), 0, 0, 0, 0, None, 0, 0, 0)


def stats_of(shelves: Shelves, path: Path) -> StoreStats:
    """Return what is on disk in numbers, in a transaction; `path` is the database file's."""
    journal = shelves.journal()
    states = shelves.states()
    rows = dict.fromkeys(STREAMS, 0)
    for state in states:
        rows[state.stream] += state.rows
    for piece in journal:
        rows[piece.stream] += piece.count
    there = aside.names(path)
    oldest = [piece for stream in STREAMS for piece in _oldest_waiting(shelves, stream)] + journal
    clocks = shelves.clocks.corrected()
    starts = [piece.start_ms + clocks.get(piece.epoch, EpochClock()).shift_ms for piece in oldest]
    return StoreStats(
        epoch=newest_epoch(shelves),
        boot=0,
        rows=rows,
        pending_rows=0,
        backlog_rows=sum(state.waiting_rows for state in states) + sum(piece.count for piece in journal),
        backlog_blocks=sum(state.waiting_blocks for state in states),
        backlog_bytes=sum(state.waiting_bytes for state in states) + sum(piece.size for piece in journal),
        oldest_unacknowledged_ms=min(starts, default=None),
        bytes_on_disk=_size(path),
        kept_bytes=sum(state.waiting_bytes for state in states if state.stream in KEPT),
        evicted_rows=shelves.counters.get("evicted_rows"),
        quarantined=shelves.counters.get("quarantined"),
        set_aside=tuple(sorted(there)),
        salvage=tuple(state for state in SalvageLog(shelves.db).states() if state.name in there),
        scrubbed_ms=shelves.counters.get("scrubbed_ms"),
    )


def newest_epoch(shelves: Shelves) -> int:
    """Return the newest epoch on disk, 0 in an empty store."""
    states = [state.epoch for state in shelves.states()]
    journal = [piece.epoch for piece in shelves.journal()]
    return max(states + journal, default=0)


def _oldest_waiting(shelves: Shelves, stream: str) -> list[Piece]:
    where = "WHERE stream = ? AND acknowledged = 0 ORDER BY epoch, first LIMIT 1"
    return shelves.pieces(BLOCK, where, [stream])


def _size(path: Path) -> int:
    names = (path.name, f"{path.name}-wal", f"{path.name}-shm", f"{path.name}-ring")
    return sum(file.stat().st_size for file in map(path.with_name, names) if file.exists())
