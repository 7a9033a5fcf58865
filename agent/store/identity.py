"""Who this device is and what must never go back: keys, boot and epoch counters, floors, enrolment.

Kept apart from the store, so that neither salvage nor a new store can reset it. Every file is replaced durably as a
whole; one process at a time writes here (the daemon; `edgewatt enroll` while that is down).

Files: `counters.json` {boot, epoch, floors}, `storage.key` (32 bytes, 0600; only the daemon makes it, since it sees if
the system gives it one), `enrolment.json` (0600: whom the device trusts, its signing key, its TLS key and certificate),
`pending.key`, `pending-tls.pem` (0600: keys that wait for the centre's answer).
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from agent.contract import jsonform
from agent.contract.durable import fsync_folder, write_durable
from agent.contract.errors import RejectedError, StorageError
from agent.contract.jsonform import Fields
from agent.contract.keys import SigningKey, TlsKey
from agent.contract.topics import DEVICE_ID
from agent.contract.trust import MAX_CHAIN_CHARS, Broker, Enrolment, FleetTrust

KEY_BYTES = 32
CREDENTIAL = "edgewatt-storage"
_STRIDE = 2**31  # of epochs; half of it a start lasts for eight million starts
CLOCK_FLOOR = "clock"  # the least that the real time can be: when the centre last signed something for this device
_COUNTERS, _STORAGE_KEY, _ENROLMENT, _PENDING = "counters.json", "storage.key", "enrolment.json", "pending.key"
_PENDING_TLS = "pending-tls.pem"
_MAX_FILE_BYTES = 131_072
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


class _Key(NamedTuple):
    value: bytes
    source: str


class Identity:
    """The device's keys and counters, read once and written through.

    Invariants: `boot`, `epoch` and every floor only rise; the storage key never changes; a value returned by a method
    here is on disk.
    """

    def __init__(
        self,
        folder: Path,
        counters: dict[str, Any],
        key: _Key | None = None,
        randbelow: Callable[[int], int] = secrets.randbelow,
    ) -> None:
        stored = _read(folder / _ENROLMENT)
        self._enrolled = None if stored is None else _parse_enrolment(stored, folder / _ENROLMENT)
        self._folder, self._randbelow = folder, randbelow
        self._counters = counters
        self._key = key

    @classmethod
    def open(
        cls, folder: Path, *, credentials: Path | None = None, randbelow: Callable[[int], int] = secrets.randbelow
    ) -> Identity:
        """Open it as the daemon does: what is missing is made, with a new storage key where there never was one.

        Args:
            folder: of the identity; it is made with mode 0700.
            credentials: where the system gives this service its secrets; a storage key there is kept in no file.
            randbelow: uniform whole numbers below its argument, for epochs.

        Raises:
            StorageError: when it cannot be read or written, a file in it is damaged, or the key or the counters are
                gone while the other is there.
        """
        counters = _begin(folder)
        key = _find_key(folder, credentials)
        if key is None:
            if counters["epoch"]:
                raise _key_lost(folder)
            key = _Key(secrets.token_bytes(KEY_BYTES), "file")
            write_durable(folder / _STORAGE_KEY, key.value, mode=0o600)
        return cls(folder, counters, key, randbelow)

    @classmethod
    def open_without_key(cls, folder: Path) -> Identity:
        """Open it to enrol: the storage key is neither read nor made, since only the service sees a credential.

        Raises:
            StorageError: as `open`, but for the key.
        """
        return cls(folder, _begin(folder))

    @classmethod
    def read(cls, folder: Path, *, credentials: Path | None = None) -> Identity:
        """Open it to look into a store that is there: nothing is made.

        Raises:
            StorageError: when it is not whole, damaged, or this user may not read it.
        """
        counters = _read(folder / _COUNTERS)
        if counters is None:
            raise _lost(folder / _COUNTERS)
        key = _find_key(folder, credentials)
        if key is None:
            raise _key_lost(folder)
        return cls(folder, _parse_counters(counters, folder / _COUNTERS), key)

    @property
    def storage_key(self) -> bytes:
        """32 bytes, under which the store is sealed.

        Raises:
            StorageError: when this was opened without it.
        """
        if self._key is None:
            raise _key_lost(self._folder)
        return self._key.value

    @property
    def key_source(self) -> str:
        """`file`, or `credential` where the system keeps the key (systemd, with a TPM where there is one)."""
        return self._key.source if self._key else "none"

    @property
    def boot(self) -> int:
        """Number of this start of the agent, from 1; 0 before the first."""
        return int(self._counters["boot"])

    @property
    def epoch(self) -> int:
        """Number under which this start, or this birth of the store, gives out sequence numbers; 0 before the first."""
        return int(self._counters["epoch"])

    @property
    def signing_key(self) -> SigningKey | None:
        """The key that signs envelopes; None until enrolled."""
        return self._enrolled[1] if self._enrolled else None

    @property
    def enrolment(self) -> Enrolled | None:
        """Device id, broker and trust; None until enrolled."""
        return self._enrolled[0] if self._enrolled else None

    def begin_boot(self) -> int:
        """Count one start of the agent, begin an epoch for it, and return its number.

        Only the daemon calls this, so that nobody else is writing here now: leftovers of a write that a power cut
        interrupted are removed too.

        Raises:
            StorageError: when it cannot be written.
        """
        for leftover in self._folder.glob(".*.tmp"):
            leftover.unlink(missing_ok=True)
        self._write({**self._counters, "boot": self.boot + 1, "epoch": self._next_epoch(0)})
        return self.boot

    def new_epoch(self, above: int = 0) -> int:
        """Begin an epoch beyond the present one and beyond `above`, and return it.

        By how much is drawn: a device whose image was restored, and which counts from there again, uses no epoch that
        it used before.

        Raises:
            StorageError: when it cannot be written; the epoch is then unchanged.
        """
        self._write({**self._counters, "epoch": self._next_epoch(above)})
        return self.epoch

    def floor(self, name: str) -> int:
        """Return the least value that is accepted under `name`; 0 where none was set."""
        return int(self._counters["floors"].get(name, 0))

    def floors(self) -> dict[str, int]:
        """Return every floor that was set, by name."""
        return dict(self._counters["floors"])

    def raise_floor(self, name: str, value: int) -> None:
        """Set a floor; one that is already as high stays.

        Raises:
            StorageError: when it cannot be written; the floor is then unchanged.
        """
        if value > self.floor(name):
            self._write({**self._counters, "floors": {**self._counters["floors"], name: value}})

    def key_for_enrolment(self) -> SigningKey:
        """Return the signing key for a request, the same one until `enrol`: an offline answer may take days.

        Raises:
            StorageError: when a new one cannot be written.
        """
        private = _read(self._folder / _PENDING)
        if private is not None and len(private) == KEY_BYTES:
            return SigningKey(private)
        key = SigningKey.generate()
        write_durable(self._folder / _PENDING, key.private, mode=0o600)
        return key

    def tls_key_for_enrolment(self) -> TlsKey:
        """Return the TLS key for a request, likewise the same one until `enrol`.

        Raises:
            StorageError: when a new one cannot be written.
        """
        pem = _read(self._folder / _PENDING_TLS)
        with contextlib.suppress(RejectedError, UnicodeDecodeError):
            if pem is not None:
                return TlsKey(pem.decode())
        key = TlsKey.generate()
        write_durable(self._folder / _PENDING_TLS, key.pem.encode(), mode=0o600)
        return key

    def enrol(self, enrolment: Enrolment, key: SigningKey, tls: ClientTls | None = None) -> None:
        """Keep what the centre has accepted. The token is not kept.

        Raises:
            StorageError: when it cannot be written; an older enrolment is then whole.
        """
        self._keep(
            Enrolled(enrolment.device, enrolment.broker, enrolment.trust, enrolment.tuf_root.encode(), tls),
            key,
        )
        for pending in (_PENDING, _PENDING_TLS):
            (self._folder / pending).unlink(missing_ok=True)
        fsync_folder(self._folder)

    def set_trust(self, trust: FleetTrust) -> None:
        """Replace the centre's keys by a verified newer set.

        Raises:
            StorageError: when the device is not enrolled, or it cannot be written.
        """
        enrolled, key = self._required()
        self._keep(replace(enrolled, trust=trust), key)

    def set_certificate(self, tls: ClientTls) -> None:
        """Replace the client certificate by a newer one.

        Raises:
            StorageError: when the device is not enrolled, or it cannot be written.
        """
        enrolled, key = self._required()
        self._keep(replace(enrolled, tls=tls), key)

    def _required(self) -> tuple[Enrolled, SigningKey]:
        if self._enrolled is None:
            raise StorageError("is not enrolled", where=str(self._folder), todo="Run edgewatt enroll FILE")
        return self._enrolled

    def _keep(self, enrolled: Enrolled, key: SigningKey) -> None:
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
        write_durable(self._folder / _ENROLMENT, jsonform.dumps(value), mode=0o600)
        self._enrolled = (enrolled, key)

    def _next_epoch(self, above: int) -> int:
        return max(self.epoch, above) + 1 + self._randbelow(_STRIDE)

    def _write(self, counters: dict[str, Any]) -> None:
        write_durable(self._folder / _COUNTERS, jsonform.dumps(counters), mode=0o600)
        self._counters = counters

    def __repr__(self) -> str:
        return f"Identity({os.fspath(self._folder)!r}, boot={self.boot}, epoch={self.epoch})"


def _begin(folder: Path) -> dict[str, Any]:
    """Return the counters; folder and counters are made where there are none."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.chmod(0o700)
    except OSError as exc:
        raise StorageError(f"cannot be used ({exc.strerror})", where=str(folder), todo="Mend the rights") from exc
    counters = _read(folder / _COUNTERS)
    if counters is None:
        if _read(folder / _STORAGE_KEY) is not None:
            raise _lost(folder / _COUNTERS)
        # Before the key, so that a key without counters always means that they were lost.
        counters = jsonform.dumps({"schema": 1, "boot": 0, "epoch": 0, "floors": {}})
        write_durable(folder / _COUNTERS, counters, mode=0o600)
    return _parse_counters(counters, folder / _COUNTERS)


def _find_key(folder: Path, credentials: Path | None) -> _Key | None:
    path = folder / _STORAGE_KEY
    kept = _read(path)
    given = _read(credentials / CREDENTIAL) if credentials is not None else None
    if given is not None and kept not in (None, given):
        raise StorageError(
            f"is another key than the credential {CREDENTIAL} of the service",
            where=str(path),
            todo="One of them opens the store: make the credential of this file, or remove the file if it is old",
        )
    key = kept if given is None else given
    if key is None:
        return None
    if len(key) != KEY_BYTES:
        where = path if given is None else Path(CREDENTIAL)
        raise _damaged(where, f"has {len(key)} bytes, not {KEY_BYTES}")
    return _Key(key, "file" if given is None else "credential")


def _read(path: Path) -> bytes | None:
    try:
        with path.open("rb") as file:
            return file.read(_MAX_FILE_BYTES)
    except FileNotFoundError:
        return None
    except OSError as exc:
        raise StorageError(f"cannot be read ({exc.strerror})", where=str(path), todo="Mend the rights") from exc


def _parse_counters(data: bytes, path: Path) -> dict[str, Any]:
    try:
        fields = Fields(jsonform.loads(data, where=path.name, max_bytes=_MAX_FILE_BYTES), path.name)
        fields.integer("boot")
        fields.integer("epoch")
        floors = fields.child("floors")
        for name in floors.as_dict():
            floors.integer(name)
    except RejectedError as exc:
        raise _damaged(path, str(exc)) from exc
    return fields.as_dict()


def _parse_enrolment(data: bytes, path: Path) -> tuple[Enrolled, SigningKey]:
    try:
        fields = Fields(jsonform.loads(data, where=path.name, max_bytes=_MAX_FILE_BYTES), path.name)
        tls = None
        if "tls_chain" in fields:
            chain = fields.text("tls_chain", max_length=MAX_CHAIN_CHARS)
            tls = ClientTls(TlsKey(fields.text("tls_key", max_length=_MAX_KEY_CHARS)), chain)
        enrolled = Enrolled(
            device=fields.text("device", pattern=DEVICE_ID),
            broker=Broker.from_json(fields.child("broker")),
            trust=FleetTrust.from_json(fields.raw("trust"), f"{path.name}.trust"),
            tuf_root=fields.text("tuf_root", max_length=32_768).encode(),
            tls=tls,
        )
        return enrolled, SigningKey(fields.hexbytes("signing_key", KEY_BYTES))
    except RejectedError as exc:
        # Fields shows a value that does not have its form; a damaged key must not reach a log that way.
        what = "signing_key is damaged" if "signing_key" in exc.where else str(exc)
        raise _damaged(path, what) from None


def _damaged(path: Path, what: str) -> StorageError:
    return StorageError(
        f"is damaged: {what}", where=str(path), todo="Put it back from a copy, or enrol the device anew"
    )


def _key_lost(folder: Path) -> StorageError:
    return _lost(folder / _STORAGE_KEY, f"; where it is a credential ({CREDENTIAL}), only the agent has it")


def _lost(path: Path, more: str = "") -> StorageError:
    return StorageError(
        f"is missing while the rest of the identity is there{more}",
        where=str(path),
        todo="Put it back from a copy, or move the whole folder away and enrol the device anew",
    )
