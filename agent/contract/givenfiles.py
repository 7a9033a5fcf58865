"""Files that people name: what is refused before a byte of them is read, or written over. Not pure: it looks."""

from __future__ import annotations

import stat
from pathlib import Path

from agent.contract.errors import ConfigError


def check_file(path: Path, max_bytes: int, *, todo: str = "Split the file") -> None:
    """Refuse what is no file, or too large a one; a link to a file is one.

    A device such as /dev/zero has no size and no end, and a pipe waits for ever.

    Args:
        path: as it was given.
        max_bytes: whole MiB.
        todo: what to do about one that is too large.

    Raises:
        ConfigError: when it is not there, is no file, or is larger than `max_bytes`.
    """
    where = str(path)
    try:
        found = path.stat()
    except (OSError, ValueError) as exc:  # a name with a NUL is a ValueError
        reason = exc.strerror if isinstance(exc, OSError) else exc
        raise ConfigError(f"cannot be read ({reason})", where=where, todo="Check path and rights") from exc
    if not stat.S_ISREG(found.st_mode):
        raise ConfigError(
            "cannot be read (it is a folder, a device or a pipe)", where=where, todo="Give the path of a file"
        )
    if found.st_size > max_bytes:
        raise ConfigError(f"is larger than {max_bytes >> 20} MiB", where=where, todo=todo)


def check_replaceable(path: Path, magic: bytes) -> None:
    """Refuse to write over a file of another kind than the one to be written: a mistyped path must cost nothing.

    Args:
        path: as it was given; that nothing is there is well.
        magic: what files of that kind begin with.

    Raises:
        ConfigError: when a file is there that begins with something else.
    """
    try:
        with path.open("rb") as file:
            begin = file.read(len(magic))
    except FileNotFoundError:
        return
    except OSError as exc:
        raise ConfigError(f"cannot be written ({exc.strerror})", where=str(path), todo="Give another path") from exc
    if begin != magic:
        raise ConfigError(
            "is there, and is a file of another kind", where=str(path), todo="Give a path where nothing is"
        )
