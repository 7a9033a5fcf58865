"""A battery whose state of charge nothing measures: plans go on from what was planned before, and say so."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from agent.config import Config
from agent.contract import jsonform
from agent.contract.channels import Reading
from agent.contract.rows import Forecast, ForecastSource
from agent.daemon.forecasting import Costs
from agent.daemon.history import History
from agent.daemon.planmaking import make_planning
from agent.daemon.planning import Planning
from agent.daemon.plannote import NOTE
from agent.planning.advice import Wishes
from agent.planning.schedule.parts import Battery
from agent.store.store import Store
from tests.support.guards import configured
from tests.support.schedules import START_MS, TARIFF
from tests.support.stores import Bench

BATTERY = Battery(capacity_kwh=40, charge_kw=20, discharge_kw=20)


class Read:
    """A store that has these readings."""

    def __init__(self, readings: Sequence[Reading]) -> None:
        self._readings = readings

    def readings(self, channel: str, start_ms: int, end_ms: int) -> Sequence[Reading]:
        return self._readings


def _wishes(config: Config, readings: Sequence[Reading]) -> Wishes:
    store, costs = cast("Store", Read(readings)), cast("Costs", object())
    planning = make_planning(config, store, History(900), TARIFF, costs, None, None)
    assert planning is not None
    return planning._wishes(START_MS)


def _forecast(at_step: int = 0) -> Forecast:
    levels = np.tile([70.0, 80.0, 95.0], (48, 1)) - 40.0 * ((np.arange(48)[:, None] + at_step) % 48 < 12)  # of a night
    origin_ms = START_MS + at_step * 1_800_000
    return Forecast(origin_ms, 1800, (0.1, 0.5, 0.9), levels, levels[:1], ForecastSource.ACTIVE, "m@1")


def _until_planned(planning: Planning) -> list[dict[str, Any]]:
    until = time.monotonic() + 60
    while not (rows := planning.turn(START_MS)):
        assert time.monotonic() < until
        time.sleep(0.02)
    return rows


def _kept(store: Store) -> dict[str, Any]:
    return jsonform.loads(store.note(NOTE) or b"", where="note", max_bytes=1 << 20)


def test_a_battery_that_nothing_measures_goes_on_from_the_plan_before_over_a_power_cut(tmp_path: Path) -> None:
    def wishes(_: int) -> Wishes:
        return Wishes(battery=BATTERY, soc_unknown="battery.soc_channel is not set")

    bench = Bench(tmp_path)
    planning = Planning(bench.store, History(1800), TARIFF, wishes)
    planning.begin(_forecast())
    bench.store.append("events", _until_planned(planning))
    bench.store.commit()
    first = _kept(bench.store)
    assert first["notes"] == [
        "the battery is taken to be 50% full, as configured (battery.soc): battery.soc_channel is not set"
    ]
    bench.crash()
    again = Planning(bench.store, History(1800), TARIFF, wishes)
    step = int(np.argmax(first["plan"]["stored_kwh"]))
    assert first["plan"]["stored_kwh"][step] > 25
    again.begin(_forecast(step + 1))
    (row,) = _until_planned(again)
    second = _kept(bench.store)
    assert second["problem"]["battery"]["initial_soc"] == pytest.approx(first["plan"]["stored_kwh"][step] / 40)
    assert "% full, as planned before: battery.soc_channel is not set" in row["text"]
    bench.store.close()


def test_a_battery_whose_channel_is_silent_is_unmeasured_too(tmp_path: Path) -> None:
    bare, given = configured(tmp_path, soc_channel=False), configured(tmp_path)
    spoke = [Reading("charged", START_MS - 1000, 40.0)]
    assert _wishes(bare, []).soc_unknown == "battery.soc_channel is not set"
    assert _wishes(given, []).soc_unknown == "charged told nothing for an hour"
    assert _wishes(given, spoke).soc_unknown == ""
    assert [_wishes(given, read).battery.initial_soc for read in ([], spoke)] == [0.5, 0.4]  # type: ignore[union-attr]
