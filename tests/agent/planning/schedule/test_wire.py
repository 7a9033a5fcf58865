"""Problem and plan survive the pipe; what is no plan of the problem is refused."""

import dataclasses

import numpy as np
import pytest

from agent.contract import jsonform
from agent.contract.errors import RejectedError
from agent.planning.schedule.parts import Battery
from agent.planning.schedule.policy import Policy, follow
from agent.planning.schedule.prospect import Aims
from agent.planning.schedule.rules import do_nothing
from agent.planning.schedule.value import cost_to_go
from agent.planning.schedule.wire import (
    aims_from_json,
    aims_to_json,
    plan_from_json,
    plan_to_json,
    policy_from_json,
    policy_to_json,
    problem_from_json,
    problem_to_json,
    prospect_from_json,
    prospect_to_json,
)
from tests.support import guards
from tests.support.schedules import problem, random_problem


def _through_a_pipe(value: dict) -> dict:
    return jsonform.loads(jsonform.dumps(value), where="test", max_bytes=1 << 20)


@pytest.mark.parametrize("seed", range(6))
def test_problem_and_plan_come_back_as_they_were(seed: int) -> None:
    given = dataclasses.replace(
        random_problem(np.random.default_rng(seed)),
        battery=Battery(capacity_kwh=9, charge_kw=3, discharge_kw=3) if seed % 2 else None,
    )
    back = problem_from_json(_through_a_pipe(problem_to_json(given)))
    assert problem_to_json(back) == problem_to_json(given)
    assert back.export_limit_kw.tolist() == given.export_limit_kw.tolist()
    plan = do_nothing(given)
    returned = plan_from_json(given, _through_a_pipe(plan_to_json(plan)))
    for entry in dataclasses.fields(plan):
        assert np.array_equal(getattr(returned, entry.name), getattr(plan, entry.name)), entry.name


def test_grid_and_stored_energy_are_never_taken_from_outside() -> None:
    given = problem([1.0, 2.0], battery=Battery(capacity_kwh=9, charge_kw=3, discharge_kw=3))
    value = plan_to_json(do_nothing(given)) | {"grid_kw": [0, 0], "stored_kwh": [7, 7]}
    plan = plan_from_json(given, value)
    assert plan.grid_kw.tolist() == [1, 2]
    assert plan.stored_kwh.tolist() == [4.5, 4.5]


@pytest.mark.parametrize(
    "wrong", [{"charge_kw": [1]}, {"charge_kw": ["a", "b"]}, {"loads_kw": [[1, 2]]}, {"gap": "x"}, {"notes": 5}]
)
def test_refuses_what_is_no_plan_of_the_problem(wrong) -> None:
    given = problem([1.0, 2.0])
    with pytest.raises(RejectedError, match="plan of"):
        plan_from_json(given, plan_to_json(do_nothing(given)) | {"charge_kw": [0, 0]} | wrong)


@pytest.mark.parametrize("wrong", [{"load_kw": []}, {"loads": [{}]}, {"battery": {"capacity": 3}}, {"more": 1}])
def test_refuses_what_is_no_problem(wrong) -> None:
    with pytest.raises(RejectedError, match="no problem"):
        problem_from_json(problem_to_json(problem([1.0])) | wrong)


def test_what_a_battery_follows_comes_back_as_it_was_but_for_a_constant() -> None:
    given = guards.problem(np.full(4, 100.0), peak_kw=150.0, counts=np.array([False, True, True, True]))
    policy = Policy(given, cost_to_go(given, np.array([[180.0] * 4, [120.0] * 4])))
    back = policy_from_json(given, _through_a_pipe({"to_go": policy_to_json(policy)})["to_go"])
    assert np.diff(back.to_go) == pytest.approx(np.diff(policy.to_go), rel=1e-3, abs=1e-3)
    assert follow(back, 1, 180.0, 50.0, 0.25) == pytest.approx(follow(policy, 1, 180.0, 50.0, 0.25))
    aims = Aims(peaks_kw={"demand": 150.5}, day="2026-01-15", month="2026-01")
    assert aims_from_json(_through_a_pipe(aims_to_json(aims))) == aims
    windows = {"demand": np.array([True, False, False, True])}
    ahead = guards.prospect(np.ones(4), np.ones((2, 4)), day="2026-01-15", days_left=16.5, aims=aims, windows=windows)
    returned = prospect_from_json(_through_a_pipe(prospect_to_json(ahead)))
    assert (returned.paths_kw.shape, returned.days_left, returned.aims) == ((2, 4), 16.5, aims)
    assert returned.median_kw.tolist() == [1.0] * 4
    assert returned.windows["demand"].tolist() == [True, False, False, True]


@pytest.mark.parametrize(
    "wrong", ["x", [[1.0, 2.0]] * 4, [[1.0]] * 5, [[1.0, None]] * 5, [1.0] * 5, [[1.0], [1.0, 2.0]]]
)
def test_refuses_what_is_no_cost_to_go_of_the_problem(wrong) -> None:
    with pytest.raises(RejectedError, match="cost to go"):
        policy_from_json(guards.problem(np.full(4, 100.0)), wrong)


def test_a_problem_of_a_version_with_reserves_is_read() -> None:
    given = problem([1.0, 2.0])
    assert problem_from_json(problem_to_json(given) | {"reserve_kwh": [0.0, 0.0]}).load_kw.tolist() == [1.0, 2.0]


@pytest.mark.parametrize("wrong", [5, {}, {"peaks_kw": {"demand": "x"}}, {"peaks_kw": []}])
def test_refuses_what_are_no_aims(wrong) -> None:
    value = {"day": "", "month": ""} | wrong if isinstance(wrong, dict) else wrong
    with pytest.raises(RejectedError):
        aims_from_json(value)


@pytest.mark.parametrize("damage", [{"start_ms": None}, {"step_s": 900.5}, {"zone": "Europe/Nowhere"}, {"zone": []}])
def test_a_problem_without_a_time_of_its_own_is_refused(damage: dict) -> None:
    with pytest.raises(RejectedError):
        problem_from_json({**problem_to_json(guards.problem(guards.two_peaks())), **damage})
