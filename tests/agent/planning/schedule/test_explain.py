"""Every action has its saving, and the savings sum to what the plan saves."""

import dataclasses

import numpy as np
import pytest

from agent.planning.schedule.explain import explain, sentence
from agent.planning.schedule.optimum import solve
from agent.planning.schedule.parts import Battery, Deferrable
from agent.planning.schedule.rules import rule_plan
from tests.support.schedules import demand, problem, random_problem

BATTERY = Battery(capacity_kwh=20, charge_kw=20, discharge_kw=20, efficiency_charge=0.8, efficiency_discharge=1.0)


@pytest.mark.parametrize("seed", range(6))
def test_savings_sum_to_the_difference_to_doing_nothing(seed: int) -> None:
    given = dataclasses.replace(
        random_problem(np.random.default_rng(seed), steps=12), battery=BATTERY, curtailable=bool(seed % 2)
    )
    for plan in (rule_plan(given), solve(given)):
        told = explain(given, plan)
        assert sum(action.saving for action in told.actions) == pytest.approx(told.saving, abs=1e-6)
        assert told.cost == pytest.approx(plan.objective)


def test_with_many_loads_the_sum_still_holds() -> None:
    rng = np.random.default_rng(5)
    loads = tuple(Deferrable(name=f"l{i}", power_kw=5, steps=2) for i in range(12))
    given = problem([20.0] * 16, import_per_kwh=rng.uniform(0.1, 0.4, 16), pv_kw=rng.uniform(0, 60, 16), loads=loads)
    told = explain(given, rule_plan(given))
    assert sum(action.saving for action in told.actions) == pytest.approx(told.saving)


def test_a_battery_trip_is_told_with_amounts_times_and_prices() -> None:
    prices = [0.11, 0.11, 0.12, 0.29]
    battery = dataclasses.replace(BATTERY, initial_soc=0.0)
    given = problem([40.0] * 4, import_per_kwh=prices, battery=battery, zone="Europe/Berlin", currency="EUR")
    told = explain(given, solve(given, gap=0))
    # 5 kWh are all that the dear quarter takes; 6.25 kWh must be charged for them.
    assert told.actions[0].text.startswith("charge 6.25 kWh 01:")
    assert "at 0.110, use it 01:45-02:00 at 0.290: saves 0.76 EUR" in sentence(told.actions[0], "EUR")


def test_energy_from_before_is_used_and_put_back() -> None:
    given = problem([40.0] * 2, import_per_kwh=[0.30, 0.10], battery=dataclasses.replace(BATTERY, initial_soc=0.2))
    (action,) = explain(given, solve(given, gap=0)).actions
    assert action.text == "use 4 kWh from the battery 00:00-00:15 at 0.300, put back 5 kWh 00:15-00:30 at 0.100"
    assert action.saving == pytest.approx(4 * 0.30 - 5 * 0.10)


def test_a_shift_is_told_with_what_the_usual_time_would_have_cost() -> None:
    load = Deferrable(name="mill", power_kw=40, steps=2, usual=0)
    given = problem([10.0] * 4, import_per_kwh=[0.3, 0.3, 0.1, 0.1], loads=(load,))
    (action,) = explain(given, solve(given)).actions
    assert sentence(action) == "run 'mill' 00:30-01:00 at 0.100 instead of 00:00-00:30 at 0.300: saves 4.00"


def test_a_shaved_peak_is_told_in_kw() -> None:
    battery = dataclasses.replace(BATTERY, efficiency_charge=1.0)
    given = problem([80.0, 100.0, 80.0, 80.0], battery=battery, demand=(demand(4, peak_so_far_kw=90),))
    texts = [sentence(action) for action in explain(given, solve(given)).actions]
    assert "the peak of 'month' stays at 90 kW instead of rising to 100 kW: saves 100.00" in texts


def test_what_two_actions_save_only_together_is_shared_equally() -> None:
    # PV of 20 kW: one load of 20 kW fits under it for nothing; the second pays. Either could have been the first.
    loads = tuple(Deferrable(name=name, power_kw=20, steps=1, earliest=0, usual=0) for name in "ab")
    given = problem([0.0, 0.0], import_per_kwh=[0.4, 0.2], pv_kw=[0.0, 20.0], loads=loads)
    told = explain(given, solve(given, gap=0))
    assert [action.saving for action in told.actions] == pytest.approx([1.5, 1.5])


def test_a_battery_at_rest_is_not_said_to_miss_its_final_charge() -> None:
    battery = Battery(capacity_kwh=20, charge_kw=10, discharge_kw=10, initial_soc=0.1, final_soc=0.5)
    given = problem([50.0] * 8, battery=battery)
    told = explain(given, solve(given))
    assert told.left_kwh > 7
    assert told.notes == ()


def test_what_doing_nothing_would_break_is_told() -> None:
    load = Deferrable(name="mill", power_kw=40, steps=1)
    given = problem([80.0, 10.0], loads=(load,), site_limit_kw=100)
    assert explain(given, solve(given)).notes == (
        "without the plan: the site limit is passed by 20 kW from 00:00 to 00:15",
    )
