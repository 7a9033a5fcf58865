"""Which targets each device shall run: written by an operator, signed, kept in the database, published by ingest."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from agent.contract.assignment import MAX_ITEMS, Assignment, Item, ItemKind
from agent.contract.errors import ConfigError
from agent.contract.keys import SigningKey
from trainer.fleet import database as db
from trainer.fleet.repository import Target

VALID_DAYS = 30
_DAY_MS = 86_400_000
_KINDS = {"models": ItemKind.MODEL, "trust": ItemKind.TRUST, "tariffs": ItemKind.TARIFF, "config": ItemKind.CONFIG}


class Assignments:
    """Makes and finds assignments; safe for several processes.

    Args:
        engine: the central database.
        now_ms: the real clock.
    """

    def __init__(self, engine: Engine, now_ms: Callable[[], int]) -> None:
        self._engine = engine
        self._now_ms = now_ms

    def assign(
        self,
        device: str,
        paths: Sequence[str],
        *,
        targets: dict[str, Target],
        snapshot_version: int,
        key: SigningKey,
        valid_days: int = VALID_DAYS,
        allow_downgrade: bool = False,
    ) -> Assignment:
        """Assign published targets to a device; kinds that are not named stay as they were assigned before.

        Args:
            device: its name.
            paths: target paths, at most one of each kind.
            targets: what is published.
            snapshot_version: of the repository that publishes them.
            key: signs the assignment.
            valid_days: a device that first hears of it later does not install.
            allow_downgrade: let a model of a lower version than the active one be installed.

        Raises:
            ConfigError: when the device or a target is unknown, or two targets are of one kind.
        """
        items = {_kind(path): _item(path, targets) for path in paths}
        if len(items) != len(paths) or not 1 <= len(items) <= MAX_ITEMS:
            raise ConfigError("name each kind of target once", where="assign")
        now = self._now_ms()
        with db.write(self._engine) as connection:
            number = _lock(connection, device)
            counter, before = _latest(connection, number)
            kept = {_kind(path): _item(path, targets) for path in before if path in targets}
            assignment = Assignment(
                device=device,
                counter=counter + 1,
                issued_at_ms=now,
                expires_at_ms=now + valid_days * _DAY_MS,
                min_snapshot_version=snapshot_version,
                items=tuple((kept | items).values()),
                allow_downgrade=allow_downgrade,
            )
            connection.execute(
                db.assignment.insert().values(
                    device=number,
                    counter=assignment.counter,
                    issued_ms=now,
                    expires_ms=assignment.expires_at_ms,
                    paths=json.dumps([item.path for item in assignment.items]),
                    message=assignment.to_bytes(key),
                )
            )
        return assignment

    def newest(self) -> dict[str, int]:
        """Return the counter of the newest assignment of each device that has one."""
        counter = sa.func.max(db.assignment.c.counter)
        query = sa.select(db.device.c.name, counter).join(db.assignment).group_by(db.device.c.name)
        with db.read(self._engine) as connection:
            return {str(name): int(number) for name, number in connection.execute(query)}

    def message(self, device: str, counter: int) -> bytes:
        """Return the signed bytes of one assignment."""
        query = (
            sa.select(db.assignment.c.message)
            .join(db.device)
            .where(db.device.c.name == device, db.assignment.c.counter == counter)
        )
        with db.read(self._engine) as connection:
            return bytes(connection.execute(query).scalar_one())


def _lock(connection: Connection, device: str) -> int:
    query = sa.select(db.device.c.number).where(db.device.c.name == device).with_for_update()
    number = connection.execute(query).scalar_one_or_none()
    if number is None:
        raise ConfigError(
            "is not registered", where=f"device {device}", todo="See `edgewatt-trainer device list`, or add it"
        )
    return int(number)


def _latest(connection: Connection, number: int) -> tuple[int, list[str]]:
    table = db.assignment
    query = sa.select(table.c.counter, table.c.paths).where(table.c.device == number)
    found = connection.execute(query.order_by(table.c.counter.desc()).limit(1)).one_or_none()
    return (int(found.counter), json.loads(found.paths)) if found else (0, [])


def _kind(path: str) -> ItemKind:
    folder = path.partition("/")[0]
    if folder not in _KINDS:
        raise ConfigError(f"{path!r} is no target that a device runs", todo=f"It begins with {', '.join(_KINDS)}")
    return _KINDS[folder]


def _item(path: str, targets: dict[str, Target]) -> Item:
    if path not in targets:
        published = ", ".join(sorted(targets)) or "none"
        raise ConfigError(f"{path!r} is not published", where="assign", todo=f"Published are: {published}")
    target = targets[path]
    return Item(_kind(path), target.path, target.length, target.sha256)
