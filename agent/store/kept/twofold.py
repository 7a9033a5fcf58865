"""Files that stand twice: the first, and a copy that is written after it. Reads them, and says what a whole one is.

A flipped bit in a number or a name is still JSON: what is kept says its own sum. What an older version wrote has none.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any, NamedTuple

from agent.contract import jsonform
from agent.contract.errors import RejectedError, StorageError
from agent.contract.jsonform import Fields

MAX_FILE_BYTES = 131_072
_SUM = "check"
_SUM_CHARS = 32


class Found(NamedTuple):
    """What was found of a file that stands twice.

    Attributes:
        data: of the first that is whole, or else of its copy; None where neither is.
        wrong: what is wrong with the first; empty where it is whole.
        copied: whether the copy says the same.
    """

    data: bytes | None
    wrong: str
    copied: bool


def copy_name(name: str) -> str:
    """Return the name of the copy of a file."""
    return f"{name}.copy"


def copy_of(path: Path) -> Path:
    """Return where the copy of a file stands."""
    return path.with_name(copy_name(path.name))


def find(path: Path, parse: Callable[[bytes], object]) -> Found | None:
    """Look for a file and its copy; None where there is neither.

    Args:
        path: of the first.
        parse: raises RejectedError for what is not whole.

    Raises:
        StorageError: when this user may not read them.
    """
    contents: list[bytes | None] = []
    words: list[str] = []
    for one in (path, copy_of(path)):
        content, wrong = _whole(one, parse)
        contents.append(content)
        words.append(wrong)
    first, copy = contents
    if first is None and copy is None and words == ["is missing"] * 2:
        return None
    return Found(copy if first is None else first, words[0], first == copy)


def _whole(path: Path, parse: Callable[[bytes], object]) -> tuple[bytes | None, str]:
    try:
        content = read(path)
        if content is None:
            return None, "is missing"
        parse(content)
    except RejectedError as exc:
        return None, f"is damaged: {exc}"
    except UnreadableError as exc:
        return None, exc.what
    return content, ""


class UnreadableError(StorageError):
    """The disk does not give a file."""


def read(path: Path) -> bytes | None:
    """Read a file of the identity; None where there is none.

    Raises:
        UnreadableError: when the disk reports an error.
        StorageError: when this user may not read it.
    """
    try:
        with path.open("rb") as file:
            return file.read(MAX_FILE_BYTES)
    except FileNotFoundError:
        return None
    except OSError as exc:
        kind = UnreadableError if exc.errno == errno.EIO else StorageError
        raise kind(f"cannot be read ({exc.strerror})", where=str(path), todo="Mend the rights") from exc


def lost(path: Path, more: str = "") -> StorageError:
    """Return what to say where there is neither a file nor its copy."""
    return StorageError(
        f"is missing while the rest of the identity is there{more}",
        where=str(path),
        todo="Put it back from a copy, or move the whole folder away and enrol the device anew",
    )


def dumps(value: dict[str, Any]) -> bytes:
    """Write an object with its sum, in place of the one that it had."""
    plain = {name: one for name, one in value.items() if name != _SUM}
    return jsonform.dumps({**plain, _SUM: _sum(plain)})


def loads(data: bytes, where: str, known: AbstractSet[str]) -> Fields:
    """Read an object that says its sum.

    Args:
        data: the file.
        where: its name.
        known: all that a version without a sum can have written.

    Raises:
        RejectedError: when it is not as it was written.
    """
    value = jsonform.loads(data, where=where, max_bytes=MAX_FILE_BYTES)
    stated = value.pop(_SUM, None)
    if stated != _sum(value) and not (stated is None and known >= value.keys()):
        raise RejectedError("is not as it was written (its sum is another)", where=where)
    return Fields(value, where)


def _sum(plain: dict[str, Any]) -> str:
    with contextlib.suppress(ValueError):
        return hashlib.sha256(jsonform.dumps(plain)).hexdigest()[:_SUM_CHARS]
    return ""
