"""The one error root; its branches say how a caller reacts, and each has its exit code (sysexits.h)."""

from __future__ import annotations

import traceback
from pathlib import Path

_MAX_TEXT = 300


class EdgewattError(Exception):
    """What happened, where, and what to do next, in words a technician can act on."""

    exit_code = 70

    def __init__(self, what: str, *, where: str = "", todo: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.todo = todo

    def __str__(self) -> str:
        text = f"{self.where}: {self.what}" if self.where else self.what
        return f"{text}. {self.todo}" if self.todo else text


class ConfigError(EdgewattError):
    """The caller's own input is wrong (configuration, arguments, files): stop and mend it."""

    exit_code = 78


class UnavailableError(EdgewattError):
    """Something needed is away for now (broker, repository, daemon): retry later."""

    exit_code = 75


class RejectedError(EdgewattError):
    """Untrusted or invalid bytes: quarantine them, never retry."""

    exit_code = 65


class StorageError(EdgewattError):
    """The disk or the database failed: degrade, alarm, keep what is held."""

    exit_code = 74


def unforeseen(exc: Exception) -> EdgewattError:
    """Put an exception that nobody expected into words, for the end of a command line.

    The system's own refusals keep their sense (a full disk is a StorageError, a lost line an UnavailableError);
    anything else is a defect, named with the place where it showed.
    """
    if isinstance(exc, ConnectionError | TimeoutError):
        return UnavailableError(f"the line failed ({exc.strerror or exc})", todo="Try again")
    if isinstance(exc, OSError):
        where = "output" if exc.filename is None else str(exc.filename)
        return StorageError(
            f"cannot be used ({exc.strerror or exc})", where=where, todo="Free space or mend the rights"
        )
    frames = traceback.extract_tb(exc.__traceback__)
    place = f"{Path(frames[-1].filename).name} line {frames[-1].lineno}" if frames else ""
    text = f"an internal error, {type(exc).__name__}: {exc}"[:_MAX_TEXT]
    return EdgewattError(text, where=place, todo="Report it with the command that you gave")
