"""The files of a backtest: origins in, forecasts out. Decides their form; knows no model.

Origins are a CSV file with a column `origin`. Forecasts are `origin,timestamp,q0.1,q0.5,q0.9`. All times are without a
zone, in one frame. Where the clocks of that frame go back, an hour of times stands twice: the first of two equal
origins is the first pass, the second the second; rows of a forecast are in order of time, so its equal timestamps are
the two passes in turn.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from agent.contract.durable import write_durable
from agent.contract.errors import ConfigError
from agent.contract.features import Floats
from agent.contract.givenfiles import check_file
from trainer.backtest.frames import Frame

COLUMN = "origin"
HEADER = "origin,timestamp,q0.1,q0.5,q0.9"
MAX_ORIGINS = 100_000
_MAX_BYTES = 16 * 2**20


def read_origins(path: Path, frame: Frame) -> list[int]:
    """Return the origins of a file, as epoch milliseconds, in its order.

    Raises:
        ConfigError: with file and line, when the file cannot be read, is not CSV, has no column `origin` or no row, or
            an origin is malformed, does not exist in the frame, or stands twice.
    """
    rows = _rows(path)
    header = [name.strip() for name in rows[0]] if rows else []
    if header.count(COLUMN) != 1:
        raise ConfigError(
            f"has no single column {COLUMN!r}",
            where=f"{path} line 1",
            todo=f"Give the times to forecast from under the header {COLUMN}",
        )
    at = header.index(COLUMN)
    found: dict[int, None] = {}  # in order, and quick to look up
    for line, row in enumerate(rows[1:], 2):
        if not row:
            continue
        where = f"{path} line {line}"
        text = row[at].strip() if at < len(row) else ""
        time_ms = frame.instant(text, where)
        if time_ms in found:  # the second pass, where the clocks went back over it
            time_ms = frame.instant(text, where, after_ms=time_ms)
        if time_ms in found:
            raise ConfigError(f"origin {text!r} stands twice", where=where, todo="Remove one of the two rows")
        found[time_ms] = None
        if len(found) > MAX_ORIGINS:
            raise ConfigError(f"has more than {MAX_ORIGINS} origins", where=str(path), todo="Split the file")
    if not found:
        raise ConfigError("has a header but no origin", where=str(path))
    return list(found)


def write_forecasts(path: Path, frame: Frame, origins_ms: Sequence[int], slot_s: int, power: Floats) -> None:
    """Write the forecasts [N, H, 3] of N origins: whole or not at all, each number with all its digits.

    Raises:
        StorageError: when it cannot be written.
    """
    lines = [HEADER]
    for origin_ms, steps in zip(origins_ms, power.tolist(), strict=True):
        origin = frame.stamp(origin_ms)
        lines += [
            f"{origin},{frame.stamp(origin_ms + number * slot_s * 1000)},{low!r},{middle!r},{high!r}"
            for number, (low, middle, high) in enumerate(steps)
        ]
    write_durable(path, ("\n".join(lines) + "\n").encode())


def _rows(path: Path) -> list[list[str]]:
    reader = csv.reader(_text(path).splitlines(), strict=True)
    try:
        return list(reader)
    except csv.Error as exc:
        line = reader.line_num
        raise ConfigError(f"is not CSV ({exc})", where=f"{path} line {line}", todo="Correct the row") from exc


def _text(path: Path) -> str:
    where = str(path)
    try:
        check_file(path, _MAX_BYTES, todo="Is this the file of origins?")
        return path.read_bytes().decode("utf-8-sig")
    except OSError as exc:
        raise ConfigError(f"cannot be read ({exc.strerror})", where=where, todo="Check path and rights") from exc
    except UnicodeDecodeError as exc:
        raise ConfigError("is not UTF-8 text", where=where, todo="Save it as CSV in UTF-8") from exc
