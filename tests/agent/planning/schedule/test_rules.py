"""The plan by rules: safe, never dearer than doing nothing, the same every time."""

import dataclasses

import numpy as np
import pytest

from agent.planning.schedule.parts import Battery, Deferrable, Sequence, Stage
from agent.planning.schedule.pricing import price_plan
from agent.planning.schedule.rules import cheaper_by_rules, do_nothing, rule_plan
from tests.support.schedules import broken, demand, problem, random_problem

BATTERY = Battery(capacity_kwh=20, charge_kw=20, discharge_kw=20, efficiency_charge=1, efficiency_discharge=1)


@pytest.mark.parametrize("seed", range(16))
def test_never_dearer_than_doing_nothing_unless_that_would_pass_the_site_limit(seed: int) -> None:
    given = random_problem(np.random.default_rng(seed), steps=10)
    plan, nothing = rule_plan(given), do_nothing(given)
    safe = not any("site limit" in text for text in broken(given, nothing))
    assert plan.objective <= nothing.objective + 1e-9 or not safe
    assert np.array_equal(plan.loads_kw, rule_plan(given).loads_kw)


def test_a_battery_charges_cheap_serves_dear_and_ends_as_it_began() -> None:
    given = problem([40.0] * 8, import_per_kwh=[0.1] * 4 + [0.3] * 4, battery=BATTERY)
    plan = rule_plan(given)
    assert not broken(given, plan)
    assert plan.charge_kw[:4].sum() * 0.25 == pytest.approx(10)
    assert plan.discharge_kw[4:].sum() * 0.25 == pytest.approx(10)


def test_a_battery_shaves_the_peak_above_what_the_month_has_seen() -> None:
    given = problem([80.0, 100.0, 80.0, 80.0], battery=BATTERY, demand=(demand(4, peak_so_far_kw=90),))
    plan = rule_plan(given)
    assert price_plan(given, plan).demand == (0,)
    assert not broken(given, plan)


def test_a_battery_takes_what_pv_gives_too_much() -> None:
    given = problem([10.0] * 4, pv_kw=[0, 30.0, 0, 0], battery=BATTERY)
    assert rule_plan(given).charge_kw[1] == pytest.approx(20)


def test_each_load_goes_to_its_cheapest_place_that_keeps_the_limit() -> None:
    loads = (
        Deferrable(name="mill", power_kw=30, steps=2),
        Deferrable(name="pump", power_kw=10, steps=2, breakable=True),
        Sequence(name="batch", stages=(Stage(profile_kw=(5.0,)), Stage(profile_kw=(5.0,), min_gap=1, max_gap=2))),
    )
    given = problem([90, 50, 50, 50, 50.0], import_per_kwh=[0.1, 0.2, 0.2, 0.3, 0.3], loads=loads, site_limit_kw=100)
    plan = rule_plan(given)
    assert not broken(given, plan)
    assert plan.loads_kw.tolist() == [[0, 30, 30, 0, 0], [10, 10, 0, 0, 0], [0, 5, 0, 5, 0]]


def test_says_what_it_cannot_keep() -> None:
    plan = rule_plan(problem([150.0], site_limit_kw=100), "no solver")
    assert plan.notes == ("no solver", "the site limit is passed by 50 kW from 00:00 to 00:15")


def test_where_every_plan_passes_a_limit_the_one_that_passes_it_least_is_taken() -> None:
    mill = Deferrable(name="mill", power_kw=30, steps=2, usual=0)
    given = problem([105.0] * 2 + [40.0] * 4, import_per_kwh=[0.01] * 2 + [0.5] * 4, loads=(mill,), site_limit_kw=100)
    plan = rule_plan(given)
    assert plan.notes == ("the site limit is passed by 5 kW from 00:00 to 00:30",)
    assert not plan.loads_kw[0, :2].any()


def test_an_empty_battery_is_filled_again_although_that_costs_more_than_to_leave_it() -> None:
    empty = dataclasses.replace(BATTERY, initial_soc=0.1, final_soc=0.5)
    plan = rule_plan(problem([40.0] * 8, battery=empty))
    assert plan.stored_kwh[-1] == pytest.approx(10)
    assert not plan.notes


def test_a_battery_that_must_be_filled_never_passes_the_site_limit_for_it() -> None:
    empty = dataclasses.replace(BATTERY, initial_soc=0.1, final_soc=0.5)
    plan = rule_plan(problem([98.0] * 8, battery=empty, site_limit_kw=100))
    assert plan.grid_kw.max() <= 100 + 1e-9
    assert plan.notes == ("the battery ends 4 kWh short",)


def test_a_plan_by_rules_takes_the_place_of_a_dearer_one_but_not_if_it_breaks_something() -> None:
    given = problem([40.0] * 8, import_per_kwh=[0.1] * 4 + [0.3] * 4, battery=BATTERY)
    idle = do_nothing(given)
    taken = cheaper_by_rules(given, idle)
    assert taken.objective == pytest.approx(rule_plan(given).objective)
    assert taken.notes
    assert cheaper_by_rules(given, taken) is taken
    load = Deferrable(name="mill", power_kw=30, steps=1)
    short = problem([80, 80.0], import_per_kwh=[0.1, 0.3], loads=(load,), site_limit_kw=100)
    dear = dataclasses.replace(do_nothing(short), objective=1e6)
    assert cheaper_by_rules(short, dear) is dear
