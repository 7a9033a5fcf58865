"""How a forecast, a tariff and wishes become a problem, and how one problem follows another."""

import dataclasses
from decimal import Decimal
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from agent.contract.rows import Forecast, ForecastSource
from agent.contract.slots import Slot
from agent.contract.tariff.tariff import Tariff
from agent.planning.advice import Advised, Wishes, next_task
from agent.planning.pv import PvAhead
from agent.planning.schedule.daily import Daily, DailyStage
from agent.planning.schedule.parts import Battery
from agent.planning.schedule.problem import plan_of
from agent.planning.schedule.rules import do_nothing, rule_plan
from tests.support.schedules import START_MS, TARIFF, TARIFF_TEXT

QUARTER_MS = 900_000
MILL = Daily(name="mill", stages=(DailyStage(power_kw=30, minutes=60),), from_min=360, to_min=1320, usual_min=600)
WISHES = Wishes(loads=(MILL,), battery=Battery(capacity_kwh=10, charge_kw=5, discharge_kw=5))


def _forecast(at_step: int = 0) -> Forecast:
    median = np.full(96, 80.0)
    levels = np.column_stack([median - 10, median, median + 15])
    return Forecast(
        START_MS + at_step * QUARTER_MS, 900, (0.1, 0.5, 0.9), levels, levels[:1], ForecastSource.ACTIVE, "m@1"
    )


def _slots(start_ms: int, powers: list[float]) -> list[Slot]:
    return [Slot(start_ms + i * QUARTER_MS, 900, round(kw * 250), kw, 1.0) for i, kw in enumerate(powers)]


def test_doing_nothing_is_the_forecast_itself_where_the_loads_usual_runs_are_in_it() -> None:
    problem = next_task(TARIFF, _forecast(), [], WISHES).problem
    assert do_nothing(problem).grid_kw.tolist() == pytest.approx([80.0] * 96)
    assert problem.load_kw[40:44].tolist() == pytest.approx([50.0] * 4)


def test_a_forecast_too_low_to_hold_a_usual_run_leaves_no_power_to_sell() -> None:
    levels = np.tile([15.0, 20.0, 35.0], (96, 1))
    quiet = dataclasses.replace(_forecast(), power_kw=levels, peak_kw=levels[:1])
    problem = next_task(TARIFF, quiet, [], WISHES).problem
    assert problem.load_kw[38:46].tolist() == [20, 20, 0, 0, 0, 0, 20, 20]


def test_windows_are_the_plants_local_time_whatever_the_tariffs_zone() -> None:
    wishes = dataclasses.replace(WISHES, zone=ZoneInfo("Asia/Tokyo"))
    (load, *_) = next_task(TARIFF, _forecast(), [], wishes).problem.loads  # 00:00 UTC is 09:00 there
    assert (load.earliest, load.latest, load.usual) == (0, 13 * 4, 4)


def test_a_load_without_a_usual_time_comes_on_top() -> None:
    wishes = dataclasses.replace(WISHES, loads=(dataclasses.replace(MILL, usual_min=None),))
    problem = next_task(TARIFF, _forecast(), [], wishes).problem
    assert problem.load_kw.tolist() == [80.0] * 96
    assert do_nothing(problem).grid_kw.max() == 110


def test_prices_and_demand_charges_are_the_tariffs() -> None:
    problem = next_task(TARIFF, _forecast(), [], WISHES).problem
    assert problem.import_per_kwh[[0, 31, 32, 79, 80]].tolist() == [0.10, 0.10, 0.30, 0.30, 0.10]
    (charge,) = problem.demand
    assert (charge.per_kw, charge.interval_s, charge.peak_so_far_kw) == (10, 1800, 0)


def test_the_peak_so_far_is_of_this_billing_month_and_the_begun_interval_counts() -> None:
    last_month = _slots(START_MS - 15 * 86_400_000, [900.0, 900.0])  # 31 December
    this_month = _slots(START_MS - 8 * QUARTER_MS, [100, 100, 120, 90, 100, 100, 100, 100, 60])
    problem = next_task(TARIFF, _forecast(at_step=1), [*last_month, *this_month], WISHES).problem
    (charge,) = problem.demand
    assert charge.peak_so_far_kw == pytest.approx(105)
    assert charge.so_far_kwh == pytest.approx(15)


def test_a_slot_of_which_next_to_nothing_was_measured_sets_no_peak() -> None:
    hardly = dataclasses.replace(_slots(START_MS - 2 * QUARTER_MS, [900.0])[0], completeness=0.05)
    slots = [hardly, *_slots(START_MS - QUARTER_MS, [80.0])]
    (charge,) = next_task(TARIFF, _forecast(), slots, WISHES).problem.demand
    assert charge.peak_so_far_kw == pytest.approx(40)


def test_in_the_month_in_which_the_tariff_begins_its_days_alone_count() -> None:
    tariff = Tariff.from_toml(TARIFF_TEXT.replace("zone = ", "valid_from = 2026-01-14\nzone = "))
    slots = _slots(START_MS - 3 * 86_400_000, [900.0] * 2) + _slots(START_MS - 2 * QUARTER_MS, [120.0] * 2)
    (charge,) = next_task(tariff, _forecast(), slots, WISHES).problem.demand
    assert charge.peak_so_far_kw == pytest.approx(120)


def test_a_month_that_has_not_begun_is_taken_to_come_to_this_ones_peak() -> None:
    end_of_month = dataclasses.replace(_forecast(), origin_ms=START_MS + 16 * 86_400_000 + 72 * QUARTER_MS)
    slots = _slots(end_of_month.origin_ms - 3 * QUARTER_MS, [130.0, 130.0, 60.0])
    now, then = next_task(TARIFF, end_of_month, slots, WISHES).problem.demand
    assert (now.peak_so_far_kw, then.peak_so_far_kw) == (95, 95)
    assert (now.so_far_kwh, then.so_far_kwh) == (0, 0)
    assert now.counts.sum() + then.counts.sum() == 96


def test_a_price_by_the_year_counts_the_months_before() -> None:
    tariff = Tariff.from_toml(TARIFF_TEXT + 'per = "year"\n')
    april = dataclasses.replace(_forecast(), origin_ms=START_MS + 90 * 86_400_000)
    before = {"peak": {"2026-01": Decimal(140), "2026-02": Decimal(120)}}
    (charge,) = next_task(
        tariff, april, _slots(april.origin_ms - QUARTER_MS, [90.0]), WISHES, demand_before=before
    ).problem.demand
    assert charge.floor_kw == 140


def test_the_price_of_a_tier_by_the_year_is_that_of_the_whole_year_and_begins_anew_with_the_next() -> None:
    rule = '[[energy]]\nname = "grid"\ntiers = [{up_to = 25000, price = 0.3}, {price = 0.1}]\ntiers_per = "year"\n'
    tariff = Tariff.from_toml(TARIFF_TEXT + rule)
    april = dataclasses.replace(_forecast(), origin_ms=START_MS + 90 * 86_400_000)
    slots = _slots(april.origin_ms - QUARTER_MS, [90.0])
    lowest, middle, upper = (
        next_task(tariff, april, slots, WISHES, used_kwh=used).problem.import_per_kwh
        for used in ({}, {"grid": 24_900.0}, {"grid": 25_000.0})
    )
    assert np.array_equal(lowest, middle)
    assert lowest - upper == pytest.approx(np.full(96, 0.2))
    new_year_ms = START_MS + 351 * 86_400_000
    over = dataclasses.replace(_forecast(), origin_ms=new_year_ms - 16 * QUARTER_MS)
    given = tariff, over, _slots(over.origin_ms - QUARTER_MS, [90.0]), WISHES
    price = next_task(*given, used_kwh={"grid": 30_000.0}).problem.import_per_kwh
    assert next_task(*given).problem.import_per_kwh - price == pytest.approx(np.where(np.arange(96) < 16, 0.2, 0))


def test_intervals_of_an_hour_begin_with_the_hour_of_the_clock_where_that_is_half_an_hour_off() -> None:
    in_india = TARIFF_TEXT.replace('zone = "UTC"', 'zone = "Asia/Kolkata"').replace(
        "interval_minutes = 30", "interval_minutes = 60"
    )
    tariff = Tariff.from_toml(in_india)
    at_0545 = dataclasses.replace(_forecast(), origin_ms=START_MS + QUARTER_MS)
    slots = _slots(START_MS - 6 * QUARTER_MS, [40.0, 40.0, 100.0, 100.0, 100.0, 100.0, 60.0])
    problem = next_task(tariff, at_0545, slots, WISHES).problem
    (charge,) = problem.demand
    assert charge.peak_so_far_kw == pytest.approx(70)  # 04:00 to 05:00; by the hours of UTC it would be 100
    assert charge.so_far_kwh == pytest.approx(65)
    assert charge.intervals(problem.clock_ms, 900)[:3].tolist() == [0, 1, 1]


def test_a_step_that_lies_across_the_hour_before_does_not_begin_the_next_interval() -> None:
    """By a clock that is 5 h 45 min ahead half-hours begin a quarter past and a quarter to."""
    text = TARIFF_TEXT.replace('"UTC"', '"Asia/Kathmandu"').replace("interval_minutes = 30", "interval_minutes = 60")
    tariff = Tariff.from_toml(text)
    slots = [Slot(START_MS + n * 1_800_000, 1800, 30_000, 60.0, 1.0) for n in range(-4, 0)]
    begun = []
    for before_ms in (1_800_000, 0):
        now = dataclasses.replace(_forecast(), origin_ms=START_MS - before_ms, slot_s=1800)
        begun.append(next_task(tariff, now, slots, WISHES).problem.demand[0].so_far_kwh)
    assert begun == [0.0, 30.0]


def test_the_next_kilowatt_hour_falls_in_the_tier_that_the_month_has_come_to() -> None:
    tiers = "tiers = [{up_to = 40, price = 0.30}, {price = 0.10}]"
    tariff = Tariff.from_toml(f'name = "t"\nzone = "UTC"\ncurrency = "EUR"\n[[energy]]\nname = "block"\n{tiers}\n')
    for kwh, price in ((39, 0.30), (41, 0.10)):
        slots = _slots(START_MS - QUARTER_MS, [kwh * 4.0])
        assert set(next_task(tariff, _forecast(), slots, WISHES).problem.import_per_kwh) == {price}


def test_the_margin_is_the_higher_quantiles_distance() -> None:
    wishes = dataclasses.replace(WISHES, margin_quantile=0.9, site_limit_kw=200.0)
    problem = next_task(TARIFF, _forecast(), [], wishes).problem
    assert problem.margin_kw.tolist() == [15.0] * 96
    assert not next_task(TARIFF, _forecast(), [], WISHES).problem.margin_kw.any()


def test_what_was_advised_and_has_begun_goes_on_and_what_is_done_is_not_planned_again() -> None:
    first = next_task(TARIFF, _forecast(), [], WISHES)
    plan = rule_plan(first.problem)
    start = int(np.flatnonzero(plan.loads_kw[0])[0])
    running = next_task(TARIFF, _forecast(start + 2), [], WISHES, earlier=Advised(first.problem, plan))
    (load, *_) = running.problem.loads
    assert load.name == "mill 2026-01-15"
    assert (load.steps, load.on_before) == (2, 2)
    over = next_task(TARIFF, _forecast(start + 4), [], WISHES, earlier=Advised(first.problem, plan))
    assert "mill 2026-01-15" in over.settled
    assert all(load.name != "mill 2026-01-15" for load in over.problem.loads)
    later = Advised(over.problem, rule_plan(over.problem), over.settled)
    again = next_task(TARIFF, _forecast(start + 8), [], WISHES, earlier=later)
    assert all(load.name != "mill 2026-01-15" for load in again.problem.loads)


def test_without_a_plan_from_before_a_usual_run_whose_time_is_over_was_made() -> None:
    problem = next_task(TARIFF, _forecast(at_step=41), [], WISHES).problem
    assert [load.name for load in problem.loads] == []
    before = next_task(TARIFF, _forecast(at_step=39), [], WISHES).problem
    assert [load.name for load in before.loads] == ["mill 2026-01-15"]


def test_pv_is_beside_the_gross_load_and_what_is_not_known_of_it_is_told() -> None:
    wishes = dataclasses.replace(WISHES, curtailable=True)
    task = next_task(TARIFF, _forecast(), [], wishes, pv=PvAhead(np.full(96, 30.0), "PV is as yesterday"))
    assert task.problem.pv_kw.tolist() == [30.0] * 96
    assert do_nothing(task.problem).grid_kw.tolist() == pytest.approx([50.0] * 96)
    assert task.problem.curtailable
    assert "PV is as yesterday" in task.notes


def test_a_run_that_is_late_goes_on_after_its_window_is_over() -> None:
    early = dataclasses.replace(MILL, from_min=0, to_min=60, usual_min=None)
    first = next_task(TARIFF, _forecast(), [], dataclasses.replace(WISHES, loads=(early,)))
    late = np.zeros((1, 96))
    late[0, 2:6] = 30  # half of it after 01:00
    advised = Advised(first.problem, dataclasses.replace(rule_plan(first.problem), loads_kw=late))
    wishes = dataclasses.replace(WISHES, loads=(early,))
    after = next_task(TARIFF, _forecast(4), [], wishes, earlier=advised)
    load, _ = after.problem.loads
    assert (load.name, load.steps, load.earliest) == ("mill 2026-01-15", 2, 0)
    without = next_task(TARIFF, _forecast(4), [], dataclasses.replace(WISHES, loads=()), earlier=advised)
    assert not without.problem.loads


def test_a_run_that_was_left_out_is_made_up_for_until_its_next_one_begins() -> None:
    early = dataclasses.replace(MILL, from_min=0, to_min=60, usual_min=None)
    wishes = dataclasses.replace(WISHES, loads=(early,))
    advised = None
    names = []
    for hours in range(0, 30, 3):
        task = next_task(TARIFF, _forecast(4 * hours), [], wishes, earlier=advised)
        names.append([load.name for load in task.problem.loads])
        left_out = dataclasses.replace(rule_plan(task.problem), loads_kw=np.zeros((len(task.problem.loads), 96)))
        advised = Advised(task.problem, left_out, task.settled)
    today, tomorrow = "mill 2026-01-15", "mill 2026-01-16"
    assert names[:2] == [[today], [today, tomorrow]]
    assert names[-2:] == [[today, tomorrow], [tomorrow, "mill 2026-01-17"]]
    assert task.notes[-1] == "load 'mill 2026-01-15' is given up: the time of its next run has come"


def test_a_load_that_needs_more_steps_than_its_window_has_is_told() -> None:
    short = dataclasses.replace(MILL, from_min=125, to_min=185, usual_min=None)  # of whole quarters only 02:15 to 03:00
    task = next_task(TARIFF, _forecast(), [], dataclasses.replace(WISHES, loads=(short,)))
    assert not task.problem.loads
    assert task.notes == (
        "load 'mill 2026-01-15' is not planned: it needs more than its window, or what is left of it",
    )


def test_of_more_runs_than_a_plan_can_hold_the_nearest_are_planned() -> None:
    loads = tuple(dataclasses.replace(MILL, name=f"mill-{n}", usual_min=None, to_min=600 + 15 * n) for n in range(48))
    levels = np.tile([70.0, 80.0, 95.0], (192, 1))
    two_days = dataclasses.replace(_forecast(), power_kw=levels, peak_kw=levels[:2])
    problem = next_task(TARIFF, two_days, [], dataclasses.replace(WISHES, loads=loads)).problem
    names = [load.name for load in problem.loads]
    assert len(names) == 50
    assert names[47:] == ["mill-47 2026-01-15", "mill-0 2026-01-16", "mill-1 2026-01-16"]


UNREAD = dataclasses.replace(WISHES, loads=(), soc_unknown="battery.soc_channel is not set")


def _charging(at_step: int = 0) -> Advised:
    """A plan that fills the battery with 2 kW from `at_step` on."""
    problem = next_task(TARIFF, _forecast(at_step), [], UNREAD).problem
    charge = np.where(np.arange(96) < 8, 2.0, 0.0)
    return Advised(problem, plan_of(problem, np.zeros((0, 96)), charge, source="rules"))


@pytest.mark.parametrize(("step", "kwh"), [(0, 5.0), (4, 6.9), (8, 8.8), (96, 8.8)])
def test_a_battery_that_nothing_measures_begins_with_what_was_planned_to_be_stored(step: int, kwh: float) -> None:
    task = next_task(TARIFF, _forecast(step), [], UNREAD, earlier=_charging())
    assert task.problem.battery is not None
    assert task.problem.battery.initial_soc == pytest.approx(kwh / 10)
    assert task.assumed == (
        f"the battery is taken to be {10 * kwh:.0f}% full, as planned before: battery.soc_channel is not set",
    )


def test_what_was_planned_is_known_between_its_steps_and_by_a_battery_that_has_grown() -> None:
    levels = np.tile([70.0, 80.0, 95.0], (48, 1))
    halves = Forecast(
        START_MS + QUARTER_MS // 3, 300, (0.1, 0.5, 0.9), levels, levels[:1], ForecastSource.ACTIVE, "m@1"
    )
    grown = dataclasses.replace(UNREAD, battery=Battery(capacity_kwh=20, charge_kw=5, discharge_kw=5))
    battery = next_task(TARIFF, halves, [], grown, earlier=_charging()).problem.battery
    assert battery is not None
    assert battery.initial_soc == pytest.approx(0.5 + 2 * 0.95 / 12 / 10)


@pytest.mark.parametrize("step", [97, -1])
def test_where_no_plan_reaches_a_battery_begins_as_configured(step: int) -> None:
    task = next_task(TARIFF, _forecast(step), [], UNREAD, earlier=_charging())
    assert task.problem.battery == UNREAD.battery
    assert task.assumed == (
        "the battery is taken to be 50% full, as configured (battery.soc): battery.soc_channel is not set",
    )
    assert next_task(TARIFF, _forecast(), [], UNREAD).assumed == task.assumed


def test_a_battery_that_is_measured_is_as_full_as_it_says() -> None:
    task = next_task(TARIFF, _forecast(4), [], dataclasses.replace(UNREAD, soc_unknown=""), earlier=_charging())
    assert (task.problem.battery, task.assumed) == (UNREAD.battery, ())
