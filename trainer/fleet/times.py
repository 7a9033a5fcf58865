"""What time it was when a row was made: corrections of a device's clock, applied where rows are read.

Rows stay as they were stamped; `clock_shift` says by how much each epoch is wrong, by the device's own word. Decides
how corrections lie in the database and what they do to a query; what they are is `agent.contract.corrections`.
"""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from agent.contract.corrections import DERIVED, Correction
from trainer.fleet.database import channel as channel_table
from trainer.fleet.database import metadata, reading, record

shift = sa.Table(
    "clock_shift",
    metadata,
    sa.Column("device", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("epoch", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("shift_ms", sa.BigInteger, nullable=False, comment="to be added to times that were stamped"),
    sa.Column("slots_from_ms", sa.BigInteger, nullable=False, comment="slots from here on were made anew"),
    sa.Column("told", sa.BigInteger, nullable=False, comment="epoch of the event that says so; the last one counts"),
)

# Channels whose readings bring their own times, as from a file: those of all epochs that one event corrects.
own_time = sa.Table(
    "clock_own_time",
    metadata,
    sa.Column("device", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("told", sa.BigInteger, primary_key=True, autoincrement=False, comment="epoch of the event"),
    sa.Column("channel", sa.Text, primary_key=True, comment="its name"),
)


def note(
    connection: Connection, device: int, corrections: Sequence[Correction], own_times: Sequence[str], told: int
) -> None:
    """Take in an event of epoch `told`; one that is older than what is known of an epoch changes nothing there."""
    query = sa.select(shift.c.epoch, shift.c.told).where(shift.c.device == device)
    known = {int(epoch): int(before) for epoch, before in connection.execute(query)}
    for one in corrections:
        if known.get(one.epoch, 0) > told:
            continue
        connection.execute(shift.delete().where(shift.c.device == device, shift.c.epoch == one.epoch))
        connection.execute(shift.insert().values({"device": device, **one._asdict(), "told": told}))
    connection.execute(own_time.delete().where(own_time.c.device == device, own_time.c.told == told))
    if own_times:
        rows = [{"device": device, "told": told, "channel": name} for name in own_times]
        connection.execute(own_time.insert(), rows)


def readings(connection: Connection, device: int) -> sa.FromClause:
    """The table of readings with the times at which those of a device were made; the bare one where all are right."""
    if not connection.execute(sa.select(shift.c.epoch).where(shift.c.device == device).limit(1)).all():
        return reading
    names = channel_table.alias()
    of_event = sa.and_(own_time.c.device == shift.c.device, own_time.c.told == shift.c.told)
    joined = (
        reading.outerjoin(shift, _same(shift, reading))
        .outerjoin(names, sa.and_(names.c.number == reading.c.channel, shift.c.shift_ms != 0))
        .outerjoin(own_time, sa.and_(of_event, own_time.c.channel == names.c.name))
    )
    shift_ms = sa.case((own_time.c.channel.is_not(None), 0), else_=sa.func.coalesce(shift.c.shift_ms, 0))
    columns = [column for column in reading.c if column.name != "time_ms"]
    return sa.select(*columns, (reading.c.time_ms + shift_ms).label("time_ms")).select_from(joined).subquery()


def records() -> sa.Subquery:
    """The table of other rows that count, with `shift_ms`, by which `time_ms` there was moved and `body` was not."""
    shift_ms = sa.func.coalesce(shift.c.shift_ms, 0)
    derived = record.c.stream.in_(DERIVED)
    counts = sa.or_(
        shift_ms == 0,
        sa.not_(derived),
        sa.and_(record.c.stream == "slots", record.c.time_ms < shift.c.slots_from_ms),
    )
    moved_ms = sa.case((derived, 0), else_=shift_ms)
    columns = [column for column in record.c if column.name != "time_ms"]
    return (
        sa.select(*columns, (record.c.time_ms + moved_ms).label("time_ms"), moved_ms.label("shift_ms"))
        .select_from(record.outerjoin(shift, _same(shift, record)))
        .where(counts)
        .subquery()
    )


def _same(one: sa.Table, other: sa.Table) -> sa.ColumnElement[bool]:
    return sa.and_(one.c.device == other.c.device, one.c.epoch == other.c.epoch)
