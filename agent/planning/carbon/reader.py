"""A file of emission factors: TOML to `Factors`, every complaint at once. Reads files."""

from __future__ import annotations

import datetime as dt
import re
import tomllib
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

from agent.contract.errors import ConfigError
from agent.contract.givenfiles import check_file
from agent.contract.series import DECIMALS, Form, Series, SeriesFile
from agent.contract.zones import parse_zone
from agent.planning.carbon.factors import ALL_MONTHS, ELECTRICITY, FIRST_DAY, LAST_DAY, Factor, Factors, Ledger

MAX_FILE_BYTES = 1 << 18
MAX_FACTOR = Decimal(100_000)
UNITS = ("kWh", "m3", "t", "GJ", "l")
SERIES_MINUTES = (5, 10, 15, 30, 60)
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")
_FILE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")
_TOP_KEYS = {"name", "zone", "factor"}
_VALUE_KEYS = {"kg_per_unit", "series", "series_minutes", "scale"}
_KEYS = {"name", "carrier", "unit", "ledger", "from", "to", "months", "source"} | _VALUE_KEYS


def read_factors(path: Path) -> Factors:
    """Read a file and the series that it names, which lie beside it.

    Raises:
        ConfigError: when one cannot be read, or with everything that is wrong in the file.
    """
    check_file(path, MAX_FILE_BYTES, todo="Check [carbon] file")
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigError(f"cannot be read ({exc})", where=str(path), todo="Check [carbon] file") from exc
    return parse_factors(text, str(path), path.parent)


def parse_factors(text: str, where: str = "carbon", folder: Path = Path()) -> Factors:
    """Parse the text of a file that lies in `folder`; firmware-configs/carbon has worked examples.

    Raises:
        ConfigError: with everything that is wrong in it.
    """
    try:
        value = tomllib.loads(text, parse_float=Decimal)
    except (tomllib.TOMLDecodeError, ArithmeticError, ValueError, RecursionError) as exc:
        raise ConfigError(f"is not valid TOML ({exc})", where=where) from exc
    return _Reader(where, folder).factors(value)


def factor_form(scale: Decimal = Decimal(1)) -> Form:
    """Return the form of a series of factors: in kg a unit, or `scale` kg a unit."""
    example = "2026-01-31T13:00Z,0.351"
    return Form("kg_per_unit", f"a factor of 0 to {MAX_FACTOR} kg", Decimal(0), MAX_FACTOR, example, scale)


class _Reader:
    """Reads one file and gathers every complaint before it raises."""

    def __init__(self, where: str, folder: Path) -> None:
        self._where = where
        self._folder = folder
        self._complaints: list[str] = []

    def factors(self, value: dict[str, Any]) -> Factors:
        self._keys(value, _TOP_KEYS, "")
        name, zone = self._text(value, "name", ""), self._text(value, "zone", "") or "UTC"
        try:
            parse_zone(zone)
        except ConfigError as exc:
            self._complain("zone", str(exc))
        entries = value.get("factor")
        if not isinstance(entries, list) or not entries or not all(isinstance(entry, dict) for entry in entries):
            self._complain("factor", "is missing: write one [[factor]] or more")
            entries = []
        factors = tuple(self._factor(entry, f"factor[{number}].") for number, entry in enumerate(entries))
        units: dict[str, str] = {}
        for number, factor in enumerate(factors):
            if units.setdefault(factor.carrier, factor.unit) != factor.unit:
                self._complain(f"factor[{number}].unit", f"{factor.carrier!r} has another unit further up")
        if len(self._complaints) == 1:
            raise ConfigError(self._complaints[0], where=self._where)
        if self._complaints:
            listing = "".join(f"\n  {problem}" for problem in self._complaints)
            raise ConfigError(f"{len(self._complaints)} problems{listing}", where=self._where)
        return Factors(name, zone, factors)

    def _factor(self, value: dict[str, Any], path: str) -> Factor:
        self._keys(value, _KEYS, path)
        carrier = str(value.get("carrier", ELECTRICITY))
        name = str(value.get("name", carrier))
        for key, text in (("carrier", carrier), ("name", name)):
            if not _NAME.fullmatch(text):
                self._complain(f"{path}{key}", f"{text!r} is not lower-case letters, digits and dashes")
        unit = value.get("unit", "kWh")
        if unit not in UNITS:
            self._complain(f"{path}unit", f"{unit!r} is not one of {', '.join(UNITS)}")
        ledger = value.get("ledger")
        if ledger not in set(Ledger):
            self._complain(f"{path}ledger", f"{ledger!r} is not one of {', '.join(Ledger)}")
            ledger = Ledger.LOCATION
        if ("kg_per_unit" in value) == ("series" in value):
            self._complain(f"{path}kg_per_unit", "is wanted, or else series; and not both")
        first, last = self._day(value, "from", path, FIRST_DAY), self._day(value, "to", path, LAST_DAY)
        if last < first:
            self._complain(f"{path}to", f"{last} lies before {first}")
        return Factor(
            name=name,
            carrier=carrier,
            unit=str(unit),
            ledger=Ledger(ledger),
            steps=self._steps(value, path) if "kg_per_unit" in value else 0,
            series=self._series(value, path) if "series" in value else None,
            first=first,
            last=last,
            months=self._months(value, path),
            source=str(value.get("source", "")),
        )

    def _steps(self, value: dict[str, Any], path: str) -> int:
        given = value["kg_per_unit"]
        if isinstance(given, int) and not isinstance(given, bool):
            given = Decimal(given)
        if not isinstance(given, Decimal) or not given.is_finite() or not 0 <= given <= MAX_FACTOR:
            self._complain(f"{path}kg_per_unit", f"is not a number from 0 to {MAX_FACTOR}, such as 0.363")
            return 0
        steps = given.scaleb(DECIMALS)
        if steps != steps.to_integral_value():
            self._complain(f"{path}kg_per_unit", f"has more than {DECIMALS} decimals")
        return int(steps)

    def _series(self, value: dict[str, Any], path: str) -> SeriesFile[Series] | None:
        name, minutes, scale = value["series"], value.get("series_minutes", 60), value.get("scale", Decimal(1))
        if not isinstance(name, str) or not _FILE.fullmatch(name):
            self._complain(f"{path}series", f"{name!r} is not the name of a file beside this one")
            return None
        if type(minutes) is not int or minutes not in SERIES_MINUTES:
            self._complain(f"{path}series_minutes", f"{minutes!r} is not one of {', '.join(map(str, SERIES_MINUTES))}")
            return None
        if type(scale) not in {int, Decimal} or not 0 < Decimal(scale) <= MAX_FACTOR:
            self._complain(f"{path}scale", "is not a number above 0, such as 0.001 for grams")
            return None
        file = SeriesFile(name, self._folder / name, minutes * 60, factor_form(Decimal(scale)), Series)
        try:
            file.read()
        except ConfigError as exc:
            self._complain(f"{path}series", str(exc))
        return file

    def _months(self, value: dict[str, Any], path: str) -> frozenset[int]:
        given = value.get("months", sorted(ALL_MONTHS))
        if (
            not isinstance(given, list)
            or not given
            or not all(type(entry) is int and 1 <= entry <= 12 for entry in given)
        ):
            self._complain(f"{path}months", "is not a list of some of 1 to 12")
            return ALL_MONTHS
        return frozenset(given)

    def _day(self, value: dict[str, Any], key: str, path: str, default: dt.date) -> dt.date:
        given = value.get(key, default)
        if type(given) is not dt.date or not FIRST_DAY <= given <= LAST_DAY:
            self._complain(f"{path}{key}", f"{given!r} is not a day such as 2026-01-01")
            return default
        return given

    def _keys(self, value: Mapping[str, Any], known: set[str], path: str) -> None:
        for key in value:
            if key not in known:
                self._complain(f"{path}{key}", f"is unknown; known are {', '.join(sorted(known))}")

    def _text(self, value: Mapping[str, Any], key: str, path: str) -> str:
        text = value.get(key)
        if not isinstance(text, str) or not 1 <= len(text) <= 200:
            self._complain(f"{path}{key}", "is missing, or is not a text of 1 to 200 characters")
            return ""
        return text

    def _complain(self, path: str, what: str) -> None:
        self._complaints.append(f"{path}: {what}")
