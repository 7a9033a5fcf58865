"""Where things lie under the state folder, and who may write there: one process at a time."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from agent.contract.errors import StorageError, UnavailableError


def credentials() -> Path | None:
    """Return the folder in which systemd gives this service its secrets; None without it."""
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    return Path(folder) if folder else None


@dataclass(frozen=True, slots=True)
class StatePaths:
    """The state folder."""

    root: Path

    @property
    def store(self) -> Path:
        """The database."""
        return self.root / "store.db"

    @property
    def identity(self) -> Path:
        """Keys and counters, apart from the store."""
        return self.root / "identity"

    @property
    def models(self) -> Path:
        """Model slots."""
        return self.root / "models"

    @property
    def repository(self) -> Path:
        """Metadata and unfinished downloads of the update repository."""
        return self.root / "repository"

    @property
    def update(self) -> Path:
        """The assignment in force, and the score of the present trial."""
        return self.root / "update"

    @property
    def clock(self) -> Path:
        """The replay clock's anchor."""
        return self.root / "clock.json"

    @property
    def performance(self) -> Path:
        """The energy baseline and its adjustments, which `edgewatt performance` writes."""
        return self.root / "performance.json"

    @contextlib.contextmanager
    def owned(self) -> Iterator[None]:
        """Hold the folder for writing; it is made where it does not exist. It may be one that takes nothing now.

        Raises:
            UnavailableError: when another process holds it.
            StorageError: when it cannot be made or written.
        """
        try:
            self.root.mkdir(parents=True, exist_ok=True, mode=0o750)
            lock = self._open_lock()
        except OSError as exc:
            raise StorageError(
                f"cannot be used ({exc.strerror})", where=str(self.root), todo="Mend device.state_dir or its rights"
            ) from exc
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as exc:
                raise UnavailableError(
                    "another edgewatt process holds it", where=str(self.root), todo="Stop the agent first"
                ) from exc
            yield
        finally:
            os.close(lock)

    def _open_lock(self) -> int:
        """Open the file that is locked; on a disk that is read-only or full the one that is there, or the folder."""
        lock = self.root / "lock"
        try:
            return os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as exc:
            if exc.errno not in (errno.EROFS, errno.ENOSPC, errno.EDQUOT):
                raise
            return os.open(lock if lock.exists() else self.root, os.O_RDONLY | os.O_CLOEXEC)
