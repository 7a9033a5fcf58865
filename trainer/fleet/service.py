"""The ingest process: takes messages from the broker, has them handled, publishes the answers and the assignments.

The order for each message is: handle (durable), publish the answer, tell the broker. Whatever fails between, the
device sends again and is answered again. Several processes may serve one database.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import sqlalchemy as sa
from sqlalchemy.engine import Engine

from agent.contract.errors import EdgewattError, StorageError
from agent.contract.topics import CERT_REQUEST, ENROL_REQUEST, REPO_GET, STATUS, UP, DeviceTopics
from trainer.fleet import database as db
from trainer.fleet.assignments import Assignments
from trainer.fleet.ingest import Ingest
from trainer.fleet.mqtt import Incoming
from trainer.fleet.repository import Repository

# Of these one process gets each message. A retained message does not come by a shared subscription: the status of a
# device that was born while no ingest ran would be missed, so every process hears that.
SHARED = (UP, REPO_GET, ENROL_REQUEST, CERT_REQUEST)
SUBSCRIPTIONS = (STATUS,)
ENVELOPES_KEPT_DAYS = 35
_POLL_S = 0.2
_ASSIGN_EVERY_S, _CHORES_EVERY_S = 0.5, 3600.0
_AFTER_FAILURE_S = 300.0
_WARN_OFFLINE_DAYS = 60
_RENEWED_BY = {
    "targets": "publish something with the off-line key",
    "root": "make its next version with the off-line keys (`edgewatt-trainer keys rotate root`)",
}
_DAY_MS = 86_400_000
_LOG = logging.getLogger(__name__)


class Chore(NamedTuple):
    """Something that is due every so often; after a failure it it is left alone for `after_failure_s`."""

    every_s: float
    do: Callable[[], None]
    after_failure_s: float = _AFTER_FAILURE_S


class Link(Protocol):
    """The broker, as this process uses it."""

    session: int
    connected: bool

    def poll(self, timeout_s: float) -> list[Incoming]:
        """Return what has come within about `timeout_s`."""

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> bool:
        """Hand over a message; False when that is not possible now."""

    def done(self, message: Incoming) -> None:
        """Tell the broker that a message was dealt with."""

    def drop(self) -> None:
        """Cut the connection and come back after a pause."""


class Service:
    """One ingest process; `run` is its whole life.

    Args:
        engine: the central database.
        link: the broker.
        ingest: handles each message.
        repository: is kept fresh.
        now_ms: the real clock.
        monotonic: a clock in seconds.
        chores: what else is due.
    """

    def __init__(
        self,
        engine: Engine,
        link: Link,
        ingest: Ingest,
        repository: Repository,
        *,
        now_ms: Callable[[], int],
        monotonic: Callable[[], float],
        chores: Sequence[Chore] = (),
    ) -> None:
        self._engine, self._link, self._ingest, self._repository = engine, link, ingest, repository
        self._now_ms, self._monotonic = now_ms, monotonic
        self._assignments = Assignments(engine, now_ms)
        self._session = 0
        self._published: dict[str, int] = {}
        self._chores = (Chore(_CHORES_EVERY_S, self._do_chores), *chores)
        self._due = [monotonic()] * len(self._chores)
        self._next_assign = monotonic()

    def run(self, stopping: Callable[[], bool]) -> None:
        """Serve until `stopping` says so; messages that have come by then are still dealt with."""
        while not stopping():
            self.step()

    def step(self) -> None:
        """Deal with what has come, and with what is due."""
        for message in self._link.poll(_POLL_S):
            if not self._take(message):
                break
        now = self._monotonic()
        if self._link.connected and (now >= self._next_assign or self._link.session != self._session):
            self._next_assign = now + _ASSIGN_EVERY_S
            self._guarded(self._publish_assignments)
        for index, chore in enumerate(self._chores):
            if now >= self._due[index]:
                done = self._guarded(chore.do)
                self._due[index] = now + (chore.every_s if done else max(chore.every_s, chore.after_failure_s))

    def _take(self, message: Incoming) -> bool:
        try:
            answers = self._ingest.handle(message.topic, message.payload)
        except StorageError as exc:
            _LOG.error("%s; devices keep their rows and send them again", exc)  # a full disk needs no traceback
            self._link.drop()  # the pause before the next session is the database's, too
            return False
        for answer in answers:
            self._link.publish(answer.topic, answer.payload, retain=answer.retain)
        self._link.done(message)
        return True

    def _publish_assignments(self) -> None:
        if self._link.session != self._session:
            # The broker may have lost its retained messages.
            self._session, self._published = self._link.session, {}
        for device, counter in self._assignments.newest().items():
            if self._published.get(device, 0) < counter:
                message = self._assignments.message(device, counter)
                if self._link.publish(DeviceTopics(device).assign, message, retain=True):
                    self._published[device] = counter
                    _LOG.info("assignment %d of %s is published", counter, device)

    def _do_chores(self) -> None:
        if self._repository.refresh():
            _LOG.info("the repository's timestamp is signed anew")
        for role, left in self._repository.offline_days_left().items():
            if left < _WARN_OFFLINE_DAYS:
                _LOG.warning("the repository's %s expires in %d days: %s", role, left, _RENEWED_BY[role])
        old = db.envelope.c.received_ms < self._now_ms() - ENVELOPES_KEPT_DAYS * _DAY_MS
        with db.write(self._engine) as connection:
            connection.execute(sa.delete(db.envelope).where(old))

    def _guarded(self, chore: Callable[[], None]) -> bool:
        try:
            chore()
        except EdgewattError as exc:
            _LOG.error("%s", exc)  # said in words for the operator; ingest goes on
            return False
        return True
