"""Rows -> slots: the grid that a file's rows lie on, and what each slot is worth.

Pure. Decides when a slot counts as known; which rows there are is decided before, what to do about wrong values after.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from agent.contract.errors import ConfigError
from agent.contract.features import Floats, Ints
from agent.contract.loadcsv import Columns
from agent.contract.slots import MIN_COMPLETENESS, SLOT_LENGTHS_S, check_slot_length
from agent.contract.zones import utc_iso

MAX_SLOTS = 4_000_000
_JITTER = 0.05
_RUN = 8  # equal steps in a row are another interval; fewer are rows that are missing


@dataclass(frozen=True, eq=False)
class Grid:
    """Consecutive slots, and the slot of each row of a file.

    Attributes:
        start_ms: start of the first slot.
        slot_s: slot length.
        count: T, how many slots there are.
        rows: [N] the slot of each row.
        interval_ms: the commonest step of the rows; at most a slot.
        covers_ms: [N] what each row covers: longer than `interval_ms` where rows come more rarely.
    """

    start_ms: int
    slot_s: int
    count: int
    rows: Ints
    interval_ms: int
    covers_ms: Ints

    @property
    def end_ms(self) -> int:
        """The instant at which the last slot is over."""
        return self.start_ms + self.count * self.slot_s * 1000

    def slots_of(self, times_ms: Iterable[int]) -> tuple[int, ...]:
        """Return the starts of the slots in which instants lie, ascending, each once."""
        length_ms = self.slot_s * 1000
        return tuple(sorted({time_ms - (time_ms - self.start_ms) % length_ms for time_ms in times_ms}))

    def cut_slots(self) -> tuple[int, ...]:
        """Return the starts of the first and last slot where rows do not fill them: the file begins or ends there."""
        ends = ((0, self.start_ms), (self.count - 1, self.end_ms - self.slot_s * 1000))
        shares = self._shares()
        return tuple(start_ms for slot, start_ms in ends if shares[self.rows == slot].sum() < self._full())

    def means(self, values: Floats) -> Floats:
        """Return the mean of each slot [T] over its known rows [N]; NaN when they cover less than half of it."""
        known = np.isfinite(values)
        shares = self._shares()[known]
        total = np.bincount(self.rows[known], values[known] * shares, minlength=self.count)
        covered = np.bincount(self.rows[known], shares, minlength=self.count)
        return np.where(covered >= MIN_COMPLETENESS * self._full(), total / np.maximum(covered, 1), np.nan)

    def _shares(self) -> Floats:
        """How many intervals each row [N] covers of its slot: 1.0 but for rows that come more rarely."""
        return np.minimum(self.covers_ms, self.slot_s * 1000) / self.interval_ms

    def _full(self) -> float:
        """How many intervals make a slot."""
        return self.slot_s * 1000 / self.interval_ms


def slot_length(interval_s: float, wanted_s: int | None, where: str, *, exact: bool) -> int:
    """Return the slot length for rows of an interval: the one wanted, or the interval itself.

    Args:
        interval_s: commonest step of the rows.
        wanted_s: by the operator; None for what the rows give.
        where: the file's name.
        exact: rows fill slots; else (readings of a register) their times may vary a little.

    Raises:
        ConfigError: when the interval is no slot length in use, or does not divide the one wanted.
    """
    minutes = ", ".join(str(length // 60) for length in SLOT_LENGTHS_S)
    if interval_s <= 0:
        raise ConfigError("has one row only", where=where, todo="Give at least two weeks of load")
    if not exact:
        near = min(SLOT_LENGTHS_S, key=lambda length: abs(length - interval_s))
        if abs(near - interval_s) <= _JITTER * near:
            interval_s = near
        elif wanted_s is not None and interval_s <= check_slot_length(wanted_s):
            return wanted_s
    if wanted_s is None:
        if interval_s not in SLOT_LENGTHS_S:
            raise ConfigError(
                f"has a row every {interval_s:g} s, which is not a slot length in use",
                where=where,
                todo=f"Give a file with a row every {minutes} min; of rows that divide these, import makes slots by "
                "--slot-minutes",
            )
        return int(interval_s)
    slot_s = check_slot_length(wanted_s)
    if slot_s % interval_s:
        raise ConfigError(
            f"has a row every {interval_s:g} s, which does not divide a slot of {slot_s // 60} min",
            where=where,
            todo=f"Give --slot-minutes, one of {minutes} that is a multiple of the interval",
        )
    return slot_s


def make_grid(table: Columns, interval_s: float, slot_s: int, where: str, *, aligned: bool, exact: bool) -> Grid:
    """Lay rows, each over one interval from its time on, on consecutive slots.

    Args:
        table: N rows in order of time.
        interval_s: what a row covers.
        slot_s: slot length, a multiple of it.
        where: the file's name.
        aligned: slots begin at whole multiples of their length in UTC, as those of devices do; else wherever most
            rows are (hourly data of a zone with half an hour in its offset).
        exact: rows must be on the grid of the interval.

    Raises:
        ConfigError: when a row is off the grid, or the span beyond reason.
    """
    interval_ms, slot_ms = round(interval_s * 1000), slot_s * 1000
    phase_ms = 0 if aligned else _phase(table.times_ms, interval_ms, slot_ms)
    off = off_grid(table.times_ms, interval_ms, phase_ms)
    if exact and len(off):
        raise ConfigError(
            f"time {utc_iso(int(table.times_ms[off[0]]))} is off the grid of {interval_ms / 1000:g} s",
            where=f"{where} {table.place} {int(table.lines[off[0]])}",
            todo=_onto_grid(table.times_ms, interval_ms),
        )
    slots = (table.times_ms - phase_ms) // slot_ms
    count = int(slots[-1] - slots[0]) + 1
    if count > MAX_SLOTS:
        raise ConfigError(f"spans {count} slots where at most {MAX_SLOTS} are read", where=where, todo="Split the file")
    covers_ms = _covered(table.times_ms, interval_ms) if exact else np.full(len(slots), interval_ms)
    return Grid(int(slots[0]) * slot_ms + phase_ms, slot_s, count, slots - slots[0], interval_ms, covers_ms)


def off_grid(times_ms: Ints, interval_ms: int, phase_ms: int = 0) -> Ints:
    """Return the rows whose time is no whole number of intervals."""
    return np.flatnonzero((times_ms - phase_ms) % interval_ms)


def _onto_grid(times_ms: Ints, interval_ms: int) -> str:
    """What to do about rows off the grid; hours of a zone with half an hour in its offset need shorter rows."""
    phase_ms = int(times_ms[0]) % interval_ms
    part_ms = math.gcd(interval_ms, phase_ms)
    if not len(off_grid(times_ms, interval_ms, phase_ms)) and part_ms / 1000 in SLOT_LENGTHS_S:
        return (
            f"Slots begin at whole intervals in UTC: write each row as {interval_ms // part_ms} rows of "
            f"{part_ms // 60_000} min with the same power, or a like part of the energy"
        )
    return (
        "Give each row the start of its interval, on whole intervals in UTC; where the interval changes, give two files"
    )


def _covered(times_ms: Ints, interval_ms: int) -> Ints:
    """What each row [N] covers: the step of the run of equal steps that it is in, or that was last before it."""
    steps = np.diff(times_ms, append=times_ms[-1])  # the last row has no step: it is as those before it
    begins = np.flatnonzero(np.diff(steps, prepend=-1))
    lengths = np.diff(begins, append=len(steps))
    runs = (lengths >= _RUN) & (steps[begins] >= interval_ms)
    if not runs.any():
        return np.full(len(times_ms), interval_ms)
    latest = np.maximum.accumulate(np.where(runs, np.arange(len(begins)), np.argmax(runs)))
    covers: Ints = np.repeat(steps[begins][latest], lengths)
    return covers


def _phase(times_ms: Ints, interval_ms: int, slot_ms: int) -> int:
    """Where in a slot's length slots begin: with rows of a whole slot where most rows do, else at zero."""
    if interval_ms != slot_ms:
        return 0
    phases, counts = np.unique(times_ms % slot_ms, return_counts=True)
    return int(phases[int(np.argmax(counts))])
