"""Rows with faults of time: which are kept when the operator asks for repair, and what is noted about the others.

Pure. Without that request a file with such a fault is refused: a doubled or backward time most often says that the
frame of the file was given wrongly.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field

import numpy as np

from agent.contract.errors import ConfigError
from agent.contract.features import Ints
from agent.contract.loadcsv import MAX_STEP_MS, Columns
from agent.contract.zones import utc_iso
from trainer.dataset.flags import Flag

_MOST_FAULTS, _ALWAYS_FAULTS = 0.01, 10  # share of the rows, and as many in any case


@dataclass
class Faults:
    """What was left out of a file.

    Attributes:
        noted: flag, line or row, and words for each fault.
    """

    noted: list[tuple[Flag, int, str]] = field(default_factory=list)

    def excuse(self, line: int, column: str | None, error: ConfigError) -> None:
        """Take note of a row that `agent.contract.loadcsv.read_rows` could not read."""
        self.noted.append((Flag.CLOCK if column is None else Flag.VALUE, line, error.what))

    def times(self, table: Columns) -> dict[Flag, list[int]]:
        """Return for each flag the instants of its faults: of the kept row at or above each of them."""
        found: dict[Flag, list[int]] = {}
        for flag, line, _ in self.noted:
            at = max(0, int(np.searchsorted(table.lines, line, side="right")) - 1)
            found.setdefault(flag, []).append(int(table.times_ms[at]))
        return found


def repaired(table: Columns, faults: Faults, where: str) -> Columns:
    """Return the longest part of the rows whose times ascend; the others are noted, as are mistyped years.

    Raises:
        ConfigError: when more than a hundredth of the rows is at fault: that is no slip but another file.
    """
    kept = _ascending(table.times_ms)
    out = np.setdiff1d(np.arange(len(table.times_ms)), kept)
    twice = np.isin(table.times_ms[out], table.times_ms[kept])
    for row, double in zip(out.tolist(), twice.tolist(), strict=True):
        words = "stands twice" if double else "is out of order"
        flag = Flag.DUPLICATE if double else Flag.CLOCK
        faults.noted.append((flag, int(table.lines[row]), f"time {utc_iso(int(table.times_ms[row]))} {words}"))
    kept = _without_far_ends(table, kept, faults, where)
    total = len(kept) + len(faults.noted)
    if len(faults.noted) > max(_ALWAYS_FAULTS, _MOST_FAULTS * total):
        flag, line, words = min(faults.noted, key=lambda fault: fault[1])
        raise ConfigError(
            f"{len(faults.noted)} of {total} rows are at fault, too many to leave out; the first: {words}",
            where=f"{where} {table.place} {line}",
            todo="Sort the file by time; check --timestamps-in" if flag is not Flag.VALUE else "Correct the file",
        )
    return take_rows(table, kept)


def take_rows(table: Columns, rows: Ints) -> Columns:
    """Return some of the rows."""
    values = {name: column[rows] for name, column in table.values.items()}
    return Columns(table.times_ms[rows], table.lines[rows], values, table.place)


def _ascending(times_ms: Ints) -> Ints:
    """Rows of the longest strictly ascending part; of rows with one time the first."""
    ends: list[int] = []  # least last time of an ascending part of each length
    rows: list[int] = []
    before = np.full(len(times_ms), -1, dtype=np.int64)
    for row, time_ms in enumerate(times_ms.tolist()):
        at = bisect_left(ends, time_ms)
        if at < len(ends) and ends[at] == time_ms:
            continue
        before[row] = rows[at - 1] if at else -1
        ends[at : at + 1] = [time_ms]
        rows[at : at + 1] = [row]
    chain = [rows[-1]]
    while before[chain[-1]] >= 0:
        chain.append(int(before[chain[-1]]))
    return np.array(chain[::-1], dtype=np.int64)


def _without_far_ends(table: Columns, kept: Ints, faults: Faults, where: str) -> Ints:
    """Leave out the few rows on one side of a step of years."""
    while len(wide := np.flatnonzero(np.diff(table.times_ms[kept]) > MAX_STEP_MS)):
        cut = int(wide[0]) + 1
        few, kept = (kept[:cut], kept[cut:]) if 2 * cut <= len(kept) else (kept[cut:], kept[:cut])
        if len(few) > max(_ALWAYS_FAULTS, _MOST_FAULTS * len(kept)):
            raise ConfigError(
                f"time {utc_iso(int(table.times_ms[few[0]]))} lies years from its neighbours, as do {len(few)} rows",
                where=f"{where} {table.place} {int(table.lines[few[0]])}",
                todo="Correct the year, or give the parts as two files",
            )
        faults.noted += [
            (Flag.CLOCK, int(table.lines[row]), f"time {utc_iso(int(table.times_ms[row]))} is years away")
            for row in few.tolist()
        ]
    return kept
