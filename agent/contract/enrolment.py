"""How a device comes to know its fleet, and the fleet a device: the enrolment file, the request, the response.

The enrolment file is carried by a person who is trusted; the request goes back sealed to the centre and signed by the
key that the device has just made, so that only the centre reads the token and only the owner of the key can use it.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature, InvalidTag

from agent.contract import jsonform, signed
from agent.contract.errors import RejectedError
from agent.contract.jsonform import Fields
from agent.contract.keys import (
    MAX_CHAIN_CHARS,
    MAX_CSR_CHARS,
    SIGNATURE_BYTES,
    SealingKey,
    SigningKey,
    key_id,
    verify_key,
)
from agent.contract.topics import DEVICE_ID
from agent.contract.trust import Broker, FleetTrust, check_schema

MAX_ENROLMENT_BYTES = 262_144
MAX_REQUEST_BYTES = 8192
_REQUEST_CONTEXT = b"edgewatt/enrol-request/v1\0"
_RESPONSE_KIND = "enrol-response"
_MAGIC = b"EWR1"


@dataclass(frozen=True, slots=True)
class Enrolment:
    """The file that `edgewatt-trainer device add` writes and `edgewatt enroll` reads. It holds a secret: the token."""

    device: str
    token: str
    expires_at_ms: int
    broker: Broker
    trust: FleetTrust
    tuf_root: str

    def __repr__(self) -> str:
        return f"Enrolment(device={self.device!r}, token=<secret>)"

    def to_bytes(self) -> bytes:
        """The file's content."""
        return jsonform.dumps(
            {
                "schema": 1,
                "device": self.device,
                "token": self.token,
                "expires_at_ms": self.expires_at_ms,
                "broker": self.broker.to_json(),
                "trust": self.trust.to_json(),
                "tuf_root": self.tuf_root,
            }
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> Enrolment:
        """Parse the file.

        Raises:
            RejectedError: when malformed; the error never shows the token.
        """
        where = "enrolment file"
        fields = Fields(jsonform.loads(data, where=where, max_bytes=MAX_ENROLMENT_BYTES), where)
        check_schema(fields)
        if not isinstance(fields.raw("token"), str) or not 16 <= len(fields.raw("token")) <= 128:
            fields.fail("token", "is not a string of 16 to 128 characters")
        return cls(
            device=fields.text("device", pattern=DEVICE_ID),
            token=fields.raw("token"),
            expires_at_ms=fields.instant("expires_at_ms"),
            broker=Broker.from_json(fields.child("broker")),
            trust=FleetTrust.from_json(fields.raw("trust"), f"{where}.trust"),
            tuf_root=fields.text("tuf_root", max_length=32_768),
        )


@dataclass(frozen=True, slots=True)
class EnrolmentRequest:
    """What the centre learns from an opened request: the key is proved, the token is still to be judged.

    `csr` asks for a client certificate (PEM); empty when the device wants none.
    """

    device: str
    token: str
    public: bytes
    created_ms: int
    csr: str = ""

    def __repr__(self) -> str:
        return f"EnrolmentRequest(device={self.device!r}, key={key_id(self.public)}, token=<secret>)"


def seal_request(enrolment: Enrolment, key: SigningKey, *, created_ms: int, csr: str = "") -> bytes:
    """Make the request `EWR1 | recipient key id (8) | u32 length | sealed {device, token, public, ...} | signature`."""
    recipient = enrolment.trust.recipient()
    body = {
        "device": enrolment.device,
        "token": enrolment.token,
        "public": key.public.hex(),
        "created_ms": created_ms,
    }
    if csr:
        body["csr"] = csr
    sealed = recipient.seal(jsonform.dumps(body), _REQUEST_CONTEXT)
    message = _MAGIC + bytes.fromhex(recipient.id) + struct.pack(">I", len(sealed)) + sealed
    return message + key.sign(_REQUEST_CONTEXT + message)


def open_request(data: bytes, keys: Mapping[str, SealingKey]) -> EnrolmentRequest:
    """Open a request and check that its sender owns the key in it.

    Raises:
        RejectedError: when malformed, sealed to another key, or not signed by the key in it.
    """
    where = "enrolment request"
    if not 16 + SIGNATURE_BYTES <= len(data) <= MAX_REQUEST_BYTES or data[:4] != _MAGIC:
        raise RejectedError("is not a request of this size", where=where)
    recipient = data[4:12].hex()
    sealed = data[16:-SIGNATURE_BYTES]
    if struct.unpack_from(">I", data, 12)[0] != len(sealed):
        raise RejectedError("is cut short or has bytes too many", where=where)
    if recipient not in keys:
        raise RejectedError(
            f"is sealed to key {recipient}, which was revoked or is another centre's",
            where=where,
            todo="Make a new enrolment file: `edgewatt-trainer device add NAME --out FILE`",
        )
    try:
        plain = keys[recipient].open(sealed, _REQUEST_CONTEXT)
    except (InvalidTag, ValueError) as exc:
        raise RejectedError("cannot be decrypted", where=where) from exc
    fields = Fields(jsonform.loads(plain, where=where, max_bytes=4096), where)
    public = fields.hexbytes("public", 32)
    try:
        verify_key(public).verify(data[-SIGNATURE_BYTES:], _REQUEST_CONTEXT + data[:-SIGNATURE_BYTES])
    except InvalidSignature as exc:
        raise RejectedError("is not signed by the key in it", where=where) from exc
    return EnrolmentRequest(
        device=fields.text("device", pattern=DEVICE_ID),
        token=fields.text("token", max_length=128),
        public=public,
        created_ms=fields.instant("created_ms"),
        csr=fields.text("csr", max_length=MAX_CSR_CHARS) if "csr" in fields else "",
    )


@dataclass(frozen=True, slots=True)
class EnrolmentResponse:
    """The centre's signed answer to a request; `certificate` is the TLS client's with its chain (PEM), or empty."""

    device: str
    key: str
    accepted: bool
    reason: str
    issued_at_ms: int
    certificate: str = ""

    def to_bytes(self, key: SigningKey) -> bytes:
        """Sign with the centre's acknowledgement key."""
        body = {
            "accepted": self.accepted,
            "device": self.device,
            "issued_at_ms": self.issued_at_ms,
            "key": self.key,
            "reason": self.reason,
        }
        if self.certificate:
            body["certificate"] = self.certificate
        return signed.sign(_RESPONSE_KIND, body, key)

    @classmethod
    def from_bytes(cls, data: bytes, keys: Mapping[str, bytes], *, device: str, key: str) -> EnrolmentResponse:
        """Verify the answer to the request of `device` with the key id `key`.

        Raises:
            RejectedError: when altered, by an unknown key, malformed, or an answer to another request.
        """
        fields = Fields(signed.verify(_RESPONSE_KIND, data, keys), _RESPONSE_KIND)
        if fields.text("device") != device or fields.text("key") != key:
            fields.fail("device", "is not the one that asked")
        return cls(
            device,
            key,
            fields.flag("accepted"),
            fields.text("reason", max_length=512),
            fields.instant("issued_at_ms"),
            fields.text("certificate", max_length=MAX_CHAIN_CHARS) if "certificate" in fields else "",
        )
