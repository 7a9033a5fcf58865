"""Which of the centre's keys each device is known to hold: what it says itself, signed, in its envelopes.

A device names what it trusts by the begin of a digest; the centre keeps what it has handed out under that name. What a
device was sent counts for nothing here: it may be switched off, or have refused it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from agent.contract import jsonform
from agent.contract.trust import MAX_TRUST_BYTES, FleetTrust
from trainer.fleet import database as db


@dataclass(frozen=True, slots=True)
class Holder:
    """An enrolled device; `trust` is None where it has not told, or nobody here knows what it named."""

    name: str
    trust: FleetTrust | None
    since_ms: int | None


def note(connection: Connection, device: int, name: str, now_ms: int) -> None:
    """Keep what a device says that it trusts, in the caller's transaction."""
    table = db.device_trust
    mine = table.c.device == device
    found = connection.execute(sa.select(table.c.trust).where(mine)).scalar_one_or_none()
    if found == name:
        return
    connection.execute(table.delete().where(mine))
    connection.execute(table.insert().values(device=device, trust=name, at_ms=now_ms))


def forget(connection: Connection, device: int) -> None:
    """Know nothing of a device any more: another one has taken its name, with an enrolment file of any age."""
    connection.execute(db.device_trust.delete().where(db.device_trust.c.device == device))


def hand_out(engine: Engine, trust: FleetTrust) -> None:
    """Keep what devices are about to be told, so that it is known when one names it.

    Raises:
        StorageError: when the database fails.
    """
    with db.write(engine) as connection:
        known = sa.select(db.trust.c.name).where(db.trust.c.name == trust.name)
        if connection.execute(known).first() is None:
            body = jsonform.dumps(trust.to_json()).decode()
            connection.execute(db.trust.insert().values(name=trust.name, body=body))


def holders(engine: Engine) -> list[Holder]:
    """Return every device whose key counts, by name, with what it is known to trust.

    Raises:
        StorageError: when the database fails.
    """
    device, key, held, trust = db.device, db.device_key, db.device_trust, db.trust
    query = (
        sa.select(device.c.name, held.c.at_ms, trust.c.body)
        .join(key, (key.c.device == device.c.number) & key.c.revoked_ms.is_(None))
        .outerjoin(held, held.c.device == device.c.number)
        .outerjoin(trust, trust.c.name == held.c.trust)
        .order_by(device.c.name)
    )
    with db.read(engine) as connection:
        rows = connection.execute(query).all()
    return [Holder(str(row.name), _parse(row.body), row.at_ms) for row in rows]


def without(engine: Engine, served: Callable[[FleetTrust], bool]) -> list[str]:
    """Return the devices that are not known to trust what `served` asks for, by name."""
    return [holder.name for holder in holders(engine) if holder.trust is None or not served(holder.trust)]


def _parse(body: str | None) -> FleetTrust | None:
    if body is None:
        return None
    return FleetTrust.from_json(jsonform.loads(body.encode(), where="database", max_bytes=MAX_TRUST_BYTES))
