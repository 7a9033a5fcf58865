"""What a kilowatt-hour costs and when: a time-of-use tariff, read from TOML.

Decides which period an instant belongs to; sums are `bill`'s. Local time exists here: an instant is placed by the
plant's zone, so that a day may have 92, 96 or 100 quarter-hours.
"""

from __future__ import annotations

import datetime as dt
import itertools
import math
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from typing import Any

from agent.contract.errors import ConfigError
from agent.contract.givenfiles import check_file
from agent.contract.zones import local_day_bounds_ms, parse_zone, to_local

MAX_FILE_BYTES = 1 << 18
WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
RESERVED_NAMES = ("export", "fixed")  # lines of a bill that are no periods
_SUNDAY = 6
_DAY_MIN = 1440
_OFFSET_MIN = 15  # every zone of today is a whole number of quarter-hours from UTC
_MAX_PRICE = Decimal(10_000)
_MAX_DECIMALS = 8
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")
_TIME = re.compile(r"([01]\d|2[0-3]):([0-5]\d)|24:00")
_TOP_KEYS = {"name", "zone", "currency", "fixed_per_day", "export_price_per_kwh", "holidays", "period"}
_PERIOD_KEYS = {"name", "price_per_kwh", "weekdays", "from", "to", "months"}


@dataclass(frozen=True, slots=True)
class Period:
    """A price and when it holds: local minutes [from_min, to_min) of certain weekdays (0 = Monday) and months."""

    name: str
    price_per_kwh: Decimal
    weekdays: frozenset[int] = frozenset(range(7))
    from_min: int = 0
    to_min: int = _DAY_MIN
    months: frozenset[int] = frozenset(range(1, 13))

    def holds(self, month: int, weekday: int, minute: int) -> bool:
        """Whether it covers a local minute of the day."""
        return month in self.months and weekday in self.weekdays and self.from_min <= minute < self.to_min


Piece = tuple[Period, int, int]  # period, start_ms, end_ms


class Tariff:
    """A time-of-use tariff. Of several periods that cover an instant the first one in the file counts.

    Attributes:
        name: for people.
        zone: in which its times are meant.
        currency: three letters.
        periods: in the order of the file; two with one name have one price.
        fixed_per_day: charge for a local day, whatever its length.
        export_price_per_kwh: what a kilowatt-hour fed into the grid brings; 0 where the file is silent.
        holidays: local dates that count as Sundays.

    Invariants:
        every local minute of every month and weekday has a period;
        every period holds at some minute.
    """

    def __init__(
        self,
        name: str,
        zone: dt.tzinfo,
        currency: str,
        periods: tuple[Period, ...],
        *,
        fixed_per_day: Decimal = Decimal(0),
        export_price_per_kwh: Decimal = Decimal(0),
        holidays: frozenset[dt.date] = frozenset(),
    ) -> None:
        """Join parts that are valid one by one.

        Raises:
            ConfigError: when some time has no period, or some period no time.
        """
        self.name = name
        self.zone = zone
        self.currency = currency
        self.periods = periods
        self.fixed_per_day = fixed_per_day
        self.export_price_per_kwh = export_price_per_kwh
        self.holidays = holidays
        marks = {mark for period in periods for mark in (period.from_min, period.to_min)}
        self._step_min = math.gcd(_OFFSET_MIN, *marks)
        self._table = {(month, day): self._row(month, day) for month in range(1, 13) for day in range(7)}
        # A month is billed again and again: its days are looked up once.
        self._bounds_ms = lru_cache(maxsize=64)(lambda date: local_day_bounds_ms(date, zone))
        self._day_pieces = lru_cache(maxsize=64)(self._split_day)
        complaints = list(self._gaps())
        if complaints:
            raise _complaint(complaints, name)

    @classmethod
    def load(cls, path: Path) -> Tariff:
        """Read a tariff file.

        Raises:
            ConfigError: when it cannot be read, or with everything that is wrong in it.
        """
        check_file(path, MAX_FILE_BYTES, todo="Check [tariff] file")
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as exc:
            raise ConfigError(f"cannot be read ({exc})", where=str(path), todo="Check [tariff] file") from exc
        return cls.from_toml(text, str(path))

    @classmethod
    def from_toml(cls, text: str, where: str = "tariff") -> Tariff:
        """Parse the text of a tariff file; firmware-configs/tariffs has a worked example.

        Raises:
            ConfigError: with everything that is wrong in it.
        """
        try:
            value = tomllib.loads(text, parse_float=Decimal)
        except (tomllib.TOMLDecodeError, ArithmeticError, ValueError, RecursionError) as exc:
            raise ConfigError(f"is not valid TOML ({exc})", where=where) from exc
        return _Reader(where).tariff(value)

    def period_at(self, time_ms: int) -> Period:
        """Return the period that an instant belongs to."""
        local = to_local(time_ms, self.zone)
        weekday = _SUNDAY if local.date() in self.holidays else local.weekday()
        index = self._table[local.month, weekday][(local.hour * 60 + local.minute) // self._step_min]
        return self.periods[index]

    def pieces(self, start_ms: int, end_ms: int) -> list[Piece]:
        """Split [start_ms, end_ms) where another period begins; return (period, start_ms, end_ms) in order."""
        found: list[Piece] = []
        at = start_ms
        while at < end_ms:
            for period, begin, end in self._day_pieces(to_local(at, self.zone).date()):
                low, high = max(begin, start_ms), min(end, end_ms)
                if low >= high:
                    continue
                if found and found[-1][0] is period:  # a night goes on over midnight
                    low = found.pop()[1]
                found.append((period, low, high))
                at = high
        return found

    def day_bounds_ms(self, time_ms: int) -> tuple[int, int]:
        """Return [start, end) of the local day that holds an instant."""
        bounds: tuple[int, int] = self._bounds_ms(to_local(time_ms, self.zone).date())
        return bounds

    def month_start_ms(self, time_ms: int) -> int:
        """Return the start of the local month that holds an instant."""
        start: int = self._bounds_ms(to_local(time_ms, self.zone).date().replace(day=1))[0]
        return start

    def _split_day(self, date: dt.date) -> tuple[Piece, ...]:
        """Split a local day by the wall clock of each step, so that days of 23 and 25 hours are right."""
        start_ms, end_ms = self._bounds_ms(date)
        found: list[Piece] = []
        step_ms = self._step_min * 60_000
        marks = [start_ms, *range(start_ms - start_ms % step_ms + step_ms, end_ms, step_ms), end_ms]
        for begin, end in itertools.pairwise(marks):
            period = self.period_at(begin)
            since = found.pop()[1] if found and found[-1][0] is period else begin
            found.append((period, since, end))
        return tuple(found)

    def _row(self, month: int, weekday: int) -> tuple[int, ...]:
        """Index of the period in each step of a day; -1 where there is none."""
        return tuple(
            next((index for index, period in enumerate(self.periods) if period.holds(month, weekday, minute)), -1)
            for minute in range(0, _DAY_MIN, self._step_min)
        )

    def _gaps(self) -> Iterator[str]:
        """Yield what breaks the invariants; of uncovered times the first."""
        for (month, weekday), row in self._table.items():
            if -1 in row:
                minute = row.index(-1) * self._step_min
                yield (
                    f"period: none covers {WEEKDAYS[weekday]} {minute // 60:02}:{minute % 60:02} in month {month}; "
                    "let the last period have no weekdays, times or months"
                )
                break
        used = {index for row in self._table.values() for index in row}
        for index, period in enumerate(self.periods):
            if index not in used:
                yield f"period[{index}]: {period.name!r} never holds: periods before it cover all its times"


class _Reader:
    """Reads one file and gathers every complaint before it raises."""

    def __init__(self, where: str) -> None:
        self._where = where
        self._complaints: list[str] = []

    def tariff(self, value: dict[str, Any]) -> Tariff:
        self._keys(value, _TOP_KEYS, "")
        name = self._text(value, "name", "")
        currency = self._text(value, "currency", "")
        if currency and not re.fullmatch(r"[A-Z]{3}", currency):
            self._complain("currency", f"{currency!r} is not three capital letters such as AUD")
        zone: dt.tzinfo = dt.UTC
        try:
            zone = parse_zone(self._text(value, "zone", "") or "UTC")
        except ConfigError as exc:
            self._complain("zone", str(exc))
        fixed = self._price(value, "fixed_per_day", "", default=Decimal(0))
        export = self._price(value, "export_price_per_kwh", "", default=Decimal(0))
        holidays = self._holidays(value.get("holidays", []))
        periods = self._periods(value.get("period"))
        self._raise_if_any()
        try:
            return Tariff(
                name,
                zone,
                currency,
                periods,
                fixed_per_day=fixed,
                export_price_per_kwh=export,
                holidays=holidays,
            )
        except ConfigError as exc:
            raise ConfigError(exc.what, where=self._where, todo=exc.todo) from exc

    def _periods(self, value: object) -> tuple[Period, ...]:
        if not isinstance(value, list) or not value or not all(isinstance(entry, dict) for entry in value):
            self._complain("period", "is missing: write one [[period]] or more")
            return ()
        periods = tuple(self._period(entry, f"period[{index}].") for index, entry in enumerate(value))
        prices: dict[str, Decimal] = {}
        for index, period in enumerate(periods):
            if prices.setdefault(period.name, period.price_per_kwh) != period.price_per_kwh:
                self._complain(f"period[{index}].price_per_kwh", f"{period.name!r} has another price further up")
        return periods

    def _period(self, value: dict[str, Any], path: str) -> Period:
        self._keys(value, _PERIOD_KEYS, path)
        name = self._text(value, "name", path)
        if name and (not _NAME.fullmatch(name) or name in RESERVED_NAMES):
            self._complain(f"{path}name", f"{name!r} is not lower-case letters, digits and dashes, or is reserved")
        price = self._price(value, "price_per_kwh", path)
        from_min, to_min = self._time(value, "from", path, 0), self._time(value, "to", path, _DAY_MIN)
        if from_min >= to_min:
            self._complain(
                f"{path}to", "is not after `from`; write a night as two periods of one name, up to 24:00 and from 00:00"
            )
        days = self._set(value, "weekdays", path, WEEKDAYS)
        months = self._set(value, "months", path, tuple(range(1, 13)))
        return Period(
            name,
            price,
            frozenset(WEEKDAYS.index(day) for day in days),
            from_min,
            to_min,
            frozenset(months),
        )

    def _keys(self, value: dict[str, Any], known: set[str], path: str) -> None:
        for key in value:
            if key not in known:
                self._complain(f"{path}{key}", f"is unknown; known are {', '.join(sorted(known))}")

    def _text(self, value: dict[str, Any], key: str, path: str) -> str:
        text = value.get(key)
        if not isinstance(text, str) or not 1 <= len(text) <= 200:
            self._complain(f"{path}{key}", "is missing, or is not a text of 1 to 200 characters")
            return ""
        return text

    def _price(self, value: dict[str, Any], key: str, path: str, default: Decimal | None = None) -> Decimal:
        given = value.get(key, default)
        if isinstance(given, int) and not isinstance(given, bool):
            given = Decimal(given)
        if not isinstance(given, Decimal) or not given.is_finite() or abs(given) > _MAX_PRICE:
            self._complain(f"{path}{key}", f"is missing, or is not a number of at most {_MAX_PRICE}, such as 0.2150")
            return Decimal(0)
        exponent = given.as_tuple().exponent
        if isinstance(exponent, int) and -exponent > _MAX_DECIMALS:
            self._complain(f"{path}{key}", f"has more than {_MAX_DECIMALS} decimals")
        return given

    def _time(self, value: dict[str, Any], key: str, path: str, default: int) -> int:
        if key not in value:
            return default
        text = value[key]
        if not isinstance(text, str) or not _TIME.fullmatch(text):
            self._complain(f"{path}{key}", f'{text!r} is not a time such as "07:00" (24:00 is the end of the day)')
            return default
        return int(text[:2]) * 60 + int(text[3:])

    def _set(self, value: dict[str, Any], key: str, path: str, allowed: tuple[Any, ...]) -> tuple[Any, ...]:
        if key not in value:
            return allowed
        given = value[key]
        # `type` and not `isinstance`: true is no month.
        right = isinstance(given, list) and given and all(type(entry) is type(allowed[0]) for entry in given)
        if not right or not set(given) <= set(allowed):
            self._complain(f"{path}{key}", f"is not a list of some of {', '.join(str(entry) for entry in allowed)}")
            return allowed
        return tuple(given)

    def _holidays(self, value: object) -> frozenset[dt.date]:
        days: set[dt.date] = set()
        if not isinstance(value, list):
            self._complain("holidays", 'is not a list of dates such as "2026-12-25"')
            return frozenset()
        for index, entry in enumerate(value):
            try:
                # TOML's own dates are dates already; a date with a time is not a day.
                days.add(entry if type(entry) is dt.date else dt.date.fromisoformat(entry))
            except (TypeError, ValueError):
                self._complain(f"holidays[{index}]", f"{entry!r} is not a date such as 2026-12-25")
        return frozenset(days)

    def _complain(self, path: str, what: str) -> None:
        self._complaints.append(f"{path}: {what}")

    def _raise_if_any(self) -> None:
        if self._complaints:
            raise _complaint(self._complaints, self._where)


def _complaint(problems: list[str], where: str) -> ConfigError:
    if len(problems) == 1:
        return ConfigError(problems[0], where=where)
    return ConfigError(f"{len(problems)} problems" + "".join(f"\n  {problem}" for problem in problems), where=where)
