"""Load curves as CSV: the one set of rules by which device and centre read such a file. Pure: text in, numbers out.

Decides what a row's instant and value are and which files are refused; knows nothing of meters or of a database.
"""

from __future__ import annotations

import csv
import datetime as dt
import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agent.contract.errors import ConfigError
from agent.contract.zones import parse_zone, utc_iso

MAX_ROWS = 20_000_000
MAX_VALUE = 1e15  # in the wanted unit: no meter shows that
MAX_LISTED_GAPS = 100
_STAMP = re.compile(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d(:\d\d(\.\d{1,6})?)?( ?(Z|[+-]\d\d:\d\d))?", re.ASCII)
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,3})?", re.ASCII)
_EPOCH = dt.datetime(1970, 1, 1)  # noqa: DTZ001 - arithmetic on wall times, whose zone is applied beside it
_MILLISECOND = dt.timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True)
class CsvGap:
    """Rows that are not there: `missing` intervals are absent between `after_ms` and the row in line `line`."""

    after_ms: int
    missing: int
    line: int


@dataclass(frozen=True, slots=True)
class LoadReport:
    """What was noticed while reading; nothing here made the file unreadable.

    Attributes:
        rows: rows read.
        empty: rows whose value cell is empty.
        interval_s: the commonest step between neighbouring rows, 0 where there is one row only.
        gap_count: steps longer than `interval_s`.
        missing: whole intervals absent in all gaps together.
        gaps: the first 100 gaps.
        irregular: steps that are not a multiple of `interval_s`.
        first_ms, last_ms: instants of the first and last row.
    """

    rows: int
    empty: int
    interval_s: float
    gap_count: int
    missing: int
    gaps: tuple[CsvGap, ...]
    irregular: int
    first_ms: int
    last_ms: int

    def summary(self) -> str:
        """One line for a technician."""
        text = f"{self.rows} rows, {utc_iso(self.first_ms)} to {utc_iso(self.last_ms)}, every {self.interval_s:g} s"
        if self.gap_count:
            text += f"; {self.gap_count} gaps ({self.missing} rows missing)"
        if self.empty:
            text += f"; {self.empty} rows without a value"
        if self.irregular:
            text += f"; {self.irregular} steps off the grid"
        return text


@dataclass(frozen=True, slots=True, eq=False)
class LoadTable:
    """The rows of a file in its order, which is the order of time.

    Attributes:
        times_ms: int64 [N], UTC epoch milliseconds, strictly ascending.
        values: float64 [N], already scaled; NaN where the cell is empty.
        lines: int64 [N], line of each row in the file, from 1.
        report: gaps and the like.
    """

    times_ms: NDArray[np.int64]
    values: NDArray[np.float64]
    lines: NDArray[np.int64]
    report: LoadReport


def parse_load_csv(
    source: bytes | str | Iterable[str],
    *,
    where: str,
    zone: str,
    timestamp_column: str = "timestamp",
    value_column: str = "load",
    scale: float = 1.0,
) -> LoadTable:
    """Read a load curve. Delimiter is a comma, or a semicolon where the header has no comma; decimals have a point.

    Timestamps are `2014-01-31 13:30`, with `T` or a space, optional seconds, and an optional offset (`Z`, `+10:00`)
    that must be the one of `zone`. In the hour that a named zone has twice, the first pass of the clock comes first in
    the file. Gaps and empty cells are allowed and reported.

    Args:
        source: the whole file, or its lines.
        where: the file's name, for errors.
        zone: the frame of the timestamps: `UTC`, an IANA name, or a fixed offset such as `+10:00`.
        timestamp_column: header of the column of times.
        value_column: header of the column of values.
        scale: factor from the file's unit to the wanted one (GW to kW: 1e6).

    Raises:
        ConfigError: with file, line and what to do, when the zone is unknown, a column is missing, a time is
            malformed, twice, out of order, not in the zone, or before 1970; a value is not a number or beyond reason;
            there is no row.
    """
    if not math.isfinite(scale) or scale == 0:
        raise ConfigError(f"scale {scale} is not a finite number other than 0", where=where)
    try:
        clock = _WallClock(parse_zone(zone), zone)
    except ConfigError as exc:
        raise ConfigError(exc.what, where=where, todo=exc.todo) from exc
    times: list[int] = []
    values: list[float] = []
    lines: list[int] = []
    previous = -1
    for line, stamp, cell in _cells(source, where, timestamp_column, value_column):
        try:
            time_ms = clock.instant(stamp, previous)
            value = _number(cell, value_column)
        except ConfigError as exc:
            raise ConfigError(exc.what, where=f"{where} line {line}", todo=exc.todo) from exc
        times.append(time_ms)
        values.append(value)
        lines.append(line)
        previous = time_ms
        if len(times) > MAX_ROWS:
            raise ConfigError(f"has more than {MAX_ROWS} rows", where=where, todo="Split the file")
    if not times:
        raise ConfigError("has a header but no row", where=where)
    times_ms, numbers = np.array(times, dtype=np.int64), np.array(lines, dtype=np.int64)
    with np.errstate(over="ignore"):  # what overflows is refused in the next lines
        scaled = np.array(values, dtype=np.float64) * scale
    large = np.flatnonzero(np.abs(scaled) >= MAX_VALUE)
    if len(large):
        raise ConfigError(
            f"{value_column} {values[large[0]]:g} is too large",
            where=f"{where} line {lines[large[0]]}",
            todo="Correct the row, or the unit or scale",
        )
    return LoadTable(times_ms, scaled, numbers, _report(times_ms, scaled, numbers))


class _WallClock:
    """Turns the stamps of one frame into instants."""

    def __init__(self, zone: dt.tzinfo, name: str) -> None:
        self._zone = zone
        self._name = name

    def instant(self, text: str, previous: int) -> int:
        if _STAMP.fullmatch(text) is None:
            raise ConfigError(f"time {text!r} is not of the form 2014-01-31 13:30", todo="Write times as in ISO 8601")
        try:
            stated = dt.datetime.fromisoformat(text.replace(" Z", "Z").replace(" +", "+").replace(" -", "-"))
        except ValueError as exc:
            raise ConfigError(f"time {text!r} does not exist ({exc})", todo="Correct the row") from exc
        wall = stated.replace(tzinfo=None)
        early, late = self._offset(wall, 0), self._offset(wall, 1)
        if stated.tzinfo is not None:
            time_ms = self._stated(text, stated, early, late)
        elif early < late:
            raise ConfigError(
                f"time {text!r} does not exist in {self._name}: clocks went forward over it",
                todo="The file is probably in standard time all year: give that fixed offset, such as +01:00, as zone",
            )
        else:
            time_ms = _since_epoch(wall, early)
            if time_ms <= previous and late != early:
                time_ms = _since_epoch(wall, late)
        if time_ms < 0:
            raise ConfigError(f"time {text!r} lies before 1970", todo="Correct the row")
        if time_ms == previous:
            raise ConfigError(f"time {text!r} stands twice", todo="Remove one of the two rows")
        if time_ms < previous:
            raise ConfigError(f"time {text!r} lies before the row above it", todo="Sort the file by time")
        return time_ms

    def _offset(self, wall: dt.datetime, fold: int) -> dt.timedelta:
        return self._zone.utcoffset(wall.replace(tzinfo=self._zone, fold=fold)) or dt.timedelta()

    def _stated(self, text: str, stated: dt.datetime, early: dt.timedelta, late: dt.timedelta) -> int:
        offset = stated.utcoffset() or dt.timedelta()
        if offset not in {early, late}:
            raise ConfigError(
                f"time {text!r} has an offset that {self._name} does not have then",
                todo="Give the zone in which the file was written",
            )
        return _since_epoch(stated.replace(tzinfo=None), offset)


def _since_epoch(wall: dt.datetime, offset: dt.timedelta) -> int:
    return (wall - _EPOCH - offset) // _MILLISECOND


def _number(cell: str, column: str) -> float:
    if not cell:
        return math.nan
    value = float(cell) if _NUMBER.fullmatch(cell) else math.inf
    if not math.isfinite(value):
        todo = "Write decimals with a point" if "," in cell else "Leave the cell empty where there is no value"
        raise ConfigError(f"{column} {cell[:40]!r} is not a number", todo=todo)
    return value


def _cells(
    source: bytes | str | Iterable[str], where: str, timestamp_column: str, value_column: str
) -> Iterator[tuple[int, str, str]]:
    """Yield line number, time and value of each row; complain about the file's shape."""
    rows = _rows(source, where)
    try:
        _, header = next(rows)
    except StopIteration:
        raise ConfigError("is empty", where=where, todo="Give a CSV file with a header line") from None
    time_at, value_at = (_find(header, name, where) for name in (timestamp_column, value_column))
    for line, row in rows:
        if len(row) != len(header):
            raise ConfigError(
                f"has {len(row)} fields where the header has {len(header)}",
                where=f"{where} line {line}",
                todo="Correct the row; numbers have no thousands separator",
            )
        yield line, row[time_at].strip(), row[value_at].strip()


def _find(header: list[str], name: str, where: str) -> int:
    names = [field.strip() for field in header]
    if names.count(name) != 1:
        problem = "is missing" if name not in names else "stands twice"
        raise ConfigError(
            f"column {name!r} {problem}", where=f"{where} line 1", todo=f"The header has: {', '.join(names)[:200]}"
        )
    return names.index(name)


def _rows(source: bytes | str | Iterable[str], where: str) -> Iterator[tuple[int, list[str]]]:
    reader = None
    try:
        if isinstance(source, bytes):
            source = source.decode()
        lines = iter(source.splitlines(keepends=True) if isinstance(source, str) else source)
        first = next(lines, "").removeprefix("\ufeff")
        delimiter = ";" if ";" in first and "," not in first else ","
        reader = csv.reader(_chain(first, lines), delimiter=delimiter, strict=True)
        for row in reader:
            if row:
                yield reader.line_num, row
    except UnicodeDecodeError as exc:
        raise ConfigError("is not UTF-8 text", where=where, todo="Save it as CSV in UTF-8") from exc
    except csv.Error as exc:
        line = reader.line_num if reader is not None else 1
        raise ConfigError(f"is not CSV ({exc})", where=f"{where} line {line}", todo="Correct the row") from exc


def _chain(first: str, rest: Iterator[str]) -> Iterator[str]:
    if first:
        yield first
    yield from rest


def _report(times_ms: NDArray[np.int64], values: NDArray[np.float64], lines: NDArray[np.int64]) -> LoadReport:
    steps = np.diff(times_ms)
    interval_ms = 0
    if len(steps):
        lengths, counts = np.unique(steps, return_counts=True)
        interval_ms = int(lengths[int(np.argmax(counts))])
    wide = np.flatnonzero(steps > interval_ms)
    missing = np.maximum((steps[wide] + interval_ms // 2) // max(interval_ms, 1) - 1, 1)
    gaps = tuple(
        CsvGap(int(times_ms[at]), int(count), int(lines[at + 1]))
        for at, count in zip(wide[:MAX_LISTED_GAPS].tolist(), missing[:MAX_LISTED_GAPS].tolist(), strict=True)
    )
    return LoadReport(
        rows=len(times_ms),
        empty=int(np.isnan(values).sum()),
        interval_s=interval_ms / 1000,
        gap_count=len(wide),
        missing=int(missing.sum()),
        gaps=gaps,
        irregular=int((steps % interval_ms != 0).sum()) if interval_ms else 0,
        first_ms=int(times_ms[0]),
        last_ms=int(times_ms[-1]),
    )
