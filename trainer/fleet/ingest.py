"""What the centre does with one message of a device: one function from (topic, payload) to the messages to publish.

Decides by topic who looks at it; knows no MQTT. Whatever cannot be trusted is noted as a rejection and never
acknowledged; nothing that a message holds can raise out of here, only the database's failure does.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from typing import NamedTuple

from sqlalchemy.engine import Engine

from agent.contract import envelope, renewal
from agent.contract.errors import RejectedError, StorageError
from agent.contract.keys import SealingKey
from agent.contract.messages import RepoGet, Status
from agent.contract.topics import DEVICE_ID, ENVELOPE_STREAM, ROOT, STREAMS, DeviceTopics
from trainer.fleet import database as db
from trainer.fleet.certificates import Authority
from trainer.fleet.clones import Births
from trainer.fleet.intake import Intake
from trainer.fleet.keys import OnlineKeys
from trainer.fleet.pieces import Pieces
from trainer.fleet.registry import Registry
from trainer.fleet.rejections import Rejections

_TOPIC = re.compile(rf"{ROOT}/({DEVICE_ID})/(.+)")
_UP = frozenset(f"up/{stream}" for stream in (*STREAMS, ENVELOPE_STREAM))
_LOG = logging.getLogger(__name__)


class Outgoing(NamedTuple):
    """A message to publish."""

    topic: str
    payload: bytes
    retain: bool = False


class Ingest:
    """Handles messages, one at a time; several processes may each have one on the same database.

    Args:
        engine: the central database.
        keys: the on-line keys.
        pieces: answers requests for the update repository.
        now_ms: the real clock.
        authority: issues certificates; None where the broker asks for none.
    """

    def __init__(
        self,
        engine: Engine,
        keys: OnlineKeys,
        pieces: Pieces,
        now_ms: Callable[[], int],
        authority: Authority | None = None,
    ) -> None:
        self._engine = engine
        self._keys = keys
        self._pieces = pieces
        self._now_ms = now_ms
        self._intake = Intake(engine, now_ms)
        self._registry = Registry(engine, now_ms, authority)
        self._rejections = Rejections(engine, now_ms)
        self._births = Births()

    def use(self, keys: OnlineKeys) -> None:
        """Take newer keys, or newer states of them, from the next message on."""
        self._keys = keys

    def handle(self, topic: str, payload: bytes) -> list[Outgoing]:
        """Do what a message asks for and return the answers; what it brought is durable on return.

        Raises:
            StorageError: when the database fails; nothing was stored, and the device will send again.
        """
        try:
            return self._dispatch(topic, payload)
        except RejectedError as exc:
            self._rejections.add(topic, payload, exc)
        except StorageError:
            raise
        except Exception:  # noqa: BLE001  # a defect met by one message must not silence every other device
            _LOG.exception("a message of %d bytes on %s met a defect", len(payload), topic[:128])
            self._rejections.add(topic, payload, RejectedError("met a defect of the centre, see its log"))
        return []

    def _dispatch(self, topic: str, payload: bytes) -> list[Outgoing]:
        match = _TOPIC.fullmatch(topic)
        if match is None:
            raise RejectedError("is not a topic that a device writes", where="topic")
        device, rest = match[1], match[2]
        if rest in _UP:
            return self._envelope(device, payload)
        if rest == "repo/get":
            return self._piece(device, payload)
        if rest == "status":
            return self._status(device, payload)
        if rest == "enrol/request":
            return self._enrol(device, payload)
        if rest == "cert/request":
            return self._renew(device, payload)
        raise RejectedError("is not a topic that a device writes", where="topic")

    def _envelope(self, device: str, payload: bytes) -> list[Outgoing]:
        self._require(device)
        header, blocks = envelope.open_envelope(
            payload,
            device=device,
            signer_public=lambda key: self._registry.public_key(device, key),
            recipient_key=self._sealing_key,
        )
        stored = self._intake.store(header, blocks, len(payload))
        _LOG.debug("%s: %d rows, %d new", device, stored.rows, stored.new_rows)
        return [Outgoing(DeviceTopics(device).ack, stored.acknowledgement.to_bytes(self._keys.ack))]

    def _piece(self, device: str, payload: bytes) -> list[Outgoing]:
        self._require(device)
        answer = self._pieces.answer(RepoGet.from_bytes(payload))
        return [Outgoing(DeviceTopics(device).repo_data, answer.to_bytes())]

    def _status(self, device: str, payload: bytes) -> list[Outgoing]:
        if not payload:
            return []  # somebody cleared the retained status; it says nothing of the device
        self._require(device)
        status = Status.from_bytes(payload)
        if not status.version.isprintable():
            raise RejectedError(f"version {status.version!r} is not printable", where="status")
        with db.write(self._engine) as connection:
            connection.execute(
                db.device.update()
                .where(db.device.c.name == device)
                .values(
                    status=status.state,
                    status_ms=status.time_ms,
                    version=status.version,
                    boot=status.boot,
                    last_seen_ms=self._now_ms(),
                )
            )
        wrong = self._births.note(device, status.epoch, self._now_ms()) if status.state == "online" else ""
        if wrong:
            todo = f"Enrol one of them anew: `edgewatt-trainer device add {device} --replace --out FILE`"
            raise RejectedError(wrong, where="status", todo=todo)
        return []

    def _enrol(self, device: str, payload: bytes) -> list[Outgoing]:
        response, message = self._registry.judge(payload, topic_device=device, seal=self._keys.seal, ack=self._keys.ack)
        if response.accepted:
            _LOG.info("%s is enrolled with key %s", device, response.key)
        else:
            self._rejections.add(
                DeviceTopics(device).enrol_request, payload, RejectedError(response.reason, where="enrolment request")
            )
        return [Outgoing(DeviceTopics(device).enrol_response, message)]

    def _renew(self, device: str, payload: bytes) -> list[Outgoing]:
        answer = renewal.sign_response(device, self._registry.renew(payload, device), self._keys.ack)
        return [Outgoing(DeviceTopics(device).cert_response, answer)]

    def _require(self, device: str) -> None:
        if not self._registry.known(device):
            raise RejectedError(f"device {device} is not registered", where="topic")

    def _sealing_key(self, key: str) -> SealingKey:
        if key not in self._keys.seal:
            raise RejectedError(f"is sealed to key {key}, which is unknown here or revoked", where="envelope")
        return self._keys.seal[key]
