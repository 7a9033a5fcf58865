"""The form of `enrolment.json`: what enrolment left on the device."""

from __future__ import annotations

from dataclasses import dataclass

from agent.contract.errors import RejectedError
from agent.contract.keys import MAX_CHAIN_CHARS, SigningKey, TlsKey
from agent.contract.topics import DEVICE_ID
from agent.contract.trust import Broker, FleetTrust
from agent.store.kept import twofold

NAME = "enrolment.json"
_KNOWN = frozenset({"schema", "device", "broker", "trust", "tuf_root", "signing_key", "tls_key", "tls_chain"})
_KEY_BYTES = 32
_MAX_KEY_CHARS = 1024


@dataclass(frozen=True, slots=True)
class ClientTls:
    """Who the device is to the broker: its TLS key, and the centre's certificate for it with its chain (PEM)."""

    key: TlsKey
    chain: str


@dataclass(frozen=True, slots=True)
class Enrolled:
    """What enrolment left on the device.

    Attributes:
        device: its id.
        broker: where the centre's broker is.
        trust: the centre's keys.
        tuf_root: the root metadata that the update client begins with.
        tls: None where the broker asks for no certificate.
    """

    device: str
    broker: Broker
    trust: FleetTrust
    tuf_root: bytes
    tls: ClientTls | None = None


def to_bytes(enrolled: Enrolled, key: SigningKey) -> bytes:
    """Return the file."""
    value = {
        "schema": 1,
        "device": enrolled.device,
        "broker": enrolled.broker.to_json(),
        "trust": enrolled.trust.to_json(),
        "tuf_root": enrolled.tuf_root.decode(),
        "signing_key": key.private.hex(),
    }
    if enrolled.tls is not None:
        value |= {"tls_key": enrolled.tls.key.pem, "tls_chain": enrolled.tls.chain}
    return twofold.dumps(value)


def from_bytes(data: bytes) -> tuple[Enrolled, SigningKey]:
    """Parse the file.

    Raises:
        RejectedError: when it is not as it was written; no key stands in its words.
    """
    try:
        return _parse(data)
    except RejectedError as exc:
        # Fields shows a value that does not have its form; a damaged key must not reach a log that way.
        secret = next((name for name in ("signing_key", "tls_key") if name in exc.where), "")
        raise RejectedError(f"{secret} is damaged" if secret else str(exc)) from None


def _parse(data: bytes) -> tuple[Enrolled, SigningKey]:
    fields = twofold.loads(data, NAME, _KNOWN)
    tls = None
    if "tls_chain" in fields:
        chain = fields.text("tls_chain", max_length=MAX_CHAIN_CHARS)
        tls = ClientTls(TlsKey(fields.text("tls_key", max_length=_MAX_KEY_CHARS)), chain)
    enrolled = Enrolled(
        device=fields.text("device", pattern=DEVICE_ID),
        broker=Broker.from_json(fields.child("broker")),
        trust=FleetTrust.from_json(fields.raw("trust"), f"{NAME}.trust"),
        tuf_root=fields.text("tuf_root", max_length=32_768).encode(),
        tls=tls,
    )
    return enrolled, SigningKey(fields.hexbytes("signing_key", _KEY_BYTES))
