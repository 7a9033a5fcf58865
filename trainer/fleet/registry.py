"""The fleet's devices: who is registered, with which key, and how a new one is let in.

A device is let in by a token that a trusted person carries to it. The database knows the token's hash only; a token
lets one key in, once, before it expires, for the device it was made for. A device has one valid key at a time.
"""

from __future__ import annotations

import contextlib
import hashlib
import secrets
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from agent.contract import renewal
from agent.contract.enrolment import EnrolmentRequest, EnrolmentResponse, open_request
from agent.contract.errors import ConfigError, RejectedError
from agent.contract.keys import SealingKey, SigningKey, key_id
from agent.contract.topics import check_device_id
from trainer.fleet import certificates, trusted
from trainer.fleet import database as db
from trainer.fleet.certificates import Applicant, Authority

TOKEN_BYTES = 32
_ANSWERED_MS = 600_000  # so long may a device ask again for the answer to its request
_CLOSED_FOR_MS = 172_800_000


@dataclass(frozen=True, slots=True)
class DeviceInfo:
    """One registered device, as shown to people.

    Attributes:
        key: id of its key; None before it is enrolled.
        status: `online` or `offline` by its own birth and will; None before the first.
        last_seen_ms: real time at which an envelope or a status last came.
    """

    name: str
    plant: str | None
    added_ms: int
    key: str | None
    status: str | None
    last_seen_ms: int | None
    version: str | None


class Registry:
    """Reads and changes the register; safe for several processes.

    Args:
        engine: the central database.
        now_ms: the real clock.
        authority: issues certificates to devices that enrol; None where the broker asks for none.
    """

    def __init__(self, engine: Engine, now_ms: Callable[[], int], authority: Authority | None = None) -> None:
        self._engine = engine
        self._now_ms = now_ms
        self._authority = authority

    def add(self, name: str, *, plant: str | None = None, valid_ms: int, replace: bool = False) -> tuple[str, int]:
        """Do as `adding` where nothing else is to be done with the token."""
        with self.adding(name, plant=plant, valid_ms=valid_ms, replace=replace) as made:
            return made

    @contextlib.contextmanager
    def adding(
        self, name: str, *, plant: str | None = None, valid_ms: int, replace: bool = False
    ) -> Iterator[tuple[str, int]]:
        """Register a device, or an enrolment anew, and give its token and when that expires.

        Tokens that were made for it before count until the block is left. Where it fails they go on to count, the new
        one does not, and a device that was not registered before is not.

        Args:
            name: the device.
            plant: where it stands.
            valid_ms: how long the token counts.
            replace: allow it for a device that has a key: the new key will take that one's place.

        Raises:
            ConfigError: when the name is malformed, or the device has a key and `replace` is not given.
        """
        check_device_id(name)
        token, now = secrets.token_urlsafe(TOKEN_BYTES), self._now_ms()
        with db.write(self._engine) as connection:
            known = _number(connection, name)
            if known is not None and _valid_keys(connection, known) and not replace:
                raise ConfigError(
                    "is enrolled already", where=f"device {name}", todo="With --replace a new device takes its place"
                )
            made = db.device.insert().values(name=name, plant=plant, added_ms=now).returning(db.device.c.number)
            number = int(connection.execute(made).scalar_one()) if known is None else known
            connection.execute(db.token.insert().values(sha256=_hash(token), device=number, expires_ms=now + valid_ms))
        mine = db.token.c.sha256 == _hash(token)
        try:
            yield token, now + valid_ms
        except BaseException:
            with db.write(self._engine) as connection:
                connection.execute(db.token.delete().where(mine))
                if known is None:
                    others = sa.exists().where(db.token.c.device == number)  # of a command that was given meanwhile
                    connection.execute(db.device.delete().where(db.device.c.number == number, sa.not_(others)))
            raise
        unused = db.token.c.device == number, db.token.c.used_ms.is_(None)
        with db.write(self._engine) as connection:
            connection.execute(db.token.delete().where(*unused, sa.not_(mine)))
            if plant is not None:
                connection.execute(db.device.update().where(db.device.c.number == number).values(plant=plant))

    def judge(
        self, request: bytes, *, topic_device: str | None, seal: Mapping[str, SealingKey], ack: SigningKey
    ) -> tuple[EnrolmentResponse, bytes]:
        """Judge an enrolment request and return the answer and its signed bytes.

        The same request again, when its answer was lost, gets the same answer.

        Args:
            request: as it came.
            topic_device: the device of the topic it came on; None when a person brought it.
            seal: the centre's sealing keys by id.
            ack: signs the answer.

        Raises:
            RejectedError: when it cannot be opened or came on another device's topic; nobody can then be answered.
        """
        opened = open_request(request, seal)
        if topic_device not in {None, opened.device}:
            raise RejectedError(f"names device {opened.device}, came from {topic_device}", where="enrolment request")
        now, certificate = self._now_ms(), ""
        try:
            with db.write(self._engine) as connection:
                reason = _enrol(connection, opened, now)
                if not reason and opened.csr and self._authority is not None:
                    certificate = _certify(connection, self._authority, opened, now)
        except RejectedError as exc:  # of its certificate; the token is then not used
            reason = str(exc)
        response = EnrolmentResponse(opened.device, key_id(opened.public), not reason, reason, now, certificate)
        return response, response.to_bytes(ack)

    def renew(self, request: bytes, device: str) -> str:
        """Return a newer certificate for a device that asks for one; the one it has while most of its life is left.

        Raises:
            RejectedError: when the request is not signed by a valid key of `device`, is malformed, or there is no
                authority.
        """
        if self._authority is None:
            raise RejectedError("asks for a certificate; this centre issues none", where="certificate request")
        with db.write(self._engine) as connection:
            number = _number(connection, device, lock=True)
            keys = {} if number is None else _valid_keys(connection, number)
            csr = renewal.verify_request(request, keys, device=device)
            if number is None:
                raise RejectedError("is not registered", where=f"device {device}")
            applicant = Applicant(number, device, next(iter(keys)), csr)
            return certificates.certify(connection, self._authority, applicant, self._now_ms())

    def revoke(self, name: str) -> None:
        """Let nothing count any more that a device has: its key, its certificates, its tokens.

        Raises:
            ConfigError: when there is no such device.
        """
        now = self._now_ms()
        with db.write(self._engine) as connection:
            number = _number(connection, name, lock=True)
            if number is None:
                raise ConfigError(
                    "is not registered", where=f"device {name}", todo="See `edgewatt-trainer device list` for its name"
                )
            _revoke_key(connection, number, now)
            certificates.revoke(connection, number, now)
            unused = db.token.c.device == number, db.token.c.used_ms.is_(None)
            connection.execute(db.token.delete().where(*unused))

    def closed_enrolments(self) -> list[str]:
        """Return the devices whose tokens of the last days count no more: used, and answered for sure, or expired."""
        now, table = self._now_ms(), db.token
        last = sa.func.max(sa.func.coalesce(table.c.used_ms + _ANSWERED_MS, table.c.expires_ms))
        query = (
            sa.select(db.device.c.name)
            .join(table)
            .group_by(db.device.c.name)
            .having(last <= now, last > now - _CLOSED_FOR_MS)
        )
        with db.read(self._engine) as connection:
            return sorted(connection.execute(query).scalars())

    def devices(self) -> list[DeviceInfo]:
        """Return every device by name."""
        key = db.device_key
        query = (
            sa.select(db.device, key.c.id.label("key"))
            .outerjoin(key, sa.and_(key.c.device == db.device.c.number, key.c.revoked_ms.is_(None)))
            .order_by(db.device.c.name)
        )
        with db.read(self._engine) as connection:
            return [
                DeviceInfo(row.name, row.plant, row.added_ms, row.key, row.status, row.last_seen_ms, row.version)
                for row in connection.execute(query)
            ]

    def known(self, name: str) -> bool:
        """Whether there is such a device."""
        with db.read(self._engine) as connection:
            return _number(connection, name) is not None

    def public_key(self, device: str, key: str) -> bytes:
        """Return the public key `key` of `device`.

        Raises:
            RejectedError: when it has no such key, or that was revoked.
        """
        query = (
            sa.select(db.device_key.c.public, db.device_key.c.revoked_ms)
            .join(db.device)
            .where(db.device.c.name == device, db.device_key.c.id == key)
        )
        with db.read(self._engine) as connection:
            found = connection.execute(query).one_or_none()
        if found is None:
            raise RejectedError(f"device {device} is not enrolled with key {key}", where="envelope")
        if found.revoked_ms is not None:
            raise RejectedError(f"key {key} of device {device} was replaced or revoked", where="envelope")
        return bytes(found.public)


def _enrol(connection: Connection, request: EnrolmentRequest, now_ms: int) -> str:
    """Enrol the key of a request whose sender owns it; return why not, or nothing."""
    key, table = key_id(request.public), db.token
    number = _number(connection, request.device, lock=True)
    if number is None:
        return "the device is not registered at this centre: add it with `edgewatt-trainer device add`"
    mine = table.c.device == number, table.c.sha256 == _hash(request.token)
    found = connection.execute(sa.select(table).where(*mine)).one_or_none()
    if found is None:
        return "the token is not of this device, or a newer one was made: take the newest enrolment file"
    if found.used_ms is not None:
        again = found.used_by == key and key in _valid_keys(connection, number)
        return "" if again else "the token has been used: make a new enrolment file"
    if found.expires_ms <= now_ms:
        return "the token has expired: make a new enrolment file"
    keys = db.device_key
    if connection.execute(sa.select(keys.c.id).where(keys.c.id == key)).one_or_none() is not None:
        return "the key was used before: a device makes a new one for each enrolment"
    connection.execute(table.update().where(*mine).values(used_ms=now_ms, used_by=key))
    _revoke_key(connection, number, now_ms)
    certificates.revoke(connection, number, now_ms)
    trusted.forget(connection, number)
    connection.execute(keys.insert().values(id=key, device=number, public=request.public, added_ms=now_ms))
    return ""


def _revoke_key(connection: Connection, number: int, now_ms: int) -> None:
    keys = db.device_key
    valid = keys.c.device == number, keys.c.revoked_ms.is_(None)
    connection.execute(keys.update().where(*valid).values(revoked_ms=now_ms))


def _certify(connection: Connection, authority: Authority, request: EnrolmentRequest, now_ms: int) -> str:
    number = _number(connection, request.device)
    if number is None:
        raise RejectedError(f"device {request.device} is not registered", where="enrolment request")
    device = Applicant(number, request.device, key_id(request.public), request.csr)
    return certificates.certify(connection, authority, device, now_ms)


def _number(connection: Connection, name: str, *, lock: bool = False) -> int | None:
    query = sa.select(db.device.c.number).where(db.device.c.name == name)
    found = connection.execute(query.with_for_update() if lock else query).scalar_one_or_none()
    return None if found is None else int(found)


def _valid_keys(connection: Connection, number: int) -> dict[str, bytes]:
    key = db.device_key
    query = sa.select(key.c.id, key.c.public).where(key.c.device == number, key.c.revoked_ms.is_(None))
    return {row.id: bytes(row.public) for row in connection.execute(query)}


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode(errors="replace")).hexdigest()
