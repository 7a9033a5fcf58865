"""Files that people name: what is refused before a byte of them is read, or written over. Not pure: it looks."""

from __future__ import annotations

import contextlib
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from agent.contract.errors import ConfigError, RejectedError

ENROLMENT, REQUEST, ANSWER = "an enrolment file", "an enrolment request", "the centre's answer to an enrolment"
EXPORT, ANSWERS = "an export of a device", "the centre's answer to an export"
BUNDLE, CERTIFICATE = "a model bundle", "a certificate"
_KINDS = {  # how files of each kind begin
    b'{"broker":': ENROLMENT,
    b"EWR1": REQUEST,
    b"EWS1": ANSWER,
    b"EWX1": EXPORT,
    b"EWY1": ANSWERS,
    b"PK\x03\x04": BUNDLE,
    b"-----BEGIN ": CERTIFICATE,
}
_BEGIN = 16


@contextlib.contextmanager
def given_file(path: Path, max_bytes: int, *, wanted: str, todo: str) -> Iterator[BinaryIO]:
    """Open a file that somebody has named; errors of what is read from it name it.

    Args:
        path: as it was given.
        max_bytes: the most that a file of this kind has.
        wanted: what it should be, one of the kinds above.
        todo: where a good one comes from.

    Raises:
        ConfigError: when it is not there, is no file, or cannot be read.
        RejectedError: when it is empty or of another kind, or what reads it refuses it.
    """
    check_file(path, max_bytes, todo=todo)
    try:
        with path.open("rb") as file:
            begin = file.read(_BEGIN)
            file.seek(0)
            kind = next(
                (name for magic, name in _KINDS.items() if begin.startswith(magic)), "empty" if not begin else ""
            )
            if kind not in {"", wanted}:
                raise RejectedError(f"is {kind}, not {wanted}", where=str(path), todo=todo)
            try:
                yield file
            except RejectedError as exc:
                what = f"{exc.where} {exc.what}" if exc.where else exc.what
                raise RejectedError(f"is not {wanted} that can be used: {what}", where=str(path), todo=todo) from exc
    except OSError as exc:
        raise ConfigError(f"cannot be read ({exc.strerror})", where=str(path), todo="Check path and rights") from exc


def read_file(path: Path, max_bytes: int, *, wanted: str, todo: str) -> bytes:
    """Return what is in a file that somebody has named; see `given_file`."""
    with given_file(path, max_bytes, wanted=wanted, todo=todo) as file:
        return file.read(max_bytes)


def check_file(path: Path, max_bytes: int, *, todo: str = "Split the file") -> None:
    """Refuse what is no file, or too large a one; a link to a file is one.

    A device such as /dev/zero has no size and no end, and a pipe waits for ever.

    Args:
        path: as it was given.
        max_bytes: whole KiB.
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
        most = f"{max_bytes >> 20} MiB" if max_bytes >= 2**20 else f"{max_bytes >> 10} KiB"
        raise ConfigError(f"is larger than {most}", where=where, todo=todo)


def check_replaceable(path: Path, magic: bytes) -> None:
    """Refuse to write over a file of another kind than the one to be written: a mistyped path must cost nothing.

    Args:
        path: as it was given; that nothing is there is well.
        magic: what files of that kind begin with.

    Raises:
        ConfigError: when a file is there that begins with something else.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # to look into a pipe, as /dev/stdout may be, takes for ever
            raise ConfigError(
                "cannot be written (it is a folder, a device or a pipe)", where=str(path), todo="Give a file"
            )
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
