"""What stored energy is worth: more where it will be needed, and never less than nothing."""

import dataclasses
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.planning.schedule.policy import Policy, follow, followed_plan, reserve_kwh
from agent.planning.schedule.pricing import price_plan
from agent.planning.schedule.problem import Problem
from agent.planning.schedule.value import LEVELS, cost_to_go, levels_kwh
from tests.support.guards import DAY, battery, problem, two_peaks

NIGHT_AND_DAY = np.where(np.arange(DAY) < 32, 0.1, 0.3)
NONE = np.zeros((0, DAY))


def policy_of(given: Problem, ways_kw: np.ndarray) -> Policy:
    return Policy(given, cost_to_go(given, ways_kw))


def spiked(load_kw: np.ndarray, share: float, step: int = 60) -> np.ndarray:
    """Ten ways, of which a share has an hour of 350 kW."""
    ways = np.tile(load_kw, (10, 1))
    ways[: round(10 * share), step : step + 4] = 350.0
    return ways


@pytest.mark.parametrize("seed", range(6))
def test_more_that_is_stored_never_costs_more(seed: int) -> None:
    random = np.random.default_rng(seed)
    steps, step_s = [(DAY, 900), (24, 3600), (48, 1800), (288, 300), (10, 900), (96, 900)][seed]
    load = random.uniform(50, 300, (4, steps))
    price = random.uniform(0.05, 0.4, steps)
    one = problem(load[0], price=price, peak_kw=250.0, wear_per_kwh=0.02, efficiency_charge=0.9, initial_soc=0.3)
    one = dataclasses.replace(one, step_s=step_s, demand=(dataclasses.replace(one.demand[0], interval_s=3600),))
    to_go = cost_to_go(one, load)
    assert to_go.shape == (steps + 1, LEVELS)
    assert (np.diff(to_go) <= 1e-9).all()


def test_a_kwh_is_worth_what_it_saves_where_it_is_used() -> None:
    load = np.full(DAY, 150.0)
    one = problem(load, per_kw=0.0, price=NIGHT_AND_DAY, efficiency_discharge=0.9)
    slope = -np.diff(cost_to_go(one, load[None])[32]) / np.diff(levels_kwh(one.battery))
    assert slope[:24] == pytest.approx(0.27, rel=0.02)


def test_what_lies_above_the_limit_is_worth_its_demand() -> None:
    load = two_peaks()
    one = problem(load, per_kw=40.0, peak_kw=280.0)
    slope = -np.diff(cost_to_go(one, load[None])[40]) / np.diff(levels_kwh(one.battery))
    assert slope[0] > 100.0  # 40 a kW for a quarter
    assert slope[-1] < 1.0  # four quarters of 40 kW are 40 kWh


def test_the_more_likely_a_peak_is_the_more_is_kept_for_it() -> None:
    load = np.full(DAY, 150.0)
    one = problem(load, per_kw=2.0, peak_kw=300.0, price=np.where(np.arange(DAY) < 50, 1.0, 0.1), charge_kw=5.0)
    kept = [reserve_kwh(policy_of(one, spiked(load, share)), 40) for share in (0.0, 0.2, 1.0)]
    assert kept[0] == 0.0
    assert kept[0] + 10 < kept[1] <= kept[2]
    assert kept[2] == pytest.approx(50.0, abs=30.0)


def test_with_flat_prices_and_no_demand_charge_the_battery_rests() -> None:
    load = two_peaks()
    one = problem(load, per_kw=0.0, price=0.2, efficiency_charge=0.95, efficiency_discharge=0.95, initial_soc=0.5)
    plan = followed_plan(policy_of(one, spiked(load, 0.5)), NONE)
    assert not plan.charge_kw.any()
    assert not plan.discharge_kw.any()
    lossless = problem(load, per_kw=0.0, price=0.2, initial_soc=0.5)
    assert not followed_plan(policy_of(lossless, load[None]), NONE).discharge_kw.any()


def test_who_knows_the_day_comes_near_the_cheapest_plan() -> None:
    from agent.planning.schedule.optimum import solve

    load = two_peaks()
    price = NIGHT_AND_DAY + np.where((np.arange(DAY) >= 68) & (np.arange(DAY) < 80), 0.2, 0.0)
    one = problem(load, per_kw=1.0, peak_kw=260.0, price=price, initial_soc=0.0, efficiency_discharge=0.9)
    best = solve(one)
    plan = followed_plan(policy_of(one, load[None]), NONE)
    used = best.objective - np.array([price @ load * 0.25 + 60.0])  # against doing nothing
    assert plan.notes == ()
    assert plan.objective - best.objective <= 0.05 * -used[0]


def test_the_end_has_its_final_charge_where_it_can_be_had() -> None:
    load = np.full(DAY, 150.0)
    one = problem(load, per_kw=0.0, price=NIGHT_AND_DAY, initial_soc=0.0, final_soc=0.5)
    plan = followed_plan(policy_of(one, load[None]), NONE)
    assert plan.stored_kwh[-1] == pytest.approx(100.0, abs=1e-3)
    assert plan.notes == ()


def test_where_energy_is_free_the_final_charge_is_kept_too() -> None:
    free = problem(two_peaks(), price=0.0, per_kw=40.0, peak_kw=280.0, initial_soc=0.5, final_soc=0.9)
    plan = followed_plan(policy_of(free, two_peaks()[None]), NONE)
    assert plan.stored_kwh[-1] >= 0.9 * 200.0 - 1e-6
    assert price_plan(free, plan).peaks_kw[0] == pytest.approx(280.0)


def test_a_site_limit_is_kept_whatever_energy_costs() -> None:
    load = np.full(8, 150.0)
    load[6:] = 230.0
    one = problem(load, per_kw=0.0, price=np.linspace(1.0, 0.1, 8), initial_soc=0.05)
    one = dataclasses.replace(one, site_limit_kw=np.full(8, 200.0))
    plan = followed_plan(policy_of(one, load[None]), np.zeros((0, 8)))
    assert price_plan(one, plan).violations == ()
    assert plan.grid_kw.max() == pytest.approx(200.0, abs=0.01)


def test_room_is_left_for_pv_that_may_not_be_exported() -> None:
    load = np.full(DAY, 10.0)
    pv = np.where((np.arange(DAY) >= 40) & (np.arange(DAY) < 56), 50.0, 0.0)
    one = problem(load, per_kw=0.0, price=0.2, initial_soc=0.6)
    one = dataclasses.replace(one, pv_kw=pv)
    plan = followed_plan(policy_of(one, (load - pv)[None]), NONE)
    assert price_plan(one, plan).violations == ()
    held = dataclasses.replace(one, curtailable=True)
    plan = followed_plan(policy_of(held, (load - pv)[None]), NONE)
    assert price_plan(held, plan).violations == ()


def test_energy_is_sold_only_where_selling_is_allowed_and_pays() -> None:
    load = np.full(DAY, 50.0)
    one = problem(load, per_kw=0.0, price=NIGHT_AND_DAY)
    dear = dataclasses.replace(one, export_per_kwh=np.where(np.arange(DAY) == 60, 0.9, 0.0))
    assert followed_plan(policy_of(dear, load[None]), NONE).grid_kw.min() >= -1e-9
    sold = dataclasses.replace(dear, export_limit_kw=np.full(DAY, np.inf))
    plan = followed_plan(policy_of(sold, load[None]), NONE)
    assert np.flatnonzero(plan.grid_kw < -1e-6).tolist() == [60]


@given(
    st.floats(-50, 600),
    st.floats(0, 200),
    st.floats(0.5, 1.0),
    st.integers(0, DAY - 1),
    st.floats(1 / 60, 0.25),
    st.floats(0, 60),
)
def test_power_and_energy_of_the_battery_are_never_exceeded(
    load: float, stored: float, efficiency: float, step: int, left_h: float, export: float
) -> None:
    pack = battery(efficiency_charge=efficiency, efficiency_discharge=efficiency, min_soc=0.1, final_soc=0.1)
    held = dataclasses.replace(_POLICY, problem=dataclasses.replace(_POLICY.problem, battery=pack))
    power = follow(held, step, load, stored, left_h, export)
    after = stored - (power / efficiency if power > 0 else power * efficiency) * left_h
    assert -100.0 <= power <= 100.0
    assert after <= 200.0 + 1e-6
    assert power <= 0 or after >= 20.0 - 1e-6
    assert load - power >= min(load, 0.0, -export) - 1e-6 or power <= 0


_POLICY = policy_of(problem(two_peaks(), price=NIGHT_AND_DAY, peak_kw=280.0), two_peaks()[None])


def test_load_above_the_limit_is_shaved_and_charging_does_not_raise_it() -> None:
    step = 31  # the last of the night, where it would charge
    assert follow(_POLICY, step, 340.0, 100.0, 0.25) == pytest.approx(60.0)
    assert follow(_POLICY, step, 250.0, 100.0, 0.25) == pytest.approx(-30.0)


def test_what_was_planned_to_shave_is_kept_when_the_load_stays_lower() -> None:
    dear = policy_of(problem(two_peaks(), per_kw=40.0, peak_kw=280.0, wear_per_kwh=0.5), two_peaks()[None])
    assert follow(dear, 40, 320.0, 100.0, 0.25) == pytest.approx(40.0)
    assert follow(dear, 40, 290.0, 100.0, 0.25) == pytest.approx(10.0)
    assert follow(dear, 40, 220.0, 100.0, 0.25) == 0.0


def test_a_battery_that_stands_still_has_one_level_and_rests() -> None:
    one = problem(
        np.full(8, 100.0), price=np.linspace(0.1, 0.8, 8), min_soc=0.5, max_soc=0.5, initial_soc=0.5, final_soc=None
    )
    plan = followed_plan(policy_of(one, np.full((2, 8), 100.0)), np.zeros((0, 8)))
    assert not (plan.charge_kw + plan.discharge_kw).any()


@pytest.mark.parametrize("pv_kw", [0.0, 30.0])
def test_a_battery_is_not_emptied_into_a_closed_export_where_pv_may_be_held_back(pv_kw: float) -> None:
    load = np.full(DAY, 5.0)
    paid = np.where(np.arange(DAY) % 8 < 4, 0.01, -0.2)
    one = dataclasses.replace(problem(load, per_kw=0.0, price=paid), curtailable=True, pv_kw=pv_kw)
    plan = followed_plan(policy_of(one, (load - pv_kw)[None]), np.zeros((0, DAY)))
    assert plan.grid_kw.min() >= -1e-6
    assert not price_plan(one, plan).violations
    assert plan.curtail_kw.max() <= pv_kw


def test_a_battery_of_a_week_takes_no_more_room_than_one_of_hours() -> None:
    slow = problem(np.full(DAY, 150.0), price=NIGHT_AND_DAY, capacity_kwh=1000.0, charge_kw=0.5, discharge_kw=0.5)
    tracemalloc.start()
    cost_to_go(slow, np.full((56, DAY), 150.0))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20e6


def test_nothing_is_done_in_the_last_moment_of_a_step() -> None:
    assert follow(_POLICY, 40, 320.0, 100.0, 0.0) == 0.0
