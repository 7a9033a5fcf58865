"""What the demonstration proves: figures from the central database, not what the programs say of themselves."""

from __future__ import annotations

import csv
import datetime as dt
import json
import sqlite3
from collections import Counter
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from demo.plants import FRAME


@dataclass(frozen=True)
class Delivery:
    """The readings of one device, file against database."""

    sampled: int
    stored: int
    missing: int
    duplicated: int
    altered: int


class Centre:
    """Reads the central database while ingest writes it."""

    def __init__(self, home: Path) -> None:
        self._path = home / "centre.db"

    def _query(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(f"file:{self._path}?mode=ro", uri=True, timeout=30)) as connection:
            return connection.execute(sql, values).fetchall()

    def readings(self, device: str) -> int:
        """Number of readings held of one device."""
        sql = "SELECT count(*) FROM reading JOIN device ON device.number = reading.device WHERE device.name = ?"
        return int(self._query(sql, device)[0][0])

    def delivery(self, device: str, replayed: Path) -> Delivery:
        """Compare the file that a device replayed with what the database holds, row by row."""
        sql = "SELECT time_ms, value FROM reading JOIN device ON device.number = reading.device WHERE device.name = ?"
        held = self._query(sql, device)
        times = Counter(time_ms for time_ms, _ in held)
        values = dict(held)
        with replayed.open(newline="") as file:
            expected = {
                round(dt.datetime.fromisoformat(row["timestamp"] + FRAME).timestamp() * 1000): float(row["load_kw"])
                for row in csv.DictReader(file)
            }
        return Delivery(
            sampled=len(expected),
            stored=len(held),
            missing=len(expected.keys() - times.keys()),
            duplicated=sum(count - 1 for count in times.values()) + len(times.keys() - expected.keys()),
            altered=sum(abs(values[time_ms] - kw) > 1e-6 for time_ms, kw in expected.items() if time_ms in values),
        )

    def rows(self, device: str, stream: str) -> list[dict[str, Any]]:
        """Rows of one stream of one device, in the order of their making."""
        sql = (
            "SELECT body FROM record JOIN device ON device.number = record.device"
            " WHERE device.name = ? AND stream = ? ORDER BY epoch, seq"
        )
        return [json.loads(body) for (body,) in self._query(sql, device, stream)]

    def model_events(self, device: str, action: str) -> list[dict[str, Any]]:
        """Events of kind `model` with one action."""
        return [
            row for row in self.rows(device, "events") if row.get("kind") == "model" and row.get("action") == action
        ]

    def rejections(self) -> int:
        """Messages that ingest refused."""
        return int(self._query("SELECT count(*) FROM rejection")[0][0])
