"""Values that change from one interval to the next, read from a CSV file that may grow: prices, emission factors.

Decides what such a file may say and which value holds at an instant. Not pure: a file is looked at whether it changed.
"""

from __future__ import annotations

import csv
import datetime as dt
import re
from array import array
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from agent.contract.errors import ConfigError
from agent.contract.givenfiles import check_file
from agent.contract.zones import utc_iso

MAX_BYTES = 32 << 20
DECIMALS = 8  # values are whole numbers of 10^-8
_LINE = re.compile(r"[^\n]*\n|[^\n]+")
_END_MS = round(dt.datetime(2200, 1, 1, tzinfo=dt.UTC).timestamp() * 1000)
Ints = NDArray[np.int64]


class Series:
    """Values of intervals of one length.

    Attributes:
        starts_ms: [N] rising.
        values: [N] in steps of 10^-8.
        length_ms: how long each holds.
    """

    def __init__(self, starts_ms: Ints, values: Ints, length_s: int) -> None:
        """Join what was read or computed."""
        self.starts_ms = starts_ms
        self.values = values
        self.length_ms = length_s * 1000

    def at(self, times_ms: Ints) -> tuple[Ints, NDArray[np.bool_]]:
        """Return the value in 10^-8 at each instant, and whether there is one."""
        if not len(self.starts_ms):
            return np.zeros(len(times_ms), dtype=np.int64), np.zeros(len(times_ms), dtype=np.bool_)
        index = np.searchsorted(self.starts_ms, times_ms, side="right") - 1
        known = (index >= 0) & (times_ms - self.starts_ms[index] < self.length_ms)
        return np.where(known, self.values[index], 0), known


S = TypeVar("S", bound=Series)


@dataclass(frozen=True, slots=True)
class Form:
    """What the values of a file are.

    Attributes:
        column: their header, beside `start`.
        what: in words, such as `a price`.
        low, high: between which they lie, after `scale`.
        example: a line.
        scale: what is in the file times this is the value.
    """

    column: str
    what: str
    low: Decimal
    high: Decimal
    example: str
    scale: Decimal = Decimal(1)

    def parse(self, text: str, where: str, length_s: int) -> tuple[Ints, Ints]:
        """Return starts and values; a start is ISO with `Z` or an offset, on the grid of `length_s` in UTC.

        Raises:
            ConfigError: with the first line that is wrong.
        """
        header = ["start", self.column]
        todo = f"Write lines such as {self.example} under the header {','.join(header)}"
        rows = csv.reader(line[0] for line in _LINE.finditer(text))
        starts, values, lines = array("q"), array("q"), array("q")  # a file of years: a list would be ten times that
        try:
            if [name.strip() for name in next(rows, [])] != header:
                raise ConfigError(f"does not begin with the header {','.join(header)}", where=where, todo=todo)
            for row in rows:
                if not row:
                    continue
                try:
                    start_ms, value = self._row(row, length_s)
                except ConfigError as exc:
                    raise ConfigError(f"line {rows.line_num}: {exc.what}", where=where, todo=todo) from exc
                starts.append(start_ms)
                values.append(value)
                lines.append(rows.line_num)
        except csv.Error as exc:  # a quote that is never closed makes a cell without end
            raise ConfigError(f"line {rows.line_num}: is not CSV ({exc})", where=where, todo=todo) from exc
        unsorted = np.array(starts, dtype=np.int64)
        order = np.argsort(unsorted, kind="stable")
        starts_ms = unsorted[order]
        if len(again := order[1:][np.diff(starts_ms) == 0]):
            first = int(again.min())
            raise ConfigError(
                f"line {lines[first]}: {utc_iso(starts[first])} stands further up, too", where=where, todo=todo
            )
        return starts_ms, np.array(values, dtype=np.int64)[order]

    def _row(self, row: list[str], length_s: int) -> tuple[int, int]:
        try:
            start, text = row
            moment, scaled = dt.datetime.fromisoformat(start.strip()), Decimal(text.strip()) * self.scale
        except (ValueError, ArithmeticError) as exc:
            raise ConfigError(f"is not a start and {self.what}") from exc
        if moment.tzinfo is None:
            raise ConfigError(f"{start} does not say its offset from UTC")
        if not scaled.is_finite() or not self.low <= scaled <= self.high:
            raise ConfigError(f"{text[:40]} is not {self.what}")
        start_ms = round(moment.timestamp() * 1000)
        if not 0 <= start_ms < _END_MS:
            raise ConfigError(f"{start} is not between 1970 and 2199")
        if start_ms % (length_s * 1000):
            raise ConfigError(f"{start} is not the start of {length_s // 60} minutes")
        return start_ms, round(scaled.scaleb(DECIMALS))


class SeriesFile(Generic[S]):
    """A series in a file, read again when the file has changed; one that is broken meanwhile leaves the last in force.

    Attributes:
        name: of the file, as it was given.
        length_s: of its intervals.
    """

    def __init__(
        self, name: str, path: Path | None, length_s: int, form: Form, make: Callable[[Ints, Ints, int], S]
    ) -> None:
        """Name the file; without a path the series is empty."""
        self.name = name
        self.length_s = length_s
        self._path, self._form, self._make = path, form, make
        self._seen: tuple[int, int] | None = None
        self._broken: ConfigError | None = None
        self._series = make(np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64), length_s)

    def read(self) -> S:
        """Return what is in the file now.

        Raises:
            ConfigError: when it is not there or broken.
        """
        if self._path is None:
            return self._series
        check_file(self._path, MAX_BYTES, todo="Leave out old lines")
        found = self._path.stat()
        seen = found.st_mtime_ns, found.st_size
        if seen != self._seen:
            self._seen, self._broken = seen, None
            try:
                text = self._path.read_text(encoding="utf-8-sig")
                self._series = self._make(*self._form.parse(text, str(self._path), self.length_s), self.length_s)
            except (OSError, UnicodeDecodeError) as exc:
                self._broken = ConfigError(f"cannot be read ({exc})", where=str(self._path))
            except ConfigError as exc:
                self._broken = exc
        if self._broken is not None:
            raise self._broken.with_traceback(None)  # else it would grow each time
        return self._series

    def trouble(self) -> str:
        """Return what is wrong in the file now, in words; empty where nothing is."""
        try:
            self.read()
        except (ConfigError, OSError) as exc:
            return str(exc)
        return ""

    def latest(self) -> S:
        """Return the last that could be read."""
        try:
            return self.read()
        except (ConfigError, OSError):
            return self._series
