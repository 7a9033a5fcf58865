"""A file of load as a snapshot, without a database: what a backtest and a benchmark work on."""

from __future__ import annotations

import re
from pathlib import Path

from agent.contract.zones import parse_zone
from trainer.dataset.calendars import MOST, holiday_dates, marked_dates, years_to_cover
from trainer.dataset.reading import Curve, Source, read_curve
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
    parse_zone(zone)
    curve = read_curve(
        Source(
            path=path,
            frame=timestamps_in,
            timestamp_column=timestamp_column,
            value_column=value_column,
            slot_s=slot_s,
            covariates={} if temperature_column is None else {TEMPERATURE: temperature_column},
            holiday_column=holiday_column,
            aligned=False,
        )
    )
    return Snapshot(
        plant=plant or re.sub(r"[^a-z0-9]+", "-", path.stem.lower()).strip("-")[:48] or "plant",
        zone=zone,
        slot_s=curve.grid.slot_s,
        holidays=_holidays(curve, zone, holidays or ""),
        start_ms=curve.grid.start_ms,
        power_kw=curve.power_kw,
        covariates=curve.covariates,
    )


def _holidays(curve: Curve, zone: str, text: str) -> tuple[str, ...]:
    grid = curve.grid
    computed = holiday_dates(text, years_to_cover(grid.start_ms, grid.end_ms))
    if curve.holiday_marks is None:
        return computed
    marked, _, last = marked_dates(grid.start_ms, grid.slot_s, zone, curve.holiday_marks)
    return (*marked, *(day for day in computed if day > last))[-MOST:]
