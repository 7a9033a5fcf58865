"""`edgewatt cost today` and `month` beside a plan: what is expected as it is, and where the plan is followed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agent.cli.main import run_command
from agent.contract import jsonform
from agent.contract.rows import Forecast, ForecastSource
from agent.daemon.plannote import NOTE
from agent.planning.schedule.parts import Deferrable
from agent.planning.schedule.problem import Problem, plan_of
from agent.planning.schedule.wire import plan_to_json, problem_to_json
from tests.support.billing import at, steady
from tests.support.costplants import NIGHT_AND_DAY, CostPlant
from tests.support.forecasts import peaks_of
from tests.support.stores import Bench

NOW_MS = at(2026, 10, 7, 12)


@pytest.fixture
def plant(tmp_path: Path) -> CostPlant:
    """100 kW day and night; a mill of 50 kW that usually runs from 18:00 to 20:00 is in the forecast there."""
    plant = CostPlant(tmp_path, NIGHT_AND_DAY)
    plant.store(steady(at(2026, 10, 1), NOW_MS, 100.0, 3600))
    median = np.full(24, 100.0)
    median[6:8] += 50.0
    table = np.stack([median] * 3, axis=1)
    forecast = Forecast(NOW_MS, 3600, (0.1, 0.5, 0.9), table, peaks_of(table, 3600), ForecastSource.ACTIVE, "m@1")
    _keep(plant, forecast=forecast)
    return plant


def _keep(plant: CostPlant, *, forecast: Forecast | None = None, note: bytes | None = None) -> None:
    bench = Bench(plant.folder / "state")
    bench.now_ms = NOW_MS
    if forecast is not None:
        bench.store.append("forecasts", [forecast.to_row(NOW_MS)])
    if note is not None:
        bench.store.keep(NOTE, note)
    bench.store.close()


def _plan(start_ms: int = NOW_MS) -> bytes:
    """The mill from 22:00 to 24:00."""
    mill = Deferrable(name="mill", power_kw=50.0, steps=2, earliest=0, latest=24, usual=6)
    problem = Problem(start_ms=start_ms, step_s=3600, load_kw=np.full(24, 100.0), import_per_kwh=0.3, loads=(mill,))
    runs = np.zeros((1, 24))
    runs[0, 10:12] = 50.0
    plan = plan_of(problem, runs, source="rules")
    return jsonform.dumps(
        {"start_ms": start_ms, "problem": problem_to_json(problem), "plan": plan_to_json(plan) | {"objective": 0.0}}
    )


def _answer(plant: CostPlant, capsys: pytest.CaptureFixture[str], command: str) -> dict[str, Any]:
    assert run_command(plant.command("cost", command, "--json")) == 0
    answer: dict[str, Any] = json.loads(capsys.readouterr().out)
    return answer


def test_beside_today_stands_what_it_costs_where_the_plan_is_followed(
    plant: CostPlant, capsys: pytest.CaptureFixture[str]
) -> None:
    _keep(plant, note=_plan())
    answer = _answer(plant, capsys, "today")
    # 12 h at 100 kW are over; 8 h of day and 4 of night are ahead: 100 kWh move from 0.30 to 0.20, with 19 % tax.
    assert (answer["today"]["amount"], answer["today_planned"]["amount"]) == ("1370.88", "1358.98")
    assert run_command(plant.command("cost", "today")) == 0
    assert "with the plan  1358.98 EUR: 11.90 less" in capsys.readouterr().out


def test_beside_the_month_at_its_end_stands_what_the_plan_makes_of_it(
    plant: CostPlant, capsys: pytest.CaptureFixture[str]
) -> None:
    _keep(plant, note=_plan())
    answer = _answer(plant, capsys, "month")
    assert float(answer["month_end"]["amount"]) - float(answer["month_end_planned"]["amount"]) == pytest.approx(11.9)
    assert run_command(plant.command("cost", "month")) == 0
    assert "EUR: 11.90 less" in capsys.readouterr().out


@pytest.mark.parametrize("note", [None, _plan(NOW_MS - 3_600_000)], ids=["none", "of an earlier forecast"])
def test_without_a_plan_for_this_forecast_nothing_is_said_of_one(
    plant: CostPlant, capsys: pytest.CaptureFixture[str], note: bytes | None
) -> None:
    _keep(plant, note=note)
    assert _answer(plant, capsys, "today")["today_planned"] is None
    assert run_command(plant.command("cost", "today")) == 0
    assert "plan" not in capsys.readouterr().out


def test_a_damaged_plan_hides_no_cost(plant: CostPlant, capsys: pytest.CaptureFixture[str]) -> None:
    _keep(plant, note=b'{"start_ms": %d, "problem": 3}' % NOW_MS)
    assert run_command(plant.command("cost", "today", "--json")) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["today_planned"] is None
    assert "the plan cannot be read" in err
