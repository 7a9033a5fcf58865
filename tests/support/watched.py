"""A plant as the rules of its alerts are given it: readings, slots and forecasts on a real store, killed when wanted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from agent.alerts.observations import Observations
from agent.config import Config, parse
from agent.contract.channels import Reading
from agent.contract.featurespec import QUANTILES
from agent.contract.rows import Forecast, ForecastSource
from agent.contract.slots import Slot
from agent.contract.tariff.tariff import Tariff
from agent.daemon.forecasting import Made
from agent.daemon.history import History
from agent.daemon.watching import Watching
from tests.support.set_clocks import MINUTE_MS
from tests.support.stores import T0, Bench

SLOT_MS, HOUR_MS, DAY_MS = 900_000, 3_600_000, 86_400_000
CONFIG = """
[device]
id = "d"
[plant]
zone = "Europe/Berlin"
power_channel = "load_kw"
[[channel]]
name = "load_kw"
unit = "kW"
decimals = 1
[[channel]]
name = "pump_kw"
unit = "kW"
[[source]]
kind = "simulator"
channels = ["load_kw", "pump_kw"]
[alerts.abnormal]
[alerts.base_load]
[peak]
target_kw = 150.0
"""


def config(more: str = "") -> Config:
    return parse(CONFIG + more, folder=Path("/"))


class Plant:
    """The daemon's way from readings to observations, on a real store."""

    def __init__(self, folder: Path, settings: Config | None = None, tariff: Tariff | None = None) -> None:
        self.tariff = tariff
        self.bench = Bench(folder, commit_window_s=0.0)
        self.settings = settings or config()
        self.now_ms = T0
        self.rows: list[dict[str, Any]] = []
        self.begin()

    def begin(self) -> None:
        store = self.bench.store
        self.history = History(900, (Slot.from_row(row) for row in store.rows("slots", 0, 2**53)))
        self.watching = Watching(store, self.settings, self.history, self.tariff, self.now_ms)

    def kill(self) -> None:
        self.bench.store.append("slots", self.rows)
        self.rows.clear()
        self.bench.crash()
        self.begin()

    def read(self, minutes: int, kw: float = 100.0, channel: str = "load_kw") -> None:
        for _ in range(minutes):
            readings = [Reading(channel, self.now_ms, kw)]
            self.bench.store.append("readings", readings)
            self.watching.saw(readings)
            self.now_ms += MINUTE_MS

    def close(self, number: int, kw: float | None, flags: tuple[str, ...] = (), **own: float) -> None:
        slot = Slot(T0 + number * SLOT_MS, 900, round((kw or 0) * 250), kw, 0.0 if kw is None else 1.0, flags, **own)
        self.rows.append(slot.to_row())  # stored one by one they would cost the test seconds
        self.history.add(slot)
        self.watching.closed([slot])

    def forecast(self, number: int, middle: float = 100.0) -> None:
        table = np.tile([middle - 10, middle, middle + 10], (96, 1))
        made = Forecast(
            T0 + number * SLOT_MS, 900, QUANTILES, table, table[:1], ForecastSource.ACTIVE, "m@1", calibrated=True
        )
        self.watching.issued(Made(made, made))
        self.bench.store.append("forecasts", [made.to_row(made.origin_ms)])

    def observe(self, now_ms: int | None = None) -> Observations:
        self.now_ms = self.now_ms if now_ms is None else now_ms
        return self.watching.observe(
            self.now_ms, since_ms=T0, forecast=None, covered_ms={}, model="m@1", storage_error=""
        )
