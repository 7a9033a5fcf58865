"""The folder of the identity: how its files are found, mended from their copies, and written.

Decides what waits when the disk does not take it; not what the files say.
"""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Callable
from pathlib import Path

from agent.contract.durable import fsync_folder, write_durable
from agent.contract.errors import StorageError
from agent.store.kept import twofold

_PASSING = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)  # of a disk that may be well again later
_MODE = 0o600


class Folder:
    """Files that stand twice, and what the disk has still to take.

    Attributes:
        mended: what was damaged or missing and came from a copy, in words.
    """

    def __init__(self, path: Path) -> None:
        """Look at nothing yet."""
        self.path = path
        self.mended: list[str] = []
        self._owed: list[tuple[str, bytes]] = []

    def close_to_others(self) -> None:
        """Take the folder from everybody but its owner, where the disk allows."""
        with contextlib.suppress(OSError):
            if self.path.stat().st_mode & 0o077:
                self.path.chmod(0o700)

    def find(self, name: str, parse: Callable[[bytes], object]) -> twofold.Found | None:
        """Look for a file and its copy; where one of them is not whole, `settle` puts it right.

        Raises:
            StorageError: when this user may not read them.
        """
        found = twofold.find(self.path / name, parse)
        if found is None or found.data is None:
            return found
        if found.wrong:
            self.mended.append(f"{name} {found.wrong}; its copy is used, which may be as old as the start before")
            self.owe(name, found.data)
        if not found.copied:
            self.owe(twofold.copy_name(name), found.data)
        return found

    def owe(self, name: str, data: bytes) -> None:
        """Let `settle` write a file, in the order in which they were given, each state of it: an order is a promise."""
        if self._owed and self._owed[-1][0] == name:
            del self._owed[-1]
        self._owed.append((name, data))

    def owe_twice(self, name: str, data: bytes) -> None:
        """Let `settle` write a file and then its copy."""
        self.owe(name, data)
        self.owe(twofold.copy_name(name), data)

    def put(self, name: str, data: bytes) -> None:
        """Write a file now.

        Raises:
            StorageError: when it cannot be written; the old one is then whole.
        """
        write_durable(self.path / name, data, mode=_MODE)
        self._owed = [owed for owed in self._owed if owed[0] != name]

    def settle(self) -> None:
        """Write what is owed.

        Raises:
            StorageError: when it cannot be written; to be called again then.
        """
        if not self._owed:
            return
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as exc:
            raise StorageError(
                f"cannot be used ({exc.strerror})", where=str(self.path), todo="Mend the rights"
            ) from exc
        while self._owed:
            name, data = self._owed[0]
            write_durable(self.path / name, data, mode=_MODE)
            del self._owed[0]

    def try_to_settle(self) -> None:
        """Write what is owed, unless the disk is full, read-only or failing.

        Raises:
            StorageError: when it cannot be written for another reason, as for want of rights.
        """
        try:
            self.settle()
        except StorageError as exc:
            if not (isinstance(exc.__cause__, OSError) and exc.__cause__.errno in _PASSING):
                raise

    def remove(self, *names: str) -> None:
        """Remove files, where they are and the disk allows.

        Raises:
            OSError: when it does not.
        """
        for name in names:
            (self.path / name).unlink(missing_ok=True)
        fsync_folder(self.path)

    def remove_leftovers(self) -> None:
        """Remove what a power cut left of a write, where the disk allows."""
        with contextlib.suppress(OSError):
            for leftover in self.path.glob(".*.tmp"):
                leftover.unlink(missing_ok=True)
