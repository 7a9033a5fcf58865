"""Emission factors that change from one interval to the next, from a CSV file. Reads a file.

The form is that of a series of prices: a start with its offset from UTC, and a number, kept exactly.
"""

from __future__ import annotations

import contextlib
import csv
import datetime as dt
import re
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from agent.contract.errors import ConfigError
from agent.contract.features import Ints
from agent.contract.givenfiles import check_file

DECIMALS = 8  # factors are whole numbers of 10^-8 kg a unit
MAX_FACTOR = Decimal(100_000)
_MAX_BYTES = 32 << 20
_HEADER = ["start", "kg_per_unit"]
_NUMBER = re.compile(r"\d{1,12}(\.\d{1,12})?", re.ASCII)
_TODO = "Write lines such as 2026-01-31T13:00Z,0.351 under the header start,kg_per_unit"


@dataclass(frozen=True, slots=True, eq=False)
class Series:
    """Factors of intervals of one length: `starts_ms` [N] rising, `steps` [N] in 10^-8 kg a unit."""

    starts_ms: Ints
    steps: Ints
    length_ms: int

    def at(self, times_ms: Ints) -> tuple[Ints, NDArray[np.bool_]]:
        """Return the factor at each instant, and whether there is one."""
        if not len(self.starts_ms):
            return np.zeros(len(times_ms), dtype=np.int64), np.zeros(len(times_ms), dtype=np.bool_)
        place = np.searchsorted(self.starts_ms, times_ms, side="right") - 1
        known = (place >= 0) & (times_ms - self.starts_ms[place] < self.length_ms)
        return np.where(known, self.steps[place], 0), known


class SeriesFile:
    """A series in a file, read again when that has changed; one that is broken meanwhile leaves the last in force."""

    def __init__(self, path: Path, length_s: int, scale: Decimal) -> None:
        """Read it for a first time.

        Raises:
            ConfigError: when it cannot be read, or with the first line that is wrong.
        """
        self.length_ms = length_s * 1000
        self._path, self._length_s, self._scale = path, length_s, scale
        self._seen = self._state()
        self._series = self._read()

    def latest(self) -> Series:
        """Return the last that could be read."""
        seen = self._state()
        if seen is not None and seen != self._seen:
            self._seen = seen
            with contextlib.suppress(ConfigError):
                self._series = self._read()
        return self._series

    def _read(self) -> Series:
        return read_series(self._path, self._length_s, self._scale)

    def _state(self) -> tuple[int, int] | None:
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size


def read_series(path: Path, length_s: int, scale: Decimal) -> Series:
    """Read a series of intervals of `length_s`; values times `scale` are kg a unit.

    Raises:
        ConfigError: when it cannot be read, or with the first line that is wrong.
    """
    check_file(path, _MAX_BYTES, todo="Leave out old factors")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigError(f"cannot be read ({exc})", where=str(path), todo=_TODO) from exc
    return parse_series(text, str(path), length_s, scale)


def parse_series(text: str, where: str, length_s: int, scale: Decimal = Decimal(1)) -> Series:
    """Parse the text of a series; see `read_series`."""
    rows = csv.reader(text.splitlines())
    if [name.strip() for name in next(rows, [])] != _HEADER:
        raise ConfigError(f"does not begin with the header {','.join(_HEADER)}", where=where, todo=_TODO)
    starts: list[int] = []
    steps: list[int] = []
    for row in rows:
        if not row:
            continue
        place = f"{where} line {rows.line_num}"
        start_ms, value = _row(row, place, length_s)
        if starts and start_ms <= starts[-1]:
            raise ConfigError(f"{row[0]} does not come after the line above", where=place, todo="Sort by time")
        starts.append(start_ms)
        steps.append(round((value * scale).scaleb(DECIMALS)))
        if not 0 <= steps[-1] <= MAX_FACTOR.scaleb(DECIMALS):
            raise ConfigError(f"{row[1]} is beyond reason", where=place, todo="Correct it, or the scale")
    return Series(np.array(starts, dtype=np.int64), np.array(steps, dtype=np.int64), length_s * 1000)


def _row(row: list[str], place: str, length_s: int) -> tuple[int, Decimal]:
    try:
        start, text = row
        moment = dt.datetime.fromisoformat(start.strip())
    except ValueError as exc:
        raise ConfigError("is not a start and a factor", where=place, todo=_TODO) from exc
    if moment.tzinfo is None:
        raise ConfigError(f"{start} does not say its offset from UTC", where=place, todo=_TODO)
    if not _NUMBER.fullmatch(text.strip()):
        raise ConfigError(f"{text[:40]!r} is not a factor", where=place, todo=_TODO)
    start_ms = round(moment.timestamp() * 1000)
    if start_ms % (length_s * 1000):
        raise ConfigError(f"{start} is not the start of {length_s // 60} minutes", where=place, todo=_TODO)
    return start_ms, Decimal(text.strip())
