"""The JSON that crosses a border: one canonical form out, limits and clear complaints in.

Decides how bytes become a validated value; knows nothing of what the fields mean.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from typing import Any, NoReturn

from agent.contract.errors import EdgewattError, RejectedError

MAX_SAFE_INTEGER = 2**53
MAX_TIME_MS = 253_370_764_800_000  # the year 9999: later instants have no local time
MAX_DEPTH = 16  # real messages nest five deep; a parsed value must be safe to walk and to write again
_SUSPICIOUS = re.compile(rb"\\u(?:[dD][89a-fA-F]|0000)")  # half a surrogate pair, or NUL


def dumps(value: object) -> bytes:
    """Canonical bytes: sorted keys, no spaces, UTF-8, no NaN. The same value gives the same bytes.

    Raises:
        ValueError: when `loads` would refuse the result: NaN, infinity, half surrogates, NUL, too deep.
        TypeError: when it is not JSON at all.
    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    data = text.encode()
    _check_depth(data, value)
    _check_nul(text)
    return data


def loads(data: bytes, *, where: str, max_bytes: int) -> dict[str, Any]:
    """Parse one JSON object.

    Raises:
        RejectedError: when too long, not UTF-8, not JSON, not an object, nested too deep, with a key twice, with NaN
            or infinity (also by overflow), or with text that UTF-8 or a database cannot hold.
    """
    if len(data) > max_bytes:
        raise RejectedError(f"{len(data)} bytes where at most {max_bytes} are allowed", where=where)
    try:
        value = _DECODER.decode(data.decode())
        _check_depth(data, value)
        if _SUSPICIOUS.search(data):
            _check_text(value)
    except (ValueError, RecursionError) as exc:
        raise RejectedError(f"is not valid JSON ({exc})", where=where) from exc
    if not isinstance(value, dict):
        raise RejectedError("is not a JSON object", where=where)
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a key stands twice")
    return result


def _no_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is not allowed")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:32]} is out of range")
    return value


# One for all: a store is read in thousands of small pieces, and a decoder costs as much as what it decodes.
_DECODER = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_no_constant, parse_float=_finite)


def _check_depth(data: bytes, value: object) -> None:
    if data.count(b"[") + data.count(b"{") <= MAX_DEPTH:
        return
    level: list[Any] = [value]
    for _ in range(MAX_DEPTH):
        level = [
            child
            for parent in level
            for child in (parent.values() if isinstance(parent, dict) else parent)
            if isinstance(child, dict | list)
        ]
        if not level:
            return
    raise ValueError(f"nested deeper than {MAX_DEPTH}")


def _check_text(value: object) -> None:
    text = json.dumps(value, ensure_ascii=False)
    text.encode()  # UnicodeEncodeError is a ValueError
    _check_nul(text)


def _check_nul(text: str) -> None:
    if "\\u0000" in text and "\\u0000" in text.replace(r"\\", ""):
        raise ValueError("a text holds NUL")


class Fields:
    """Typed, bounded reading of one JSON object; every complaint names the path, and what to do where `todo` says it.

    Unknown fields are kept by whoever keeps the object; this class only reads.
    """

    def __init__(
        self, value: object, where: str, error: type[EdgewattError] = RejectedError, *, todo: str = ""
    ) -> None:
        self.where = where
        self._error = error
        self._todo = todo
        if not isinstance(value, dict):
            raise error("is not an object", where=where, todo=todo)
        self._value: dict[str, Any] = value

    def fail(self, name: str, what: str) -> NoReturn:
        """Raise this object's error for one field."""
        raise self._error(what, where=f"{self.where}.{name}", todo=self._todo)

    def _get(self, name: str) -> Any:
        if name not in self._value:
            self.fail(name, "is missing")
        return self._value[name]

    def __contains__(self, name: str) -> bool:
        return name in self._value

    def raw(self, name: str) -> Any:
        """Return the value as parsed."""
        return self._get(name)

    def integer(self, name: str, low: int = 0, high: int = MAX_SAFE_INTEGER) -> int:
        """Return an integer in [low, high]; a boolean is not one."""
        value = self._get(name)
        if not isinstance(value, int) or isinstance(value, bool):
            self.fail(name, "is not an integer")
        if not low <= value <= high:
            self.fail(name, f"{value} is outside {low}..{high}")
        return value

    def number(self, name: str, low: float = -math.inf, high: float = math.inf) -> float:
        """Return a finite number in [low, high]."""
        value = self._get(name)
        try:
            number = float(value) if isinstance(value, int | float) and not isinstance(value, bool) else math.nan
        except OverflowError:  # an integer of hundreds of digits
            number = math.inf
        if not math.isfinite(number):
            self.fail(name, "is not a finite number")
        if not low <= number <= high:
            self.fail(name, f"{number} is outside {low}..{high}")
        return number

    def instant(self, name: str) -> int:
        """Return a time in epoch milliseconds, 1970 to 9998."""
        return self.integer(name, 0, MAX_TIME_MS)

    def text(self, name: str, *, max_length: int = 256, pattern: str | None = None) -> str:
        """Return a string of at most `max_length` characters that matches all of `pattern`."""
        value = self._get(name)
        if not isinstance(value, str):
            self.fail(name, "is not a string")
        if len(value) > max_length:
            self.fail(name, f"is longer than {max_length} characters")
        if pattern is not None and re.fullmatch(pattern, value) is None:
            self.fail(name, f"{value!r} does not have the form {pattern}")
        return value

    def flag(self, name: str) -> bool:
        """Return a boolean."""
        value = self._get(name)
        if not isinstance(value, bool):
            self.fail(name, "is not true or false")
        return value

    def hexbytes(self, name: str, length: int) -> bytes:
        """Return `length` bytes written in lower-case hexadecimal."""
        return bytes.fromhex(self.text(name, max_length=2 * length, pattern=f"[0-9a-f]{{{2 * length}}}"))

    def items(self, name: str, most: int) -> list[Any]:
        """Return a list of at most `most` entries."""
        value = self._get(name)
        if not isinstance(value, list):
            self.fail(name, "is not a list")
        if len(value) > most:
            self.fail(name, f"has {len(value)} entries where at most {most} are allowed")
        return value

    def child(self, name: str) -> Fields:
        """Return a nested object."""
        return Fields(self._get(name), f"{self.where}.{name}", self._error, todo=self._todo)

    def children(self, name: str, most: int) -> Iterator[Fields]:
        """Yield the objects of a list of at most `most` entries."""
        for index, value in enumerate(self.items(name, most)):
            yield Fields(value, f"{self.where}.{name}[{index}]", self._error, todo=self._todo)

    def as_dict(self) -> dict[str, Any]:
        """Return a shallow copy of the whole object."""
        return dict(self._value)
