"""The one error root; its branches say how a caller reacts, and each has its exit code (sysexits.h)."""

from __future__ import annotations


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
