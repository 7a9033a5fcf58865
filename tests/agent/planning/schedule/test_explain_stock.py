"""What a plan comes to for the plant: stored energy counts alike in both, demand as it is paid."""

import dataclasses

import numpy as np
import pytest

from agent.planning.schedule.aims import guarded_plan
from agent.planning.schedule.explain import explain, outcome
from agent.planning.schedule.explainwords import load_words
from agent.planning.schedule.optimum import solve
from agent.planning.schedule.parts import Battery, Deferrable
from agent.planning.schedule.problem import Plan, Problem, plan_of
from agent.planning.schedule.prospect import Aims
from tests.support import guards
from tests.support.schedules import demand, problem

BATTERY = Battery(capacity_kwh=20, charge_kw=20, discharge_kw=20, efficiency_charge=0.8, efficiency_discharge=1.0)


def test_energy_that_a_plan_leaves_stored_counts_for_it() -> None:
    given = problem([40.0] * 4, battery=dataclasses.replace(BATTERY, initial_soc=0.2, final_soc=0.5), currency="EUR")
    told = explain(given, solve(given, gap=0))
    assert told.cost - told.cost_of_nothing == pytest.approx(7.5 * 0.2)  # 6 kWh are stored
    assert (told.left_kwh, told.left_over) == (pytest.approx(6.0), pytest.approx(1.5))
    assert told.saving == pytest.approx(0.0, abs=1e-9)
    assert "end with 6 kWh more stored, valued at 0.250" in [action.text for action in told.actions]


def test_energy_that_a_plan_takes_from_the_battery_is_no_saving() -> None:
    given = problem([40.0] * 4, battery=dataclasses.replace(BATTERY, initial_soc=1.0, final_soc=0.0))
    used = plan_of(given, np.zeros((0, 4)), 0.0, 20.0, source="highs")
    told = explain(given, used)
    assert told.cost_of_nothing - told.cost == pytest.approx(20 * 0.2)
    assert told.left_over == pytest.approx(-20 / 0.8 * 0.2)  # more than the plan's steps could charge
    assert told.saving == pytest.approx(-1.0)
    assert sum(action.saving for action in told.actions) == pytest.approx(told.saving)
    texts = {action.text for action in told.actions}
    assert "end with 20 kWh less stored, valued at 0.250" in texts
    assert "use 20 kWh of the battery's charge 00:00-01:00 at 0.200" in texts
    worn = dataclasses.replace(given, battery=dataclasses.replace(BATTERY, initial_soc=1.0, wear_per_kwh=0.05))
    texts = {action.text for action in explain(worn, used).actions}
    assert "use 20 kWh of the battery's charge 00:00-01:00 at 0.200 (wear 0.050)" in texts
    assert outcome(told.saving, "EUR") == "costs 1.00 EUR more than doing nothing"


def test_stored_energy_is_worth_what_charging_costs_where_that_is_cheapest() -> None:
    given = problem(
        [0.0, 40.0, 40.0],
        pv_kw=[10.0, 0.0, 0.0],
        import_per_kwh=[0.4, 0.1, 0.3],
        export_per_kwh=0.0,
        battery=dataclasses.replace(BATTERY, initial_soc=0.0, final_soc=0.0),
    )
    charged = plan_of(given, np.zeros((0, 3)), np.array([0.0, 0.0, 20.0]), source="highs")
    assert explain(given, charged).left_over == pytest.approx(5 * 0.1)  # in the first, half of it would be bought
    more = plan_of(given, np.zeros((0, 3)), np.array([0.0, 20.0, 20.0]), source="highs")
    assert explain(given, more).left_over == pytest.approx(5 * 0.1 + 2.5 * 0.4)


def _charged(*charge_kw: float, peak_so_far_kw: float) -> tuple[Problem, Plan]:
    charges = (demand(2, peak_so_far_kw=peak_so_far_kw),)
    given = problem([90.0, 80.0], battery=dataclasses.replace(BATTERY, initial_soc=0.0), demand=charges)
    return given, plan_of(given, np.zeros((0, 2)), np.array(charge_kw), source="policy")


@pytest.mark.parametrize(
    ("charge_kw", "peak_so_far_kw", "words"),
    [
        ((10.0, 0.0), 90.0, "rises to 100 kW instead of staying at 90 kW; 100 kW are aimed at"),
        ((15.0, 0.0), 80.0, "rises to 105 kW instead of 90 kW"),
        ((10.0, 0.0), 0.0, "is 100 kW instead of 90 kW"),
    ],
)
def test_a_peak_that_rises_is_told_and_costs_what_it_costs_by_the_bill(
    charge_kw: tuple[float, ...], peak_so_far_kw: float, words: str
) -> None:
    given, plan = _charged(*charge_kw, peak_so_far_kw=peak_so_far_kw)
    told = explain(given, plan, Aims(peaks_kw={"month": 100.0}))
    (peak,) = [action for action in told.actions if action.what == "demand"]
    assert peak.text == f"the peak of 'month' {words}"
    assert peak.saving == pytest.approx(-10 * charge_kw[0])
    assert (
        told.notes[-1] == "it costs more because it lets a peak rise that the month is expected to come to in any case"
    )


def test_a_plan_that_is_ready_for_more_than_is_forecast_says_why_it_costs_more() -> None:
    load = np.full(guards.DAY, 150.0)
    higher = load.copy()
    higher[40:44] = 320.0
    price = np.where(np.arange(guards.DAY) < 48, 0.3, 0.1)
    given = guards.problem(load, per_kw=40.0, peak_kw=200.0, price=price, initial_soc=0.0, efficiency_charge=0.8)
    ahead = guards.prospect(load, np.stack([load, higher]), day="d", aims=Aims(peaks_kw={"demand": 180.0}, day="d"))
    made = guarded_plan(given, ahead, solve)
    told = explain(given, made.plan, made.aims)
    assert told.saving < -0.1
    assert sum(action.saving for action in told.actions) == pytest.approx(told.saving)
    why = "it costs more because it is ready for load above the forecast, to keep the peak of 'demand' at 200 kW"
    assert told.notes[0].startswith(why)


def test_a_battery_that_takes_pv_leaves_less_to_hold_back() -> None:
    given = problem(
        [10.0] * 2, pv_kw=[30.0, 10.0], export_limit_kw=0.0, curtailable=True, battery=BATTERY, import_per_kwh=0.2
    )
    plan = plan_of(given, np.zeros((0, 2)), np.array([20.0, 0.0]), source="rules")
    told = explain(given, plan)
    assert "use 5 kWh of PV from 00:00 to 00:15 instead of holding it back" in [action.text for action in told.actions]
    held = plan_of(given, np.zeros((0, 2)), np.array([20.0, 0.0]), 0.0, np.array([0.0, 10.0]), source="rules")
    told = explain(given, held)
    actions = {action.text: action.saving for action in told.actions}
    assert actions["hold back 2.5 kWh of PV from 00:15 to 00:30"] == pytest.approx(-0.5)
    assert sum(actions.values()) == pytest.approx(told.saving)


def test_a_load_that_would_not_run_within_the_plan_is_told_so() -> None:
    load = Deferrable(name="mill", power_kw=40, steps=1)
    given = problem([10.0] * 2, loads=(load,))
    assert load_words(given, load, np.zeros(2), np.array([0.0, 40.0])) == (
        "run 'mill' 00:15-00:30 at 0.200, which would not run otherwise"
    )
