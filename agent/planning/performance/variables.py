"""Relevant variables from a CSV file, as one value a local day: temperature, production, working days. Reads a file.

Decides what a day's value is; the form of the file is `contract.loadcsv`'s.
"""

from __future__ import annotations

import csv
import datetime as dt
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from agent.contract.errors import ConfigError
from agent.contract.features import Floats
from agent.contract.givenfiles import check_file
from agent.contract.loadcsv import Columns, csv_rows, read_rows
from agent.contract.zones import local_day_bounds_ms, parse_zone, to_local

TEMPERATURE = "temperature"  # degrees Celsius, averaged over a day
WORKING_DAY = "working_day"  # 1 or 0
STAMPS = "timestamp"
MAX_BYTES = 64 * 2**20
MAX_VARIABLES = 6  # beside temperature and working day: every subset of them is tried
_TAKEN = {"constant", "energy", "broken week", "heating degree days", "cooling degree days"}  # of terms and reasons
_DAY = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_ .-]{0,31}")
_LONGEST_MS = 20 * 3_600_000  # rows further apart are rows of days
_TEMPERATURE_SHARE = 0.75


@dataclass(frozen=True, slots=True, eq=False)
class Variables:
    """Variables by day.

    Attributes:
        first: the first day.
        values: [N] by name, NaN where a day has no whole value; all of one length.
        where: the file, for errors.
    """

    first: dt.date
    values: Mapping[str, Floats]
    where: str

    def between(self, name: str, first: dt.date, last: dt.date) -> Floats:
        """Return the values of the days from `first` to `last`; NaN outside the file."""
        found = np.full((last - first).days + 1, np.nan)
        values = self.values[name]
        low, high = (self.first - first).days, (self.first - first).days + len(values)
        begin, end = max(low, 0), min(high, len(found))
        if begin < end:
            found[begin:end] = values[begin - low : end - low]
        return found


def read_variables(path: Path, zone: str, wanted: Sequence[str] = ()) -> Variables:
    """Read a CSV file with a column `timestamp` and one column a variable.

    A stamp is a day (`2026-01-31`) or a time as in every load curve. `temperature` is averaged over the rows of a day,
    of which three quarters must have a value; `working_day` is 1 or 0; any other column is summed, and a day
    of which a row is missing or empty is unknown.

    Args:
        path: the file.
        zone: of stamps without an offset: the plant's.
        wanted: columns to read; all where empty.

    Raises:
        ConfigError: when the file cannot be read, is malformed, lacks a wanted column, or has too many.
    """
    where = str(path)
    check_file(path, MAX_BYTES)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigError(f"cannot be read ({exc})", where=where, todo="Give a CSV file in UTF-8") from exc
    names = list(wanted) or [name for name in _header(text) if name != STAMPS]
    for name in names:
        if not _NAME.fullmatch(name) or name in _TAKEN:
            raise ConfigError(
                f"column {name[:40]!r} is no name of a variable, or is taken",
                where=f"{where} line 1",
                todo="Use letters, digits, blanks and _.-, and another word",
            )
    if not names or len(set(names) - {TEMPERATURE, WORKING_DAY}) > MAX_VARIABLES:
        raise ConfigError(
            f"has {len(names)} variables",
            where=where,
            todo=f"Choose one to {MAX_VARIABLES} beside {TEMPERATURE} and {WORKING_DAY} by --use",
        )
    _, rows = csv_rows(text, where, STAMPS, names)
    table = read_rows(_noons(rows), names, where=where, zone=zone)
    return _by_day(table, names, zone, where)


def _header(text: str) -> list[str]:
    first = text.partition("\n")[0]
    delimiter = ";" if ";" in first and "," not in first else ","
    return [field.strip() for field in next(csv.reader([first], delimiter=delimiter), [])]


def _noons(rows: Iterator[tuple[int, str, list[str]]]) -> Iterator[tuple[int, str, list[str]]]:
    """Give days an hour that clocks never skip."""
    for line, stamp, cells in rows:
        yield line, f"{stamp} 12:00" if _DAY.fullmatch(stamp) else stamp, cells


def _by_day(table: Columns, names: Sequence[str], zone: str, where: str) -> Variables:
    place = parse_zone(zone)
    first, last = (to_local(int(time_ms), place).date() for time_ms in table.times_ms[[0, -1]])
    days = [first + dt.timedelta(days=number) for number in range((last - first).days + 1)]
    bounds = np.array([local_day_bounds_ms(day, place)[0] for day in days] + [local_day_bounds_ms(last, place)[1]])
    day = np.searchsorted(bounds, table.times_ms, side="right") - 1
    steps, counts = np.unique(np.diff(table.times_ms), return_counts=True)
    step_ms = int(steps[counts.argmax()]) if len(steps) else _LONGEST_MS
    expected = np.ones(len(days)) if step_ms >= _LONGEST_MS else np.diff(bounds) / step_ms
    values: dict[str, Floats] = {}
    for name in names:
        column = table.values[name]
        known = np.isfinite(column)
        total: Floats = np.bincount(day[known], weights=column[known], minlength=len(days)).astype(np.float64)
        rows = np.bincount(day[known], minlength=len(days))
        enough = rows >= np.maximum(expected * (_TEMPERATURE_SHARE if name == TEMPERATURE else 1), 1)
        if name in {TEMPERATURE, WORKING_DAY}:
            total = total / np.maximum(rows, 1)
        values[name] = np.where(enough, total, np.nan)
        if name == WORKING_DAY and not np.isin(column[known], (0.0, 1.0)).all():
            line = table.lines[known][~np.isin(column[known], (0.0, 1.0))][0]
            raise ConfigError(f"{WORKING_DAY} is not 0 or 1", where=f"{where} line {line}", todo="Correct the row")
    return Variables(first, values, where)
