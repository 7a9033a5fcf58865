"""A file -> the load curve in it: opened, repaired where asked, on the slot grid, in kW. Knows no database.

Decides what kind of quantity a column is: power as it is, the energy of each row, or a running register.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

import numpy as np

from agent.contract.errors import ConfigError
from agent.contract.features import Floats
from agent.contract.loadcsv import Columns, report, scale_values
from agent.contract.zones import utc_iso
from trainer.dataset.counters import count_into_slots
from trainer.dataset.files import read_file
from trainer.dataset.flags import Flag
from trainer.dataset.repairing import Faults, repaired, take_rows
from trainer.dataset.slotting import Grid, make_grid, off_grid, slot_length
from trainer.dataset.snapshot import PV

KW_PER_UNIT = {"W": 1e-3, "kW": 1.0, "MW": 1e3, "GW": 1e6}
KWH_PER_UNIT = {f"{unit}h": factor for unit, factor in KW_PER_UNIT.items()}
UNITS = (*KW_PER_UNIT, *KWH_PER_UNIT)


class Kind(StrEnum):
    """What the numbers of a column mean."""

    GAUGE = "gauge"  # mean power from the row's time on
    ENERGY = "energy"  # of the row's interval
    COUNTER = "counter"  # a register at the row's time


@dataclass(frozen=True)
class Source:
    """A file, and how to read it.

    Attributes:
        path: CSV or Parquet.
        frame: zone of its naive times.
        timestamp_column: of the file.
        value_column: of the file.
        unit: of the load: one of `UNITS`; with an h at its end it is energy.
        counter: the load is a running register; its unit is of energy.
        rollover: value at which the register starts again at zero, in its unit; None when it has none.
        slot_s: slot length; None takes the file's interval.
        covariates: name -> column, averaged into slots as it is.
        pv_column: what own PV gives, in unit and kind of the load.
        holiday_column: read where the file has it; None for none.
        aligned: see `slotting.make_grid`.
        repair: leave out rows whose time is at fault, and note them, instead of refusing the file.
    """

    path: Path
    frame: str
    timestamp_column: str = "timestamp"
    value_column: str = "load"
    unit: str = "kW"
    counter: bool = False
    rollover: float | None = None
    slot_s: int | None = None
    covariates: Mapping[str, str] = field(default_factory=dict)
    pv_column: str | None = None
    holiday_column: str | None = None
    aligned: bool = True
    repair: bool = False

    @property
    def kind(self) -> Kind:
        """What the load's numbers mean."""
        if self.counter:
            return Kind.COUNTER
        return Kind.ENERGY if self.unit in KWH_PER_UNIT else Kind.GAUGE


@dataclass(frozen=True, eq=False)
class Curve:
    """T consecutive slots of a file.

    Attributes:
        grid: the slots.
        file_rows: rows of the file that were used.
        power_kw: [T] NaN where unknown, with at least one that is not.
        covariates: name -> [T].
        holiday_marks: [T] 1 on holidays; None where the file has no such column.
        cut: starts of the slots at its ends that the file covers in part.
        flags: what was found wrong while reading, as starts of slots, ascending.
        notes: the same with line and words, for people; before them where the interval changes, and how many rows
            gave no slot.
    """

    grid: Grid
    file_rows: int
    power_kw: Floats
    covariates: Mapping[str, Floats]
    holiday_marks: Floats | None
    cut: tuple[int, ...]
    flags: Mapping[Flag, tuple[int, ...]]
    notes: tuple[str, ...]


def read_curve(source: Source) -> Curve:
    """Read a file.

    Raises:
        ConfigError: when the file cannot be read by the contract's rules, its rows are off the slot grid, or it has
            no value at all; what is asked for does not fit together.
    """
    where = str(source.path)
    _check(source)
    faults = Faults()
    table = read_file(
        source.path,
        zone=source.frame,
        timestamp_column=source.timestamp_column,
        columns=_columns(source),
        optional=[] if source.holiday_column is None else [source.holiday_column],
        excuse=faults.excuse if source.repair else None,
    )
    if source.repair:
        table = repaired(table, faults, where)
    interval_s = report(table.times_ms, table.values[source.value_column], table.lines).interval_s
    if source.repair and not source.counter and interval_s:
        table = _on_grid(table, round(interval_s * 1000), faults)
    slot_s = slot_length(interval_s, source.slot_s, where, exact=not source.counter)
    grid = make_grid(table, interval_s, slot_s, where, aligned=source.aligned, exact=not source.counter)
    flags = faults.times(table)
    power_kw = _power(source, table, source.value_column, grid, flags)
    if not np.isfinite(power_kw).any():
        raise ConfigError(
            f"has no value at all in column {source.value_column!r}", where=where, todo="Name another column"
        )
    covariates = {name: grid.means(table.values[column]) for name, column in source.covariates.items()}
    if source.pv_column is not None:
        covariates[PV] = _power(source, table, source.pv_column, grid, {})
    marks = table.values.get(source.holiday_column or "")
    return Curve(
        grid=grid,
        file_rows=len(table.times_ms),
        power_kw=power_kw,
        covariates=covariates,
        holiday_marks=None if marks is None else grid.means(marks),
        cut=(grid.start_ms, grid.end_ms - slot_s * 1000) if source.counter else grid.cut_slots(),
        flags={flag: grid.slots_of(times) for flag, times in flags.items()},
        notes=(
            *_about_rows(source, table, grid, power_kw),
            *(f"{table.place} {line}: {words} ({flag})" for flag, line, words in sorted(faults.noted, key=_line)),
        ),
    )


def _check(source: Source) -> None:
    if source.unit not in UNITS:
        raise ConfigError(f"unit {source.unit!r} is unknown", where="--unit", todo=f"Use {', '.join(UNITS)}")
    if source.counter and source.unit not in KWH_PER_UNIT:
        raise ConfigError(
            f"a counter counts energy, not {source.unit}", where="--counter", todo=f"Use {', '.join(KWH_PER_UNIT)}"
        )
    if source.rollover is not None and not (source.counter and 0 < source.rollover < np.inf):
        raise ConfigError(
            f"a rollover at {source.rollover:g} belongs to no register",
            where="--rollover",
            todo="Give it with --counter, as the first value that the register cannot show, such as 1000000",
        )
    if source.pv_column is not None and PV in source.covariates:
        raise ConfigError(f"{PV} is asked for twice", where="--covariate", todo="Give --pv-column alone")
    beside = {**source.covariates, PV: source.pv_column}
    for name, column in beside.items():
        if column == source.value_column:  # a model would be told ahead what it is to forecast
            raise ConfigError(
                f"column {column!r} is the load itself and cannot be {name}, too",
                where=str(source.path),
                todo="Name another column",
            )


def _columns(source: Source) -> list[str]:
    wanted = [source.value_column, *source.covariates.values()]
    if source.pv_column is not None:
        wanted.append(source.pv_column)
    return list(dict.fromkeys(wanted))


def _on_grid(table: Columns, interval_ms: int, faults: Faults) -> Columns:
    """Leave out rows between the grid's points: a clock that was off for a moment."""
    phases, counts = np.unique(table.times_ms % interval_ms, return_counts=True)
    off = off_grid(table.times_ms, interval_ms, int(phases[int(np.argmax(counts))]))
    if len(off) > max(10, len(table.times_ms) // 100):
        return table  # the grid complains
    faults.noted += [
        (Flag.CLOCK, int(table.lines[row]), f"time {utc_iso(int(table.times_ms[row]))} is off the grid")
        for row in off.tolist()
    ]
    return take_rows(table, np.setdiff1d(np.arange(len(table.times_ms)), off))


def _power(source: Source, table: Columns, column: str, grid: Grid, flags: dict[Flag, list[int]]) -> Floats:
    """Mean power of each slot in kW; what a register did is added to `flags`."""
    where = str(source.path)
    if source.kind is Kind.GAUGE:
        return grid.means(scale_values(table, column, KW_PER_UNIT[source.unit], where))
    factor = KWH_PER_UNIT[source.unit]
    if source.kind is Kind.ENERGY:
        power_kw = scale_values(table, column, factor * 3_600_000 / grid.interval_ms, where)
        return grid.means(power_kw / (grid.covers_ms / grid.interval_ms))
    kwh = scale_values(table, column, factor, where)
    rollover = None if source.rollover is None else source.rollover * factor
    counted = count_into_slots(table.times_ms, kwh, rollover, grid, where)
    for flag, marks in ((Flag.RESET, counted.resets), (Flag.ROLLOVER, counted.rollovers)):
        if marks.any():
            flags[flag] = (grid.start_ms + np.flatnonzero(marks) * grid.slot_s * 1000).tolist()
    return counted.power


def _about_rows(source: Source, table: Columns, grid: Grid, power_kw: Floats) -> list[str]:
    """Where rows begin to come at another interval, and how many have a value that is in no slot."""
    notes = []
    changes = np.flatnonzero(np.diff(grid.covers_ms)) + 1
    if len(changes):
        before, after = (f"{grid.covers_ms[row] / 60_000:g}" for row in (changes[0] - 1, changes[0]))
        more = f", and {len(changes) - 1} times more" if len(changes) > 1 else ""
        line = int(table.lines[changes[0]])
        notes.append(f"{table.place} {line}: from here on a row every {after} min, not {before} min{more}")
    lost = np.flatnonzero(np.isfinite(table.values[source.value_column]) & np.isnan(power_kw[grid.rows]))
    if len(lost) and not source.counter:  # of a register, steps give slots, not rows
        first = int(table.lines[lost[0]])
        notes.append(
            f"{len(lost)} rows gave no slot, since they cover less than half of it; the first: {table.place} {first}"
        )
    return notes


def _line(fault: tuple[Flag, int, str]) -> int:
    return fault[1]
