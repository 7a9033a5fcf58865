"""What is expected at the meter: each forecast with the PV that was known at its own origin, and nobody else's."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from agent.contract import jsonform
from agent.contract.rows import Forecast, ForecastSource
from agent.contract.slots import Slot
from agent.daemon.history import History
from agent.daemon.meterahead import MeterAhead
from agent.planconfig import PvConfig
from tests.support.guards import configured

SLOT_MS, ORIGIN_MS = 900_000, 1_780_272_000_000


def _forecast(origin_ms: int = ORIGIN_MS, source: ForecastSource = ForecastSource.ACTIVE, kw: float = 80.0) -> Forecast:
    levels = np.tile([kw - 10, kw, kw + 10], (96, 1))
    return Forecast(origin_ms, 900, (0.1, 0.5, 0.9), levels, levels[:1], source, "m@1")


def _slots(first: int, pv_kw: float) -> list[Slot]:
    return [Slot(ORIGIN_MS + n * SLOT_MS, 900, 10_000, 40.0, 1.0, pv_kw=pv_kw) for n in range(first, 0)]


@pytest.fixture
def plant(tmp_path: Path) -> tuple[MeterAhead, History]:
    config = configured(tmp_path, power_channel=True)
    given = dataclasses.replace(config, pv=PvConfig(power_channel="charged"))
    history = History(900, _slots(-7 * 96, 20.0))
    return MeterAhead(given, history, lambda _: None), history


def test_a_candidates_forecast_and_the_one_served_are_each_less_the_same_pv(plant) -> None:
    ahead, _ = plant
    served, candidate = _forecast(), _forecast(source=ForecastSource.CANDIDATE, kw=90.0)
    for _ in range(2):
        assert ahead.at_meter(served).level(0.5) == pytest.approx(np.full(96, 60.0))
        assert ahead.at_meter(candidate).level(0.5) == pytest.approx(np.full(96, 70.0))


def test_a_forecast_of_another_step_has_pv_of_its_own(plant) -> None:
    ahead, _ = plant
    assert ahead.at_meter(_forecast()).level(0.5) == pytest.approx(np.full(96, 60.0))
    earlier = _forecast(ORIGIN_MS - 4 * SLOT_MS)
    assert ahead.pv(earlier) is ahead.pv(earlier)
    assert len(ahead.at_meter(earlier).power_kw) == 96


def test_after_a_clock_was_set_a_forecast_from_the_same_instant_has_the_pv_that_is_known_now(plant) -> None:
    ahead, history = plant
    assert ahead.at_meter(_forecast()).level(0.5) == pytest.approx(np.full(96, 60.0))
    history.replace(_slots(-7 * 96, 5.0))
    assert ahead.at_meter(_forecast()).level(0.5) == pytest.approx(np.full(96, 75.0))


@pytest.mark.parametrize("damage", [None, [None] * 96, [[5.0] * 96]])
def test_of_a_plan_whose_powers_are_no_numbers_nothing_is_taken(tmp_path: Path, damage: object) -> None:
    powers = {"discharge_kw": [0.0] * 96, "curtail_kw": [0.0] * 96, "charge_kw": damage}
    note = jsonform.dumps({"problem": {"start_ms": ORIGIN_MS, "step_s": 900}, "plan": powers})
    ahead = MeterAhead(configured(tmp_path, power_channel=True), History(900), lambda _: note)
    assert ahead.at_meter(_forecast()).level(0.5) == pytest.approx(np.full(96, 80.0))
