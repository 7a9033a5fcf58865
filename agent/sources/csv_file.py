"""Reads a load curve from a file on this device's disk. The rules of the content are `agent.contract.loadcsv`'s."""

from __future__ import annotations

from pathlib import Path

from agent.contract.errors import ConfigError
from agent.contract.givenfiles import check_file
from agent.contract.loadcsv import LoadTable, parse_load_csv

MAX_FILE_BYTES = 256 * 2**20


def read_load_csv(
    path: Path,
    *,
    zone: str,
    timestamp_column: str = "timestamp",
    value_column: str = "load",
    scale: float = 1.0,
) -> LoadTable:
    """Read a file; see `parse_load_csv` for the form.

    Raises:
        ConfigError: when it cannot be read, is larger than 256 MiB, or its content is refused.
    """
    try:
        check_file(path, MAX_FILE_BYTES)
        # Line by line: the whole text would stand in memory beside its numbers.
        with path.open(encoding="utf-8", newline="") as lines:
            return parse_load_csv(
                lines,
                where=str(path),
                zone=zone,
                timestamp_column=timestamp_column,
                value_column=value_column,
                scale=scale,
            )
    except OSError as exc:
        raise ConfigError(
            f"cannot be read ({exc.strerror})", where=str(path), todo="Give the path of a CSV file"
        ) from exc
