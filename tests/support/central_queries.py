"""Questions to the central database by which tests check what arrived: counts, holes, doubles, rows. Only reads.

Asked apart from `trainer.service.queries`, so that the report's own figures are not what proves them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from agent.contract.errors import ConfigError
from agent.contract.slots import Slot
from trainer.fleet import database as db
from trainer.fleet.coverage import Coverage, Span


@dataclass(frozen=True, slots=True)
class StreamState:
    """How much of one stream of one epoch of a device is here.

    Attributes:
        rows: rows that are stored.
        high: sequence number up to which an acknowledgement speaks.
        missing: rows at or below it that are neither stored nor declared lost.
        given_up: rows that the device declared lost.
        disputed: rows that were claimed with two contents.
    """

    stream: str
    epoch: int
    rows: int
    high: int
    missing: tuple[Span, ...]
    given_up: tuple[Span, ...]
    disputed: tuple[Span, ...]


def readings_stored(engine: Engine, device: str, *, channel: str | None = None) -> int:
    """Return the number of stored readings of a device, by counting them; of one channel where it is given."""
    with db.read(engine) as connection:
        query = sa.select(sa.func.count()).where(db.reading.c.device == _number(connection, device))
        if channel is not None:
            query = query.where(db.reading.c.channel.in_(_channels(connection, device, channel)))
        return int(connection.execute(query.select_from(db.reading)).scalar_one())


def readings_duplicated(engine: Engine, device: str) -> int:
    """Return how many readings are there beyond the first of each (channel name, time); all epochs together."""
    with db.read(engine) as connection:
        number = _number(connection, device)
        pairs = (
            sa.select(db.channel.c.name, db.reading.c.time_ms, sa.func.count().label("times"))
            .join(db.channel, db.channel.c.number == db.reading.c.channel)
            .where(db.reading.c.device == number)
            .group_by(db.channel.c.name, db.reading.c.time_ms)
            .having(sa.func.count() > 1)
            .subquery()
        )
        query = sa.select(sa.func.coalesce(sa.func.sum(pairs.c.times - 1), 0))
        return int(connection.execute(query).scalar_one())


def readings(
    engine: Engine, device: str, channel: str, start_ms: int = 0, end_ms: int = 2**62
) -> list[tuple[int, float, int]]:
    """Return (time_ms, value, quality) of one channel over [start_ms, end_ms), in time order."""
    table = db.reading.c
    with db.read(engine) as connection:
        query = sa.select(table.time_ms, table.value, table.quality).where(
            table.device == _number(connection, device),
            table.channel.in_(_channels(connection, device, channel)),
            table.time_ms >= start_ms,
            table.time_ms < end_ms,
        )
        rows = connection.execute(query.order_by(table.time_ms, table.epoch, table.seq))
        return [(int(time), float(value), int(quality)) for time, value, quality in rows]


def stream_states(engine: Engine, device: str) -> list[StreamState]:
    """Return how complete every stream of a device is."""
    table = db.coverage.c
    with db.read(engine) as connection:
        query = sa.select(db.coverage).where(table.device == _number(connection, device))
        known: dict[tuple[str, int], dict[str, list[Span]]] = {}
        for row in connection.execute(query.order_by(table.stream, table.epoch, table.first)):
            known.setdefault((row.stream, row.epoch), {}).setdefault(row.kind, []).append((row.first, row.last))
    return [_state(stream, epoch, spans) for (stream, epoch), spans in known.items()]


def readings_missing(engine: Engine, device: str) -> int:
    """Return how many readings below the highest that came are neither stored nor declared lost."""
    states = [state for state in stream_states(engine, device) if state.stream == "readings"]
    return sum(last - first + 1 for state in states for first, last in (*state.missing, *state.disputed))


def rows(engine: Engine, device: str, stream: str, start_ms: int = 0, end_ms: int = 2**62) -> list[dict[str, Any]]:
    """Return the rows of any stream but `readings` over [start_ms, end_ms), in time order, as the device sent them."""
    table = db.record.c
    with db.read(engine) as connection:
        query = sa.select(table.body).where(
            table.device == _number(connection, device),
            table.stream == stream,
            table.time_ms >= start_ms,
            table.time_ms < end_ms,
        )
        return [json.loads(body) for body in connection.execute(query.order_by(*_in_order())).scalars()]


def slots(engine: Engine, device: str, start_ms: int = 0, end_ms: int = 2**62) -> list[Slot]:
    """Return the slots that start in [start_ms, end_ms), in time order."""
    return [Slot.from_row(row) for row in rows(engine, device, "slots", start_ms, end_ms)]


def _state(stream: str, epoch: int, spans: dict[str, list[Span]]) -> StreamState:
    held, gaps, disputed = (spans.get(kind, []) for kind in (db.HELD, db.GAP, db.DISPUTED))
    mark = Coverage(held, gaps).mark(epoch, stream, max_ranges=2**31)
    stored = sum(last - first + 1 for first, last in held)
    return StreamState(stream, epoch, stored, mark.high, mark.missing, tuple(gaps), tuple(disputed))


def _in_order() -> Sequence[sa.ColumnElement[Any]]:
    return db.record.c.time_ms, db.record.c.epoch, db.record.c.seq


def _number(connection: Connection, device: str) -> int:
    query = sa.select(db.device.c.number).where(db.device.c.name == device)
    number = connection.execute(query).scalar_one_or_none()
    if number is None:
        raise ConfigError("is not registered", where=f"device {device}", todo="See `edgewatt-trainer device list`")
    return int(number)


def _channels(connection: Connection, device: str, channel: str) -> list[int]:
    table = db.channel.c
    query = sa.select(table.number).where(table.device == _number(connection, device), table.name == channel)
    return list(connection.execute(query).scalars())
