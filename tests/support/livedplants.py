"""Made-up plants as snapshots: working days, weekends, holidays and seasons, in any slot length and zone."""

import datetime as dt
import json

import numpy as np

from agent.contract.featurespec import FeatureSpec, Scaling
from agent.contract.slotcalendar import SlotCalendar
from agent.contract.zones import parse_zone
from trainer.cli.home import Home
from trainer.dataset import tables
from trainer.dataset.snapshot import Snapshot
from trainer.fleet.database import open_database, write
from trainer.learning import holdout, windows
from trainer.learning.windows import Windows

BERLIN = "Europe/Berlin"
HOLIDAYS = ("2022-04-15", "2022-04-18", "2022-05-26", "2022-06-06", "2022-10-03")


def lived_plant(
    days: int = 250,
    slot_s: int = 900,
    *,
    plant: str = "works",
    zone: str = BERLIN,
    start: dt.date = dt.date(2022, 1, 3),
    seed: int = 3,
    level_kw: float = 100.0,
    saturday: float = 0.4,
    sunday: float = 0.0,
    hump_at: float = 13.0,
    growth: float = 0.0,
    noise: float = 3.0,
) -> Snapshot:
    """Base load of a fifth and a hump at `hump_at`: whole on working days, less of it on Saturdays and Sundays."""
    begin = dt.datetime.combine(start, dt.time(), parse_zone(zone))
    start_ms = round(begin.timestamp() * 1000)
    count = days * 86_400 // slot_s
    holidays = [dt.date.fromisoformat(day).toordinal() for day in HOLIDAYS]
    calendar = SlotCalendar(zone, holidays, slot_s, start_ms, count)
    kind = np.where(calendar.holiday(calendar.ordinal), 2, np.maximum((calendar.ordinal + 6) % 7 - 4, 0))
    hour = (calendar.second_of_day + slot_s / 2) / 3600
    activity = np.array([1.0, saturday, sunday])[kind] * np.exp(-(((hour - hump_at) / 4) ** 2))
    random = np.random.default_rng(seed)
    each_day = random.normal(1, 0.05, int(np.ptp(calendar.ordinal)) + 1)[calendar.ordinal - calendar.ordinal[0]]
    power_kw = level_kw * (0.2 + 0.8 * activity * each_day) * (1 + growth * np.arange(count) / count)
    power_kw += random.normal(0, noise * level_kw / 100, count)
    return Snapshot(plant, zone, slot_s, HOLIDAYS, start_ms, np.maximum(power_kw, 0.0))


def windows_of(of: Snapshot) -> tuple[FeatureSpec, Windows, Windows]:
    """The features of a plant's day ahead, the windows that are learnt from, and those that are held out."""
    part = holdout.split(of, 24, 28)
    spec = windows.make_spec(of, 24, Scaling.TRAILING, part)
    return spec, windows.training_windows(spec, of, part, seed=1), windows.held_out_windows(spec, of, part)


def hold(home: Home, snapshot: Snapshot) -> None:
    """Put a snapshot into the central database, as an import does."""
    engine = open_database(home.database_url)
    with write(engine) as connection:
        made = connection.execute(
            tables.plant.insert().values(
                name=snapshot.plant,
                zone=snapshot.zone,
                slot_s=snapshot.slot_s,
                holidays=json.dumps(list(snapshot.holidays)),
                holidays_from="",
            )
        )
        (number,) = made.inserted_primary_key
        times = snapshot.start_ms + np.arange(len(snapshot.power_kw)) * snapshot.slot_s * 1000
        rows = [
            {"plant": number, "time_ms": int(time_ms), "power_kw": float(power)}
            for time_ms, power in zip(times, snapshot.power_kw, strict=True)
        ]
        connection.execute(tables.plant_series.insert(), rows)
    engine.dispose()
