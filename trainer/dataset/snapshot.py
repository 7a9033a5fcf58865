"""Snapshots: the immutable extract of one plant's load that a training run sees, with the hash that names it."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import sqlalchemy as sa
from sqlalchemy.engine import Engine

from agent.contract import jsonform
from agent.contract.errors import ConfigError
from agent.contract.features import Floats
from agent.contract.featurespec import DAY_S
from agent.contract.wallclock import END_MS
from agent.contract.zones import utc_iso
from trainer.dataset import tables
from trainer.dataset.flags import Flag
from trainer.fleet.database import read

TEMPERATURE, PV = "temperature_c", "pv_kw"  # the covariates whose meaning is fixed
_META = b"edgewatt"
_NAME = re.compile(r"[a-z][a-z0-9_]{0,31}")
_OWN_COLUMNS = {"time_ms", "power_kw"}


@dataclass(frozen=True, eq=False)
class Snapshot:
    """Consecutive slots of one plant.

    Attributes:
        plant, zone, slot_s, holidays: of the plant.
        start_ms: start of the first slot.
        power_kw: [T] mean net power at the grid, NaN where unknown.
        covariates: name -> [T], NaN where unknown, in order of name: `temperature_c` outdoors, `pv_kw` what own PV
            gives (gross load is `power_kw + pv_kw`), or any other name of a-z, 0-9 and _, at most 32.
        sha256: of all of the above; the same data gives the same hash on every machine.

    Raises:
        ConfigError: when a covariate's name or length is not as said.
    """

    plant: str
    zone: str
    slot_s: int
    holidays: tuple[str, ...]
    start_ms: int
    power_kw: Floats
    covariates: Mapping[str, Floats] = field(default_factory=dict)
    sha256: str = field(init=False)

    def __post_init__(self) -> None:
        for name, values in self.covariates.items():
            check_covariate(name)
            if len(values) != len(self.power_kw):
                raise ConfigError(f"covariate {name} has {len(values)} slots, the load {len(self.power_kw)}")
        object.__setattr__(self, "covariates", dict(sorted(self.covariates.items())))
        digest = hashlib.sha256(jsonform.dumps(self._head()))
        for values in (self.power_kw, *self.covariates.values()):
            digest.update(np.ascontiguousarray(values, dtype="<f8").tobytes())
        object.__setattr__(self, "sha256", digest.hexdigest())

    @property
    def per_day(self) -> int:
        """Slots in 24 hours."""
        return DAY_S // self.slot_s

    @property
    def end_ms(self) -> int:
        """The instant at which the last slot is over."""
        return self.start_ms + len(self.power_kw) * self.slot_s * 1000

    def index(self, time_ms: int) -> int:
        """Return the slot that begins at or after an instant; it may lie outside the snapshot."""
        return -((self.start_ms - time_ms) // (self.slot_s * 1000))

    def before(self, time_ms: int) -> Snapshot:
        """Return only the slots that are over by an instant; holidays are known ahead and stay.

        Raises:
            ConfigError: when there is none.
        """
        count = min(len(self.power_kw), (time_ms - self.start_ms) // (self.slot_s * 1000))
        if count <= 0:
            raise ConfigError(
                f"holds no load before {utc_iso(time_ms)}", where=f"plant {self.plant}", todo="Give more data"
            )
        covariates = {name: values[:count] for name, values in self.covariates.items()}
        return replace(self, power_kw=self.power_kw[:count], covariates=covariates)

    def since(self, time_ms: int) -> Snapshot:
        """Return only the slots that begin at or after an instant.

        Raises:
            ConfigError: when there is none.
        """
        first = max(0, self.index(time_ms))
        if first >= len(self.power_kw):
            raise ConfigError(
                f"holds no load after {utc_iso(time_ms)}", where=f"plant {self.plant}", todo="Give more data"
            )
        return replace(
            self,
            start_ms=self.start_ms + first * self.slot_s * 1000,
            power_kw=self.power_kw[first:],
            covariates={name: values[first:] for name, values in self.covariates.items()},
        )

    def write(self, path: Path) -> None:
        """Write a Parquet file from which `read_snapshot` makes the same snapshot."""
        times = self.start_ms + np.arange(len(self.power_kw), dtype=np.int64) * self.slot_s * 1000
        table = pa.table({"time_ms": times, "power_kw": self.power_kw, **self.covariates})
        meta = {_META: jsonform.dumps({**self._head(), "schema": 1, "sha256": self.sha256})}
        pq.write_table(table.replace_schema_metadata(meta), path, compression="zstd")

    def _head(self) -> dict[str, object]:
        head: dict[str, object] = {
            "plant": self.plant,
            "zone": self.zone,
            "slot_s": self.slot_s,
            "holidays": list(self.holidays),
            "start_ms": self.start_ms,
            "slots": len(self.power_kw),
        }
        return {**head, "covariates": list(self.covariates)} if self.covariates else head


def check_covariate(name: str) -> str:
    """Return `name` when a covariate may have it.

    Raises:
        ConfigError: otherwise.
    """
    if _NAME.fullmatch(name) is None or name in _OWN_COLUMNS:
        raise ConfigError(
            f"covariate name {name!r} is not usable", where="--covariate", todo="Use a-z, 0-9 and _, at most 32"
        )
    return name


def plant_names(engine: Engine) -> list[str]:
    """Return the plants that the central database holds, by name.

    Raises:
        StorageError: when it cannot be read.
    """
    with read(engine) as connection:
        return list(connection.execute(sa.select(tables.plant.c.name).order_by(tables.plant.c.name)).scalars())


def take(engine: Engine, plant: str, until_ms: int | None = None) -> Snapshot:
    """Extract the load of a plant.

    Args:
        engine: the central database.
        plant: its name.
        until_ms: only slots that are over by then; None for all.

    Raises:
        ConfigError: when the plant is unknown, holds nothing before `until_ms`, or holds times after 2199.
    """
    with read(engine) as connection:
        row = connection.execute(sa.select(tables.plant).where(tables.plant.c.name == plant)).one_or_none()
        if row is None:
            names = connection.execute(sa.select(tables.plant.c.name).order_by(tables.plant.c.name)).scalars().all()
            known = f"Known plants: {', '.join(names)}" if names else "Import a load curve first"
            raise ConfigError(f"plant {plant!r} is unknown", where="--plant", todo=known)
        series = tables.plant_series.c
        query = sa.select(series.time_ms, series.power_kw).where(series.plant == row.number).order_by(series.time_ms)
        if until_ms is not None:
            query = query.where(series.time_ms <= until_ms - row.slot_s * 1000)
        found = connection.execute(query).all()
        beside = tables.plant_covariate.c
        others = sa.select(beside.name, beside.time_ms, beside.value).where(beside.plant == row.number)
        noted = connection.execute(others).all()
    if not found:
        raise ConfigError("holds no load before the given time", where=f"plant {plant}", todo="Import more data")
    times = np.array([time_ms for time_ms, _ in found], dtype=np.int64)
    if times[-1] >= END_MS:  # of an earlier version's import; no calendar goes so far
        raise ConfigError(
            "holds load of a year after 2199",
            where=f"plant {plant}",
            todo="Import a corrected file under another plant name",
        )
    index = (times - times[0]) // (row.slot_s * 1000)
    power_kw = np.full(int(index[-1]) + 1, np.nan)
    power_kw[index] = [value for _, value in found]
    covariates: dict[str, Floats] = {}
    for name, time_ms, value in noted:
        at = (time_ms - int(times[0])) // (row.slot_s * 1000)
        if 0 <= at < len(power_kw):
            covariates.setdefault(name, np.full(len(power_kw), np.nan))[at] = value
    return Snapshot(plant, row.zone, row.slot_s, tuple(json.loads(row.holidays)), int(times[0]), power_kw, covariates)


def flags_of(engine: Engine, plant: str) -> dict[Flag, list[int]]:
    """Return what was found wrong in the files of a plant: flag -> starts of slots, ascending."""
    flag, named = tables.plant_flag.c, tables.plant.c
    query = (
        sa.select(flag.flag, flag.time_ms)
        .join(tables.plant, named.number == flag.plant)
        .where(named.name == plant)
        .order_by(flag.time_ms)
    )
    found: dict[Flag, list[int]] = {}
    with read(engine) as connection:
        for name, time_ms in connection.execute(query):
            if name in set(Flag):  # a later version may know more
                found.setdefault(Flag(name), []).append(time_ms)
    return found


def read_snapshot(path: Path) -> Snapshot:
    """Read what `Snapshot.write` wrote.

    Raises:
        ConfigError: when the file is unreadable, or its content is not what its hash names.
    """
    try:
        table = pq.read_table(path)
        head = json.loads(table.schema.metadata[_META])
        values = {
            name: table[name].to_numpy(zero_copy_only=False).astype(np.float64)
            for name in ("power_kw", *head.get("covariates", ()))
        }
        power_kw = values.pop("power_kw")
        snapshot = Snapshot(
            head["plant"],
            head["zone"],
            head["slot_s"],
            tuple(head["holidays"]),
            head["start_ms"],
            power_kw,
            values,
        )
    except (OSError, pa.ArrowException, KeyError, TypeError, ValueError) as exc:
        raise ConfigError(f"is not a readable snapshot ({exc})", where=str(path)) from exc
    if snapshot.sha256 != head.get("sha256"):
        raise ConfigError("is not the snapshot that its hash names", where=str(path), todo="Train again")
    return snapshot
