"""A real centre in a folder: keys, update repository, central database, and the handler of messages; no broker."""

from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import Engine

from agent.contract.enrolment import Enrolment, seal_request
from agent.contract.trust import Broker
from tests.support.field_device import FieldDevice
from trainer.fleet import database as db
from trainer.fleet.certificates import Authority
from trainer.fleet.ingest import Ingest
from trainer.fleet.keys import OfflineKeys, OnlineKeys
from trainer.fleet.pieces import Pieces
from trainer.fleet.registry import Registry
from trainer.fleet.repository import Repository

NOW_MS = 1_795_000_000_000
DAY_MS = 86_400_000


@dataclass
class Clock:
    """The real clock of a test."""

    ms: int = NOW_MS

    def now(self) -> int:
        return self.ms


@dataclass
class Centre:
    """Everything that `init` makes, and the handler of messages."""

    folder: Path
    engine: Engine
    clock: Clock
    offline: OfflineKeys
    online: OnlineKeys
    repository: Repository
    registry: Registry
    ingest: Ingest
    authority: Authority

    def enrolment(self, name: str, *, valid_ms: int = DAY_MS, replace: bool = False) -> Enrolment:
        token, expires_ms = self.registry.add(name, valid_ms=valid_ms, replace=replace)
        broker = Broker("localhost", 1883)
        return Enrolment(name, token, expires_ms, broker, self.online.trust, self.repository.root().decode())

    def device(self, name: str = "press-1") -> FieldDevice:
        """A device that has enrolled itself."""
        device = FieldDevice(name, self.online.trust)
        request = seal_request(self.enrolment(name), device.key, created_ms=self.clock.ms)
        response, _ = self.registry.judge(request, topic_device=name, seal=self.online.seal, ack=self.online.ack)
        assert response.accepted
        return device

    def reopened(self) -> OnlineKeys:
        """Its keys as they are on disk by now, which its handler of messages goes on with."""
        keys = OnlineKeys.open(self.folder / "keys" / "online", self.clock.ms)
        self.ingest.use(keys)
        return keys

    def dump(self, *but: str) -> dict[str, list[tuple[object, ...]]]:
        """Every row of every table of the fleet, for comparing before and after."""
        tables = [table for table in db.metadata.sorted_tables if table.name not in but]
        with db.read(self.engine) as connection:
            return {
                table.name: sorted((tuple(row) for row in connection.execute(sa.select(table))), key=repr)
                for table in tables
            }


def make_centre(folder: Path, url: str) -> Centre:
    clock = Clock()
    offline = OfflineKeys.create(folder / "offline", clock.ms)
    online = OnlineKeys.create(folder / "keys" / "online", "works", clock.ms)
    repository = Repository(folder / "repository", online, clock.now)
    repository.create(offline)
    engine = db.open_database(url)
    authority = Authority.create(folder / "keys" / "authority", "works", clock.ms)
    ingest = Ingest(engine, online, Pieces(folder / "repository"), clock.now, authority)
    registry = Registry(engine, clock.now, authority)
    return Centre(folder, engine, clock, offline, online, repository, registry, ingest, authority)
