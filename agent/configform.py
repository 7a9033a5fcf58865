"""Reading TOML tables into frozen dataclasses: unknown and missing keys, types, bounds; every complaint is kept.

Knows nothing of what the sections mean. A dataclass field is a key; its annotation is its type; `Limits` adds what
that cannot say; a field without a default must be there. A `__post_init__` that raises ConfigError is a complaint at
its table.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
import math
import re
import sys
import tomllib
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from agent.contract.errors import ConfigError

T = TypeVar("T")
_MAX_TEXT = 300
_WRONG = object()  # a value that has been complained about


@dataclass(frozen=True)
class Limits:
    """What an annotation cannot say, put beside it by `Annotated`.

    Attributes:
        low, high: bounds of a number.
        pattern: what all of a text must match.
        exists: a path must be that of a file.
        folder: or of a folder.
        kinds: tables by their key `kind`.
        plain: the kind whose one field `value` a plain number stands for.
    """

    low: float = -math.inf
    high: float = math.inf
    pattern: str | None = None
    exists: bool = False
    folder: bool = False
    kinds: Mapping[str, type] | None = None
    plain: str | None = None


_FREE = Limits()


class Complaints:
    """Everything that is wrong with one file."""

    def __init__(self, where: str) -> None:
        self._where = where
        self.problems: list[str] = []

    def add(self, place: str, what: str) -> None:
        """Note one problem at a path in the file."""
        self.problems.append(f"{place}: {what}" if place else what)

    def raise_if_any(self) -> None:
        """Raise one ConfigError with all that was noted.

        Raises:
            ConfigError: when anything was.
        """
        if len(self.problems) == 1:
            raise ConfigError(self.problems[0], where=self._where)
        if self.problems:
            listing = "".join(f"\n  {problem}" for problem in self.problems)
            raise ConfigError(f"{len(self.problems)} problems{listing}", where=self._where)


def read_toml(cls: type[T], text: str, folder: Path, complaints: Complaints) -> T | None:
    """Parse TOML into `cls`; None when anything was wrong, which `complaints` then holds. Paths count from `folder`."""
    try:
        table = tomllib.loads(text)
    except (ValueError, RecursionError) as exc:  # numbers and nesting beyond reason are no TOMLDecodeError
        complaints.add("", f"is not valid TOML ({exc})"[:_MAX_TEXT])
        return None
    return read_table(cls, table, folder, complaints)


def read_table(cls: type[T], table: object, folder: Path, complaints: Complaints, place: str = "") -> T | None:
    """Read a table that has been parsed, as `read_toml` does; `place` is its path in the file."""
    before = len(complaints.problems)
    value = _Reader(folder, complaints).table(cls, table, place)
    return typing.cast("T", value) if len(complaints.problems) == before else None


class _Reader:
    def __init__(self, folder: Path, complaints: Complaints) -> None:
        self._folder = folder
        self._complaints = complaints

    def _wrong(self, place: str, what: str) -> Any:
        self._complaints.add(place, what)
        return _WRONG

    def table(self, cls: Any, table: object, place: str) -> Any:
        """One table into one dataclass."""
        if not isinstance(table, dict):
            return self._wrong(place, "is not a table")
        hints = typing.get_type_hints(cls, include_extras=True)
        fields = {field.name: field for field in dataclasses.fields(cls) if field.init}
        dot = f"{place}." if place else ""
        for key in table:
            if key not in fields:
                self._wrong(f"{dot}{key}", f"is unknown; possible here: {', '.join(sorted(fields))}")
        values: dict[str, Any] = {}
        for name, field in fields.items():
            if name in table:
                values[name] = self.value(hints[name], table[name], f"{dot}{name}", _FREE)
            elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
                values[name] = self._wrong(f"{dot}{name}", "is missing")
        if any(value is _WRONG for value in values.values()):
            return _WRONG
        try:
            return cls(**values)
        except ConfigError as exc:
            return self._wrong(place, str(exc))

    def value(self, hint: Any, value: object, place: str, limits: Limits) -> Any:
        """One value into the type of its annotation."""
        origin, arguments = typing.get_origin(hint), typing.get_args(hint)
        if origin is typing.Annotated:
            return self.value(arguments[0], value, place, arguments[1])
        if origin in {types.UnionType, typing.Union} and limits.kinds is None:
            return self.value(next(part for part in arguments if part is not type(None)), value, place, limits)
        if origin is tuple:
            return self.array(arguments[0], value, place, limits)
        if limits.kinds is not None:
            return self.kind(limits, value, place)
        if dataclasses.is_dataclass(hint):
            return self.table(hint, value, place)
        return self.scalar(hint, value, place, limits)

    def array(self, hint: Any, value: object, place: str, limits: Limits) -> Any:
        """A list, not empty, of one type."""
        if not isinstance(value, list):
            form = "[[...]] tables" if limits.kinds or dataclasses.is_dataclass(hint) else "a list"
            return self._wrong(place, f"is not {form}")
        if not value:
            return self._wrong(place, "is empty")
        items = [self.value(hint, item, f"{place}[{number}]", limits) for number, item in enumerate(value)]
        return _WRONG if any(item is _WRONG for item in items) else tuple(items)

    def kind(self, limits: Limits, value: object, place: str) -> Any:
        """A table whose `kind` says which dataclass it is."""
        kinds = limits.kinds or {}
        if limits.plain is not None and not isinstance(value, dict):
            number = self.number(float, value, place, _FREE)
            return number if number is _WRONG else kinds[limits.plain](value=number)
        if not isinstance(value, dict):
            return self._wrong(place, "is not a table")
        kind = value.get("kind")
        if not isinstance(kind, str) or kind not in kinds:
            found = "is missing" if kind is None else f"{kind!r} is unknown"
            return self._wrong(f"{place}.kind", f"{found}; possible: {', '.join(sorted(kinds))}")
        return self.table(kinds[kind], {key: item for key, item in value.items() if key != "kind"}, place)

    def scalar(self, hint: Any, value: object, place: str, limits: Limits) -> Any:
        """A number, text, truth value, path, choice or time."""
        if hint in {int, float}:
            return self.number(hint, value, place, limits)
        if hint is bool:
            return value if isinstance(value, bool) else self._wrong(place, "is not true or false")
        if hint is dt.datetime:
            return value if isinstance(value, dt.datetime) else self._wrong(place, "is not a date and time")
        if not isinstance(value, str) or not value:
            return self._wrong(place, "is not a text in quotes, or is empty")
        if not value.isprintable():
            return self._wrong(place, "has characters that cannot be printed")
        if hint is Path:
            path = self._folder / Path(value).expanduser()
            if limits.exists and not (path.is_file() or (limits.folder and path.is_dir())):
                return self._wrong(place, f"file {path} does not exist")
            return path
        if issubclass(hint, enum.StrEnum):
            choices = {str(choice) for choice in hint}
            if value not in choices:
                return self._wrong(place, f"{value!r} is not one of {', '.join(sorted(choices))}")
            return hint(value)
        if limits.pattern is not None and re.fullmatch(limits.pattern, value) is None:
            return self._wrong(place, f"{value!r} does not have the form {limits.pattern}")
        return value

    def number(self, hint: Any, value: object, place: str, limits: Limits) -> Any:
        """An integer or a finite number within its bounds; a truth value is neither."""
        if hint is int and (not isinstance(value, int) or isinstance(value, bool)):
            return self._wrong(place, "is not a whole number")
        if not isinstance(value, int | float) or isinstance(value, bool):
            return self._wrong(place, "is not a number")
        if not abs(value) <= sys.float_info.max:  # an integer of TOML may have any number of digits
            return self._wrong(place, "is not a number" if isinstance(value, float) else "is beyond reckoning")
        if not limits.low <= value <= limits.high:
            return self._wrong(place, f"{value} is outside {limits.low:g}..{limits.high:g}")
        return hint(value)
