"""A central database with weeks of believable rows, written through the fleet's own tables."""

from __future__ import annotations

import datetime as dt
import json
import math
import random
import zoneinfo
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy.engine import Engine

from agent.contract.rows import Forecast, ForecastSource, alert_row, event_row, gap_row
from agent.contract.slots import Slot
from agent.contract.tariff.tariff import Tariff
from agent.planning.costs import CostWatch
from tests.support.forecasts import peaks_of
from trainer.dataset.tables import plant as plant_table  # also makes its tables known before the database is opened
from trainer.fleet import database as db

ZONE = "Australia/Melbourne"
START_MS = int(dt.datetime(2014, 11, 10, tzinfo=zoneinfo.ZoneInfo(ZONE)).timestamp() * 1000)
NOW_MS = int(dt.datetime(2026, 11, 22, 1, 0, tzinfo=dt.UTC).timestamp() * 1000)
TARIFF = """
name = "test"
zone = "Australia/Melbourne"
currency = "AUD"
fixed_per_day = 12.50
[[period]]
name = "peak"
price_per_kwh = 0.2900
from = "07:00"
to = "21:00"
[[period]]
name = "off-peak"
price_per_kwh = 0.1600
"""
SLOT_S = 1800
SLOT_MS = SLOT_S * 1000
PER_DAY = 48


def empty(folder: Path) -> Engine:
    """A central database without rows."""
    return db.open_database(f"sqlite:///{folder / 'centre.db'}")


def load_kw(time_ms: int, scale: float = 1.0) -> float:
    """A plant's load: a working day with two humps, quieter weekends, a little weather."""
    local = dt.datetime.fromtimestamp(time_ms / 1000, zoneinfo.ZoneInfo(ZONE))
    hour = local.hour + local.minute / 60
    day = math.exp(-(((hour - 11) / 3.6) ** 2)) + 0.8 * math.exp(-(((hour - 18) / 2.4) ** 2))
    week = 0.55 if local.weekday() >= 5 else 1.0
    weather = 1 + 0.3 * (random.Random(local.toordinal()).random() - 0.5)  # no two days alike
    wobble = random.Random(time_ms).gauss(0, 9)
    return scale * (140 + 190 * day * week * weather + wobble)


def add_plant(engine: Engine, name: str, zone: str) -> None:
    """Add a plant as `import` does."""
    with db.write(engine) as connection:
        connection.execute(
            plant_table.insert().values(name=name, zone=zone, slot_s=SLOT_S, holidays="[]", holidays_from="")
        )


class DeviceWriter:
    """Adds one device and its rows, numbered as ingest would."""

    def __init__(
        self, engine: Engine, name: str, *, last_seen_ms: int | None = NOW_MS, plant: str | None = None
    ) -> None:
        self.engine, self.name = engine, name
        self._seq: dict[str, int] = {}
        with db.write(engine) as connection:
            connection.execute(
                db.device.insert().values(name=name, plant=plant, added_ms=NOW_MS, last_seen_ms=last_seen_ms)
            )
            self.number = connection.execute(db.device.select().where(db.device.c.name == name)).one().number

    def rows(self, stream: str, rows: Iterable[Mapping[str, Any]]) -> None:
        """Append rows of a stream other than readings."""
        values = []
        for row in rows:
            self._seq[stream] = self._seq.get(stream, 0) + 1
            values.append(
                {
                    "device": self.number,
                    "stream": stream,
                    "epoch": 1,
                    "seq": self._seq[stream],
                    "time_ms": row["time_ms"],
                    "body": json.dumps(row),
                }
            )
        if values:
            with db.write(self.engine) as connection:
                connection.execute(db.record.insert(), values)

    def readings(self, times_ms: Iterable[int], *, holes: Iterable[int] = ()) -> None:
        """Append one reading an instant, leaving out the sequence numbers in `holes`, with their coverage."""
        lost, held = set(holes), []
        values = []
        for seq, time_ms in enumerate(times_ms, start=1):
            if seq in lost:
                continue
            held.append(seq)
            values.append(
                {
                    "device": self.number,
                    "epoch": 1,
                    "seq": seq,
                    "channel": 1,
                    "time_ms": time_ms,
                    "value": 1.0,
                    "quality": 0,
                }
            )
        ranges: list[list[int]] = []
        for seq in held:
            if ranges and ranges[-1][1] == seq - 1:
                ranges[-1][1] = seq
            else:
                ranges.append([seq, seq])
        with db.write(self.engine) as connection:
            connection.execute(db.reading.insert(), values)
            for first, last in ranges:
                connection.execute(
                    db.coverage.insert().values(
                        device=self.number, epoch=1, stream="readings", kind=db.HELD, first=first, last=last
                    )
                )

    def envelopes(self, arrivals: Iterable[tuple[int, int, int, int]]) -> None:
        """Append accepted envelopes: received_ms, bytes, rows, new_rows."""
        names = ("received_ms", "bytes", "rows", "new_rows")
        values = [{"device": self.number, **dict(zip(names, arrival, strict=True))} for arrival in arrivals]
        with db.write(self.engine) as connection:
            connection.execute(db.envelope.insert(), values)


def forecast(origin_ms: int, scale: float, rng: random.Random, source: ForecastSource) -> Forecast:
    """A decent day-ahead forecast; the naive one is cruder."""
    rough = 1.0 if source is ForecastSource.ACTIVE else 2.5
    bias = rng.gauss(0, 0.02 * rough)
    steps = []
    for step in range(PER_DAY):
        middle = load_kw(origin_ms + step * SLOT_MS, scale) * (1 + bias + rng.gauss(0, 0.01 * rough))
        spread = middle * (0.04 + 0.05 * step / PER_DAY) * rough
        steps.append([middle - spread, middle, middle + spread])
    active = source is ForecastSource.ACTIVE
    return Forecast(
        origin_ms=origin_ms,
        slot_s=SLOT_S,
        quantiles=(0.1, 0.5, 0.9),
        power_kw=np.array(steps),
        peak_kw=peaks_of(np.array(steps), SLOT_S),
        source=source,
        model="elecdemand@1" if active else "seasonal-naive",
        note="" if active else "no model is active",
    )


def slot(time_ms: int, scale: float) -> Slot:
    """A complete slot of `load_kw`."""
    power_kw = load_kw(time_ms, scale)
    return Slot(time_ms, SLOT_S, round(power_kw * SLOT_S / 3.6), power_kw, 1.0)


def fill(
    writer: DeviceWriter,
    *,
    days: int = 21,
    scale: float = 1.0,
    seed: int = 1,
    zone: str = ZONE,
    holes: Iterable[int] = (),
) -> None:
    """Give a device `days` of slots, a forecast an hour, costs, alerts, a model history and an outage."""
    rng = random.Random(seed)
    end_ms = START_MS + days * 86_400_000 - 9 * 3_600_000
    times = range(START_MS, end_ms, SLOT_MS)
    writer.readings(times, holes=holes)
    slots = [slot(time_ms, scale) for time_ms in times if not _dark(time_ms)]
    writer.rows("slots", [item.to_row() for item in slots])
    made = []
    for origin_ms in range(START_MS + 2 * 86_400_000, end_ms, 3_600_000):
        trained = origin_ms >= START_MS + 8 * 86_400_000
        source = ForecastSource.ACTIVE if trained else ForecastSource.NAIVE
        made.append(forecast(origin_ms, scale, rng, source))
        if trained and origin_ms % 7_200_000 == 0:
            made.append(forecast(origin_ms, scale, rng, ForecastSource.CANDIDATE))
    writer.rows("forecasts", [item.to_row(item.origin_ms) for item in made])
    writer.rows(
        "costs", costs(slots, [item for item in made if (item.origin_ms - START_MS) % 28_800_000 == 25_200_000])
    )
    writer.rows("alerts", alerts())
    writer.rows("events", events(zone))
    writer.envelopes(arrivals(rng, len(times)))


def _dark(time_ms: int) -> bool:
    """The meter was silent for an afternoon."""
    return START_MS + 12.5 * 86_400_000 <= time_ms < START_MS + 12.7 * 86_400_000


def costs(slots: list[Slot], made: list[Forecast]) -> list[dict[str, Any]]:
    """What the device's own watch says at each forecast."""
    watch = CostWatch(Tariff.from_toml(TARIFF, "fleetdata"))
    rows = []
    for ahead in made:
        now_ms = ahead.origin_ms
        past = [slot for slot in slots if now_ms - 32 * 86_400_000 <= slot.start_ms < now_ms]
        rows += watch.rows(now_ms, past, ahead)
    return rows


def alerts() -> list[dict[str, Any]]:
    """One alert cleared, one acknowledged, one open."""
    day = 86_400_000
    text = "load may reach {} kW at {}, above the limit of 380 kW"
    return [
        alert_row(START_MS + 9 * day, "peak-ahead", "raised", "warning", text.format(391, "11:30"), id="a1"),
        alert_row(START_MS + 9 * day + 7_200_000, "peak-ahead", "cleared", "warning", "below 360 kW again", id="a1"),
        alert_row(START_MS + 12 * day, "data-missing", "raised", "critical", "no reading for 15 min", id="a2"),
        alert_row(START_MS + 12 * day + 900_000, "data-missing", "acknowledged", "critical", "seen", id="a2"),
        alert_row(
            START_MS + 12 * day + 17_000_000, "data-missing", "cleared", "critical", "readings are back", id="a2"
        ),
        alert_row(START_MS + 19 * day, "peak-ahead", "raised", "warning", text.format(402, "18:00"), id="a3"),
    ]


def events(zone: str) -> list[dict[str, Any]]:
    """Two starts and the life of two models."""
    day = 86_400_000

    def model(when: int, action: str, version: int, reason: str) -> dict[str, Any]:
        return event_row(
            START_MS + when,
            "model",
            f"model {action}",
            action=action,
            model="elecdemand",
            version=version,
            reason=reason,
        )

    return [
        event_row(START_MS, "boot", "agent started", zone=zone),
        model(6 * day, "candidate", 1, "golden outputs reproduced; shadow run of 2 days begins"),
        model(8 * day, "activated", 1, "pinball 4.1 kW against 6.8 kW of naive over 96 slots"),
        event_row(START_MS + 15 * day, "boot", "agent started after a kill", zone=zone),
        model(18 * day, "refused", 2, "outputs differ from the golden ones by 3.1, allowed 0.05"),
        gap_row(START_MS + 15 * day, "readings", 1, 901, 930, "disk full"),
    ]


def arrivals(rng: random.Random, rows: int) -> list[tuple[int, int, int, int]]:
    """Envelopes every two seconds of a fast replay, none for 40 s, then the backlog, some of it twice."""
    found = []
    per = max(1, rows // 120)
    for second in range(0, 260, 2):
        at_ms = NOW_MS - 300_000 + second * 1000 + rng.randrange(400)
        if 120 <= second < 160:
            continue
        count = per * 12 if 160 <= second < 164 else per
        found.append((at_ms, 700 + 9 * count, count, 0 if second == 166 else count))
    return found


def reject(engine: Engine, device: str, topic: str, reason: str, received_ms: int = NOW_MS) -> None:
    """Add one refused message."""
    with db.write(engine) as connection:
        connection.execute(
            db.rejection.insert().values(
                received_ms=received_ms, topic=topic, device=device, reason=reason, bytes=812, sha256="00" * 32
            )
        )


def three_plants(folder: Path) -> Engine:
    """A fleet of three: one whole, one with a hole, one that never sent anything."""
    engine = empty(folder)
    fill(DeviceWriter(engine, "plant-north"), seed=1)
    hole = DeviceWriter(engine, "plant-south")
    fill(hole, seed=2, scale=0.6, holes=range(901, 931))
    DeviceWriter(engine, "plant-west", last_seen_ms=None)
    reject(engine, "plant-east", "ew/v1/plant-east/up/batch", "device 'plant-east' is not registered here")
    reject(engine, "plant-north", "ew/v1/plant-north/up/batch", "signature does not verify")
    return engine
