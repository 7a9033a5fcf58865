"""The one way a file is written that must survive a power cut (not pure, but both sides must agree on it)."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from agent.contract.errors import StorageError


def write_durable(path: Path, data: bytes, *, mode: int = 0o644) -> None:
    """Replace `path` by `data`: temp in the same folder, fsync, rename, fsync folder. Old or new, never a mix.

    A power cut may leave `.<name>.<digits>.tmp` beside it; whoever owns the folder removes those at start.

    Raises:
        StorageError: when the disk is full or the folder cannot be written; the file is then whole, old (or new, if
            only the last step failed). Also when there is something at `path` that is no file.
    """
    if path.exists() and not path.is_file():
        # A rename would put a file in the place of a device such as /dev/stdout.
        raise StorageError("is there and is not a file", where=str(path), todo="Give the path of a file")
    temp = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        descriptor = os.open(temp, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temp.replace(path)
        except BaseException:
            temp.unlink(missing_ok=True)
            raise
        fsync_folder(path.parent)
    except OSError as exc:
        raise StorageError(
            f"cannot be written ({exc.strerror})", where=str(path), todo="Free space or mend the rights"
        ) from exc


def fsync_folder(folder: Path) -> None:
    """Make renames and removals in `folder` survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
