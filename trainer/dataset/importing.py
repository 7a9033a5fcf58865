"""A load curve from a file into the central database: read, compared with what is held, written in one go.

Importing the same file twice changes nothing; a value that contradicts what is held is refused unless the operator
says `replace`. How a file is read is `reading`'s; rows of the database are never altered by a repair.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from agent.contract.errors import ConfigError
from agent.contract.features import Floats, Ints
from agent.contract.zones import check_zone, utc_iso
from trainer.dataset import tables
from trainer.dataset.calendars import MOST, holiday_dates, marked_dates, years_to_cover
from trainer.dataset.quality import Quality, assess
from trainer.dataset.reading import Curve, Source, read_curve
from trainer.dataset.snapshot import check_covariate
from trainer.fleet.database import write

COLUMN = "column"  # as holidays: those of the file's own column
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,47}")
_ROW = re.compile(r" (line|row) \d+$")
_SAME = 1e-9  # relative to the value and the file's largest: what was scaled or summed may differ in its last bits


@dataclass(frozen=True)
class Request:
    """What to import.

    Attributes:
        source: the file and how to read it.
        plant: name of the plant; made when it is new.
        zone: the plant's own zone.
        holidays: see `calendars.holiday_dates`, or `column` for the file's own column, or both as `column+DE` (the
            country from where the column ends); None keeps what the plant has.
        replace: let the file's values win over contradicting ones.
    """

    source: Source
    plant: str
    zone: str
    holidays: str | None = None
    replace: bool = False


@dataclass(frozen=True)
class Imported:
    """What an import did; counts are of slots, those of covariates beside those of the load."""

    plant: str
    slot_s: int
    zone: str
    rows: int
    added: int
    changed: int
    unchanged: int
    covariates: dict[str, int]
    holidays: int
    notes: tuple[str, ...]
    quality: Quality

    def to_json(self) -> dict[str, Any]:
        """Plain values, for `--json`."""
        return asdict(self)


def read_file(request: Request) -> tuple[Curve, Quality]:
    """Read and judge a file, without a database: what is refused here leaves none where there was none.

    Raises:
        ConfigError: when the file cannot be read (see `reading.read_curve`), or plant name, zone or holidays are wrong.
    """
    if _NAME.fullmatch(request.plant) is None:
        raise ConfigError(
            f"plant name {request.plant!r} is not usable", where="--plant", todo="Use a-z, 0-9 and -, at most 48"
        )
    for name in request.source.covariates:
        check_covariate(name)
    check_zone(request.source.frame, "--timestamps-in")
    check_zone(request.zone, "--timezone")
    curve = _read(request.source)
    grid = curve.grid
    if request.holidays is not None:
        holiday_dates(_parts(request.holidays)[1], years_to_cover(grid.start_ms, grid.end_ms))
    first, last = np.flatnonzero(np.isfinite(curve.power_kw))[[0, -1]]
    start_ms = grid.start_ms + int(first) * grid.slot_s * 1000
    # Judged before it is kept: what cannot be judged would stop every later command that meets the plant.
    return curve, assess(start_ms, grid.slot_s, request.zone, curve.power_kw[first : last + 1], curve.flags)


def keep(engine: Engine, request: Request, found: tuple[Curve, Quality]) -> Imported:
    """Write what `read_file` found: all of it, or nothing.

    Raises:
        ConfigError: when it contradicts what is held, or the plant is known with another zone or slot length.
        StorageError: when the database fails; nothing was written then.
    """
    curve, quality = found
    grid = curve.grid
    series = tables.plant_series.c
    with write(engine) as connection:
        number, spec = _plant(connection, request, grid.slot_s)
        load = _Column(tables.plant_series, series.power_kw, {"plant": number}, "kW")
        added, changed, unchanged = _merge(connection, load, curve, curve.power_kw, request)
        covariates = {}
        for name, values in curve.covariates.items():
            column = _Column(
                tables.plant_covariate, tables.plant_covariate.c.value, {"plant": number, "name": name}, name
            )
            _merge(connection, column, curve, values, request)
            covariates[name] = int(np.isfinite(values).sum())
        _note_flags(connection, number, curve)
        days = _set_holidays(connection, number, request, spec, curve)
    return Imported(
        plant=request.plant,
        slot_s=grid.slot_s,
        zone=request.zone,
        rows=curve.file_rows,
        added=added,
        changed=changed,
        unchanged=unchanged,
        covariates=covariates,
        holidays=days,
        notes=curve.notes,
        quality=quality,
    )


def _read(source: Source) -> Curve:
    try:
        return read_curve(source)
    except ConfigError as exc:
        if source.repair or _ROW.search(exc.where) is None or not _repairable(source):
            raise
        todo = f"{exc.todo}; --repair leaves such rows out"
        raise ConfigError(exc.what, where=exc.where, todo=todo) from exc


def _repairable(source: Source) -> bool:
    """Whether the file can be read without such rows: a wrong header, quote or number of fields stays wrong."""
    try:
        read_curve(replace(source, repair=True))
    except ConfigError:
        return False
    return True


@dataclass(frozen=True)
class _Column:
    """A column of values by time: the rows of `table` that have `key`."""

    table: sa.Table
    value: sa.Column[float]
    key: dict[str, int | str]
    unit: str

    def own(self) -> sa.ColumnElement[bool]:
        return sa.and_(*(self.table.c[name] == value for name, value in self.key.items()))


def _known(curve: Curve, values: Floats) -> tuple[Ints, Floats]:
    known = np.isfinite(values)
    times_ms = curve.grid.start_ms + np.arange(curve.grid.count, dtype=np.int64) * curve.grid.slot_s * 1000
    return times_ms[known], values[known]


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
    connection: Connection, column: _Column, curve: Curve, found: Floats, request: Request
) -> tuple[int, int, int]:
    """Write what is new; return how many slots were added, changed, and held already.

    A slot at either end that the file covers in part contradicts nothing: what is held of it stays.
    """
    times_ms, values = _known(curve, found)
    if len(times_ms) == 0:
        return 0, 0, 0
    table, time = column.table, column.table.c.time_ms
    query = sa.select(time, column.value).where(column.own(), time.between(int(times_ms[0]), int(times_ms[-1])))
    held = {int(time_ms): float(value) for time_ms, value in connection.execute(query)}
    before = np.array([held.get(int(time_ms), np.nan) for time_ms in times_ms])
    new = np.isnan(before)
    size = np.maximum(np.abs(before), np.abs(values)) + np.abs(values).max()
    other = ~new & (np.abs(before - values) > _SAME * size) & ~np.isin(times_ms, curve.cut)
    if other.any() and not request.replace:
        first = int(np.flatnonzero(other)[0])
        raise ConfigError(
            f"{int(other.sum())} slots have other values than are held, the first at {utc_iso(int(times_ms[first]))} "
            f"({values[first]:.6g} {column.unit} in the file, {before[first]:.6g} {column.unit} held)",
            where=str(request.source.path),
            todo="Check unit, column and zone; give --replace to let the file win",
        )
    rows = [
        {"at": int(time_ms), "wins": float(value)}
        for time_ms, value in zip(times_ms[other], values[other], strict=True)
    ]
    if rows:
        connection.execute(
            table.update()
            .where(column.own(), time == sa.bindparam("at"))
            .values({column.value: sa.bindparam("wins", type_=sa.Double)}),
            rows,
        )
    added: list[dict[str, int | float | str]] = [
        {**column.key, "time_ms": int(time_ms), column.value.name: float(value)}
        for time_ms, value in zip(times_ms[new], values[new], strict=True)
    ]
    if added:
        connection.execute(table.insert(), added)
    return int(new.sum()), int(other.sum()), int((~new & ~other).sum())


def _note_flags(connection: Connection, number: int, curve: Curve) -> None:
    """Hold what was found wrong while reading; the last file to cover a slot says it."""
    flag = tables.plant_flag
    connection.execute(
        flag.delete().where(flag.c.plant == number, flag.c.time_ms.between(curve.grid.start_ms, curve.grid.end_ms - 1))
    )
    rows = [
        {"plant": number, "flag": str(name), "time_ms": time_ms}
        for name, times in curve.flags.items()
        for time_ms in times
    ]
    if rows:
        connection.execute(flag.insert(), rows)


def _set_holidays(connection: Connection, number: int, request: Request, known_from: str, curve: Curve) -> int:
    """Compute the plant's holidays anew over all its data; return how many there are."""
    series = tables.plant_series.c
    first, last = connection.execute(
        sa.select(sa.func.min(series.time_ms), sa.func.max(series.time_ms)).where(series.plant == number)
    ).one()
    text = (known_from if request.holidays is None else request.holidays).strip()
    by_column, country = _parts(text)
    days = holiday_dates(country, years_to_cover(int(first), int(last)))
    if by_column:
        held = connection.execute(
            sa.select(tables.plant.c.holidays).where(tables.plant.c.number == number)
        ).scalar_one()
        days = _with_column(request, curve, days, json.loads(held) if known_from.startswith(COLUMN) else [])
    connection.execute(
        tables.plant.update()
        .where(tables.plant.c.number == number)
        .values(holidays=json.dumps(days), holidays_from=text)
    )
    return len(days)


def _parts(text: str) -> tuple[bool, str]:
    """Whether the file's column says the holidays, and what says the others."""
    text = text.strip()
    return (True, text.partition("+")[2]) if text.startswith(COLUMN) else (False, text)


def _with_column(request: Request, curve: Curve, computed: tuple[str, ...], held: list[str]) -> tuple[str, ...]:
    """Holidays of the file's column within the file, those held before it, those computed after it."""
    if curve.holiday_marks is None:
        if request.holidays is None:  # nobody said which column this file has
            return tuple(held)
        raise ConfigError(
            f"has no column {request.source.holiday_column!r}",
            where=str(request.source.path),
            todo="Name it by --holiday-column, or give a country",
        )
    grid = curve.grid
    marked, begin, end = marked_dates(grid.start_ms, grid.slot_s, request.zone, curve.holiday_marks)
    later = sorted({*(day for day in held if day > end), *(day for day in computed if day > end)})
    return (*(day for day in held if day < begin), *marked, *later)[-MOST:]
