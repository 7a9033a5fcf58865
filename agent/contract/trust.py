"""Whom a device trusts, and where it finds them: the fleet's keys, as in `trust/fleet.json`, and its broker."""

from __future__ import annotations

import enum
import hashlib
from dataclasses import dataclass
from typing import Any

from agent.contract import jsonform
from agent.contract.errors import RejectedError
from agent.contract.jsonform import Fields
from agent.contract.keys import SEAL_PUBLIC_BYTES, SealTo, key_id

MAX_KEYS = 32
MAX_TRUST_BYTES = 262_144
_HOST = "[A-Za-z0-9._:-]+"


class KeyUse(enum.StrEnum):
    """What a key of the centre is for."""

    SEAL = "seal"
    ACK = "ack"
    ASSIGN = "assign"


class KeyState(enum.StrEnum):
    """Active keys are used, draining ones still accepted, revoked ones refused."""

    ACTIVE = "active"
    DRAINING = "draining"
    REVOKED = "revoked"


@dataclass(frozen=True, slots=True)
class FleetKey:
    """One public key of the centre."""

    use: KeyUse
    public: bytes
    not_before_ms: int
    state: KeyState

    @property
    def id(self) -> str:
        """Its name."""
        return key_id(self.public)

    def to_json(self) -> dict[str, Any]:
        """The form in `fleet.json`."""
        return {
            "id": self.id,
            "not_before_ms": self.not_before_ms,
            "public": self.public.hex(),
            "state": str(self.state),
            "use": str(self.use),
        }

    @classmethod
    def from_json(cls, fields: Fields) -> FleetKey:
        """Parse the form of `to_json`.

        Raises:
            RejectedError: when a field is missing, unknown or does not fit another.
        """
        use, state = fields.text("use", max_length=16), fields.text("state", max_length=16)
        if use not in set(KeyUse) or state not in set(KeyState):
            fields.fail("use", f"{use!r} in state {state!r} is unknown here")
        public = fields.hexbytes("public", SEAL_PUBLIC_BYTES if use == KeyUse.SEAL else 32)
        if key_id(public) != fields.text("id"):
            fields.fail("id", "is not the key's")
        return cls(KeyUse(use), public, fields.instant("not_before_ms"), KeyState(state))


@dataclass(frozen=True, slots=True)
class FleetTrust:
    """All keys of the centre, and its id."""

    fleet: str
    keys: tuple[FleetKey, ...]

    @property
    def digest(self) -> str:
        """SHA-256 (hexadecimal) of the target that holds exactly these keys."""
        return hashlib.sha256(jsonform.dumps(self.to_json())).hexdigest()

    @property
    def name(self) -> str:
        """By which a device tells its centre that it trusts these keys."""
        return self.digest[:16]

    def verifiers(self, use: KeyUse) -> dict[str, bytes]:
        """Return id -> public key of every key for `use` that is not revoked."""
        return {key.id: key.public for key in self.keys if key.use is use and key.state is not KeyState.REVOKED}

    def knows(self, key: str) -> bool:
        """Whether the key of this id is among them, in whatever state."""
        return any(known.id == key for known in self.keys)

    def recipient(self) -> SealTo:
        """Return the key to seal to: the active one with the latest `not_before_ms`.

        Raises:
            RejectedError: when there is none.
        """
        active = [key for key in self.keys if key.use is KeyUse.SEAL and key.state is KeyState.ACTIVE]
        if not active:
            raise RejectedError("has no active sealing key", where="fleet trust", todo="Enrol the device again")
        return SealTo(max(active, key=lambda key: key.not_before_ms).public)

    def to_json(self) -> dict[str, Any]:
        """The content of `trust/fleet.json`."""
        return {"schema": 1, "fleet": self.fleet, "keys": [key.to_json() for key in self.keys]}

    @classmethod
    def from_json(cls, value: object, where: str = "fleet trust") -> FleetTrust:
        """Parse the form of `to_json`.

        Raises:
            RejectedError: when malformed.
        """
        fields = Fields(value, where)
        check_schema(fields)
        keys = tuple(FleetKey.from_json(child) for child in fields.children("keys", MAX_KEYS))
        return cls(fields.text("fleet", max_length=64), keys)


def check_schema(fields: Fields) -> None:
    """Refuse a form that this version does not know.

    Raises:
        RejectedError: when it is newer.
    """
    if fields.integer("schema") != 1:
        fields.fail("schema", "is newer than this version reads: update the agent")


@dataclass(frozen=True, slots=True)
class Broker:
    """Where the centre's MQTT broker listens.

    Attributes:
        host, port: its address.
        ca_pem: who vouches for it; empty where it has no TLS.
        enrol_port: a listener of its own for devices that have no certificate yet; 0 where enrolment uses `port`.
        server_name: the name in its certificate; empty where that is `host`.
    """

    host: str
    port: int
    ca_pem: str = ""
    enrol_port: int = 0
    server_name: str = ""

    def to_json(self) -> dict[str, Any]:
        """The form in enrolment files; what is empty is left out."""
        value: dict[str, Any] = {"host": self.host, "port": self.port, "ca_pem": self.ca_pem}
        if self.enrol_port:
            value["enrol_port"] = self.enrol_port
        if self.server_name:
            value["server_name"] = self.server_name
        return value

    @classmethod
    def from_json(cls, fields: Fields) -> Broker:
        """Parse the form of `to_json`.

        Raises:
            RejectedError: when malformed.
        """
        return cls(
            host=fields.text("host", pattern=_HOST),
            port=fields.integer("port", 1, 65_535),
            ca_pem=fields.text("ca_pem", max_length=16_384),
            enrol_port=fields.integer("enrol_port", 1, 65_535) if "enrol_port" in fields else 0,
            server_name=fields.text("server_name", pattern=_HOST) if "server_name" in fields else "",
        )
