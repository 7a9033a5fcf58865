"""A damaged database is set aside under a name that says so; nothing is deleted. One writer at a time is let in."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from agent.contract.durable import fsync_folder
from agent.contract.errors import StorageError

_PARTS = ("-wal", "-shm", "-ring", "")


def set_aside(path: Path, epoch: int) -> str:
    """Rename the database with its log and ring to `<name>.damaged-<epoch>` and return that name.

    It is empty where there is none.

    The log goes first: a database without its log is only old, while a log beside a new database would be played into
    it. The caller has begun a new epoch before, so that even an old database cannot give a number out twice.

    Raises:
        StorageError: when the folder cannot be written.
    """
    name = f"{path.name}.damaged-{epoch}"
    moved = False
    try:
        for part in _PARTS:
            old = path.with_name(path.name + part)
            if old.exists():
                old.rename(path.with_name(name + part))
                moved = True
        fsync_folder(path.parent)
    except OSError as exc:
        raise StorageError(
            f"is damaged and cannot be set aside ({exc.strerror})",
            where=str(path),
            todo="Mend the rights of the folder",
        ) from exc
    return name if moved else ""


def discard(path: Path) -> None:
    """Remove a database that was begun and not finished; what it was to replace was set aside before.

    Raises:
        StorageError: when the folder cannot be written.
    """
    try:
        for part in _PARTS:
            path.with_name(path.name + part).unlink(missing_ok=True)
    except OSError as exc:
        raise StorageError(
            f"cannot be removed ({exc.strerror})", where=str(path), todo="Mend the rights of the folder"
        ) from exc


def lock(path: Path) -> int:
    """Take the store for this process and return the descriptor that holds it; the kernel frees it with the process.

    Raises:
        StorageError: when another process has it, or the folder cannot be written.
    """
    where = path.with_name(f"{path.name}.lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(where, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as exc:
        raise StorageError(f"cannot be made ({exc.strerror})", where=str(where), todo="Mend the rights") from exc
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as exc:
        os.close(descriptor)
        raise StorageError("is in use by another agent", where=str(path), todo="Stop that one first") from exc
    return descriptor
