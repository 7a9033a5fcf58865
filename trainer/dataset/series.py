"""A file of load as a snapshot, without a database: what a backtest and a benchmark work on."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from agent.contract.errors import ConfigError
from agent.contract.features import Floats
from agent.contract.loadcsv import report
from agent.contract.zones import parse_zone
from trainer.dataset.calendars import MOST, holiday_dates, marked_dates, years_to_cover
from trainer.dataset.files import read_file
from trainer.dataset.slotting import Grid, make_grid, slot_length
from trainer.dataset.snapshot import TEMPERATURE, Snapshot


def read_series(
    path: Path,
    *,
    timestamps_in: str,
    zone: str,
    holidays: str | None = None,
    temperature_column: str | None = None,
    timestamp_column: str = "timestamp",
    value_column: str = "load",
    holiday_column: str = "holiday",
    slot_s: int | None = None,
    plant: str | None = None,
) -> Snapshot:
    """Read a whole CSV or Parquet file: every slot from its first row to its last, those without a value as NaN.

    Args:
        path: the file; its load is taken as kW as it is.
        timestamps_in: frame of its naive times: `UTC`, an IANA name, or a fixed offset as `+10:00`.
        zone: the plant's zone, in the same forms.
        holidays: country or part of it as `AU-VIC`, or dates; used from where a holiday column ends, and where there
            is none.
        temperature_column: becomes the covariate `temperature_c`; None reads no weather.
        timestamp_column: of the file.
        value_column: of the file.
        holiday_column: 1 on holidays and 0 on other days; used where the file has it.
        slot_s: slot length; None takes the interval of the rows.
        plant: name in the snapshot; that of the file where None.

    Raises:
        ConfigError: when a zone or country is unknown, the file is not readable by the contract's rules, its rows
            are off one grid, their interval is no slot length, or no row has a value.
    """
    where = str(path)
    parse_zone(zone)
    wanted = [value_column, *([] if temperature_column is None else [temperature_column])]
    table = read_file(
        path, zone=timestamps_in, timestamp_column=timestamp_column, columns=wanted, optional=[holiday_column]
    )
    load = table.values[value_column]
    seen = report(table.times_ms, load, table.lines)
    slot_s = slot_length(seen.interval_s, slot_s, where)
    grid = make_grid(table.times_ms, table.lines, seen.interval_s, slot_s, where, aligned=False)
    power_kw = grid.means(load)
    if not np.isfinite(power_kw).any():
        raise ConfigError(f"has no value at all in {value_column}", where=where, todo="Name another column")
    marks = table.values.get(holiday_column)
    return Snapshot(
        plant=plant or re.sub(r"[^a-z0-9]+", "-", path.stem.lower()).strip("-")[:48] or "plant",
        zone=zone,
        slot_s=slot_s,
        holidays=_holidays(grid, zone, holidays or "", None if marks is None else grid.means(marks)),
        start_ms=grid.start_ms,
        power_kw=power_kw,
        covariates={} if temperature_column is None else {TEMPERATURE: grid.means(table.values[temperature_column])},
    )


def _holidays(grid: Grid, zone: str, text: str, marks: Floats | None) -> tuple[str, ...]:
    end_ms = grid.start_ms + grid.count * grid.slot_s * 1000
    computed = holiday_dates(text, years_to_cover(grid.start_ms, end_ms))
    if marks is None:
        return computed
    marked, last = marked_dates(grid.start_ms, grid.slot_s, zone, marks)
    return (*marked, *(day for day in computed if day > last))[-MOST:]
