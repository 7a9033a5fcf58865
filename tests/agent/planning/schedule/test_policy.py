"""What a battery does as the load comes: within limits, within the running interval, and until the end."""

import dataclasses

import numpy as np
import pytest

from agent.planning.schedule.policy import Policy, follow, followed_plan, limit_kw, reserve_kwh, rest_kw
from agent.planning.schedule.pricing import price_plan
from agent.planning.schedule.problem import Problem
from agent.planning.schedule.value import cost_to_go, levels_kwh
from tests.support.guards import DAY, battery, problem
from tests.support.schedules import START_MS

NIGHT_AND_DAY = np.where(np.arange(DAY) < 32, 0.1, 0.3)


def policy_of(given: Problem) -> Policy:
    return Policy(given, cost_to_go(given, (given.load_kw - given.pv_kw)[None]))


def planned(given: Problem):
    return followed_plan(policy_of(given), np.zeros((0, given.steps)))


def by_the_hour(load_kw: list[float], **changed) -> Problem:
    """Demand above 75 kW is charged, by the mean of clock hours."""
    given = problem(load_kw, per_kw=40.0, peak_kw=75.0, price=0.2)
    charge = dataclasses.replace(given.demand[0], interval_s=3600, **changed)
    return dataclasses.replace(given, demand=(charge,))


def test_a_plan_keeps_the_site_limit_by_its_margin_and_what_is_measured_keeps_it_whole() -> None:
    load = np.full(8, 150.0)
    load[6:] = 210.0
    given = problem(load, per_kw=0.0, price=0.2, initial_soc=0.3)
    given = dataclasses.replace(given, site_limit_kw=np.full(8, 220.0), margin_kw=np.full(8, 30.0))
    plan = planned(given)
    assert plan.notes == ()
    assert plan.grid_kw[6:] == pytest.approx([190.0, 190.0])
    assert follow(policy_of(given), 6, 210.0, 60.0, 0.25) == 0.0
    assert follow(policy_of(given), 6, 245.0, 60.0, 0.25) == pytest.approx(25.0)


@pytest.mark.parametrize(("way_kw", "margin_kw", "needed"), [(200.0, 30.0, 0), (240.0, 30.0, 1), (200.0, 90.0, 1)])
def test_the_margin_is_kept_once_and_not_above_what_the_ways_hold(way_kw: float, margin_kw: float, needed: int) -> None:
    """Of two ways the one comes to `way_kw` in the last hour, where 220 kW may be drawn and 150 kW are expected."""
    load = np.full(8, 150.0)
    given = problem(load, per_kw=0.0, price=np.repeat([1.0, 0.1], 4), initial_soc=0.3)
    given = dataclasses.replace(given, site_limit_kw=np.full(8, 220.0), margin_kw=np.repeat([0.0, margin_kw], 4))
    policy = Policy(given, cost_to_go(given, np.array([load, np.repeat([150.0, way_kw], 4)])))
    assert 20.0 * needed <= reserve_kwh(policy, 3) <= 40.0 * needed


def test_what_an_interval_drew_before_the_plan_is_made_up_for_in_its_rest() -> None:
    given = dataclasses.replace(by_the_hour([100.0] * 7, so_far_kwh=25.0), start_ms=900_000)
    plan = planned(given)
    assert price_plan(given, plan).peaks_kw[0] == pytest.approx(75.0)
    assert plan.grid_kw[:3].mean() == pytest.approx(200 / 3)
    assert plan.grid_kw[3:] == pytest.approx([75.0] * 4)


def test_an_interval_that_began_low_leaves_room_for_its_rest() -> None:
    plan = planned(by_the_hour([20.0, 20.0, 100.0, 130.0, 70.0]))
    assert not plan.discharge_kw.any()
    assert plan.notes == ()


def test_what_is_drawn_outside_a_charge_s_window_is_not_counted_in_it() -> None:
    given = by_the_hour([200.0, 200.0, 100.0, 100.0], counts=np.array([False, False, True, True]))
    assert not planned(given).discharge_kw.any()  # half an hour of 100 kW is 50 kW in the hour


def test_the_rest_of_an_interval_that_has_drawn_too_much_is_to_draw_nothing() -> None:
    given = by_the_hour([100.0] * 4)
    found = [rest_kw(given, np.array([drawn]), np.array([0.5])).tolist() for drawn in (25.0, 37.5, 90.0)]
    assert found == [[100.0], [75.0], [0.0]]
    assert [limit_kw(given, 0, np.array([kw])) for kw in (100.0, 40.0)] == [75.0, 40.0]


@pytest.mark.parametrize("final", [0.02, 0.37, 0.513, 0.9, 0.99, 1.0])
def test_the_final_charge_is_met_exactly_wherever_it_lies(final: float) -> None:
    given = problem(np.full(DAY, 150.0), per_kw=0.0, price=NIGHT_AND_DAY, initial_soc=0.2, final_soc=final)
    plan = planned(given)
    assert plan.stored_kwh[-1] == pytest.approx(200 * final, abs=1e-3)
    assert plan.notes == ()


@pytest.mark.parametrize("soc", [0.07, 0.37, 0.611])
def test_a_battery_at_its_final_charge_rests_under_flat_prices(soc: float) -> None:
    given = problem(np.full(DAY, 150.0), per_kw=0.0, price=0.2, initial_soc=soc, final_soc=None, efficiency_charge=0.9)
    plan = planned(given)
    assert not (plan.charge_kw + plan.discharge_kw).any()


@pytest.mark.parametrize("final", [0.0, 0.1, 0.02, 0.3333, 0.5, 0.77, 1.0])
@pytest.mark.parametrize("initial", [0.05, 0.6])
def test_levels_are_even_hold_the_final_charge_and_leave_out_less_than_one(final: float, initial: float) -> None:
    pack = battery(initial_soc=initial, final_soc=final)
    levels = levels_kwh(pack)
    size = levels[1] - levels[0]
    assert 33 <= len(levels) <= 65
    assert np.diff(levels) == pytest.approx(size)
    assert np.abs(levels - 200 * final).min() < 1e-6
    assert levels[0] == 0.0
    assert 200.0 - size < levels[-1] <= 200.0 + 1e-3


@pytest.mark.parametrize("charge_kw", [1.0, 90.0])
def test_stored_energy_is_valued_at_full_power(charge_kw: float) -> None:
    """Whether a quarter-hour takes less than a part of a level, or no whole number of parts."""
    price = np.repeat([0.1, 0.5], 4)
    given = problem(
        np.full(8, 400.0), per_kw=0.0, price=price, initial_soc=0.0, charge_kw=charge_kw, discharge_kw=200.0
    )
    to_go = cost_to_go(given, given.load_kw[None])
    assert to_go[0, 0] == pytest.approx(400 * (0.1 + 0.5) - charge_kw * (0.5 - 0.1), abs=0.02)


def test_where_nothing_is_kept_but_the_least_no_reserve_is_told() -> None:
    given = problem(np.full(DAY, 150.0), per_kw=0.0, price=0.2, min_soc=0.1, final_soc=0.1)
    assert reserve_kwh(policy_of(given), 40) == 0.0


def test_a_policy_that_an_earlier_version_kept_has_its_levels_evenly_apart() -> None:
    given = problem(np.full(2, 150.0), final_soc=0.37)
    assert len(levels_kwh(given.battery)) != 11
    assert Policy(given, np.zeros((3, 11))).levels_kwh.tolist() == np.linspace(0, 200, 11).tolist()


@pytest.mark.parametrize(("step_s", "interval_s"), [(1800, 3600), (600, 1800)])
def test_intervals_that_do_not_begin_with_a_step_are_kept_too(step_s: int, interval_s: int) -> None:
    """By a clock that is 5 h 45 min ahead half-hours lie across its hours."""
    given = by_the_hour([100.0, 60.0, 90.0, 90.0, 95.0, 100.0, 70.0, 90.0], free_kw=0.0)
    charge = dataclasses.replace(given.demand[0], interval_s=interval_s)
    given = dataclasses.replace(given, start_ms=START_MS, step_s=step_s, zone="Asia/Kathmandu", demand=(charge,))
    plan = planned(given)
    assert price_plan(given, plan).peaks_kw[0] == pytest.approx(75.0)
    assert plan.grid_kw.sum() > 0.85 * given.load_kw.sum() - 75.0


def test_no_stored_energy_is_burnt_over_an_export_limit_that_pv_passes_by_itself() -> None:
    given = problem(np.full(16, 50.0), per_kw=0.0, efficiency_charge=0.8)
    given = dataclasses.replace(given, pv_kw=np.repeat([300.0, 0.0], 8))
    assert not planned(given).discharge_kw[:8].any()
    assert follow(policy_of(given), 2, -250.0, 200.0, 0.25) == 0.0
