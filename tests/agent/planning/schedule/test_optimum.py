"""The cheapest plan is the cheapest: against a search of all plans, and against figures worked by hand."""

import dataclasses
import math

import numpy as np
import pytest

from agent.planning.schedule.optimum import solve
from agent.planning.schedule.parts import Battery, Deferrable, Sequence, Stage
from agent.planning.schedule.pricing import price_plan
from agent.planning.schedule.rules import do_nothing, rule_plan
from tests.support.schedules import broken, cheapest_of_all, demand, problem, random_problem, random_site

BATTERY = Battery(capacity_kwh=10, charge_kw=20, discharge_kw=20, efficiency_charge=0.8, efficiency_discharge=1.0)


@pytest.mark.parametrize("seed", range(18))
def test_no_plan_of_all_is_cheaper_and_what_none_can_meet_is_said(seed: int) -> None:
    given = random_problem(np.random.default_rng(seed))
    best = cheapest_of_all(given)
    plan = solve(given, gap=0.0)
    if math.isinf(best):
        assert plan.notes
    else:
        assert not plan.notes
        assert not broken(given, plan)
        assert plan.objective == pytest.approx(best, abs=1e-4)


@pytest.mark.parametrize("seed", [0, 1, 2, 3, 52, 80, 92, 95, 118, 469, 801])
def test_with_battery_and_any_prices_all_rules_are_kept_and_no_other_plan_lies_below_the_bound(seed: int) -> None:
    given = random_site(seed)
    plan = solve(given, gap=1e-4)
    assert plan.source == "highs"
    assert bool(plan.notes) == bool(broken(given, plan))
    if not plan.notes:
        assert plan.gap is not None
        assert plan.gap <= 1.01e-4
        assert plan.objective == pytest.approx(price_plan(given, plan).total)
        safe = [other for other in (rule_plan(given), do_nothing(given)) if not broken(given, other)]
        assert all(plan.objective <= other.objective + 1e-4 * abs(plan.objective) + 1e-6 for other in safe)


def test_a_battery_charges_when_cheap_and_serves_when_dear() -> None:
    # 5 kWh missing to full need 6.25 kWh at 0.10; they replace 5 kWh at 0.30.
    given = problem([40.0] * 4, import_per_kwh=[0.10, 0.10, 0.30, 0.30], battery=BATTERY)
    plan = solve(given, gap=0.0)
    assert plan.objective == pytest.approx(20 * 0.10 + 20 * 0.30 + 6.25 * 0.10 - 5 * 0.30)
    assert plan.discharge_kw[:2].sum() == plan.charge_kw[2:].sum() == 0


def test_wear_keeps_a_battery_idle_where_the_spread_does_not_pay_for_it() -> None:
    given = problem(
        [40.0] * 4, import_per_kwh=[0.10, 0.10, 0.30, 0.30], battery=dataclasses.replace(BATTERY, wear_per_kwh=0.2)
    )
    assert not solve(given, gap=0.0).charge_kw.any()


def test_at_a_negative_price_it_does_not_burn_energy_by_charging_and_discharging_at_once() -> None:
    given = problem([40.0] * 4, import_per_kwh=-0.20, export_per_kwh=-0.30, battery=BATTERY)
    plan = solve(given, gap=0.0)
    assert not broken(given, plan)
    # It can only fill up: 5 kWh of room take 6.25 kWh, for which money comes in; emptying and filling again pays more.
    assert plan.objective < -0.20 * (40 + 6.25) + 1e-9
    assert np.minimum(plan.charge_kw, plan.discharge_kw).max() == 0


def test_where_selling_brings_more_than_buying_costs_it_does_not_do_both() -> None:
    given = problem([10.0] * 2, import_per_kwh=0.10, export_per_kwh=0.15, pv_kw=[0.0, 30.0])
    assert solve(given, gap=0.0).objective == pytest.approx(2.5 * 0.10 - 5 * 0.15)


def test_pv_is_held_back_only_when_it_may_be_and_selling_costs() -> None:
    given = problem([10.0] * 2, pv_kw=30.0, export_per_kwh=-0.05)
    assert solve(given, gap=0.0).objective == pytest.approx(2 * 5 * 0.05)
    held = solve(dataclasses.replace(given, curtailable=True), gap=0.0)
    assert held.objective == pytest.approx(0)
    assert held.curtail_kw.tolist() == pytest.approx([20, 20])


def test_pv_that_nobody_pays_for_is_not_held_back_without_need() -> None:
    given = problem([10.0] * 8, pv_kw=30.0, export_limit_kw=[5.0, 50.0] * 4, curtailable=True, battery=BATTERY)
    plan = solve(given, gap=0.0)
    assert plan.curtail_kw.tolist() == pytest.approx(
        np.maximum(20 - plan.charge_kw - given.export_limit_kw, 0).tolist()
    )


def test_gross_load_stays_what_it_is_when_battery_and_pv_act() -> None:
    given = problem([40.0] * 4, import_per_kwh=[0.1, 0.1, 0.3, 0.3], pv_kw=[0, 10.0, 0, 0], battery=BATTERY)
    plan = solve(given, gap=0.0)
    gross = plan.grid_kw - plan.charge_kw + plan.discharge_kw + (given.pv_kw - plan.curtail_kw)
    assert gross.tolist() == pytest.approx([40.0] * 4)


def test_a_peak_is_shaved_down_to_what_the_month_has_seen_and_no_further() -> None:
    charge = demand(4, per_kw=10, peak_so_far_kw=90)
    given = problem([80.0, 100.0, 80.0, 80.0], battery=BATTERY, demand=(charge,))
    plan = solve(given, gap=0.0)
    assert plan.discharge_kw[1] == pytest.approx(10)
    assert price_plan(given, plan).peaks_kw == pytest.approx((90,))


def test_on_a_longer_billing_interval_only_the_mean_counts() -> None:
    charge = demand(4, per_kw=10, interval_s=1800)
    battery = dataclasses.replace(BATTERY, final_soc=0.0)
    given = problem([60.0, 100.0, 80.0, 80.0], battery=battery, demand=(charge,))
    # Both half-hours have a mean of 80 kW; 5 kWh of the battery are 2.5 kWh for each.
    assert price_plan(given, solve(given, gap=0.0)).peaks_kw == pytest.approx((75,))


def test_what_the_begun_interval_has_drawn_counts() -> None:
    charge = demand(3, per_kw=10, interval_s=1800, so_far_kwh=30, peak_so_far_kw=10)
    given = problem([20.0, 20.0, 20.0], start_ms=1_767_225_600_000 + 900_000, demand=(charge,))
    assert price_plan(given, solve(given)).peaks_kw == (70,)  # 30 kWh and 5 kWh in half an hour


def test_the_margin_keeps_the_limit_and_the_peak_for_a_higher_load() -> None:
    load = Deferrable(name="mill", power_kw=30, steps=1)
    given = problem([50.0, 60.0], loads=(load,), site_limit_kw=90, import_per_kwh=[0.3, 0.1])
    assert solve(given).loads_kw[0].tolist() == [0, 30]
    careful = dataclasses.replace(given, margin_kw=np.array([5.0, 5.0]))
    assert solve(careful).loads_kw[0].tolist() == [30, 0]


def test_carbon_with_a_price_moves_a_load() -> None:
    load = Deferrable(name="mill", power_kw=30, steps=1)
    given = problem([0.0, 0.0], loads=(load,), import_per_kwh=[0.20, 0.22], carbon_kg_per_kwh=[0.5, 0.1])
    assert solve(given).loads_kw[0].tolist() == [30, 0]
    priced = dataclasses.replace(given, carbon_price_per_kg=0.1)
    assert solve(priced).loads_kw[0].tolist() == [0, 30]
    assert price_plan(priced, solve(priced)).carbon_kg == pytest.approx(30 * 0.25 * 0.1)


def test_a_load_that_gains_nothing_by_moving_stays_where_it_usually_runs() -> None:
    load = Deferrable(name="mill", power_kw=30, steps=2, usual=3)
    assert np.flatnonzero(solve(problem([10.0] * 8, loads=(load,))).loads_kw[0]).tolist() == [3, 4]


def test_steps_are_counted_not_hours_so_that_days_of_92_and_100_quarters_are_like_others() -> None:
    stages = (Stage(profile_kw=(9.0,) * 4), Stage(profile_kw=(5.0, 5.0), min_gap=1, max_gap=6))
    for steps in (92, 100):
        given = problem(
            [50.0] * steps, import_per_kwh=np.linspace(0.3, 0.1, steps), loads=(Sequence(name="batch", stages=stages),)
        )
        plan = solve(given, gap=0.0)
        assert plan.loads_kw.shape == (1, steps)
        assert not broken(given, plan)
        assert np.flatnonzero(plan.loads_kw[0])[-1] == steps - 1


def test_when_the_time_is_over_at_once_there_is_still_a_plan() -> None:
    rng = np.random.default_rng(1)
    loads = tuple(
        Deferrable(name=f"l{i}", power_kw=20 + i, steps=9, breakable=True, min_on=3, min_off=2) for i in range(8)
    )
    given = problem(rng.uniform(50, 99, 400), loads=loads, battery=BATTERY, demand=(demand(400),))
    plan = solve(given, limit_s=0.0)
    assert plan.loads_kw.sum() == pytest.approx(sum(load.power_kw * 9 for load in loads))


def test_demand_that_the_battery_answers_for_is_planned_without_the_margin() -> None:
    battery = Battery(capacity_kwh=20, charge_kw=20, discharge_kw=20, efficiency_charge=1, efficiency_discharge=1)
    given = problem([80.0, 100.0, 80.0], battery=battery, margin_kw=15, demand=(demand(3, peak_so_far_kw=90),))
    with_margin, without = solve(given), solve(dataclasses.replace(given, margin_on_demand=False))
    assert with_margin.discharge_kw[1] > 12
    assert without.discharge_kw[1] == pytest.approx(10)


@pytest.mark.parametrize("limit_s", [0.0, 0.1, 0.3])
@pytest.mark.parametrize("seed", [3, 4])
def test_when_the_limit_ends_a_search_no_plan_by_rules_is_cheaper(seed: int, limit_s: float) -> None:
    rng = np.random.default_rng(seed)
    stages = (Stage(profile_kw=(60.0,) * 4), Stage(profile_kw=(30.0,) * 3, max_gap=8))
    loads = (
        Deferrable(name="furnace", power_kw=80, steps=12),
        Deferrable(name="pumps", power_kw=25, steps=20, breakable=True, min_on=2, min_off=2),
        *(Sequence(name=f"batch {index}", stages=stages) for index in range(3)),
    )
    given = problem(
        rng.uniform(50, 150, 288), loads=loads, battery=BATTERY, demand=(demand(288, per_kw=30),), margin_kw=10.0
    )
    plan = solve(given, gap=0.0, limit_s=limit_s)
    assert not broken(given, plan)
    assert plan.objective == pytest.approx(price_plan(given, plan).total)
    assert plan.objective <= min(rule_plan(given).objective, do_nothing(given).objective) + 1e-6
    assert plan.gap is None or 0 <= plan.gap < math.inf


def test_a_gap_is_counted_from_what_is_proven_not_from_the_plan_that_was_good_enough() -> None:
    rng = np.random.default_rng(0)
    loads = tuple(Deferrable(name=f"l{i}", power_kw=20 + i, steps=5) for i in range(3))
    given = problem(
        rng.uniform(50, 60, 48), loads=loads, import_per_kwh=rng.uniform(0.1, 0.3, 48), demand=(demand(48),)
    )
    best = solve(given, gap=0.0).objective
    for gap in (0.3, 0.1, 0.01):
        plan = solve(given, gap=gap)
        assert plan.gap is not None
        assert plan.objective * (1 - plan.gap) <= best + 1e-6
        assert plan.gap <= gap
