"""What the benchmarks of schedule and bill must never get wrong: one problem for both, and a replay that is honest."""

import dataclasses
import json
import re

import numpy as np
import pytest

from agent.contract.tariff.tariff import Tariff
from agent.planning.schedule.optimum import solve
from agent.planning.schedule.pricing import price_plan
from agent.planning.schedule.rules import do_nothing
from tests.benchmarks.battery_replay import DAY, Plant, Replay, battery_for, naive, truth
from tests.benchmarks.schedule_brute import brute_force
from tests.benchmarks.schedule_cases import cases, from_json, full, make, small, to_json
from tests.support.schedules import TARIFF_TEXT

TARIFF = Tariff.from_toml(TARIFF_TEXT.replace("interval_minutes = 30", "interval_minutes = 15"))  # the step
START_MS = 1_767_225_600_000  # 1 January 2026
FIRST = 35 * DAY


@pytest.fixture(scope="module")
def plant():
    """Five weeks, every work day with a peak of an hour that comes a little earlier or later."""
    random = np.random.default_rng(5)
    steps = FIRST + DAY + DAY // 4
    load = 100.0 + random.normal(0, 3, steps)
    for day in range(36):
        begin = day * DAY + 40 + int(random.integers(-6, 7))
        load[begin : begin + 4] += 160.0 if day % 7 < 5 else 0.0
    return Plant("plant", START_MS, load, FIRST, TARIFF)


@pytest.fixture(scope="module")
def replay(plant):
    return Replay(plant, battery_for(plant.load_kw[:FIRST]))


def test_the_peer_reads_every_problem_whole_and_its_plan_is_priced_as_ours():
    for name, problem in cases():
        told = json.loads(json.dumps(to_json(name, problem)))
        assert len(told["load_kw"]) == told["steps"] == problem.steps
        assert [load["latest"] for load in told["loads"]] == [load.latest for load in problem.loads]
        plan = do_nothing(problem)
        theirs = {key: getattr(plan, key).tolist() for key in ("charge_kw", "discharge_kw", "loads_kw")}
        assert price_plan(problem, from_json(problem, theirs)).total == pytest.approx(plan.objective)


def test_a_peer_without_a_plan_is_told_as_one():
    assert from_json(make(96, 900, "two-part", seed=0), {"status": "Infeasible", "gap": None}) is None


@pytest.mark.parametrize("seed", [0, 1, 2, 3])
def test_trying_all_plans_finds_none_that_is_cheaper(seed):
    problem = small(seed)
    assert solve(problem, gap=0.0).objective == pytest.approx(brute_force(problem), abs=1e-6)


def test_a_plant_with_stages_and_margin_at_a_binding_peak_is_planned_within_a_percent():
    problem = full(96, 900)
    plan = solve(problem, gap=1e-2, limit_s=60.0)
    assert not price_plan(problem, plan).violations
    assert plan.gap <= 1e-2


def test_a_naive_forecast_knows_nothing_of_what_comes(plant):
    changed = plant.load_kw.copy()
    changed[FIRST + DAY :] += 1000.0
    later = Plant("later", START_MS, changed, FIRST, plant.tariff)
    assert (naive(later)[:24] == naive(plant)[:24]).all()
    assert not (truth(later)[:24] == truth(plant)[:24]).all()


def test_a_replay_is_not_moved_by_load_that_comes_later(plant, replay):
    short = Plant("short", START_MS, plant.load_kw[: FIRST + DAY], FIRST, plant.tariff)
    forecasts = naive(plant)
    alone = Replay(short, replay.battery).run(forecasts[:24])
    assert replay.run(forecasts)[:DAY] == pytest.approx(alone)


def test_a_tariff_with_longer_intervals_than_the_steps_is_not_replayed(plant):
    longer = dataclasses.replace(plant, tariff=Tariff.from_toml(TARIFF_TEXT))
    with pytest.raises(SystemExit, match="peak is not billed by intervals of 15 min"):
        Replay(longer, battery_for(plant.load_kw))


def test_a_replay_without_a_week_before_it_says_so(plant):
    early = dataclasses.replace(plant, first=6 * DAY)
    with pytest.raises(SystemExit, match="needs a week of load before it"):
        Replay(early, battery_for(plant.load_kw)).run(np.zeros((len(early.hours), DAY)))


def test_the_peak_of_the_days_before_the_battery_stays_in_the_first_month_s_bill(plant, replay):
    """The replay begins on 5 February: its peak of the first days cannot be undone."""
    unplanned, planned = replay.cost(), replay.cost(np.zeros(len(plant.load_kw) - FIRST))
    peaks = [next(line.quantity for line in bill.lines if line.unit == "kW") for bill in (unplanned, planned)]
    before = plant.load_kw[31 * DAY : FIRST].max()
    assert float(peaks[1]) == pytest.approx(before, abs=0.01)
    assert replay.before == {("peak", "2026-02"): pytest.approx(before)}
    assert float(peaks[0]) >= before - 0.01


def test_no_plan_saves_more_than_the_one_that_knows_all(replay, plant):
    unplanned, best = replay.cost(), replay.cost(replay.best())
    ours = replay.cost(replay.run(naive(plant)))
    assert best.total <= ours.total < unplanned.total


def test_the_tariff_files_of_the_benchmark_hold_at_the_plant_s_own_time():
    from tests.benchmarks.bench_bill import TARIFFS, plant_under
    from tests.benchmarks.forecast_series import Series

    series = Series("mill", None, "+09:00", "+09:00", "", False, None, "2026-01-20", 30)
    for name in TARIFFS:
        tariff = plant_under(name, series, START_MS, np.ones(40 * DAY)).tariff
        assert tariff.zone_name == "+09:00"
        assert [re.sub(r"\.excess$", "", demand.name) for version in tariff.versions for demand in version.demands]
        assert not any(demand.by_capacity for version in tariff.versions for demand in version.demands)
