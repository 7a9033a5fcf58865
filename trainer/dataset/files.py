"""A file of load -> times and numbers: CSV or Parquet, told apart by their first bytes, under one set of rules.

Decides how a file is opened and which of its types are read. What a row's time and value are, and which rows are
refused, is `agent.contract.loadcsv`'s: a Parquet file passes through the very same loop.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from agent.contract.errors import ConfigError
from agent.contract.givenfiles import check_file
from agent.contract.loadcsv import MAX_ROWS, Columns, Excuse, csv_rows, read_rows

MAX_BYTES = 2 * 2**30
_MAGIC = b"PAR1"
_SUFFIXES = (".parquet", ".pq")
_BATCH = 65_536
_TRUTHS = {"true": "1", "false": "0"}
_Cells = list[str | float | None]
_Row = tuple[int, str | dt.datetime, Sequence[str | float | None]]


def read_file(
    path: Path,
    *,
    zone: str,
    timestamp_column: str,
    columns: Sequence[str],
    optional: Sequence[str] = (),
    excuse: Excuse | None = None,
) -> Columns:
    """Read columns of a CSV or Parquet file.

    Args:
        path: the file.
        zone: the frame of naive times; times of a Parquet file that carry a zone are instants without it.
        timestamp_column: must be there.
        columns: must be there, too.
        optional: columns that are read where they are there; yes or no as 1 and 0, or true and false.
        excuse: see `agent.contract.loadcsv.read_rows`.

    Raises:
        ConfigError: when the file cannot be read, a column is missing or of no usable type, or a row is wrong.
    """
    where = str(path)
    try:
        check_file(path, MAX_BYTES)
        with path.open("rb") as file:
            binary = file.read(len(_MAGIC)) == _MAGIC
        if not binary and path.suffix.lower() in _SUFFIXES:
            raise ConfigError("is not Parquet, though its name says so", where=where, todo="Write the file anew")
        if binary:
            names, rows = _parquet(path, timestamp_column, columns, optional)
            return read_rows(_truths(rows, len(columns)), names, where=where, zone=zone, place="row", excuse=excuse)
        names, lines = csv_rows(path.read_bytes(), where, timestamp_column, columns, optional)
        return read_rows(_truths(lines, len(columns)), names, where=where, zone=zone, excuse=excuse)
    except OSError as exc:
        raise ConfigError(f"cannot be read ({exc.strerror or exc})", where=where, todo="Check path and rights") from exc


def _truths(rows: Iterator[_Row], first: int) -> Iterator[_Row]:
    """Write true and false as numbers in the cells from `first` on."""
    for number, stamp, cells in rows:
        truths = (_TRUTHS.get(cell.lower(), cell) if isinstance(cell, str) else cell for cell in cells[first:])
        yield number, stamp, [*cells[:first], *truths]


def _parquet(
    path: Path, timestamp_column: str, columns: Sequence[str], optional: Sequence[str]
) -> tuple[list[str], Iterator[_Row]]:
    where = str(path)
    try:
        file = pq.ParquetFile(path)
        schema = file.schema_arrow
    except (pa.ArrowException, ValueError) as exc:
        raise ConfigError(f"is not readable Parquet ({exc})", where=where, todo="Write the file anew") from exc
    if file.metadata.num_rows > MAX_ROWS:
        raise ConfigError(f"has more than {MAX_ROWS} rows", where=where, todo="Split the file")
    names = [*columns, *(name for name in optional if name in schema.names)]
    for name in (timestamp_column, *names):
        if schema.names.count(name) != 1:
            problem = "is missing" if name not in schema.names else "stands twice"
            raise ConfigError(
                f"column {name!r} {problem}", where=where, todo=f"The file has: {', '.join(schema.names)[:200]}"
            )
        _check_type(schema.field(name).type, name, where, time=name == timestamp_column)
    return names, _parquet_rows(file, timestamp_column, names, where)


def _check_type(kind: pa.DataType, name: str, where: str, *, time: bool) -> None:
    text = pa.types.is_string(kind) or pa.types.is_large_string(kind)
    number = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
    if text or (pa.types.is_timestamp(kind) if time else number or pa.types.is_boolean(kind)):
        return
    wanted = "times or text" if time else "numbers"
    raise ConfigError(f"column {name!r} holds {kind}, not {wanted}", where=where, todo="Name another column")


def _parquet_rows(file: pq.ParquetFile, timestamp_column: str, names: Sequence[str], where: str) -> Iterator[_Row]:
    row = 0
    try:
        for batch in file.iter_batches(_BATCH, columns=[timestamp_column, *names]):
            stamps = _stamps(batch.column(timestamp_column))
            cells = zip(*(_cells(batch.column(name)) for name in names), strict=True)
            for stamp, values in zip(stamps, cells, strict=True):
                row += 1
                if stamp is None:
                    raise ConfigError("has no time", where=f"{where} row {row}", todo="Correct the row")
                yield row, stamp, list(values)
    except (pa.ArrowException, OSError, ValueError) as exc:  # text that is not UTF-8 is a ValueError of Python's own
        raise ConfigError(f"is damaged ({exc})", where=where, todo="Write the file anew") from exc


def _stamps(column: pa.Array) -> list[str | dt.datetime | None]:
    if not pa.types.is_timestamp(column.type):
        return [None if text is None else text.strip() for text in column.to_pylist()]
    stamps = column.cast(pa.timestamp("ms", column.type.tz), safe=False).to_numpy(zero_copy_only=False).tolist()
    # What numpy cannot say as a datetime comes back as a number: a year beyond 9999, refused as text is.
    known = [stamp if stamp is None or isinstance(stamp, dt.datetime) else f"{stamp} ms" for stamp in stamps]
    if column.type.tz is None:
        return known
    return [stamp.replace(tzinfo=dt.UTC) if isinstance(stamp, dt.datetime) else stamp for stamp in known]


def _cells(column: pa.Array) -> _Cells:
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        return [None if text is None else text.strip() for text in column.to_pylist()]
    if pa.types.is_boolean(column.type):
        return [None if value is None else float(value) for value in column.to_pylist()]
    cells: _Cells = pc.cast(column, pa.float64(), safe=False).to_pylist()
    return cells
