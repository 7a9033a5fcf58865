"""Load curves as CSV: the one set of rules by which device and centre read such a file. Pure: text in, numbers out.

Decides what a row's instant and value are and which files are refused; knows nothing of meters or of a database.
"""

from __future__ import annotations

import csv
import datetime as dt
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agent.contract.errors import ConfigError
from agent.contract.wallclock import WallClock
from agent.contract.zones import utc_iso

MAX_ROWS = 20_000_000
MAX_VALUE = 1e15  # in the wanted unit: no meter shows that
MAX_LISTED_GAPS = 100
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,3})?", re.ASCII)
_HOUR_MS = 3_600_000
_YEAR_MS = 8766 * _HOUR_MS
MAX_STEP_MS = 2 * _YEAR_MS  # from one row to the next: more is a mistyped year, not a gap
Excuse = Callable[[int, str | None, ConfigError], None]


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


@dataclass(frozen=True, slots=True, eq=False)
class Columns:
    """Times and numbers of a file, [N] each, in its order.

    Attributes:
        times_ms: int64, UTC epoch milliseconds; strictly ascending unless faults were excused.
        lines: int64, line or row of each in the file, from 1.
        values: float64 by column, NaN where the cell is empty.
        place: what `lines` count: line or row.
    """

    times_ms: NDArray[np.int64]
    lines: NDArray[np.int64]
    values: Mapping[str, NDArray[np.float64]]
    place: str = "line"


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
            malformed, twice, out of order, years ahead of the row above it, not in the zone, before 1970, or after
            2199; a value is not a number or beyond reason; there is no row.
    """
    if not math.isfinite(scale) or scale == 0:
        raise ConfigError(f"scale {scale} is not a finite number other than 0", where=where)
    _, rows = csv_rows(source, where, timestamp_column, [value_column])
    table = read_rows(rows, [value_column], where=where, zone=zone)
    scaled = scale_values(table, value_column, scale, where)
    return LoadTable(table.times_ms, scaled, table.lines, report(table.times_ms, scaled, table.lines))


def read_rows(
    rows: Iterable[tuple[int, str | dt.datetime, Sequence[str | float | None]]],
    columns: Sequence[str],
    *,
    where: str,
    zone: str,
    place: str = "line",
    excuse: Excuse | None = None,
) -> Columns:
    """Read rows of any file into times and numbers: the rules of `parse_load_csv`, for several columns.

    Args:
        rows: line or row number, stamp (text, or a datetime; an aware one is an instant whatever the zone), and a
            cell for each of `columns`.
        columns: their names, for errors and for the result.
        where: the file's name, for errors.
        zone: the frame of the stamps.
        place: what the numbers of `rows` count.
        excuse: told of each fault (line, column or None for the time, error) instead of raising it: a row whose
            time is wrong is left out, a value that is no number is unknown, and rows need not ascend.

    Raises:
        ConfigError: as `parse_load_csv`.
    """
    try:
        clock = WallClock(zone)
    except ConfigError as exc:
        raise ConfigError(exc.what, where=where, todo=exc.todo) from exc
    times: list[int] = []
    lines: list[int] = []
    values: list[list[float]] = [[] for _ in columns]
    previous = -1
    for line, stamp, cells in rows:
        try:
            time_ms = clock.instant(stamp, previous)
            if excuse is None:
                _check_order(str(stamp), time_ms, previous)
        except ConfigError as exc:
            if excuse is None:
                raise ConfigError(exc.what, where=f"{where} {place} {line}", todo=exc.todo) from exc
            excuse(line, None, exc)
            continue
        for column, cell, name in zip(values, cells, columns, strict=True):
            try:
                column.append(_number(cell, name))
            except ConfigError as exc:
                if excuse is None:
                    raise ConfigError(exc.what, where=f"{where} {place} {line}", todo=exc.todo) from exc
                excuse(line, name, exc)
                column.append(math.nan)
        times.append(time_ms)
        lines.append(line)
        previous = time_ms
        if len(times) > MAX_ROWS:
            raise ConfigError(f"has more than {MAX_ROWS} rows", where=where, todo="Split the file")
    if not times:
        raise ConfigError("has a header but no row", where=where, todo="Give its rows below the header")
    found = {name: np.array(column, dtype=np.float64) for name, column in zip(columns, values, strict=True)}
    return Columns(np.array(times, dtype=np.int64), np.array(lines, dtype=np.int64), found, place)


def scale_values(table: Columns, column: str, scale: float, where: str) -> NDArray[np.float64]:
    """Return a column times `scale`.

    Raises:
        ConfigError: when a value is beyond reason then, with its line.
    """
    values = table.values[column]
    with np.errstate(over="ignore"):  # what overflows is refused in the next lines
        scaled: NDArray[np.float64] = values * scale
    large = np.flatnonzero(np.abs(scaled) >= MAX_VALUE)
    if len(large):
        raise ConfigError(
            f"{column} {values[large[0]]:g} is too large",
            where=f"{where} {table.place} {table.lines[large[0]]}",
            todo="Correct the row, or the unit or scale",
        )
    return scaled


def csv_rows(
    source: bytes | str | Iterable[str],
    where: str,
    timestamp_column: str,
    columns: Sequence[str],
    optional: Sequence[str] = (),
) -> tuple[list[str], Iterator[tuple[int, str, list[str]]]]:
    """Open a CSV file for `read_rows`.

    Returns:
        The columns that are there, `columns` first and then those of `optional` that the header has, and the rows.

    Raises:
        ConfigError: when the header is not as asked, at once; when a row is not, while iterating.
    """
    rows = _rows(source, where)
    try:
        _, header = next(rows)
    except StopIteration:
        raise ConfigError("is empty", where=where, todo="Give a CSV file with a header line") from None
    time_at = _find(header, timestamp_column, where)
    present = {field.strip() for field in header}
    names = [*columns, *(name for name in optional if name in present)]
    return names, _cells(rows, where, len(header), time_at, [_find(header, name, where) for name in names])


def _check_order(text: str, time_ms: int, previous: int) -> None:
    if time_ms == previous:
        raise ConfigError(f"time {text!r} stands twice", todo=f"Remove one of the two rows{_clock_hint(0)}")
    if time_ms < previous:
        raise ConfigError(
            f"time {text!r} lies before the row above it",
            todo=f"Sort the file by time, or correct the row above{_clock_hint(previous - time_ms)}",
        )
    if previous >= 0 and time_ms - previous > MAX_STEP_MS:
        raise ConfigError(
            f"time {text!r} lies {(time_ms - previous) / _YEAR_MS:.0f} years after the row above it",
            todo="Correct the year in one of the two rows",
        )


def _clock_hint(back_ms: int) -> str:
    if back_ms >= _HOUR_MS:
        return ""
    return "; where it is the autumn's doubled hour, give the place's zone instead of a fixed offset"


def _number(cell: str | float | None, column: str) -> float:
    if cell is None or cell == "":
        return math.nan
    if isinstance(cell, str):
        value = float(cell) if _NUMBER.fullmatch(cell) else math.inf
    else:
        value = float(cell)  # of a binary file, where NaN is how a missing value is written
        if math.isnan(value):
            return value
    if not math.isfinite(value):
        text = str(cell)
        todo = "Write decimals with a point" if "," in text else "Leave the cell empty where there is no value"
        raise ConfigError(f"{column} {text[:40]!r} is not a number", todo=todo)
    return value


def _cells(
    rows: Iterator[tuple[int, list[str]]], where: str, width: int, time_at: int, values_at: Sequence[int]
) -> Iterator[tuple[int, str, list[str]]]:
    """Yield line number, time and values of each row."""
    for line, row in rows:
        if len(row) != width:
            raise ConfigError(
                f"has {len(row)} fields where the header has {width}",
                where=f"{where} line {line}",
                todo="Correct the row; numbers have no thousands separator",
            )
        yield line, row[time_at].strip(), [row[at].strip() for at in values_at]


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


def report(times_ms: NDArray[np.int64], values: NDArray[np.float64], lines: NDArray[np.int64]) -> LoadReport:
    """What is noticed in rows [N] that ascend in time; `lines` are their numbers in the file."""
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
