"""The evaluator: bills by hand, and every rule that a plan can break."""

import dataclasses

import numpy as np
import pytest

from agent.planning.schedule.parts import Battery, Deferrable, Sequence, Stage
from agent.planning.schedule.pricing import price_plan
from agent.planning.schedule.problem import plan_of
from tests.support.schedules import broken, demand, problem

MILL = Deferrable(name="mill", power_kw=20, steps=3, earliest=1, latest=6)
PUMP = Deferrable(name="pump", power_kw=20, steps=4, breakable=True, min_on=2, min_off=2)
BATCH = Sequence(name="batch", stages=(Stage(profile_kw=(5, 6)), Stage(profile_kw=(7,), min_gap=1, max_gap=2)))


def test_a_bill_worked_by_hand() -> None:
    given = problem(
        [100.0, 100.0, 20.0, 100.0],
        import_per_kwh=[0.10, 0.20, 0.20, 0.30],
        export_per_kwh=0.05,
        pv_kw=[0.0, 0.0, 60.0, 0.0],
        carbon_kg_per_kwh=0.4,
        carbon_price_per_kg=0.1,
        battery=Battery(capacity_kwh=20, charge_kw=20, discharge_kw=20, wear_per_kwh=0.02),
        demand=(demand(4, per_kw=12, peak_so_far_kw=110), demand(4, per_kw=3, interval_s=1800, free_kw=50)),
    )
    plan = plan_of(given, np.zeros((0, 4)), charge_kw=[20.0, 0, 0, 0], discharge_kw=[0, 0, 0, 20.0], source="hand")
    priced = price_plan(given, plan)
    # Grid: 120, 100, -40, 80 kW for a quarter-hour each.
    assert priced.import_cost == pytest.approx(30 * 0.10 + 25 * 0.20 + 20 * 0.30)
    assert priced.export_income == pytest.approx(10 * 0.05)
    assert priced.peaks_kw == pytest.approx((120, 110))
    assert priced.demand == pytest.approx((12 * 10, 3 * 60))
    assert priced.wear == pytest.approx(5 * 0.02)
    assert priced.carbon_kg == pytest.approx(75 * 0.4)
    assert priced.total == pytest.approx(3 + 5 + 6 - 0.5 + 120 + 180 + 0.1 + 3.0)
    assert priced.violations == ("the battery ends 0.513 kWh short",)


def test_export_of_one_step_is_not_netted_with_import_of_another() -> None:
    given = problem([0.0, 40.0], pv_kw=[40.0, 0.0], export_per_kwh=0.05)
    assert price_plan(given, plan_of(given, np.zeros((0, 2)), source="hand")).total == pytest.approx(
        10 * 0.20 - 10 * 0.05
    )


def test_steps_outside_the_window_of_a_demand_charge_do_not_count() -> None:
    charge = demand(3, per_kw=10, counts=np.array([False, True, True]), free_kw=10)
    given = problem([500.0, 50.0, 60.0], demand=(charge,))
    assert price_plan(given, plan_of(given, np.zeros((0, 3)), source="hand")).demand == (500,)


def _with(load, powers) -> tuple[str, ...]:
    given = problem(np.zeros(8), loads=(load,))
    return broken(given, plan_of(given, np.array([powers], dtype=float), source="hand"))


@pytest.mark.parametrize(
    ("load", "powers", "word"),
    [
        (MILL, [0, 20, 20, 20, 0, 0, 0, 0], None),
        (MILL, [0, 20, 20, 0, 0, 0, 0, 0], "2 steps instead of 3"),
        (MILL, [0, 20, 0, 20, 20, 0, 0, 0], "2 runs"),
        (MILL, [0, 20, 20, 15, 0, 0, 0, 0], "part of its power"),
        (MILL, [0, 0, 0, 0, 0, 20, 20, 20], "outside its window from 01:30 to 02:00"),
        (PUMP, [20, 20, 0, 0, 20, 20, 0, 0], None),
        (PUMP, [20, 20, 20, 0, 0, 20, 0, 0], "only 1 steps without a pause"),
        (PUMP, [20, 20, 0, 20, 20, 0, 0, 0], "pauses only 1"),
        (BATCH, [0, 5, 6, 0, 0, 7, 0, 0], None),
        (BATCH, [5, 6, 7, 0, 0, 0, 0, 0], "in order"),
        (BATCH, [5, 6, 0, 0, 0, 7, 0, 0], "in order"),
        (BATCH, [7, 0, 5, 6, 0, 0, 0, 0], "in order"),
        (BATCH, [5, 6, 0, 7, 5, 6, 0, 7], "in order"),
    ],
)
def test_a_load_that_does_not_run_as_it_must_is_named(load, powers, word) -> None:
    found = _with(load, powers)
    assert (not found) if word is None else (len(found) == 1 and word in found[0])


def test_what_runs_already_must_go_on() -> None:
    given = problem(np.zeros(4), loads=(Deferrable(name="mill", power_kw=20, steps=2, on_before=1),))
    late = plan_of(given, np.array([[0, 20.0, 20, 0]]), source="hand")
    assert broken(given, late) == ("load 'mill' is stopped although it must go on",)


def test_a_battery_beyond_its_limits_is_told_with_local_times() -> None:
    battery = Battery(capacity_kwh=10, charge_kw=20, discharge_kw=20, initial_soc=0.9)
    given = problem(np.zeros(4), battery=battery, zone="Europe/Berlin", site_limit_kw=15, export_limit_kw=5)
    plan = plan_of(given, np.zeros((0, 4)), charge_kw=[20, 30, 0, 5.0], discharge_kw=[0, 0, 20, 5.0], source="hand")
    assert broken(given, plan) == (
        "the site limit is passed by 15 kW from 01:00 to 01:30",
        "the export limit is passed by 15 kW from 01:30 to 01:45",
        "the battery charges beyond 0 to 20 kW from 01:15 to 01:30",
        "the battery charges and discharges at once from 01:45 to 02:00",
        "the battery leaves 0 to 10 kWh from 01:00 to 02:00",
    )


def test_demand_is_charged_with_the_margin_or_without() -> None:
    given = problem(
        [100.0], margin_kw=20, demand=(demand(1),), battery=Battery(capacity_kwh=9, charge_kw=3, discharge_kw=3)
    )
    idle = plan_of(given, np.zeros((0, 1)), source="hand")
    assert price_plan(given, idle).peaks_kw == (120,)
    bare = dataclasses.replace(given, margin_on_demand=False)
    assert price_plan(bare, idle).peaks_kw == (100,)
