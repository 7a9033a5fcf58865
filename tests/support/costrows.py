"""Slots, forecasts and rows of costs under one price, in Melbourne: for tests of what costs are told."""

from __future__ import annotations

import datetime as dt
import json
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np

from agent.contract.rows import Forecast, ForecastSource
from agent.contract.slots import Slot
from agent.contract.tariff.tariff import Tariff
from agent.planning.costs import CostWatch
from tests.support.forecasts import peaks_of

ZONE = ZoneInfo("Australia/Melbourne")
TARIFF = Tariff.from_toml("""
name = "flat"
zone = "Australia/Melbourne"
currency = "AUD"
[[period]]
name = "flat"
price_per_kwh = 0.25
""")
HOUR_MS = 3_600_000


def at(*args: int) -> int:
    """Epoch ms of a local time."""
    return round(dt.datetime(*args, tzinfo=ZONE).timestamp() * 1000)


def hours(start_ms: int, end_ms: int, kw: float = 4.0) -> list[Slot]:
    """Hours of one power."""
    return [Slot(start, 3600, round(kw * 1000), kw, 1.0) for start in range(start_ms, end_ms, HOUR_MS)]


def forecast(
    origin_ms: int,
    steps: int = 24,
    kw: float = 8.0,
    source: ForecastSource = ForecastSource.ACTIVE,
    slot_s: int = 3600,
) -> Forecast:
    """A forecast of one power, between half and twice of it."""
    power_kw = np.tile([kw / 2, kw, kw * 2], (steps, 1))
    return Forecast(origin_ms, slot_s, (0.1, 0.5, 0.9), power_kw, peaks_of(power_kw, slot_s), source, "m@1")


def by_scope(now_ms: int, slots: list[Slot], ahead: Forecast | None) -> dict[str, dict[str, Any]]:
    """Rows under the one price, looked at for what all rows keep to."""
    rows = CostWatch(TARIFF).rows(now_ms, slots, ahead)
    assert len({row["scope"] for row in rows}) == len(rows)
    json.dumps(rows)  # rows are JSON, money is text
    for row in rows:
        assert row["time_ms"] == now_ms
        assert Decimal(row["low"]) <= Decimal(row["amount"]) <= Decimal(row["high"])
        if row["scope"] != "month_end":
            assert sum(Decimal(line["amount"]) for line in row["lines"]) == Decimal(row["amount"])
    return {row["scope"]: row for row in rows}


def lines(row: dict[str, Any]) -> dict[str, str]:
    """The amounts of a row's lines."""
    return {line["period"]: line["amount"] for line in row["lines"]}
