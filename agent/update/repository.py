"""What the update repository says may be trusted: python-tuf, made durable and given a memory that cannot be deleted.

Decides whether one target is genuine, fresh and the one that an assignment names; does not decide whether the
device shall run it. `fetch` is called by the download's thread; floors are only read there, and raised by
`keep_floors` in the thread that owns the identity.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tuf.api import exceptions as tuf_errors
from tuf.api.metadata import Metadata, Root, Snapshot, Targets, Timestamp
from tuf.ngclient import Updater, UpdaterConfig

from agent.contract.assignment import Item
from agent.contract.durable import fsync_tree
from agent.contract.errors import EdgewattError, RejectedError, StorageError, UnavailableError
from agent.contract.jsonform import dumps
from agent.store.identity import CLOCK_FLOOR
from agent.update.fetch import METADATA_URL, TARGETS_URL, Partials, RepositoryFetcher

_WHERE = "update repository"
_TODO_CENTRE = "Publish again at the centre, or check who stands between"
_CONFIG = UpdaterConfig(
    max_root_rotations=64, max_delegations=8, snapshot_max_length=512_000, targets_max_length=2_000_000
)


class Floors(Protocol):
    """Counters that never go back, kept durably outside the folder of the metadata."""

    def floor(self, name: str) -> int:
        """Return a floor; 0 where none was set."""
        ...

    def raise_floor(self, name: str, value: int) -> None:
        """Raise it durably."""
        ...


@dataclass(frozen=True, slots=True)
class Target:
    """A verified target and the repository version that vouches for it."""

    data: bytes
    snapshot_version: int


class Repository:
    """The client's side of one TUF repository.

    Invariants:
        - no metadata older than a floor is believed, whatever became of the local files.
        - nothing expired at `now_ms` is believed, and nothing at all while the clock is below its own floor.
        - what `fetch` returns has the length and hash that both the repository and the assignment name.
    """

    def __init__(
        self,
        folder: Path,
        root: bytes,
        fetcher: RepositoryFetcher,
        floors: Floors,
        *,
        now_ms: Callable[[], int],
        partials: Partials | None = None,
    ) -> None:
        """Prepare; nothing is fetched before `fetch`.

        Args:
            folder: for the metadata; a file system with symbolic links.
            root: root metadata that came with the enrolment.
            fetcher: how the repository is reached.
            floors: version floors, and `clock`.
            now_ms: real time.
            partials: of the fetcher, so that a wrong download is not resumed.
        """
        self._folder, self._root, self._fetcher, self._floors = folder, root, fetcher, floors
        self._now_ms, self._partials = now_ms, partials
        self._verified: dict[str, int] = {}

    def close(self) -> None:
        """Let a `fetch` that waits fail at once."""
        self._fetcher.close()

    def keep_floors(self) -> None:
        """Raise the floors to what the last `fetch` verified. Call it after every `fetch`, also a failed one.

        Raises:
            StorageError: when they cannot be written.
        """
        verified, self._verified = self._verified, {}
        for name, version in verified.items():
            self._floors.raise_floor(name, version)

    def fetch(self, item: Item, min_snapshot_version: int) -> Target:
        """Refresh the metadata and return the target that `item` names.

        Raises:
            UnavailableError: when the repository cannot be reached, is out of date, or the clock is not to be trusted.
            RejectedError: when it is not genuine, older than before, or does not agree with the assignment.
            StorageError: when the disk fails.
        """
        now_ms, floor_ms = self._now_ms(), self._floors.floor(CLOCK_FLOOR)
        if now_ms < floor_ms:
            raise UnavailableError(
                "the clock is behind the centre's last signed message",
                where=_WHERE,
                todo="Set the clock; the installation waits",
            )
        try:
            return self._fetch(item, min_snapshot_version, now_ms)
        except EdgewattError:
            raise
        except tuf_errors.DownloadLengthMismatchError as exc:
            raise RejectedError(f"sends more than it may ({exc})", where=_WHERE, todo=_TODO_CENTRE) from exc
        except tuf_errors.DownloadError as exc:
            raise UnavailableError(f"cannot be read ({exc})", where=_WHERE) from exc
        except tuf_errors.ExpiredMetadataError as exc:
            raise _expired(str(exc)) from exc
        except tuf_errors.RepositoryError as exc:
            raise RejectedError(f"is not genuine ({exc})", where=_WHERE, todo=_TODO_CENTRE) from exc
        except OSError as exc:
            raise StorageError(f"cannot be kept ({exc.strerror})", where=str(self._folder), todo="Free space") from exc

    def _fetch(self, item: Item, min_snapshot_version: int, now_ms: int) -> Target:
        metadata, targets = self._folder / "metadata", self._folder / "targets"
        metadata.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(targets, ignore_errors=True)  # left by a power cut
        targets.mkdir()
        updater = Updater(
            str(metadata), METADATA_URL, str(targets), TARGETS_URL, self._fetcher, _CONFIG, bootstrap=self._root
        )
        updater.refresh()
        info = updater.get_targetinfo(item.path)
        snapshot_version = self._judge(metadata, now_ms)
        if snapshot_version < min_snapshot_version:
            raise RejectedError(
                f"has snapshot {snapshot_version} where the assignment asks for {min_snapshot_version}", where=_WHERE
            )
        if info is None or info.length != item.length or info.hashes.get("sha256") != item.sha256:
            what = "does not have" if info is None else "names another length or hash for"
            raise RejectedError(f"{what} {item.path}, which the assignment names", where=_WHERE, todo=_TODO_CENTRE)
        try:
            path = Path(updater.download_target(info))
            data = path.read_bytes()
        except (tuf_errors.LengthOrHashMismatchError, tuf_errors.DownloadLengthMismatchError):
            self._drop(item)
            raise
        path.unlink()
        self._drop(item)
        if len(data) != item.length or hashlib.sha256(data).hexdigest() != item.sha256:
            raise StorageError("returned other bytes than were written", where=str(targets), todo="Check the disk")
        return Target(data, snapshot_version)

    def _drop(self, item: Item) -> None:
        if self._partials is not None:
            self._partials.drop(item.sha256)

    def _judge(self, folder: Path, now_ms: int) -> int:
        """Hold what python-tuf has accepted against our own clock and floors; return the snapshot's version."""
        root = Metadata[Root].from_file(str(folder / "root.json")).signed
        timestamp = Metadata[Timestamp].from_file(str(folder / "timestamp.json")).signed
        snapshot = Metadata[Snapshot].from_file(str(folder / "snapshot.json")).signed
        targets = Metadata[Targets].from_file(str(folder / "targets.json")).signed
        era = _era(root)
        versions = {
            "tuf/root": root.version,
            f"tuf/{era}/timestamp": timestamp.version,
            f"tuf/{era}/snapshot": snapshot.version,
            **{f"tuf/{era}/meta/{name}": info.version for name, info in snapshot.meta.items()},
        }
        for name, version in versions.items():
            floor = self._floors.floor(name)
            if version < floor:
                raise RejectedError(
                    f"went back: {name.rsplit('/', 1)[-1]} is at version {version}, {floor} was seen before",
                    where=_WHERE,
                    todo=_TODO_CENTRE,
                )
        now = dt.datetime.fromtimestamp(now_ms / 1000, dt.UTC)
        for signed in (root, timestamp, snapshot, targets):
            if signed.is_expired(now):
                raise _expired(f"{signed.type} is out of date since {signed.expires:%Y-%m-%d}")
        fsync_tree(folder)  # python-tuf renames without fsync: after a power cut its files could be empty
        self._verified = {name: version for name, version in versions.items() if version > self._floors.floor(name)}
        return snapshot.version


def _era(root: Root) -> str:
    """Name the present keys of timestamp and snapshot: when root replaces them, their versions may begin anew."""
    keys = {role: sorted(root.roles[role].keyids) for role in ("timestamp", "snapshot")}
    return hashlib.sha256(dumps(keys)).hexdigest()[:12]


def _expired(what: str) -> UnavailableError:
    return UnavailableError(
        f"is out of date ({what})", where=_WHERE, todo="Sign it again at the centre; installed models go on running"
    )
