"""Problem and plan survive the pipe; what is no plan of the problem is refused."""

import dataclasses

import numpy as np
import pytest

from agent.contract import jsonform
from agent.contract.errors import RejectedError
from agent.planning.schedule.parts import Battery
from agent.planning.schedule.rules import do_nothing
from agent.planning.schedule.wire import plan_from_json, plan_to_json, problem_from_json, problem_to_json
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
