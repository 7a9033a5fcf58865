"""Made-up plants as files, for tests of what reads, trains and forecasts from a file."""

import datetime as dt
from pathlib import Path

import numpy as np

START = dt.datetime(2022, 1, 3)  # noqa: DTZ001 - a wall time; its frame is the test's business. A Monday


def plant_load(days: int, slot_s: int, *, seed: int = 3, sway: float = 0.0) -> np.ndarray:
    """Mean power of each slot: five working days with a hump at noon, two without, and noise.

    `sway` is how far the level strays from one day to the next, and half-way back: of that, last week knows nothing.
    """
    slots = np.arange(days * 86_400 // slot_s)
    hour = slots * slot_s / 3600 % 24
    working = (slots * slot_s // 86_400) % 7 < 5
    random = np.random.default_rng(seed)
    noise = random.normal(0, 3, len(slots))
    level = np.zeros(days)
    for day in range(1, days):
        level[day] = 0.8 * level[day - 1] + random.normal(0, sway)
    noise += np.interp(slots * slot_s / 86_400, np.arange(days), level)
    return 40 + working * 60 * np.exp(-(((hour - 13) / 4) ** 2)) + 5 * np.sin(2 * np.pi * hour / 24) + noise


def stamps(count: int, slot_s: int, start: dt.datetime = START) -> list[str]:
    """Wall times, as a logger that knows no zone writes them."""
    return [f"{start + dt.timedelta(seconds=slot_s * number):%Y-%m-%dT%H:%M}" for number in range(count)]


def write_plant(path: Path, load: np.ndarray, slot_s: int, **columns: np.ndarray) -> Path:
    """Write `timestamp,load` and further columns; NaN becomes an empty cell."""
    table = {"load": load, **columns}
    lines = [",".join(["timestamp", *table])]
    for stamp, *values in zip(stamps(len(load), slot_s), *table.values(), strict=True):
        lines.append(",".join([stamp, *("" if np.isnan(value) else f"{value:.4f}" for value in values)]))
    path.write_text("\n".join(lines) + "\n")
    return path


def write_origins(path: Path, *origins: str) -> Path:
    """Write a file of origins."""
    path.write_text("\n".join(["origin", *origins]) + "\n")
    return path
