"""The centre's keys: how they are made, kept and opened. Off-line and on-line keys never share an object or a folder.

Off-line keys (root: any 2 of 3; targets: 1) say what devices may install; whoever holds only the on-line keys cannot
change that. On-line keys serve the running centre: `snapshot` and `timestamp` keep the repository fresh, `seal` opens
envelopes, `ack` signs acknowledgements and enrolments, `assign` signs assignments. Publishing opens both kinds, the
ingest process the on-line ones only.

A key is one file `<use>-<number>.json` with mode 0600. Keys are made where they are missing and never overwritten, so
that making them again after an interruption goes on where it stopped; only their state changes (`rotation.py`).
"""

from __future__ import annotations

import enum
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from securesystemslib.signer import CryptoSigner

from agent.contract import jsonform
from agent.contract.durable import fsync_folder, write_durable
from agent.contract.errors import ConfigError, RejectedError
from agent.contract.jsonform import Fields
from agent.contract.keys import SEAL_PRIVATE_BYTES, SealingKey, SigningKey
from agent.contract.trust import FleetKey, FleetTrust, KeyState, KeyUse

ROOT_KEYS, ROOT_THRESHOLD = 3, 2  # one root key may be lost, one may be stolen
TARGETS_KEYS, TARGETS_THRESHOLD = 1, 1  # root puts another in its place, while it is still here to sign
_FLEET = "fleet.json"
_MAX_FILE_BYTES = 4096
_FILE = re.compile(r"[a-z]+-([0-9]{1,9})\.json")  # what else lies in the folder (a copy, say) is no key


class Role(enum.StrEnum):
    """A role of the update repository: which keys it has is said by root, and by nothing else."""

    ROOT = "root"
    TARGETS = "targets"
    SNAPSHOT = "snapshot"
    TIMESTAMP = "timestamp"


@dataclass(frozen=True, slots=True)
class StoredKey:
    """One key file. An active key signs from `not_before_ms` on; devices may know it long before."""

    path: Path
    number: int
    private: bytes = field(repr=False)
    not_before_ms: int
    state: KeyState

    def write(self, use: str) -> None:
        """Write the file.

        Raises:
            StorageError: when that is not possible; the file is then as before.
        """
        value = {
            "schema": 1,
            "use": use,
            "not_before_ms": self.not_before_ms,
            "state": str(self.state),
            "private": self.private.hex(),
        }
        write_durable(self.path, jsonform.dumps(value), mode=0o600)


@dataclass(frozen=True)
class OfflineKeys:
    """Keys that are needed only to make the repository and to publish.

    Attributes:
        root: signers of the root role, as many as the folder holds.
        targets: signers of the targets role; two while one takes the other's place.
    """

    root: tuple[CryptoSigner, ...]
    targets: tuple[CryptoSigner, ...]

    @classmethod
    def create(cls, folder: Path, now_ms: int) -> OfflineKeys:
        """Make the keys that are missing in `folder`, and open it.

        Raises:
            StorageError: when the folder cannot be written.
        """
        _make(folder, {Role.ROOT: ROOT_KEYS, Role.TARGETS: TARGETS_KEYS}, now_ms)
        return cls.open(folder)

    @classmethod
    def open(cls, folder: Path) -> OfflineKeys:
        """Open the keys in `folder`; root keys may be missing there, since publishing does not need them.

        Raises:
            ConfigError: when the targets key is missing or a file is damaged.
        """
        targets = _signers(folder, Role.TARGETS)
        if not targets:
            raise ConfigError(
                "the off-line targets key is not here",
                where=str(folder),
                todo="Attach the medium that holds it and name its folder with --offline-keys",
            )
        return cls(root=_signers(folder, Role.ROOT), targets=targets)


@dataclass(frozen=True)
class OnlineKeys:
    """Keys of the running centre.

    Attributes:
        fleet: id of the fleet; it stays the same when the database is restored.
        snapshot, timestamp: signers of the repository's on-line roles, likewise.
        seal: id -> private key of every sealing key that is not revoked.
        ack: signs acknowledgements and enrolment responses.
        assign: signs assignments.
        trust: the public side, as devices get it.
    """

    fleet: str
    snapshot: tuple[CryptoSigner, ...]
    timestamp: tuple[CryptoSigner, ...]
    seal: Mapping[str, SealingKey]
    ack: SigningKey
    assign: SigningKey
    trust: FleetTrust

    @classmethod
    def create(cls, folder: Path, fleet: str, now_ms: int) -> OnlineKeys:
        """Make the keys that are missing in `folder`, and open it. `fleet` counts only when there is no fleet yet.

        Raises:
            StorageError: when the folder cannot be written.
        """
        uses = (Role.SNAPSHOT, Role.TIMESTAMP, KeyUse.SEAL, KeyUse.ACK, KeyUse.ASSIGN)
        _make(folder, dict.fromkeys(uses, 1), now_ms)
        if not (folder / _FLEET).exists():
            write_durable(folder / _FLEET, jsonform.dumps({"schema": 1, "fleet": fleet}))
        return cls.open(folder)

    @classmethod
    def open(cls, folder: Path, now_ms: int | None = None) -> OnlineKeys:
        """Open the keys in `folder`, as they are used at `now_ms` (real time; now, if not given).

        Raises:
            ConfigError: when one is missing, damaged, or readable by others.
        """
        if not (folder / _FLEET).exists():
            raise ConfigError(
                "there is no centre here",
                where=str(folder),
                todo="Make one with `edgewatt-trainer init`, or give --home",
            )
        _check_private(folder)
        now_ms = time.time_ns() // 1_000_000 if now_ms is None else now_ms
        stored = {use: list(stored_keys(folder, use)) for use in (KeyUse.SEAL, KeyUse.ACK, KeyUse.ASSIGN)}
        ack, assign = (
            SigningKey(active_key(folder, use, stored[use], now_ms).private) for use in (KeyUse.ACK, KeyUse.ASSIGN)
        )
        active_key(folder, KeyUse.SEAL, stored[KeyUse.SEAL], now_ms)
        opening = [SealingKey(key.private) for key in stored[KeyUse.SEAL] if key.state is not KeyState.REVOKED]
        fleet = Fields(_read(folder / _FLEET), str(folder / _FLEET), ConfigError).text("fleet", max_length=64)
        return cls(
            fleet=fleet,
            snapshot=_some_signers(folder, Role.SNAPSHOT),
            timestamp=_some_signers(folder, Role.TIMESTAMP),
            seal={key.id: key for key in opening},
            ack=ack,
            assign=assign,
            trust=FleetTrust(
                fleet, tuple(public_key(KeyUse(use.value), key) for use, keys in stored.items() for key in keys)
            ),
        )


def _make(folder: Path, wanted: Mapping[str, int], now_ms: int) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    fsync_folder(folder.parent)
    for use, count in wanted.items():
        for number in range(1, count + 1):
            if not (folder / f"{use}-{number}.json").exists():
                make_key(folder, use, number, now_ms)


def make_key(folder: Path, use: str, number: int, not_before_ms: int) -> StoredKey:
    """Make an active key in a new file.

    Raises:
        StorageError: when it cannot be written.
    """
    private = SealingKey.generate().private if use == KeyUse.SEAL else SigningKey.generate().private
    made = StoredKey(folder / f"{use}-{number}.json", number, private, not_before_ms, KeyState.ACTIVE)
    made.write(use)
    return made


def public_key(use: KeyUse, key: StoredKey) -> FleetKey:
    """Return the public side of a key, as devices get it."""
    public = SealingKey(key.private).public if use is KeyUse.SEAL else SigningKey(key.private).public
    return FleetKey(use, public, key.not_before_ms, key.state)


def stored_keys(folder: Path, use: str) -> Iterator[StoredKey]:
    """Yield every key of one use, the oldest first.

    Raises:
        ConfigError: when a file is damaged, or two hold the same key: a change would reach one of them only.
    """
    seen: dict[bytes, Path] = {}
    for number, path in sorted(_files(folder, use)):
        fields = Fields(_read(path), str(path), ConfigError)
        if fields.text("use") != use:
            fields.fail("use", f"is not {use}")
        state = fields.text("state", pattern="|".join(KeyState))
        size = SEAL_PRIVATE_BYTES if use == KeyUse.SEAL else 32
        text = fields.raw("private")
        # Not by `hexbytes`: its complaint would repeat the key.
        if not isinstance(text, str) or len(text) != 2 * size or not set(text) <= set("0123456789abcdef"):
            fields.fail("private", f"is not {size} bytes in hexadecimal: restore the file from its copy")
        private = bytes.fromhex(text)
        if private in seen:
            raise ConfigError(
                f"holds the same key as {seen[private].name}",
                where=str(path),
                todo="Move the one that is a copy out of the folder",
            )
        seen[private] = path
        yield StoredKey(path, number, private, fields.integer("not_before_ms"), KeyState(state))


def _files(folder: Path, use: str) -> Iterator[tuple[int, Path]]:
    for path in folder.glob(f"{use}-*.json"):
        if named := _FILE.fullmatch(path.name):
            yield int(named[1]), path


def _read(path: Path) -> object:
    try:
        return jsonform.loads(path.read_bytes(), where=str(path), max_bytes=_MAX_FILE_BYTES)
    except OSError as exc:
        raise ConfigError(f"cannot be read ({exc.strerror})", where=str(path)) from exc
    except RejectedError as exc:
        raise ConfigError("is damaged", where=str(path), todo="Restore the file from its copy") from exc


def _check_private(folder: Path) -> None:
    for path in sorted(folder.glob("*-*.json")):
        if path.stat().st_mode & 0o077:
            raise ConfigError("a private key can be read by others", where=str(path), todo=f"chmod 600 {path}")


def active_key(folder: Path, use: str, keys: Iterable[StoredKey], now_ms: int) -> StoredKey:
    """Return which of the keys for one use signs at `now_ms`.

    Raises:
        ConfigError: when none is active.
    """
    active = sorted((key for key in keys if key.state is KeyState.ACTIVE), key=lambda key: key.not_before_ms)
    if not active:
        raise ConfigError(f"has no active {use} key", where=str(folder), todo="Restore the file from its copy")
    return [*active[:1], *(key for key in active if key.not_before_ms <= now_ms)][-1]


def _signers(folder: Path, use: Role) -> tuple[CryptoSigner, ...]:
    return tuple(signer(key) for key in stored_keys(folder, use) if key.state is not KeyState.REVOKED)


def _some_signers(folder: Path, use: Role) -> tuple[CryptoSigner, ...]:
    found = _signers(folder, use)
    if not found:
        raise ConfigError(f"has no active {use} key", where=str(folder), todo="Restore the file from its copy")
    return found


def signer(key: StoredKey) -> CryptoSigner:
    """Return what signs metadata of the repository with a key."""
    return CryptoSigner(Ed25519PrivateKey.from_private_bytes(key.private))
