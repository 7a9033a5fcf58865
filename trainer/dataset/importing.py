"""A load curve from a CSV file into the central database: read, put on the slot grid, compared, written in one go.

The file is read by the contract's own rules (`agent.contract.loadcsv`), as devices do. Importing the same file twice
changes nothing; a value that contradicts what is held is refused unless the operator says `replace`.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from agent.contract.errors import ConfigError
from agent.contract.features import Floats, Ints
from agent.contract.loadcsv import LoadTable, parse_load_csv
from agent.contract.slots import MIN_COMPLETENESS, SLOT_LENGTHS_S, check_slot_length
from agent.contract.zones import parse_zone, utc_iso
from trainer.dataset import tables
from trainer.dataset.calendars import holiday_dates, years_to_cover
from trainer.dataset.quality import Quality, assess
from trainer.fleet.database import write

KW_PER_UNIT = {"W": 1e-3, "kW": 1.0, "MW": 1e3, "GW": 1e6}
MAX_BYTES = 2 * 2**30
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,47}")
_MAX_SLOTS = 4_000_000
_SAME = 1e-9  # relative: decimals that were scaled may differ in the last bit


@dataclass(frozen=True)
class Request:
    """What to import, and how to read it.

    Attributes:
        csv: the file.
        plant: name of the plant; made when it is new.
        frame: zone of the file's timestamps.
        zone: the plant's own zone.
        timestamp_column, value_column, unit: of the file; unit is a key of `KW_PER_UNIT`.
        slot_s: slot length; None takes the file's interval.
        holidays: see `calendars.holiday_dates`; None keeps what the plant has.
        replace: let the file's values win over contradicting ones.
    """

    csv: Path
    plant: str
    frame: str
    zone: str
    timestamp_column: str = "timestamp"
    value_column: str = "load"
    unit: str = "kW"
    slot_s: int | None = None
    holidays: str | None = None
    replace: bool = False


@dataclass(frozen=True)
class Imported:
    """What an import did; counts are of slots."""

    plant: str
    slot_s: int
    zone: str
    rows: int
    added: int
    changed: int
    unchanged: int
    holidays: int
    quality: Quality


def import_csv(engine: Engine, request: Request) -> Imported:
    """Import a file: all of it, or nothing.

    Raises:
        ConfigError: when the file cannot be read by the contract's rules, is off the slot grid, contradicts what is
            held, or the plant is known with another zone or slot length.
        StorageError: when the database fails; nothing was written then.
    """
    if _NAME.fullmatch(request.plant) is None:
        raise ConfigError(
            f"plant name {request.plant!r} is not usable", where="--plant", todo="Use a-z, 0-9 and -, at most 48"
        )
    parse_zone(request.zone)
    table = _read(request)
    slot_s = _slot_length(request, table)
    times_ms, power_kw = to_slots(table, slot_s, str(request.csv))
    known = np.isfinite(power_kw)
    if not known.any():
        raise ConfigError("has no value at all", where=str(request.csv))
    with write(engine) as connection:
        number, spec = _plant(connection, request, slot_s)
        added, changed, unchanged = _merge(connection, number, times_ms[known], power_kw[known], request)
        count = _set_holidays(connection, number, request, spec)
    first, last = np.flatnonzero(known)[[0, -1]]
    quality = assess(int(times_ms[first]), slot_s, power_kw[first : last + 1])
    return Imported(request.plant, slot_s, request.zone, table.report.rows, added, changed, unchanged, count, quality)


def to_slots(table: LoadTable, slot_s: int, where: str) -> tuple[Ints, Floats]:
    """Put rows, each a mean over the file's interval, on the slot grid.

    A slot takes the mean of its rows when they cover at least half of it, else it is unknown.

    Returns:
        Starts of consecutive slots [T] and their mean power in kW [T], NaN where unknown.

    Raises:
        ConfigError: when rows are off the grid or the span is beyond reason.
    """
    interval_ms, slot_ms = round(table.report.interval_s * 1000), slot_s * 1000
    off = np.flatnonzero(table.times_ms % interval_ms)
    if len(off):
        raise ConfigError(
            f"time {utc_iso(int(table.times_ms[off[0]]))} is off the grid of {interval_ms / 1000:g} s",
            where=f"{where} line {int(table.lines[off[0]])}",
            todo="Give each row the start of its interval, on whole intervals in UTC",
        )
    slots = table.times_ms // slot_ms
    count = int(slots[-1] - slots[0]) + 1
    if count > _MAX_SLOTS:
        raise ConfigError(f"spans {count} slots where at most {_MAX_SLOTS} are read", where=where)
    index, finite = slots - slots[0], np.isfinite(table.values)
    total = np.bincount(index[finite], table.values[finite], minlength=count)
    rows = np.bincount(index[finite], minlength=count)
    enough = rows * interval_ms >= MIN_COMPLETENESS * slot_ms
    power_kw = np.where(enough, total / np.maximum(rows, 1), np.nan)
    return (slots[0] + np.arange(count)) * slot_ms, power_kw


def _read(request: Request) -> LoadTable:
    where = str(request.csv)
    if request.unit not in KW_PER_UNIT:
        raise ConfigError(f"unit {request.unit!r} is unknown", where="--unit", todo=f"Use {', '.join(KW_PER_UNIT)}")
    try:
        if request.csv.stat().st_size > MAX_BYTES:
            raise ConfigError("is larger than 2 GiB", where=where, todo="Split the file")
        content = request.csv.read_bytes()
    except OSError as exc:
        raise ConfigError(f"cannot be read ({exc.strerror})", where=where, todo="Check path and rights") from exc
    return parse_load_csv(
        content,
        where=where,
        zone=request.frame,
        timestamp_column=request.timestamp_column,
        value_column=request.value_column,
        scale=KW_PER_UNIT[request.unit],
    )


def _slot_length(request: Request, table: LoadTable) -> int:
    where, interval_s = str(request.csv), table.report.interval_s
    minutes = ", ".join(str(length // 60) for length in SLOT_LENGTHS_S)
    if len(table.times_ms) < 2:
        raise ConfigError("has one row only", where=where, todo="Give at least two weeks of load")
    if request.slot_s is None:
        if interval_s not in SLOT_LENGTHS_S:
            raise ConfigError(
                f"has a row every {interval_s:g} s, which is not a slot length in use",
                where=where,
                todo=f"Give --slot-minutes, one of {minutes}",
            )
        return int(interval_s)
    slot_s = check_slot_length(request.slot_s)
    if slot_s % interval_s:
        raise ConfigError(
            f"has a row every {interval_s:g} s, which does not divide a slot of {slot_s // 60} min",
            where=where,
            todo=f"Give --slot-minutes, one of {minutes} that is a multiple of the interval",
        )
    return slot_s


def _plant(connection: Connection, request: Request, slot_s: int) -> tuple[int, str]:
    """Number of the plant and where its holidays come from; a new plant is made."""
    plant = tables.plant
    row = connection.execute(sa.select(plant).where(plant.c.name == request.plant)).one_or_none()
    if row is None:
        made = connection.execute(
            plant.insert()
            .returning(plant.c.number)
            .values(name=request.plant, zone=request.zone, slot_s=slot_s, holidays="[]", holidays_from="")
        )
        return int(made.scalar_one()), ""
    if (row.zone, row.slot_s) != (request.zone, slot_s):
        raise ConfigError(
            f"is known with zone {row.zone} and slots of {row.slot_s // 60} min, "
            f"not {request.zone} and {slot_s // 60} min",
            where=f"plant {request.plant}",
            todo="Give the same ones, or another plant name",
        )
    return int(row.number), str(row.holidays_from)


def _merge(
    connection: Connection, number: int, times_ms: Ints, power_kw: Floats, request: Request
) -> tuple[int, int, int]:
    """Write what is new; return how many slots were added, changed, and held already."""
    series = tables.plant_series
    query = sa.select(series.c.time_ms, series.c.power_kw).where(
        series.c.plant == number, series.c.time_ms.between(int(times_ms[0]), int(times_ms[-1]))
    )
    held = {int(time_ms): float(value) for time_ms, value in connection.execute(query)}
    before = np.array([held.get(int(time_ms), np.nan) for time_ms in times_ms])
    new = np.isnan(before)
    other = ~new & (np.abs(before - power_kw) > _SAME * np.maximum(np.abs(before), np.abs(power_kw)))
    if other.any() and not request.replace:
        first = int(np.flatnonzero(other)[0])
        raise ConfigError(
            f"{int(other.sum())} slots have other values than are held, the first at {utc_iso(int(times_ms[first]))} "
            f"({power_kw[first]:.6g} kW in the file, {before[first]:.6g} kW held)",
            where=str(request.csv),
            todo="Check unit, column and zone; give --replace to let the file win",
        )
    if other.any():
        changed = [
            {"at": int(time_ms), "kw": float(kw)} for time_ms, kw in zip(times_ms[other], power_kw[other], strict=True)
        ]
        connection.execute(
            series.update()
            .where(series.c.plant == number, series.c.time_ms == sa.bindparam("at"))
            .values(power_kw=sa.bindparam("kw")),
            changed,
        )
    if new.any():
        connection.execute(
            series.insert(),
            [
                {"plant": number, "time_ms": int(time_ms), "power_kw": float(kw)}
                for time_ms, kw in zip(times_ms[new], power_kw[new], strict=True)
            ],
        )
    return int(new.sum()), int(other.sum()), int((~new & ~other).sum())


def _set_holidays(connection: Connection, number: int, request: Request, known_from: str) -> int:
    """Compute the plant's holidays anew over all its data; return how many there are."""
    series = tables.plant_series.c
    first, last = connection.execute(
        sa.select(sa.func.min(series.time_ms), sa.func.max(series.time_ms)).where(series.plant == number)
    ).one()
    text = known_from if request.holidays is None else request.holidays
    days = holiday_dates(text, years_to_cover(int(first), int(last)))
    connection.execute(
        tables.plant.update()
        .where(tables.plant.c.number == number)
        .values(holidays=json.dumps(days), holidays_from=text.strip())
    )
    return len(days)
