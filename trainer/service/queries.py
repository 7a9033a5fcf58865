"""What the report asks of the central database: one function a question, nothing kept open, nothing written."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine, func, select

from agent.contract.corrections import moved
from agent.contract.errors import ConfigError
from agent.contract.featurespec import MAX_HISTORY_DAYS
from trainer.dataset.tables import plant
from trainer.fleet import times
from trainer.fleet.database import HELD, coverage, envelope, read, rejection
from trainer.fleet.database import device as device_table
from trainer.service.picture import MAX_TIME_MS, Arrival

DAY_MS = 86_400_000
MAX_ROWS = 50_000  # of one stream in one report: a flooding device makes its own page incomplete, not the centre slow


@dataclass(frozen=True)
class Counts:
    """Readings of one device as the centre holds them.

    Attributes:
        held: rows.
        missing: sequence numbers below the highest of their epoch that the centre does not hold.
        duplicated: rows that repeat the channel and time of another row.
    """

    held: int = 0
    missing: int = 0
    duplicated: int = 0


@dataclass(frozen=True)
class DeviceRows:
    """All that the report needs of one device; rows are in the order in which the device made them.

    Attributes:
        plant_zone: of the plant that the operator named for it; empty where there is none.
        start_ms: where the window begins, plant clock; 0 when there are no slots.
        slots: from `MAX_HISTORY_DAYS` before the window, since naive forecasts need the history.
        forecasts, costs: of the window and the day before it, so that its first local day is not cut.
        alerts, events: all, newest `MAX_ROWS` of them.
        arrivals: accepted envelopes of the last days, real clock.
        last_seen_ms: real clock; None when nothing has come.
    """

    device: str
    plant_zone: str
    counts: Counts
    start_ms: int
    slots: Sequence[dict[str, Any]]
    forecasts: Sequence[dict[str, Any]]
    costs: Sequence[dict[str, Any]]
    alerts: Sequence[dict[str, Any]]
    events: Sequence[dict[str, Any]]
    arrivals: Sequence[Arrival]
    last_seen_ms: int | None


@dataclass(frozen=True)
class Rejection:
    """One message that the centre refused, real clock; `device` is what the topic claimed."""

    received_ms: int
    topic: str
    device: str
    reason: str
    size_bytes: int


def device_names(engine: Engine, wanted: Sequence[str] = ()) -> list[str]:
    """Return the registered devices by name, or the wanted ones in the order in which they were asked for.

    Raises:
        ConfigError: when a wanted device is not registered.
        StorageError: when the database cannot be read.
    """
    with read(engine) as connection:
        known = [str(name) for name in connection.execute(select(device_table.c.name).order_by("name")).scalars()]
    unknown = [name for name in wanted if name not in known]
    if unknown:
        raise ConfigError(
            f"no such device: {', '.join(unknown)}", where="--devices", todo=f"Registered: {', '.join(known) or 'none'}"
        )
    return list(dict.fromkeys(wanted)) or known


def device_plants(engine: Engine, devices: Sequence[str]) -> list[tuple[str, str]]:
    """Return name and zone of the plants at which the given devices stand, by name.

    Raises:
        StorageError: when the database cannot be read.
    """
    with read(engine) as connection:
        found = connection.execute(
            select(plant.c.name, plant.c.zone)
            .join(device_table, device_table.c.plant == plant.c.name)
            .where(device_table.c.name.in_(devices))
            .distinct()
            .order_by(plant.c.name)
        )
        return [(row.name, row.zone) for row in found]


def device_rows(engine: Engine, name: str, days: int, now_ms: int) -> DeviceRows:
    """Read one registered device.

    Args:
        engine: central database.
        name: of the device.
        days: length of the window, back from the device's newest slot (plant clock) and from now (arrivals).
        now_ms: real clock.

    Raises:
        StorageError: when the database cannot be read.
    """
    with read(engine) as connection:
        device = connection.execute(select(device_table).where(device_table.c.name == name)).one()
        record = times.records()
        newest = connection.execute(
            select(func.max(record.c.time_ms)).where(
                record.c.device == device.number, record.c.stream == "slots", record.c.time_ms <= MAX_TIME_MS
            )
        ).scalar()
        start_ms = newest - days * DAY_MS if newest is not None else 0
        return DeviceRows(
            device=name,
            plant_zone=connection.execute(select(plant.c.zone).where(plant.c.name == device.plant)).scalar() or "",
            counts=_counts(connection, device.number),
            start_ms=start_ms,
            slots=_bodies(connection, device.number, "slots", start_ms - MAX_HISTORY_DAYS * DAY_MS),
            forecasts=_bodies(connection, device.number, "forecasts", start_ms - DAY_MS),
            costs=_bodies(connection, device.number, "costs", start_ms - DAY_MS),
            alerts=_bodies(connection, device.number, "alerts", 0),
            events=_bodies(connection, device.number, "events", 0),
            arrivals=_arrivals(connection, device.number, now_ms - days * DAY_MS),
            last_seen_ms=device.last_seen_ms,
        )


def rejections(engine: Engine, most: int) -> tuple[int, list[Rejection]]:
    """Return how many messages were refused, and the newest of them.

    Raises:
        StorageError: when the database cannot be read.
    """
    with read(engine) as connection:
        total = connection.execute(select(func.count()).select_from(rejection)).scalar_one()
        newest = connection.execute(select(rejection).order_by(rejection.c.number.desc()).limit(most))
        return total, [Rejection(row.received_ms, row.topic, row.device, row.reason, row.bytes) for row in newest]


def _counts(connection: Connection, device: int) -> Counts:
    """Count in the database, so that no reading travels; `coverage` names exactly the rows that exist."""
    ranges = connection.execute(
        select(coverage.c.epoch, func.sum(coverage.c.last - coverage.c.first + 1), func.max(coverage.c.last))
        .where(coverage.c.device == device, coverage.c.stream == "readings", coverage.c.kind == HELD)
        .group_by(coverage.c.epoch)
    ).all()
    missing = sum(int(last) - int(held) for _, held, last in ranges)
    reading = times.readings(connection, device)
    mine = select(reading.c.channel, reading.c.time_ms).where(reading.c.device == device)
    held = connection.execute(select(func.count()).select_from(mine.subquery())).scalar_one()
    different = connection.execute(select(func.count()).select_from(mine.distinct().subquery())).scalar_one()
    return Counts(held, missing, held - different)


def _bodies(connection: Connection, device: int, stream: str, since_ms: int) -> list[dict[str, Any]]:
    record = times.records()
    found = connection.execute(
        select(record.c.body, record.c.shift_ms)
        .where(record.c.device == device, record.c.stream == stream, record.c.time_ms >= since_ms)
        .order_by(record.c.epoch.desc(), record.c.seq.desc())
        .limit(MAX_ROWS)
    ).all()
    return [moved(json.loads(body), shift_ms) for body, shift_ms in reversed(found)]


def _arrivals(connection: Connection, device: int, since_ms: int) -> list[Arrival]:
    found = connection.execute(
        select(envelope.c.received_ms, envelope.c.bytes, envelope.c.rows, envelope.c.new_rows)
        .where(envelope.c.device == device, envelope.c.received_ms >= since_ms)
        .order_by(envelope.c.received_ms)
    )
    return [Arrival(row.received_ms, row.bytes, row.rows, row.new_rows) for row in found]
