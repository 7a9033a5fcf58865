"""When not all wishes can be met: what is short, by how much and from when, and a plan that is safe."""

import dataclasses

import numpy as np
import pytest

from agent.planning.schedule.optimum import solve
from agent.planning.schedule.parts import Battery, Deferrable, Sequence, Stage
from agent.planning.schedule.pricing import price_plan
from tests.support.schedules import broken, problem

MILL = Deferrable(name="mill", power_kw=30, steps=2, earliest=1, latest=3)


def test_tells_how_many_kw_are_short_and_from_when_and_runs_the_load_late() -> None:
    given = problem([20.0, 82.0, 82.0, 20.0, 20.0, 20.0], loads=(MILL,), site_limit_kw=100, zone="Europe/Berlin")
    plan = solve(given)
    assert plan.notes == (
        "to run all as asked, the site limit of 100 kW is short by 12 kW from 01:15 to 01:45",
        "load 'mill' ends at 02:15, 30 min late",
    )
    assert (plan.grid_kw <= 100).all()
    assert plan.loads_kw[0].tolist() == [0, 0, 0, 30, 30, 0]


def test_leaves_a_load_out_that_never_fits_and_runs_a_breakable_one_as_far_as_it_can() -> None:
    pump = Deferrable(name="pump", power_kw=15, steps=3, breakable=True)
    given = problem([82.0, 90.0, 82.0, 82.0], loads=(MILL, pump), site_limit_kw=100)
    given = dataclasses.replace(given, load_kw=np.array([82.0, 90.0, 90.0, 82.0]))
    plan = solve(given)
    assert "load 'mill' is left out" in plan.notes
    assert "load 'pump' runs 30 min instead of 45 min" in plan.notes
    assert (plan.grid_kw <= 100).all()
    assert plan.loads_kw[1].tolist() == [15, 0, 0, 15]


def test_a_limit_that_the_load_alone_breaks_is_told_so() -> None:
    plan = solve(problem([50.0, 112.0, 50.0], site_limit_kw=100))
    assert plan.notes == ("whatever is moved, the site limit of 100 kW is short by 12 kW from 00:15 to 00:30",)


def test_a_battery_that_cannot_fill_up_ends_as_full_as_it_can() -> None:
    battery = Battery(capacity_kwh=10, charge_kw=4, discharge_kw=4, efficiency_charge=1, initial_soc=0.2, final_soc=0.9)
    given = problem([10.0] * 4, battery=battery)
    plan = solve(given)
    assert plan.notes == ("the battery ends at 60% instead of 90%",)
    assert plan.stored_kwh[-1] == pytest.approx(6, abs=1e-3)


def test_pv_that_has_no_way_out_is_told_and_may_be_held_back() -> None:
    given = problem([5.0] * 3, pv_kw=[0.0, 25.0, 0.0], export_limit_kw=10)
    assert solve(given).notes == ("whatever is moved, the export limit of 10 kW is short by 10 kW from 00:15 to 00:30",)
    assert not solve(dataclasses.replace(given, curtailable=True)).notes


def test_what_has_begun_goes_on_even_if_the_limit_is_short() -> None:
    batch = Sequence(name="batch", stages=(Stage(profile_kw=(30.0, 30.0)),), running=True)
    given = problem([80.0, 80.0, 20.0], loads=(batch,), site_limit_kw=100)
    plan = solve(given)
    assert any("short by 10 kW" in note for note in plan.notes)
    assert plan.loads_kw[0].tolist() in ([30, 30, 0], [0, 0, 0])


def test_the_notes_say_all_that_the_plan_breaks() -> None:
    loads = (MILL, Deferrable(name="saw", power_kw=60, steps=2))
    given = problem([90.0, 60.0, 60.0, 90.0], loads=loads, site_limit_kw=100)
    plan = solve(given)
    assert len(broken(given, plan)) == len([note for note in plan.notes if "to run all" not in note])
    assert plan.objective == pytest.approx(price_plan(given, plan).total)


def test_a_load_whose_window_is_as_long_as_its_run_is_late_rather_than_left_out() -> None:
    mill = dataclasses.replace(MILL, earliest=0, latest=2)
    given = problem([82.0, 82.0, 20.0, 20.0], loads=(mill,), site_limit_kw=100)
    plan = solve(given)
    assert "load 'mill' ends at 01:00, 30 min late" in plan.notes
    assert plan.loads_kw[0].tolist() == [0, 0, 30, 30]


def test_a_stage_that_cannot_begin_before_its_longest_pause_is_over_begins_later() -> None:
    rest = Sequence(name="batch", stages=(Stage(profile_kw=(30.0,)),), start_by=1)
    given = problem([82.0, 82.0, 20.0, 20.0], loads=(rest,), site_limit_kw=100)
    plan = solve(given)
    assert (plan.source, plan.loads_kw[0].tolist()) == ("highs", [0, 0, 30, 0])
    assert "load 'batch' goes on at 00:30, 15 min after its longest pause" in plan.notes


def test_a_battery_below_its_least_charge_that_cannot_be_charged_says_so() -> None:
    battery = Battery(capacity_kwh=100, charge_kw=4, discharge_kw=4, min_soc=0.1, initial_soc=0.02, final_soc=0.5)
    plan = solve(problem([10.0] * 4, battery=battery))
    assert (plan.source, plan.notes) == ("highs", ("the battery ends at 6% instead of 50%",))


def test_how_far_a_limit_is_short_is_the_least_that_would_do() -> None:
    battery = Battery(capacity_kwh=10, charge_kw=50, discharge_kw=50, efficiency_charge=1, initial_soc=0, final_soc=1)
    plan = solve(problem([100.0] * 4, battery=battery, site_limit_kw=100))
    assert plan.notes[0] == "to run all as asked, the site limit of 100 kW is short by 10 kW from 00:00 to 01:00"
