"""The demonstration's three plants: the real series itself, and two scaled and noised copies of it.

Decides what each device replays and how it is configured; how data is fetched is `data`'s business.
"""

from __future__ import annotations

import csv
import datetime as dt
import random
import shutil
from dataclasses import dataclass
from pathlib import Path

FRAME = "+10:00"  # the series' timestamps: fixed, not Melbourne's local time (an hour off in summer)
ZONE = "Australia/Melbourne"
HOLIDAYS = "AU-VIC"
PLANT = "victoria"
TRAIN_UNTIL = "2014-11-01"  # ten months
REPLAY_FROM = "2014-10-15"  # 16 days of history before the held-out weeks begin: what a forecast needs
# 22:30 is 23:30 in Melbourne: the last bill is December's, not that of the first hour of January.
REPLAY_UNTIL, QUICK_REPLAY_UNTIL = "2014-12-31 22:30", "2014-11-20"
SLOT_MINUTES = 30
SECONDS_PER_DAY = 1.5  # real time of one plant day
SHADOW_DAYS = 7
TARIFF = Path("firmware-configs/tariffs/victoria-demand.toml")


@dataclass(frozen=True)
class Device:
    """One field device: its share of the state's load, how noisy its copy is, and what may be planned there."""

    id: str
    scale: float
    noise: float
    plan: str = ""

    def replay_rows(self, series: list[tuple[str, float]], until: str) -> list[tuple[str, str]]:
        """Return (timestamp, kW) of the replayed weeks, which end before `until`."""
        noise = random.Random(self.id)
        return [
            (stamp, f"{kw * self.scale * (1 + noise.gauss(0, self.noise)):.2f}")
            for stamp, kw in series
            if REPLAY_FROM <= stamp < until
        ]


# A plant of 4 to 6 MW: a battery of two hours, and a mill whose daily run is a part of the load.
_BATTERY_AND_MILL = """
[battery]
capacity_kwh = 2000
charge_kw = 1000
discharge_kw = 1000
round_trip_efficiency = 0.9
wear_per_kwh = 0.02

[[load]]
name = "cullet-mill"
power_kw = 300
minutes = 120
earliest = "05:00"
latest = "21:00"
usual = "15:00"
weekdays = ["mon", "tue", "wed", "thu", "fri"]
"""
PLANNER = Device("glass-works", 1e-3, 0.02, plan=_BATTERY_AND_MILL)
DEVICES = (Device("victoria", 1.0, 0.0), PLANNER, Device("cold-store", 2e-4, 0.03))


def read_series(path: Path) -> list[tuple[str, float]]:
    """Return (timestamp, kW) of the file that `data` wrote in GW."""
    with path.open(newline="") as file:
        return [(row["timestamp"], float(row["load_gw"]) * 1e6) for row in csv.DictReader(file)]


def write_device(device: Device, series: list[tuple[str, float]], folder: Path, *, until: str = REPLAY_UNTIL) -> int:
    """Write one device's replay file, tariff and configuration; return the number of rows to replay."""
    folder.mkdir(parents=True)
    rows = device.replay_rows(series, until)
    with (folder / "load.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("timestamp", "load_kw"), *rows])
    shutil.copy(TARIFF, folder / "tariff.toml")
    known = sorted(float(kw) for stamp, kw in rows if stamp < TRAIN_UNTIL)
    peak_kw = known[int(0.97 * len(known))]
    start = dt.datetime.fromisoformat(f"{rows[0][0]}{FRAME}")
    (folder / "agent.toml").write_text(
        f"""[device]
id = "{device.id}"
state_dir = "state"
socket = "agent.sock"

[plant]
zone = "{ZONE}"
slot_minutes = {SLOT_MINUTES}
power_channel = "load"
grace_s = 0

[[channel]]
name = "load"
unit = "kW"
decimals = 2
kind = "gauge"
interval_s = {SLOT_MINUTES * 60}

[[source]]
kind = "csv"
path = "load.csv"
channel = "load"
zone = "{FRAME}"
timestamp_column = "timestamp"
value_column = "load_kw"

[clock]
plant_start = {start.isoformat()}
rate = {86_400 / SECONDS_PER_DAY}

[forecast]
every_minutes = 120
horizon_hours = 24

[tariff]
file = "tariff.toml"
{device.plan}
[alerts]
peak_kw = {peak_kw:.1f}
data_missing_s = 7200

[store]
commit_window_s = 0.5
pack_after_s = 2

[sync]
resend_after_s = 5
spread_s = 1

[update]
shadow_days = {SHADOW_DAYS}

[loop]
tick_ms = 30
health_s = 10
"""
    )
    return len(rows)
