"""What happens to the battery between two plans: limits are kept, reserves are kept, and no plan is followed blindly."""

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.planning.schedule.aims import aimed
from agent.planning.schedule.follow import follow
from agent.planning.schedule.guard import Guard, guard, limit_kw, needed_kwh
from agent.planning.schedule.optimum import solve
from agent.planning.schedule.problem import plan_of
from agent.planning.schedule.prospect import Aims
from tests.support.guards import QUARTER_H, battery, problem


def watch(*, charge_to=300.0, shave_to=300.0, wanted=0.0, reserve=0.0):
    def one(value):
        return np.array([float(value)])

    return Guard(
        charge_to_kw=one(charge_to), shave_to_kw=one(shave_to), wanted_kwh=one(wanted), reserve_kwh=one(reserve)
    )


def planned(load_kw=200.0, charge=0.0, discharge=0.0):
    return plan_of(problem([load_kw]), np.zeros((0, 1)), charge, discharge, source="highs")


def step(guarded, plan, load_kw, stored_kwh, **changed):
    return follow(guarded, plan, 0, load_kw, stored_kwh, battery(**changed), QUARTER_H)


def test_what_must_be_stored_is_what_lies_above_the_limit_less_what_recharges_before():
    paths = np.array([[100.0, 250.0, 250.0], [190.0, 250.0, 100.0]])
    needed = needed_kwh(paths, np.full(3, 200.0), battery(), QUARTER_H)
    # 50 kW for a quarter are 12.5 kWh; before it there is room for 25 kWh, or for 2.5 kWh.
    assert needed == pytest.approx(np.array([[0.0, 25.0, 12.5, 0.0], [10.0, 12.5, 0.0, 0.0]]))


def test_what_the_battery_cannot_hold_asks_for_no_more_than_its_power():
    needed = needed_kwh(np.array([900.0]), np.array([200.0]), battery(), QUARTER_H)
    assert needed.tolist() == [25.0, 0.0]


def test_losses_ask_for_more_to_be_stored():
    needed = needed_kwh(np.array([250.0]), np.array([200.0]), battery(efficiency_discharge=0.5), QUARTER_H)
    assert needed.tolist() == [25.0, 0.0]


def test_where_no_demand_charge_counts_nothing_is_kept():
    assert needed_kwh(np.array([250.0]), np.array([math.inf]), battery(), QUARTER_H).tolist() == [0.0, 0.0]


def test_the_limit_is_the_lowest_of_the_charges_that_count():
    counts = np.array([True, False])
    given = problem([100.0, 100.0], peak_kw=300.0, counts=counts)
    assert limit_kw(given).tolist() == [300.0, math.inf]
    assert limit_kw(aimed(given, Aims(peaks_kw={"demand": 350.0}))).tolist() == [350.0, math.inf]


def test_load_above_the_limit_is_shaved_although_the_plan_rests():
    assert step(watch(), planned(), 340.0, 100.0) == pytest.approx(40.0)


def test_a_plan_to_charge_does_not_raise_the_peak():
    assert step(watch(), planned(charge=80.0), 250.0, 100.0) == pytest.approx(-50.0)
    assert step(watch(), planned(charge=80.0), 310.0, 100.0) == pytest.approx(10.0)


def test_trading_leaves_the_reserve_and_shaving_takes_it():
    assert step(watch(reserve=95.0), planned(discharge=80.0), 200.0, 100.0) == pytest.approx(20.0)
    assert step(watch(reserve=95.0), planned(discharge=80.0), 360.0, 100.0) == pytest.approx(60.0)


def test_what_was_planned_to_shave_is_kept_when_the_load_stays_lower():
    assert step(watch(), planned(load_kw=360.0, discharge=60.0), 320.0, 100.0) == pytest.approx(20.0)
    assert step(watch(), planned(load_kw=360.0, discharge=60.0), 220.0, 100.0) == 0.0


def test_a_reserve_that_lacks_is_filled_as_far_as_the_limit_allows():
    assert step(watch(wanted=110.0), planned(), 200.0, 100.0) == pytest.approx(-40.0)
    assert step(watch(wanted=110.0), planned(), 280.0, 100.0) == pytest.approx(-20.0)


def test_nothing_is_exported_that_the_plan_does_not_export():
    assert step(watch(), planned(load_kw=200.0, discharge=80.0), 30.0, 100.0) == pytest.approx(30.0)


@given(
    st.floats(-50, 600),
    st.floats(0, 200),
    st.floats(-100, 100),
    st.floats(150, 400),
    st.floats(0, 200),
    st.floats(0.5, 1.0),
)
def test_power_and_energy_of_the_battery_are_never_exceeded(load, stored, power, limit, wanted, efficiency):
    plan = planned(charge=max(-power, 0.0), discharge=max(power, 0.0))
    pack = battery(efficiency_charge=efficiency, efficiency_discharge=efficiency)
    guarded = watch(charge_to=limit, shave_to=limit, wanted=wanted, reserve=wanted)
    done = follow(guarded, plan, 0, load, stored, pack, QUARTER_H)
    after = stored - (done / efficiency if done > 0 else done * efficiency) * QUARTER_H
    assert -100.0 <= done <= 100.0
    assert -1e-6 <= after <= 200.0 + 1e-6
    assert load - done <= max(load, limit) + 1e-6


def test_the_reserve_is_what_the_worst_path_needs_and_no_plan_sells_it():
    load = np.full(8, 150.0)
    paths = np.tile(load, (3, 1))
    paths[1, 6] = 300.0
    price = np.array([0.1] * 4 + [0.9] * 2 + [0.5] * 2)
    given = problem(load, peak_kw=200.0, price=price, capacity_kwh=60.0)
    watched = guard(given, paths, paths[:0])
    assert watched.wanted_kwh[5] == pytest.approx(25.0)
    assert watched.wanted_kwh[6] == 0.0
    kept = dataclasses.replace(given, reserve_kwh=watched.reserve_kwh)
    assert solve(given).stored_kwh[5] < 25.0 - 1e-3
    assert solve(kept).stored_kwh[5] >= 25.0 - 1e-3


def test_insurance_keeps_more():
    load = np.full(8, 190.0)
    given = problem(load, peak_kw=200.0)
    bare, insured = (guard(given, load[None], load[None], insured_kw=kw).wanted_kwh for kw in (0.0, 50.0))
    assert bare.max() == 0.0
    assert insured[0] == pytest.approx(40.0 * QUARTER_H * 7)


def test_the_reserve_asks_for_no_more_than_can_be_there():
    load = np.full(4, 150.0)
    given = problem(load, peak_kw=200.0, initial_soc=0.0)
    paths = np.array([[150.0, 300.0, 300.0, 300.0]])
    watched = guard(given, paths, paths)
    assert watched.wanted_kwh[0] == pytest.approx(75.0)
    assert watched.reserve_kwh[0] == pytest.approx(12.5, rel=1e-4)  # 50 kW of room for a quarter


def test_with_too_little_stored_the_limit_gives_way_before_the_battery_is_empty():
    load = np.full(16, 290.0)
    full, low = (
        guard(problem(load, peak_kw=250.0, initial_soc=soc), load[None], load[None]).shave_to_kw[0]
        for soc in (1.0, 0.3)
    )
    assert full == pytest.approx(250.0)
    assert 260.0 < low < 290.0


def test_neither_charging_nor_shaving_passes_the_site_limit():
    load = np.full(4, 150.0)
    given = dataclasses.replace(problem(load, peak_kw=400.0, initial_soc=0.0), site_limit_kw=200.0)
    watched = guard(given, np.full((2, 4), 450.0), load[None])
    assert watched.charge_to_kw.tolist() == watched.shave_to_kw.tolist() == [200.0] * 4
    assert watched.reserve_kwh[0] == pytest.approx(12.5, rel=1e-4)
