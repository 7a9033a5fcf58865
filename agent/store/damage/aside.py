"""A damaged database is set aside under a name that says so, until it was salvaged. One writer at a time is let in.

What is set aside together has one name: the database itself, and with its ending the log and the ring; each may be
missing.
"""

from __future__ import annotations

import contextlib
import fcntl
import glob
import os
import secrets
import shutil
from pathlib import Path

from agent.contract.durable import fsync_folder
from agent.contract.errors import StorageError

_PARTS = ("-wal", "-shm", "-ring", "")
_LONE_RING, _LONE_LOG = ".damaged-ring-", ".damaged-log-"
_UNREADABLE = 4096  # what is given up at once


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


def set_ring_aside(path: Path) -> None:
    """Rename a ring that does not belong to the database beside it.

    Raises:
        OSError: when the folder cannot be written.
    """
    name = f"{path.name}{_LONE_RING}{secrets.token_hex(4)}-ring"
    with contextlib.suppress(FileNotFoundError):
        path.with_name(f"{path.name}-ring").rename(path.with_name(name))


def copy_log(path: Path) -> str:
    """Copy the log of a database that goes on with a part of it, and return the name of the copy.

    Raises:
        OSError: when the folder cannot be written.
    """
    name = f"{path.name}{_LONE_LOG}{secrets.token_hex(4)}"
    copy = path.with_name(f"{name}-wal")
    try:
        with path.with_name(f"{path.name}-wal").open("rb") as source, copy.open("xb") as file:
            shutil.copyfileobj(source, file)
            os.fsync(file.fileno())
    except OSError:
        copy.unlink(missing_ok=True)
        raise
    fsync_folder(path.parent)
    return name


def is_lone(name: str) -> bool:
    """Whether a set is a ring or a log whose database went on without it."""
    return _LONE_RING in name or _LONE_LOG in name


def names(path: Path) -> list[str]:
    """List what is set aside beside a database, what was written last first."""
    written: dict[str, int] = {}
    for file in path.parent.glob(f"{glob.escape(path.name)}.damaged-*"):
        ending = next(part for part in _PARTS if file.name.endswith(part))
        with contextlib.suppress(FileNotFoundError):  # by another process: it was salvaged
            name = file.name.removesuffix(ending)
            written[name] = max(written.get(name, 0), file.stat().st_mtime_ns)
    return sorted(written, key=lambda name: (-written[name], name))


def sizes(path: Path, name: str) -> dict[str, int]:
    """Return the size of each file that was set aside under a name, by its ending."""
    files = {part: path.with_name(name + part) for part in _PARTS}
    found = {}
    for part, file in files.items():
        with contextlib.suppress(OSError):
            found[part] = file.stat().st_size
    return found


def read(path: Path, at: int, size: int) -> bytes:
    """Read of a file that may be damaged: zeros where the disk gives an error, nothing where there is no file."""
    try:
        with path.open("rb", buffering=0) as file:
            return _read(file.fileno(), at, size)
    except OSError:
        return b""


def _read(file: int, at: int, size: int) -> bytes:
    try:
        return os.pread(file, size, at)
    except OSError:
        border = max((at + size // 2) // _UNREADABLE, at // _UNREADABLE + 1) * _UNREADABLE
        if border >= at + size:
            return bytes(size)
        return _read(file, at, border - at) + _read(file, border, at + size - border)


def remove(path: Path, name: str) -> None:
    """Delete what was set aside under a name.

    Raises:
        OSError: when the folder cannot be written.
    """
    for part in _PARTS:
        path.with_name(name + part).unlink(missing_ok=True)
    fsync_folder(path.parent)


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


class InUseError(StorageError):
    """Another process has the store."""


def lock(path: Path) -> int:
    """Take the store for this process and return the descriptor that holds it; the kernel frees it with the process.

    Raises:
        InUseError: when another process has it.
        StorageError: when the folder cannot be written.
    """
    where = path.with_name(f"{path.name}.lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(where, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as exc:
        raise StorageError(
            f"cannot be made ({exc.strerror})", where=str(where), todo="Free space or mend the rights"
        ) from exc
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as exc:
        os.close(descriptor)
        raise InUseError("is in use by another agent", where=str(path), todo="Stop that one first") from exc
    return descriptor
