"""A small update repository in a folder, real python-tuf metadata, that a test can age, roll back and tamper with."""

import datetime as dt
import hashlib
import shutil
from pathlib import Path

from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import (
    Metadata,
    MetaFile,
    Root,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)

from agent.contract.assignment import Item, ItemKind

ROLES = ("root", "timestamp", "snapshot", "targets")
LIFE_DAYS = {"root": 730, "timestamp": 30, "snapshot": 90, "targets": 730}


class TufRepository:
    """Writes `metadata/` and `targets/` under `folder`, consistent snapshots."""

    def __init__(self, folder: Path, *, now: dt.datetime | None = None) -> None:
        self.folder = folder
        self.now = (now or dt.datetime.now(dt.UTC)).replace(microsecond=0)
        self.signers = {role: CryptoSigner.generate_ed25519() for role in ROLES}
        (folder / "metadata").mkdir(parents=True)
        (folder / "targets").mkdir()
        self.root = Root(consistent_snapshot=True, expires=self._expiry("root"))
        for role, signer in self.signers.items():
            self.root.add_key(signer.public_key, role)
        self.timestamp = Timestamp(expires=self._expiry("timestamp"))
        self.snapshot = Snapshot(expires=self._expiry("snapshot"))
        self.targets = Targets(expires=self._expiry("targets"))
        self.timestamp.version = self.snapshot.version = self.targets.version = 0  # raised by the first publish
        self.root_bytes = self.write_root()
        self.publish()

    def _expiry(self, role: str) -> dt.datetime:
        return self.now + dt.timedelta(days=LIFE_DAYS[role])

    def _sign(self, signed, *signers) -> bytes:
        metadata = Metadata(signed)
        for signer in signers:
            metadata.sign(signer, append=True)
        return metadata.to_bytes()

    def _put(self, name: str, data: bytes) -> bytes:
        (self.folder / "metadata" / name).write_bytes(data)
        return data

    def write_root(self, *more_signers) -> bytes:
        data = self._sign(self.root, self.signers["root"], *more_signers)
        return self._put(f"{self.root.version}.root.json", data)

    def rotate(self, *roles: str) -> None:
        """Replace the keys of roles by a new root."""
        for role in roles:
            self.root.revoke_key(self.signers[role].public_key.keyid, role)
            self.signers[role] = CryptoSigner.generate_ed25519()
            self.root.add_key(self.signers[role].public_key, role)
        self.root.version += 1
        self.write_root()

    def publish(self, files: dict[str, bytes] | None = None) -> None:
        """Add targets and sign all roles anew, one version higher."""
        for path, data in (files or {}).items():
            self.targets.targets[path] = TargetFile.from_data(path, data, ["sha256"])
            folder, _, name = path.rpartition("/")
            place = self.folder / "targets" / folder
            place.mkdir(parents=True, exist_ok=True)
            (place / f"{hashlib.sha256(data).hexdigest()}.{name}").write_bytes(data)
        self.targets.version += 1
        self.targets.expires = self._expiry("targets")
        self._put(f"{self.targets.version}.targets.json", self._sign(self.targets, self.signers["targets"]))
        self.sign_snapshot()

    def sign_snapshot(self) -> None:
        self.snapshot.version += 1
        self.snapshot.expires = self._expiry("snapshot")
        self.snapshot.meta = {"targets.json": MetaFile(self.targets.version)}
        self._put(f"{self.snapshot.version}.snapshot.json", self._sign(self.snapshot, self.signers["snapshot"]))
        self.sign_timestamp()

    def sign_timestamp(self) -> None:
        self.timestamp.version += 1
        self.timestamp.expires = self._expiry("timestamp")
        self.timestamp.snapshot_meta = MetaFile(self.snapshot.version)
        self._put("timestamp.json", self._sign(self.timestamp, self.signers["timestamp"]))

    def item(self, path: str) -> Item:
        target = self.targets.targets[path]
        return Item(ItemKind.MODEL, path, target.length, target.hashes["sha256"])

    def target_file(self, path: str) -> Path:
        folder, _, name = path.rpartition("/")
        return self.folder / "targets" / folder / f"{self.targets.targets[path].hashes['sha256']}.{name}"

    def copy(self, to: Path) -> Path:
        """The folder as it is now: what an attacker records."""
        shutil.copytree(self.folder, to)
        return to

    def replay(self, recorded: Path) -> None:
        """Serve an older copy."""
        shutil.rmtree(self.folder)
        shutil.copytree(recorded, self.folder)
