"""Which peak a month aims at: bought from trading, chosen once a day, told when it changes."""

import dataclasses

import numpy as np
import pytest

from agent.planning.schedule.aims import aimed, aims_told, choose_aims, guarded_plan, is_due, judged
from agent.planning.schedule.optimum import solve
from agent.planning.schedule.parts import Deferrable, DemandCharge
from agent.planning.schedule.pricing import price_plan
from agent.planning.schedule.problem import Plan, Problem
from agent.planning.schedule.prospect import Aims
from agent.planning.schedule.rules import rule_plan
from tests.support.guards import DAY, problem, two_peaks
from tests.support.guards import prospect as ahead


def test_a_short_peak_is_held_by_the_battery_s_power_and_a_long_one_by_its_energy() -> None:
    short, long = np.full(DAY, 100.0), np.full(DAY, 100.0)
    short[40] = 400.0
    long[40:56] = 400.0  # four hours of which 200 kWh hold 50 kW
    found = [choose_aims(problem(load, per_kw=40.0), ahead(load)).peaks_kw["demand"] for load in (short, long)]
    assert found == pytest.approx([300.0, 350.0], abs=13)


def test_dear_demand_is_held_low_and_dear_trading_is_let_go() -> None:
    load = two_peaks()
    price = np.where(np.arange(DAY) < 32, 0.05, 0.1)
    held = choose_aims(problem(load, per_kw=100.0, price=price), ahead(load)).peaks_kw["demand"]
    price = np.where(np.arange(DAY) < 40, 0.05, np.where(np.arange(DAY) < 48, 3.0, 1.0))
    traded = choose_aims(problem(load, per_kw=0.5, price=price), ahead(load)).peaks_kw["demand"]
    assert held < traded - 10


def test_aims_are_chosen_once_a_day_and_stand_in_between() -> None:
    load = two_peaks()
    first = guarded_plan(problem(load, month="2026-01"), ahead(load, day="2026-01-05", month="2026-01"), solve)
    assert (first.aims.day, first.aims.month) == ("2026-01-05", "2026-01")
    higher, more = problem(load * 1.2, month="2026-01"), {"month": "2026-01", "aims": first.aims}
    assert guarded_plan(higher, ahead(load * 1.2, day="2026-01-05", **more), solve).aims == first.aims
    next_day = guarded_plan(higher, ahead(load * 1.2, day="2026-01-06", **more), solve)
    assert next_day.aims.peaks_kw["demand"] > first.aims.peaks_kw["demand"] + 10


def test_aims_are_due_for_a_charge_that_comes_into_view_and_had_none_this_month() -> None:
    given = problem(two_peaks(), month="2026-01")
    aims = Aims(peaks_kw={"demand": 300.0}, day="2026-01-05", month="2026-01")
    now = ahead(two_peaks(), day="2026-01-05", month="2026-01", aims=aims)
    new = dataclasses.replace(given.demand[0], name="weekday")
    assert not is_due(given, now)
    assert is_due(dataclasses.replace(given, demand=(*given.demand, new)), now)
    coming = dataclasses.replace(new, month="2026-02")
    assert not is_due(dataclasses.replace(given, demand=(*given.demand, coming)), now)
    unseen = dataclasses.replace(new, counts=np.zeros(DAY, dtype=bool))  # on a weekend, in another season
    assert not is_due(dataclasses.replace(given, demand=(*given.demand, unseen)), now)


def test_the_plan_is_what_the_battery_does_where_the_load_comes_as_forecast() -> None:
    load = two_peaks()
    given = dataclasses.replace(problem(load, per_kw=40.0, initial_soc=0.3), margin_kw=np.full(DAY, 60.0))
    made = guarded_plan(given, ahead(load), solve)
    assert made.plan.source == "policy"
    assert made.plan.notes == ()
    priced = price_plan(made.policy.problem, made.plan)
    assert priced.peaks_kw[0] == pytest.approx(made.aims.peaks_kw["demand"], abs=0.1)  # demand without the margin
    assert priced.total == pytest.approx(made.plan.objective)


def test_loads_are_placed_first_and_the_battery_knows_of_them() -> None:
    load = np.full(DAY, 150.0)
    price = np.where(np.arange(DAY) < 48, 0.3, 0.1)
    mill = Deferrable(name="mill", power_kw=80.0, steps=8)
    given = dataclasses.replace(problem(load, peak_kw=200.0, price=price, initial_soc=0.5), loads=(mill,))
    aims = Aims(peaks_kw={"demand": 200.0}, day="d")
    made = guarded_plan(given, ahead(load, day="d", aims=aims), solve)
    assert made.plan.loads_kw[0, 48:].sum() == 8 * 80.0
    assert made.plan.grid_kw.max() == pytest.approx(200.0, abs=0.1)
    by_rules = guarded_plan(given, ahead(load, day="d", aims=aims), lambda one: rule_plan(one, "no solver"))
    assert by_rules.plan.notes == ("no solver",)
    assert by_rules.plan.grid_kw.max() == pytest.approx(200.0, abs=0.1)


def test_of_the_plan_that_placed_the_loads_only_what_it_says_of_them_is_passed_on() -> None:
    load = np.full(DAY, 150.0)
    mill = Deferrable(name="mill", power_kw=80.0, steps=8)
    given = dataclasses.replace(problem(load, peak_kw=300.0, initial_soc=0.5), loads=(mill,))
    late = "load 'mill' ends at 10:00, 15 min late"

    def noted(one: Problem) -> Plan:
        given_up = ("whatever is moved, the site limit of 9 kW is short by 5 kW from 00:00 to 00:15", late)
        return dataclasses.replace(solve(one), notes=(*given_up, "the battery ends at 20% instead of 50%"))

    aims = Aims(peaks_kw={"demand": 300.0}, day="d")
    assert guarded_plan(given, ahead(load, day="d", aims=aims), noted).plan.notes == (late,)


def test_a_charge_that_is_not_in_view_keeps_what_was_aimed_at_this_month() -> None:
    load = two_peaks()
    before = Aims(peaks_kw={"weekday": 300.0, "demand": 1.0}, day="2026-01-04", month="2026-01")
    kept = choose_aims(problem(load), ahead(load, day="2026-01-05", month="2026-01", aims=before))
    assert kept.peaks_kw["weekday"] == 300.0
    assert kept.peaks_kw["demand"] > 100.0
    gone = choose_aims(problem(load), ahead(load, day="2026-02-01", month="2026-02", aims=before))
    assert set(gone.peaks_kw) == {"demand"}


def test_a_window_of_which_a_part_is_in_view_is_judged_when_the_whole_is() -> None:
    load, window = np.full(DAY, 100.0), np.zeros(DAY, dtype=bool)
    load[:16], load[92:] = 300.0, 150.0  # the plan begins in the window's second hour, on a day that does not count
    window[:16] = window[92:] = True
    given = problem(load, per_kw=40.0, counts=window & (np.arange(DAY) >= 92), month="2026-01")
    now = ahead(load, day="2026-01-18", month="2026-01", windows={"demand": window})
    aims = choose_aims(given, now)
    assert aims.peaks_kw["demand"] == 300.0
    assert not is_due(given, dataclasses.replace(now, aims=aims))
    before = Aims(peaks_kw={"demand": 240.0}, day="2026-01-17", month="2026-01")
    assert choose_aims(given, dataclasses.replace(now, aims=before)).peaks_kw["demand"] == 240.0
    whole = choose_aims(problem(load, per_kw=40.0, counts=window), now).peaks_kw["demand"]
    assert 240.0 <= whole < 275.0


def test_aims_are_judged_by_the_mean_that_is_billed() -> None:
    load = two_peaks()
    one = choose_aims(problem(load, per_kw=40.0), ahead(load))
    restless = np.repeat(load, 3) + np.tile([60.0, -60.0, 0.0], DAY)
    given = problem(restless, per_kw=40.0)
    fine = choose_aims(dataclasses.replace(given, step_s=300), ahead(restless))
    assert fine.peaks_kw["demand"] == pytest.approx(one.peaks_kw["demand"])


def test_a_long_horizon_is_judged_in_fewer_steps_and_its_loads_stay_in_it() -> None:
    load = np.full(2880, 100.0)
    given = dataclasses.replace(problem(load), step_s=300, loads=(Deferrable(name="mill", power_kw=60.0, steps=6),))
    coarse, seen = judged(given, ahead(load, windows={"demand": np.ones(2880, dtype=bool)}))
    assert (coarse.steps, coarse.step_s, coarse.loads) == (480, 1800, ())
    assert coarse.load_kw[:2].tolist() == [160.0, 100.0]
    assert seen.days_kw.shape == (7, 480)
    assert seen.windows["demand"].shape == (480,)


def test_a_month_that_has_not_begun_is_held_at_the_aim_and_not_at_this_month_s_peak() -> None:
    this = problem(np.full(2, 100.0), peak_kw=500.0, month="2026-01")
    coming = dataclasses.replace(this.demand[0], month="2026-02")
    given = aimed(
        dataclasses.replace(this, demand=(*this.demand, coming)), Aims(peaks_kw={"demand": 400.0}, month="2026-01")
    )
    assert [charge.floor_kw for charge in given.demand] == [500.0, 400.0]


def test_a_peak_of_two_months_in_view_is_the_highest_of_both() -> None:
    load = np.full(DAY, 100.0)
    load[10], load[80] = 400.0, 300.0
    before = np.arange(DAY) < 48
    charges = [
        DemandCharge(name="demand", per_kw=40.0, interval_s=900, counts=counts, month=month)
        for counts, month in ((before, "2026-01"), (~before, "2026-02"))
    ]
    given = dataclasses.replace(problem(load), demand=tuple(charges))
    assert choose_aims(given, ahead(load)).peaks_kw["demand"] == pytest.approx(300.0, abs=13)


def test_wear_counts_in_what_trading_earns() -> None:
    load = two_peaks()
    price = np.where(np.arange(DAY) < 40, 0.05, np.where(np.arange(DAY) < 48, 3.0, 1.0))
    free = choose_aims(problem(load, per_kw=0.5, price=price), ahead(load))
    worn = choose_aims(problem(load, per_kw=0.5, price=price, wear_per_kwh=5.0), ahead(load))
    assert worn.peaks_kw["demand"] != free.peaks_kw["demand"]


def test_a_longer_horizon_is_no_reason_to_trade_more() -> None:
    load = two_peaks()
    price = np.where(np.arange(DAY) < 32, 0.05, 0.1)
    one = choose_aims(problem(load, per_kw=2.0, price=price), ahead(load))
    double = np.tile(load, 2)
    two = choose_aims(problem(double, per_kw=2.0, price=np.tile(price, 2)), ahead(double))
    assert two.peaks_kw["demand"] == pytest.approx(one.peaks_kw["demand"], abs=1)


def test_an_aim_is_told_when_it_changes_and_not_again() -> None:
    given = problem(np.full(2, 100.0), peak_kw=380.0, month="2026-01")
    aims = Aims(peaks_kw={"demand": 412.0}, month="2026-01")
    text = "aims to keep the peak of 'demand' at 412 kW this month, of which 380 kW are paid for already"
    assert list(aims_told(given, None, aims)) == [text]
    assert list(aims_told(given, aims, dataclasses.replace(aims, peaks_kw={"demand": 413.0}))) == []
    assert list(aims_told(given, dataclasses.replace(aims, month="2025-12"), aims)) == [text]
    low = dataclasses.replace(aims, peaks_kw={"demand": 300.0})
    held = ["aims to keep the peak of 'demand' at 380 kW this month, which is paid for in any case"]
    assert list(aims_told(given, aims, low)) == held
    assert list(aims_told(given, low, dataclasses.replace(aims, peaks_kw={"demand": 280.0}))) == []
