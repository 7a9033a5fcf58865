"""The update repository: TUF metadata and targets in a folder, written so that a crash never breaks it.

Decides what becomes a target and in which order files appear; which device runs what is an assignment's business, and
carrying bytes to devices is `pieces.py`'s. Consistent snapshots, targets prefixed by hash.

Invariants:
    `timestamp.json` is written last: whatever it names, and whatever that names, is there and durable.
    A version that `timestamp.json` does not reach was never published; the next change writes over it.
    The bytes of a published target path never change.
    Writers exclude each other by a lock file; readers need none.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import fcntl
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from securesystemslib.signer import CryptoSigner
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Key, Metadata, MetaFile, Role, Root, Snapshot, TargetFile, Targets, Timestamp
from tuf.api.serialization import DeserializationError
from tuf.api.serialization.json import JSONSerializer

from agent.contract import jsonform
from agent.contract.assignment import TARGET_PATH
from agent.contract.bundle import Bundle
from agent.contract.durable import fsync_folder, write_durable
from agent.contract.errors import ConfigError, RejectedError, StorageError
from agent.contract.messages import REPO_PATH
from trainer.fleet import roots
from trainer.fleet.keys import ROOT_THRESHOLD, TARGETS_THRESHOLD, OfflineKeys, OnlineKeys

FLEET_TRUST = "trust/fleet.json"
TIMESTAMP_DAYS, SNAPSHOT_DAYS, OFFLINE_DAYS = 30, 90, 730
RESIGN_TIMESTAMP_DAYS, RESIGN_SNAPSHOT_DAYS = 1, 30  # age at which `refresh` signs anew
_METADATA, _TARGETS = "metadata", "targets"

_T = TypeVar("_T", Root, Timestamp, Snapshot, Targets)


@dataclass(frozen=True, slots=True)
class Target:
    """One published file."""

    path: str
    length: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Published:
    """What publishing did: `new` is False when the same bytes were there already."""

    target: Target
    snapshot_version: int
    new: bool


@dataclass(frozen=True)
class _State:
    timestamp: Metadata[Timestamp]
    snapshot: Metadata[Snapshot]
    targets: Metadata[Targets]


class Repository:
    """The folder that devices install from.

    Args:
        folder: holds `metadata/` and `targets/`.
        online: keys of snapshot and timestamp.
        now_ms: the real clock.
    """

    def __init__(self, folder: Path, online: OnlineKeys, now_ms: Callable[[], int]) -> None:
        self._folder = folder
        self._online = online
        self._now_ms = now_ms

    def create(self, offline: OfflineKeys) -> bool:
        """Make version 1 with the fleet's public keys as its only target; False when there is one already.

        Raises:
            ConfigError: when fewer root keys are here than root needs.
            StorageError: when the folder cannot be written.
        """
        if len(offline.root) < ROOT_THRESHOLD:
            raise ConfigError(f"{ROOT_THRESHOLD} root keys are needed", where="off-line keys")
        for name in (_METADATA, _TARGETS):
            (self._folder / name).mkdir(parents=True, exist_ok=True)
        fsync_folder(self._folder)
        with self._locked():
            if self._path("timestamp.json").exists():
                return False
            # An interrupted run may have left files; no device has seen them while there was no timestamp.
            trust = self._place(FLEET_TRUST, jsonform.dumps(self._online.trust.to_json()))
            expires = self._in_days(OFFLINE_DAYS)
            targets = Metadata(Targets(version=1, expires=expires, targets={FLEET_TRUST: trust}))
            snapshot = Metadata(Snapshot(version=1, expires=self._in_days(SNAPSHOT_DAYS)))
            timestamp = Metadata(Timestamp(version=1, expires=self._in_days(TIMESTAMP_DAYS)))
            self._write(roots.name(1), Metadata(roots.first(offline, self._online, expires)), offline.root)
            self._write("1.targets.json", targets, offline.targets)
            self._write("1.snapshot.json", snapshot, self._online.snapshot)
            self._write("timestamp.json", timestamp, self._online.timestamp)
        return True

    def publish(self, bundle: bytes, offline: OfflineKeys) -> Published:
        """Make a model a target at `models/<name>-<version>.ewb`; the same bytes again change nothing.

        Raises:
            RejectedError: when the bundle is invalid or does not beat naive, other bytes are published under its name
                and version, or the repository's targets were not signed by the off-line key.
            StorageError: when the disk fails; what devices see is then unchanged.
        """
        manifest = Bundle.from_bytes(bundle).manifest
        path = f"models/{manifest.name}-{manifest.version}.ewb"
        _check_path(path)
        with self._locked():
            state = self._load()
            self._check_targets_signature(state.targets, offline)
            file = TargetFile.from_data(path, bundle, ["sha256"])
            found = state.targets.signed.targets.get(path)
            if found is not None and found.hashes != file.hashes:
                raise RejectedError(
                    "other bytes are published there",
                    where=path,
                    todo="Give the model a higher version and bundle it again",
                )
            return self._publish(state, file, bundle, offline)

    def publish_trust(self, offline: OfflineKeys) -> Published:
        """Make the on-line keys' public side, as it is now, the target `trust/fleet.json`.

        Unlike a model it keeps its path: whoever is assigned it is assigned the newest.

        Raises:
            RejectedError: when the repository's targets were not signed by the off-line key.
            StorageError: when the disk fails; what devices see is then unchanged.
        """
        data = jsonform.dumps(self._online.trust.to_json())
        with self._locked():
            state = self._load()
            self._check_targets_signature(state.targets, offline)
            return self._publish(state, TargetFile.from_data(FLEET_TRUST, data, ["sha256"]), data, offline)

    def refresh(self) -> bool:
        """Sign the timestamp anew when it is a day old, and the snapshot when it is a month old; True when it did.

        Raises:
            ConfigError, StorageError: when there is no repository, or the disk fails.
        """
        with self._locked():
            state = self._load()
            if self._age_days(state.timestamp.signed.expires, TIMESTAMP_DAYS) < RESIGN_TIMESTAMP_DAYS:
                return False
            if self._age_days(state.snapshot.signed.expires, SNAPSHOT_DAYS) >= RESIGN_SNAPSHOT_DAYS:
                self._write_snapshot(state)
            self._write_timestamp(state)
        return True

    def offline_days_left(self) -> dict[str, int]:
        """Return the days until each role expires that only an off-line key can sign: targets and root."""
        signed = {"targets": self._load().targets.signed, "root": self.roots()[-1].signed}
        return {role: OFFLINE_DAYS - int(self._age_days(found.expires, OFFLINE_DAYS)) for role, found in signed.items()}

    def root(self) -> bytes:
        """Return the root metadata that devices are enrolled with: the newest.

        Raises:
            ConfigError: when there is no repository.
        """
        return self._read(roots.name(len(self.roots())))

    def roots(self) -> list[Metadata[Root]]:
        """Return every version of root, the first one first; it is never empty.

        Raises:
            ConfigError: when there is no repository.
            StorageError: when one is damaged.
        """
        found = [self._parse(roots.name(1), Root)]
        while self._path(roots.name(len(found) + 1)).exists():
            found.append(self._parse(roots.name(len(found) + 1), Root))
        return found

    def use(self, online: OnlineKeys) -> None:
        """Take newer on-line keys from the next write on."""
        self._online = online

    def sign_anew(self, offline: OfflineKeys) -> None:
        """Sign targets, snapshot and timestamp with every key that is at hand for them.

        Raises:
            RejectedError: when the repository's targets were not signed by the off-line key.
            StorageError: when the disk fails; what devices see is then unchanged.
        """
        with self._locked():
            state = self._load()
            self._check_targets_signature(state.targets, offline)
            self._write_targets(state, offline)

    def write_root(self, root: Root, offline: OfflineKeys) -> None:
        """Write the next version of root, signed by every root key at hand; devices follow it at once.

        Raises:
            ConfigError: when the keys here are too few for the version before, or for its own.
            StorageError: when the disk fails; the version before then counts on.
        """
        with self._locked():
            root.expires = self._in_days(OFFLINE_DAYS)
            self._write(roots.name(root.version), Metadata(root), offline.root)

    def targets(self) -> tuple[int, dict[str, Target]]:
        """Return the snapshot version and every published target by path.

        Raises:
            ConfigError: when there is no repository.
        """
        state = self._load()
        files = state.targets.signed.targets
        return state.snapshot.signed.version, {path: _target(file) for path, file in files.items()}

    def _publish(self, state: _State, file: TargetFile, data: bytes, offline: OfflineKeys) -> Published:
        found = state.targets.signed.targets.get(file.path)
        new = found is None or found.hashes != file.hashes
        if new:
            self._place(file.path, data)
            self._add(state, file.path, file, offline)
        return Published(_target(file), state.snapshot.signed.version, new=new)

    def _add(self, state: _State, path: str, file: TargetFile, offline: OfflineKeys) -> None:
        state.targets.signed.targets[path] = file
        self._write_targets(state, offline)

    def _write_targets(self, state: _State, offline: OfflineKeys) -> None:
        targets = state.targets.signed
        targets.version += 1
        targets.expires = self._in_days(OFFLINE_DAYS)
        self._write(f"{targets.version}.targets.json", state.targets, offline.targets)
        state.snapshot.signed.meta["targets.json"] = MetaFile(targets.version)
        self._write_snapshot(state)
        self._write_timestamp(state)

    def _write_snapshot(self, state: _State) -> None:
        snapshot = state.snapshot.signed
        snapshot.version += 1
        snapshot.expires = self._in_days(SNAPSHOT_DAYS)
        self._write(f"{snapshot.version}.snapshot.json", state.snapshot, self._online.snapshot)
        state.timestamp.signed.snapshot_meta = MetaFile(snapshot.version)

    def _write_timestamp(self, state: _State) -> None:
        timestamp = state.timestamp.signed
        timestamp.version += 1
        timestamp.expires = self._in_days(TIMESTAMP_DAYS)
        self._write("timestamp.json", state.timestamp, self._online.timestamp)

    def _place(self, path: str, data: bytes) -> TargetFile:
        file = TargetFile.from_data(path, data, ["sha256"])
        folder, _, name = path.rpartition("/")
        home = self._folder / _TARGETS / folder
        if not home.is_dir():
            home.mkdir(parents=True, exist_ok=True)
            fsync_folder(home.parent)
        write_durable(home / f"{file.hashes['sha256']}.{name}", data)
        return file

    def _check_targets_signature(self, targets: Metadata[Targets], offline: OfflineKeys) -> None:
        # Signing on top of targets that someone else wrote would vouch for them.
        role = Role([signer.public_key.keyid for signer in offline.targets], TARGETS_THRESHOLD)
        keys: dict[str, Key] = {signer.public_key.keyid: signer.public_key for signer in offline.targets}
        root = Root(keys=keys, roles={**Root().roles, "targets": role})
        try:
            root.verify_delegate(Targets.type, targets.signed_bytes, targets.signatures)
        except (RepositoryError, ValueError) as exc:
            raise RejectedError(
                "the targets in the repository are not signed by this off-line key",
                where=str(self._path("targets.json")),
                todo="Check --offline-keys; if they are right, restore the repository from its copy",
            ) from exc

    def _load(self) -> _State:
        timestamp = self._parse("timestamp.json", Timestamp)
        snapshot = self._parse(f"{timestamp.signed.snapshot_meta.version}.snapshot.json", Snapshot)
        targets = self._parse(f"{snapshot.signed.meta['targets.json'].version}.targets.json", Targets)
        return _State(timestamp, snapshot, targets)

    def _parse(self, name: str, kind: type[_T]) -> Metadata[_T]:
        data = self._read(name)
        try:
            metadata = Metadata[_T].from_bytes(data)
        except DeserializationError as exc:
            raise StorageError("is damaged", where=str(self._path(name)), todo="Restore it from its copy") from exc
        if not isinstance(metadata.signed, kind):
            raise StorageError(f"is not {kind.type}", where=str(self._path(name)), todo="Restore it from its copy")
        return metadata

    def _read(self, name: str) -> bytes:
        try:
            return self._path(name).read_bytes()
        except FileNotFoundError as exc:
            raise ConfigError(
                "there is no update repository here",
                where=str(self._path(name)),
                todo="Make one with `edgewatt-trainer init`",
            ) from exc
        except OSError as exc:
            raise StorageError(f"cannot be read ({exc.strerror})", where=str(self._path(name))) from exc

    def _write(self, name: str, metadata: Metadata[_T], signers: Sequence[CryptoSigner]) -> None:
        metadata.signatures.clear()
        for signer in signers:
            metadata.sign(signer, append=True)
        if name != roots.name(1):
            # Another key may have taken the place of one that this process has opened long ago.
            roots.check(self.roots()[-1].signed, metadata, where=str(self._path(name)))
        if isinstance(metadata.signed, Root):
            roots.check(metadata.signed, metadata, where=str(self._path(name)))
        write_durable(self._path(name), metadata.to_bytes(JSONSerializer(compact=False)))

    def _path(self, name: str) -> Path:
        return self._folder / _METADATA / name

    def _in_days(self, days: int) -> dt.datetime:
        return self._now() + dt.timedelta(days=days)

    def _age_days(self, expires: dt.datetime, lifetime_days: int) -> float:
        return lifetime_days - (expires - self._now()) / dt.timedelta(days=1)

    def _now(self) -> dt.datetime:
        return dt.datetime.fromtimestamp(self._now_ms() // 1000, dt.UTC)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        try:
            file = (self._folder / ".lock").open("a")
        except FileNotFoundError as exc:
            raise ConfigError(
                "there is no update repository here",
                where=str(self._folder),
                todo="Make one with `edgewatt-trainer init`",
            ) from exc
        with file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def _target(file: TargetFile) -> Target:
    return Target(file.path, file.length, file.hashes["sha256"])


def _check_path(path: str) -> None:
    folder, _, name = path.rpartition("/")
    carried = f"{_TARGETS}/{folder}/{'0' * 64}.{name}"  # as a device asks for it
    if re.fullmatch(TARGET_PATH, path) is None or re.fullmatch(REPO_PATH, carried) is None:
        raise RejectedError(
            "name or version is too long for a target", where=path, todo="Give the model a shorter name"
        )
