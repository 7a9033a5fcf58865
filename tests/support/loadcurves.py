"""Load curves for tests of the centre: CSV files of a small plant, whole or with the faults that meters have."""

import datetime as dt
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tests.support.bundles import SLOT_S, plant_history

START = dt.datetime(2014, 1, 1)  # noqa: DTZ001 - a wall clock in the frame +10:00


def write_csv(
    path: Path,
    days: int = 70,
    *,
    slot_s: int = SLOT_S,
    change: Callable[[list[list[str]]], object] = lambda _rows: None,
    power: np.ndarray | None = None,
    header: str = "timestamp,load",
) -> Path:
    """Write `timestamp,load` in kW with times in +10:00; `change` may edit the rows [[stamp, value], ...] in place."""
    values = plant_history(days, slot_s=slot_s) if power is None else power
    rows = [
        [f"{START + index * dt.timedelta(seconds=slot_s):%Y-%m-%d %H:%M}", f"{value:.3f}"]
        for index, value in enumerate(values)
    ]
    change(rows)
    path.write_text("\n".join([header, *(",".join(row) for row in rows)]) + "\n")
    return path
