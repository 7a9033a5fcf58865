"""Reads values out of TOML tables and gathers every complaint, each with its path in the file."""

from __future__ import annotations

import datetime as dt
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any, TypeVar

from agent.contract.errors import ConfigError
from agent.contract.tariff.calendar import ALWAYS, DAY_MIN, WEEKDAYS, When

MAX_NUMBER = Decimal(100_000_000)
MAX_PRICE = Decimal(10_000)
_MAX_DECIMALS, _MAX_DIGITS, _MAX_ENTRIES = 8, 30, 200
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")
_TIME = re.compile(r"([01]\d|2[0-3]):([0-5]\d)|24:00")
_MONTHS = tuple(range(1, 13))
_T = TypeVar("_T")


class Complaints:
    """What is wrong in one file."""

    def __init__(self, where: str) -> None:
        self.where = where
        self._texts: list[str] = []

    def add(self, path: str, what: str) -> None:
        """Add one."""
        self._texts.append(f"{path}: {what}")

    def raise_if_any(self) -> None:
        """Raise one ConfigError with all of them."""
        if len(self._texts) == 1:
            raise ConfigError(self._texts[0], where=self.where)
        if self._texts:
            text = "".join(f"\n  {text}" for text in self._texts)
            raise ConfigError(f"{len(self._texts)} problems{text}", where=self.where)


class Section:
    """One table of the file. Every method returns a value to go on with, and complains where the file has none.

    Attributes:
        path: what stands before a key in complaints, such as `demand[0].`.
    """

    def __init__(self, value: Mapping[str, Any], path: str, complaints: Complaints) -> None:
        self._value = value
        self.path = path
        self._complaints = complaints
        self._known: set[str] = set()

    def __contains__(self, key: str) -> bool:
        self._known.add(key)
        return key in self._value

    def complain(self, key: str, what: str) -> None:
        """Complain of one key."""
        self._complaints.add(f"{self.path}{key}", what)

    def end(self) -> None:
        """Complain of keys that nobody has asked for."""
        for key in self._value:
            if key not in self._known:
                self.complain(key, f"is unknown; known are {', '.join(sorted(self._known))}")

    def raw(self, key: str) -> Any:
        """Return the value as it is; None where there is none."""
        self._known.add(key)
        return self._value.get(key)

    def text(self, key: str) -> str:
        """Return a text."""
        text = self.raw(key)
        if not isinstance(text, str) or not 1 <= len(text) <= 200 or not text.isprintable():
            self.complain(key, "is missing, or is not a text of 1 to 200 characters")
            return ""
        return text

    def name(self, key: str = "name", reserved: Sequence[str] = ()) -> str:
        """Return the name of something."""
        name = self.text(key)
        if name and (not _NAME.fullmatch(name) or name in reserved):
            kept = f", or is one of {', '.join(reserved)}, which are taken" if reserved else ""
            self.complain(key, f"{name!r} is not lower-case letters, digits and dashes{kept}")
        return name

    def number(
        self, key: str, default: Decimal | None = None, *, low: Decimal = -MAX_NUMBER, high: Decimal = MAX_NUMBER
    ) -> Decimal:
        """Return an exact number within [low, high]; without a default it must be there."""
        given = self.raw(key)
        if given is None and default is not None:
            return default
        number = self._decimal(given)
        if number is None or not low <= number <= high:
            self.complain(key, f"is missing, or is not a number from {low} to {high}")
            return default if default is not None else max(low, Decimal(0))
        exponent = number.as_tuple().exponent
        if isinstance(exponent, int) and -exponent > _MAX_DECIMALS:
            self.complain(key, f"has more than {_MAX_DECIMALS} decimals")
        return number

    def price(self, key: str, default: Decimal | None = None) -> Decimal:
        """Return a price per unit, which may be negative."""
        given = self.raw(key)
        if given is None and default is not None:
            return default
        number = self._decimal(given)
        if number is None or not -MAX_PRICE <= number <= MAX_PRICE:  # `abs` of a number with a million digits fails
            self.complain(key, f"is missing, or is not a number of at most {MAX_PRICE}, such as 0.2150")
            return Decimal(0)
        return self.number(key, default)

    def amount(self, key: str, default: Decimal | None = None) -> Decimal:
        """Return a number that is not negative."""
        return self.number(key, default, low=Decimal(0))

    def whole(self, key: str, low: int, high: int, default: int | None = None) -> int:
        """Return an integer within [low, high]."""
        given = self.raw(key)
        if given is None and default is not None:
            return default
        if type(given) is not int or not low <= given <= high:
            self.complain(key, f"is missing, or is not a whole number from {low} to {high}")
            return low if default is None else default
        return given

    def choice(self, key: str, allowed: Sequence[Any], default: Any = None) -> Any:
        """Return one of `allowed`."""
        given = self.raw(key)
        if given is None and default is not None:
            return default
        if not any(type(given) is type(one) and given == one for one in allowed):
            wrong = "is missing: give" if given is None else "is not"
            self.complain(key, f"{wrong} one of {', '.join(map(str, allowed))}")
            return allowed[0] if default is None else default
        return given

    def some(self, key: str, allowed: Sequence[Any]) -> frozenset[Any] | None:
        """Return a set of some of `allowed`; None where the key is absent."""
        given = self.raw(key)
        if given is None:
            return None
        # `type` and not `isinstance`: true is no month.
        right = isinstance(given, list) and given and all(any(type(one) is type(ok) for ok in allowed) for one in given)
        if not right or not set(given) <= set(allowed):
            self.complain(key, f"is not a list of some of {', '.join(map(str, allowed)) or 'nothing (there are none)'}")
            return None
        return frozenset(given)

    def child(self, key: str) -> Section | None:
        """Return a table within; None where there is none."""
        given = self.raw(key)
        if given is None:
            return None
        if not isinstance(given, dict):
            self.complain(key, "is not a table")
            return None
        return Section(given, f"{self.path}{key}.", self._complaints)

    def children(self, key: str, form: str = "") -> Iterator[Section]:
        """Yield the tables of an array; `form` says how to write one."""
        given = self.raw(key)
        if given is None:
            return
        if not isinstance(given, list) or not given or not all(isinstance(entry, dict) for entry in given):
            self.complain(key, f"is not a list of tables: write {form or f'[[{self.path}{key}]]'}")
            return
        if len(given) > _MAX_ENTRIES:
            self.complain(key, f"has more than {_MAX_ENTRIES} entries")
            return
        for index, entry in enumerate(given):
            yield Section(entry, f"{self.path}{key}[{index}].", self._complaints)

    def table(self, key: str) -> dict[str, Any]:
        """Return a table of names that the file chooses."""
        given = self.raw(key)
        if given is None or isinstance(given, dict):
            return given or {}
        self.complain(key, "is not a table")
        return {}

    def pairs(self, key: str) -> list[tuple[Decimal, Decimal]]:
        """Return a list of pairs of numbers of at most 10,000."""
        given = self.raw(key)
        found = [
            tuple(self._decimal(one) for one in entry) if isinstance(entry, list) else ()
            for entry in (given if isinstance(given, list) else [])
        ]
        pairs = [(pair[0], pair[1]) for pair in found if len(pair) == 2 and pair[0] is not None and pair[1] is not None]
        if not found or len(pairs) < len(found) or not all(_is_exact(one) for pair in pairs for one in pair):
            self.complain(
                key,
                f"is missing, or is not a list of pairs of numbers of at most {MAX_PRICE} with at most "
                f"{_MAX_DECIMALS} decimals, such as [0.95, -0.75]",
            )
            return []
        return pairs

    def day(self, key: str) -> dt.date | None:
        """Return a date; None where there is none."""
        given = self.raw(key)
        if given is not None and type(given) is not dt.date:
            self.complain(key, f"{given!r} is not a date such as 2026-04-01")
            return None
        if given is not None and not 1970 <= given.year < 2200:
            self.complain(key, f"{given} is not between 1970 and 2199")
            return None
        return given

    def days_in_force(self, seasons: Sequence[str]) -> When:
        """Return the limits on whole days: seasons and months."""
        return When(seasons=self.some("seasons", seasons), months=self.some("months", _MONTHS))

    def when(self, seasons: Sequence[str], periods: Sequence[str] | None = None) -> When:
        """Return all limits of a time; `periods` None: none can be named here."""
        days = self.days_in_force(seasons)
        weekdays = self.some("weekdays", WEEKDAYS)
        return When(
            days.seasons,
            days.months,
            None if weekdays is None else frozenset(WEEKDAYS.index(day) for day in weekdays),
            self._windows(),
            None if periods is None else self.some("periods", periods),
        )

    def _windows(self) -> tuple[tuple[int, int], ...]:
        given = self.raw("hours")
        if given is None:
            begin, end = self._time("from", 0), self._time("to", DAY_MIN)
            if begin >= end:
                self.complain("to", "is not after `from`; write a night as two windows, up to 24:00 and from 00:00")
                return ALWAYS.windows
            return ((begin, end),)
        if "from" in self or "to" in self:
            self.complain("hours", "stands beside `from` or `to`: give one of them")
        windows: list[tuple[int, int]] = []
        for text in given if isinstance(given, list) else [given]:
            first, dash, last = text.partition("-") if isinstance(text, str) else ("", "", "")
            if not (dash and _TIME.fullmatch(first) and _TIME.fullmatch(last)) or _minutes(first) >= _minutes(last):
                self.complain("hours", f'{text!r} is not a window such as "07:00-15:00" that ends on its own day')
                return ALWAYS.windows
            windows.append((_minutes(first), _minutes(last)))
        if not windows:
            self.complain("hours", "is empty")
            return ALWAYS.windows
        return tuple(sorted(windows))

    def _time(self, key: str, default: int) -> int:
        if key not in self:
            return default
        text = self.raw(key)
        if not isinstance(text, str) or not _TIME.fullmatch(text):
            self.complain(key, f'{text!r} is not a time such as "07:00" (24:00 is the end of the day)')
            return default
        return _minutes(text)

    @staticmethod
    def _decimal(given: object) -> Decimal | None:
        if isinstance(given, int) and not isinstance(given, bool):
            given = Decimal(given)
        if not isinstance(given, Decimal) or not given.is_finite():
            return None
        if not given:
            return Decimal(0)  # nought may have an exponent of a million
        # 1e2 is 100, and printed so; what is too large for any use stays as it is, and is refused.
        return Decimal(f"{given:f}") if 0 < given.adjusted() < _MAX_DIGITS else given


def _is_exact(number: Decimal) -> bool:
    """Whether a number is small enough, and has few enough decimals, to be computed with exactly."""
    exponent = number.as_tuple().exponent
    return -MAX_PRICE <= number <= MAX_PRICE and isinstance(exponent, int) and -exponent <= _MAX_DECIMALS


def _minutes(text: str) -> int:
    return int(text[:2]) * 60 + int(text[3:])


def read_sections(text: str, where: str, read: Callable[[Section], _T]) -> _T:
    """Return what `read` makes of a TOML text, its numbers exact.

    Raises:
        ConfigError: with everything that is wrong in it.
    """
    try:
        value = tomllib.loads(text, parse_float=Decimal)
    except (tomllib.TOMLDecodeError, ArithmeticError, ValueError, RecursionError) as exc:
        raise ConfigError(f"is not valid TOML ({exc})", where=where) from exc
    complaints = Complaints(where)
    made = read(Section(value, "", complaints))
    complaints.raise_if_any()
    return made
