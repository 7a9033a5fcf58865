"""The key under which the store is sealed: from the system, or from `storage.key`, whose copy says its sum."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import NamedTuple

from agent.contract.errors import StorageError
from agent.store.kept import twofold

NAME = "storage.key"
CREDENTIAL = "edgewatt-storage"
KEY_BYTES = 32


class StorageKey(NamedTuple):
    """A key, and where it came from.

    Attributes:
        source: `file` or `credential`.
        wrong: what is wrong with the file where the copy gave the key; else empty.
        copied: whether the copy is as it should be: there beside a file, and not beside a credential.
    """

    value: bytes
    source: str
    wrong: str = ""
    copied: bool = True


def find(folder: Path, credentials: Path | None) -> StorageKey | None:
    """Return the key that opens the store; None where there is none.

    Raises:
        StorageError: when it is not whole, or another than the credential.
    """
    path = folder / NAME
    copy = _of_copy(path)
    try:
        kept = twofold.read(path)
    except twofold.UnreadableError:
        if copy is None:
            raise
        kept = None
    given = twofold.read(credentials / CREDENTIAL) if credentials is not None else None
    wrong = ""
    if copy is not None and kept != copy:
        wrong = "is missing" if kept is None else "is damaged"
    if given is not None:
        if len(given) != KEY_BYTES:
            raise _damaged(Path(CREDENTIAL), given)
        if kept is not None and given not in (kept, copy):
            raise StorageError(
                f"is another key than the credential {CREDENTIAL} of the service",
                where=str(path),
                todo="One of them opens the store: make the credential of this file, or remove the file if it is old",
            )
        return StorageKey(given, "credential", copied=copy != given or kept is not None)
    key = kept if copy is None else copy
    if key is None:
        return None
    if len(key) != KEY_BYTES:
        raise _damaged(path, key)
    return StorageKey(key, "file", wrong, copied=copy is not None)


def to_copy(key: bytes) -> bytes:
    """Return the copy of a key, which says its sum."""
    return key + hashlib.sha256(b"edgewatt/storage-key/v1\0" + key).digest()


def lost(folder: Path) -> StorageError:
    """Return what to say where there is no key."""
    return twofold.lost(folder / NAME, f"; where it is a credential ({CREDENTIAL}), only the agent has it")


def _of_copy(path: Path) -> bytes | None:
    try:
        copy = twofold.read(twofold.copy_of(path))
    except twofold.UnreadableError:
        return None
    return copy[:KEY_BYTES] if copy is not None and copy == to_copy(copy[:KEY_BYTES]) else None


def _damaged(where: Path, key: bytes) -> StorageError:
    return StorageError(
        f"is damaged: has {len(key)} bytes, not {KEY_BYTES}",
        where=str(where),
        todo="Put it back from a copy of your own, or move the whole folder away and run edgewatt enroll FILE",
    )
