"""What has begun goes on when the plan is made anew."""

import dataclasses

import numpy as np
import pytest

from agent.planning.schedule.optimum import solve
from agent.planning.schedule.parts import Deferrable, Sequence, Stage
from agent.planning.schedule.pricing import price_plan
from agent.planning.schedule.problem import plan_of
from agent.planning.schedule.replan import remaining_loads
from tests.support.schedules import problem

MILL = Deferrable(name="mill", power_kw=20, steps=3, earliest=1, latest=7)
PUMP = Deferrable(name="pump", power_kw=10, steps=4, breakable=True, min_on=2, min_off=2)
BATCH = Sequence(name="batch", stages=(Stage(profile_kw=(5, 6)), Stage(profile_kw=(7, 8), min_gap=1, max_gap=3)))
STEPS = 12


def _left(load, powers):
    given = problem(np.zeros(STEPS), loads=(load,))
    loads, notes = remaining_loads(given, np.array([powers], dtype=float), STEPS - len(powers))
    return (loads[0] if loads else None), notes


def test_a_load_that_runs_whole_goes_on_at_once() -> None:
    left, _ = _left(MILL, [0, 20])
    assert (left.steps, left.on_before, left.earliest, left.latest) == (2, 1, 0, 5)
    assert solve(problem(np.zeros(10), loads=(left,))).loads_kw[0].tolist() == [20, 20] + [0] * 8


def test_what_has_not_begun_keeps_its_window() -> None:
    left, notes = _left(MILL, [0, 0])
    assert (left.steps, left.earliest, left.latest, left.on_before) == (3, 0, 5, 0)
    assert not notes


def test_what_is_done_is_gone() -> None:
    assert _left(MILL, [0, 20, 20, 20]) == (None, ())
    assert _left(BATCH, [5, 6, 0, 7, 8]) == (None, ())


def test_a_breakable_load_remembers_how_long_it_has_been_on_or_off() -> None:
    left, _ = _left(PUMP, [0, 10])
    assert (left.steps, left.on_before, left.off_before) == (3, 1, None)
    left, _ = _left(PUMP, [10, 10, 0])
    assert (left.steps, left.on_before, left.off_before) == (2, 0, 1)
    left, _ = _left(PUMP, [10, 10, 0, 0, 0])
    assert left.off_before is None


@pytest.mark.parametrize(
    ("powers", "stages", "running", "earliest", "start_by"),
    [
        ([0, 5], ((6,), (7, 8)), True, 0, None),
        ([5, 6], ((7, 8),), False, 1, 3),
        ([5, 6, 0, 0], ((7, 8),), False, 0, 1),
        ([5, 6, 0, 7], ((8,),), True, 0, None),
    ],
)
def test_a_sequence_goes_on_where_it_is(powers, stages, running, earliest, start_by) -> None:
    left, _ = _left(BATCH, powers)
    assert tuple(stage.profile_kw for stage in left.stages) == stages
    assert (left.running, left.earliest, left.start_by) == (running, earliest, start_by)


def test_a_missed_window_is_told_and_the_load_runs_all_the_same() -> None:
    left, notes = _left(MILL, [0] * 6)
    assert left.latest == 3
    assert notes == ("load 'mill' can no longer be done in its window",)
    left, notes = _left(MILL, [0] * 10)
    assert left is None
    assert notes == ("load 'mill' cannot be done within the plan",)


@pytest.mark.parametrize("seed", range(6))
def test_step_by_step_the_whole_is_carried_out_as_one_plan_would_be(seed: int) -> None:
    rng = np.random.default_rng(seed)
    whole = problem(np.zeros(STEPS), loads=(MILL, PUMP, BATCH), import_per_kwh=rng.uniform(0.1, 0.4, STEPS))
    done = {load.name: np.zeros(STEPS) for load in whole.loads}
    now = whole
    for at in range(STEPS):
        # Prices change all the time, so that each new plan would rather move what has begun.
        now = dataclasses.replace(now, import_per_kwh=rng.uniform(0.1, 0.4, now.steps))
        plan = solve(now)
        assert not plan.notes
        for load, power in zip(now.loads, plan.loads_kw, strict=True):
            done[load.name][at] = power[0]
        if now.steps > 1:
            loads, notes = remaining_loads(now, plan.loads_kw[:, :1], now.steps - 1)
            assert not notes
            now = problem(np.zeros(now.steps - 1), loads=loads)
    assert not price_plan(whole, plan_of(whole, np.array(list(done.values())), source="steps")).violations
