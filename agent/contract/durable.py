"""The one way files are written that must survive a power cut (not pure, but both sides must agree on it)."""

from __future__ import annotations

import contextlib
import fcntl
import glob
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from agent.contract.errors import StorageError


def write_durable(path: Path, data: bytes, *, mode: int = 0o644) -> None:
    """Replace `path` by `data`: temp in the same folder, fsync, rename, fsync folder. Old or new, never a mix.

    A power cut may leave `.<name>.<digits>.tmp` beside it; whoever owns the folder removes those at start.

    Raises:
        StorageError: when the disk is full or the folder cannot be written; the file is then whole, old (or new, if
            only the last step failed). Also when there is something at `path` that is no file.
    """
    with new_file(path, mode=mode) as file:
        file.write(data)


@contextlib.contextmanager
def new_file(path: Path, *, mode: int = 0o644) -> Iterator[BinaryIO]:
    """Give a file to write, which then replaces `path` as `write_durable` does: for what is too large for memory.

    Raises:
        StorageError: as `write_durable`.
    """
    if path.exists() and not path.is_file():
        # A rename would put a file in the place of a device such as /dev/stdout.
        raise StorageError("is there and is not a file", where=str(path), todo="Give the path of a file")
    temp = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    with _told(path):
        descriptor = os.open(temp, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        try:
            with os.fdopen(descriptor, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            temp.replace(path)
        except BaseException:
            temp.unlink(missing_ok=True)
            raise
        fsync_folder(path.parent)


def fsync_folder(folder: Path) -> None:
    """Make renames and removals in `folder` survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def fsync_tree(folder: Path) -> None:
    """Make all that stands in `folder` and below survive a power cut; for files that others have written."""
    for base, _, names in os.walk(folder):
        for name in names:
            descriptor = os.open(Path(base, name), os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        fsync_folder(Path(base))


@contextlib.contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Give a folder to fill, which then appears at `path`: whole, on the disk, or not at all.

    A power cut or SIGKILL may leave `.<name>.<digits>.tmp` beside it, which nothing reads; the next folder of that name
    removes it, but not one that a running process is filling.

    Raises:
        StorageError: when the disk is full, the folder cannot be written, or there is something at `path` already.
    """
    temp = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    with _told(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_left_over(path)
        temp.mkdir()
        try:
            with _locked(temp):
                yield temp
                fsync_tree(temp)
                temp.rename(path)
        except BaseException:
            shutil.rmtree(temp, ignore_errors=True)
            raise
        fsync_folder(path.parent)


def _remove_left_over(path: Path) -> None:
    """Remove folders that a process which is no more was filling for `path`; a lock goes with its process."""
    for left in path.parent.glob(f".{glob.escape(path.name)}.{'[0-9a-f]' * 8}.tmp"):
        with contextlib.suppress(OSError), _locked(left, must=True):  # a file, or in use: not ours to remove
            shutil.rmtree(left, ignore_errors=True)


@contextlib.contextmanager
def _locked(folder: Path, *, must: bool = False) -> Iterator[None]:
    """Hold a folder's lock; go on without it where the file system has none, unless it `must` be had."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with contextlib.nullcontext() if must else contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _told(path: Path) -> Iterator[None]:
    """Say of what the system refuses which file it was, and what to do."""
    try:
        yield
    except OSError as exc:
        raise StorageError(
            f"cannot be written ({exc.strerror or exc})", where=str(path), todo="Free space or mend the rights"
        ) from exc
