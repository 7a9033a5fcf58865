"""Whatever becomes of the process that solves, there is a plan, and it says where it is from."""

import dataclasses
import os
import signal
import sys
import threading
import time

import numpy as np
import pytest

from agent.planning.schedule.aims import guarded_plan
from agent.planning.schedule.child import Making, make_plan
from agent.planning.schedule.optimum import solve
from agent.planning.schedule.parts import Battery, Deferrable
from agent.planning.schedule.prospect import Aims
from agent.planning.schedule.rules import rule_plan
from tests.support import guards
from tests.support.schedules import broken, demand, problem

BATTERY = Battery(capacity_kwh=40, charge_kw=20, discharge_kw=20)
SMALL = problem([40.0] * 8, import_per_kwh=[0.1] * 4 + [0.3] * 4, battery=BATTERY)
START = "import sys; from agent.planning.schedule.child import main; "


PLAN = {name: [0] * 8 for name in ("charge_kw", "discharge_kw", "curtail_kw")} | {"loads_kw": [], "source": "highs"}
PLAN |= {"gap": 0, "objective": 1, "notes": []}
ANSWER = {"plan": PLAN, "cpu_s": 1, "peak_kib": 1}


def _hard():
    """A problem that keeps the solver busy for minutes."""
    rng = np.random.default_rng(3)
    loads = tuple(
        Deferrable(name=f"l{i}", power_kw=20 + i / 7, steps=40, breakable=True, min_on=4, min_off=3) for i in range(20)
    )
    return problem(rng.uniform(50, 99, 480), loads=loads, battery=BATTERY, demand=(demand(480),))


def _python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def test_the_child_makes_the_optimal_plan_and_tells_what_it_used() -> None:
    made = make_plan(SMALL)
    assert made.plan.source == "highs"
    assert made.plan.gap is not None
    assert made.plan.gap <= 1e-3
    assert not broken(SMALL, made.plan)
    assert made.plan.objective < rule_plan(SMALL).objective + 1e-9
    assert made.peak_kib > 10_000
    assert made.cpu_s > 0


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("print('{\"plan\": 1')", "exit code 0"),
        ("print('\\x00' * 99)", "exit code 0"),
        ("print('{}')", "exit code 0"),
        ('print(\'{"plan": {"charge_kw": [1e999]}, "cpu_s": 1, "peak_kib": 1}\')', "exit code 0"),
        ("import sys; sys.exit('no memory')", "exit code 1: no memory"),
        (f"import json; print(json.dumps({ANSWER | {'plan': PLAN | {'objective': 10**400}}}))", "exit code 0"),
        (f"import json; print(json.dumps({ANSWER | {'plan': PLAN | {'source': 'chance'}}}))", "exit code 0"),
        ("import os\nwhile True: os.write(1, bytes(1 << 16))", "more than"),
    ],
)
def test_garbage_on_the_pipe_gives_the_plan_by_rules_with_the_reason(code: str, reason: str) -> None:
    made = make_plan(SMALL, command=_python(code))
    assert made.plan.source == "rules"
    assert reason in made.plan.notes[0]
    assert made.plan.objective == pytest.approx(rule_plan(SMALL).objective)


def test_a_plan_that_breaks_a_rule_is_not_taken_even_from_the_solver() -> None:
    answer = ANSWER | {"plan": PLAN | {"charge_kw": [20] * 8}}
    made = make_plan(SMALL, command=_python(f"import json; print(json.dumps({answer}))"))
    assert made.plan.source == "rules"
    assert "cannot be run (the battery leaves" in made.plan.notes[0]


def test_a_full_disk_gives_the_plan_by_rules_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", "/nonexistent")
    made = make_plan(SMALL)
    assert made.plan.source == "rules"
    assert made.plan.notes[0].startswith("the optimiser cannot be started")


def test_a_child_killed_while_solving_gives_the_plan_by_rules() -> None:
    kill = "import threading, os; threading.Timer(0.5, lambda: os.kill(os.getpid(), 9)).start(); "
    made = make_plan(_hard(), command=_python(START + kill + "sys.exit(main())"), limit_s=60)
    assert made.plan.source == "rules"
    assert made.plan.notes[0] == "the optimiser failed (ended by signal 9)"


def test_without_highspy_the_plan_by_rules_says_what_to_type() -> None:
    made = make_plan(SMALL, command=_python(f"import sys; sys.modules['highspy'] = None; {START} sys.exit(main())"))
    assert made.plan.source == "rules"
    assert "pip install 'edgewatt[plan]'" in made.plan.notes[0]


def test_a_command_that_is_not_there_gives_the_plan_by_rules() -> None:
    made = make_plan(SMALL, command=["/nowhere/python"])
    assert made.plan.source == "rules"
    assert "cannot be started" in made.plan.notes[0]


def test_a_child_that_overruns_is_ended(monkeypatch) -> None:
    monkeypatch.setattr("agent.planning.schedule.child._GRACE_S", 0.2)
    making = Making(SMALL, limit_s=0.1, command=_python("import time\nwhile True: time.sleep(9)"))
    child = making._child
    assert child is not None
    while (made := making.poll(0.1)) is None:
        pass
    assert made.plan.notes[0] == "the optimiser overran its time"
    with pytest.raises(ProcessLookupError):
        os.kill(child.pid, 0)


def test_a_solver_that_hangs_ends_by_itself_when_its_daemon_is_gone() -> None:
    hang = (
        "import time; from agent.planning.schedule import child, optimum; child._GRACE_S = 0.2; "
        "optimum.solve = lambda *_, **__: time.sleep(600); sys.exit(child.main())"
    )
    making = Making(SMALL, limit_s=0.1, command=_python(START + hang))
    orphan = making._child
    assert orphan is not None
    assert orphan.wait(timeout=60) == -signal.SIGALRM
    making.close()


def test_polling_does_not_wait_for_the_child() -> None:
    making = Making(SMALL)
    try:
        assert making.poll() is None  # it has not even imported its modules
        while making.poll() is None:
            time.sleep(0.02)
        assert making.poll() is making.poll()
    finally:
        making.close()


def test_polling_does_not_wait_for_the_plan_by_rules_either(monkeypatch) -> None:
    goes_on = threading.Event()

    def slow(*given):
        goes_on.wait()
        return rule_plan(*given)

    monkeypatch.setattr("agent.planning.schedule.child.rule_plan", slow)
    making = Making(SMALL, command=["/nowhere/python"])
    assert making.poll() is None
    assert making.poll(0.01) is None
    goes_on.set()
    while (made := making.poll(1.0)) is None:
        pass
    assert "cannot be started" in made.plan.notes[0]


def test_where_no_thread_can_be_had_there_is_a_plan_by_rules_all_the_same(monkeypatch) -> None:
    def refuse(_) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    made = Making(SMALL, command=["/nowhere/python"]).poll()
    assert made is not None
    assert made.plan.source == "rules"


def _guarded(**more):
    load = guards.two_peaks()
    return guards.problem(load, per_kw=40.0), guards.prospect(load, day="2026-01-15", **more)


def test_the_child_chooses_aims_and_returns_what_the_battery_follows() -> None:
    given, ahead = _guarded()
    made = make_plan(given, ahead)
    here = guarded_plan(given, ahead, solve)
    assert made.plan.source == "policy"
    assert made.aims == here.aims
    assert made.policy is not None
    assert made.policy.to_go == pytest.approx(here.policy.to_go - here.policy.to_go[:, -1:], rel=1e-5, abs=1e-6)
    assert [charge.floor_kw for charge in made.problem.demand] == [made.aims.peaks_kw["demand"]]
    assert made.plan.objective == pytest.approx(here.plan.objective, rel=1e-3)


def test_a_child_that_fails_leaves_the_aims_as_they_stand_and_still_guards_the_peak() -> None:
    given, ahead = _guarded(aims=Aims(peaks_kw={"demand": 290.0}, day="2026-01-14"))
    made = make_plan(given, ahead, command=_python("import sys; sys.exit('no memory')"))
    assert made.plan.source == "policy"
    assert made.plan.notes[0] == "the optimiser failed (exit code 1: no memory)"
    assert made.aims == ahead.aims
    assert made.policy is not None
    assert made.plan.grid_kw.max() == pytest.approx(290.0)


GUARDED_PLAN = {name: [0] * 96 for name in ("charge_kw", "discharge_kw", "curtail_kw")} | {"loads_kw": [], "gap": None}
GUARDED_PLAN |= {"source": "policy", "objective": 1, "notes": []}
GUARDED = {"aims": {"peaks_kw": {"demand": 300.0}, "day": "2026-01-15", "month": ""}, "to_go": [[1, 0]] * 97}
GUARDED |= {"plan": GUARDED_PLAN, "cpu_s": 1, "peak_kib": 1}


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("import os; os.kill(os.getpid(), 9)", "failed (ended by signal 9)"),
        (f"import json; print(json.dumps({ANSWER}))", "failed (exit code 0)"),
        ("print('{\"aims\": ')", "failed (exit code 0)"),
        (f"import json; print(json.dumps({GUARDED | {'aims': 5}}))", "failed (exit code 0)"),
        (
            f"import json; print(json.dumps({GUARDED | {'aims': {'peaks_kw': {'demand': 'x'}}}}))",
            "failed (exit code 0)",
        ),
        (f"import json; print(json.dumps({GUARDED | {'to_go': [[1, 0]] * 96}}))", "failed (exit code 0)"),
        (f"import json; print(json.dumps({GUARDED | {'to_go': [[1, 'nan']] * 97}}))", "failed (exit code 0)"),
        (f"import json; print(json.dumps({GUARDED | {'to_go': [[1]] * 97}}))", "failed (exit code 0)"),
        (
            f"import json; print(json.dumps({GUARDED | {'plan': GUARDED_PLAN | {'charge_kw': [99] * 96}}}))",
            "cannot be run",
        ),
        ("import os\nwhile True: os.write(1, bytes(1 << 16))", "more than"),
    ],
)
def test_garbage_in_place_of_a_guarded_plan_leaves_one_on_the_aims_as_they_stand(code: str, reason: str) -> None:
    given, ahead = _guarded(aims=Aims(peaks_kw={"demand": 290.0}, day="2026-01-14"))
    made = make_plan(given, ahead, command=_python(code))
    assert (made.plan.source, made.aims) == ("policy", ahead.aims)
    assert reason in made.plan.notes[0]
    assert made.policy is not None
    assert [charge.floor_kw for charge in made.problem.demand] == [290.0]


def test_what_the_tests_of_garbage_change_would_be_taken_as_it_is() -> None:
    given, ahead = _guarded(aims=Aims(peaks_kw={"demand": 290.0}, day="2026-01-14"))
    made = make_plan(given, ahead, command=_python(f"import json; print(json.dumps({GUARDED}))"))
    assert (made.plan.notes, made.aims) == ((), Aims(peaks_kw={"demand": 300.0}, day="2026-01-15"))


def test_a_guarded_child_that_overruns_is_ended(monkeypatch) -> None:
    monkeypatch.setattr("agent.planning.schedule.child._GRACE_S", 0.0)
    monkeypatch.setattr("agent.planning.schedule.child._VALUE_S", 0.0)
    monkeypatch.setattr("agent.planning.schedule.child._VALUE_STEP_S", 0.002)
    given, ahead = _guarded(aims=Aims(peaks_kw={"demand": 290.0}, day="2026-01-14"))
    made = make_plan(given, ahead, limit_s=0.1, command=_python("import time\nwhile True: time.sleep(9)"))
    assert made.plan.notes[0] == "the optimiser overran its time"
    assert made.policy is not None


def test_a_child_that_fails_where_nothing_was_aimed_at_this_month_guards_nothing() -> None:
    given, ahead = _guarded(month="2026-01", aims=Aims(peaks_kw={"demand": 290.0}, day="2025-12-31", month="2025-12"))
    made = make_plan(given, ahead, command=_python("import sys; sys.exit('no memory')"))
    assert (made.aims, made.policy, made.plan.source) == (None, None, "rules")


def test_without_highspy_aims_are_chosen_and_the_battery_has_its_policy() -> None:
    given, ahead = _guarded()
    bare = _python(f"import sys; sys.modules['highspy'] = None; {START} sys.exit(main())")
    made = make_plan(given, ahead, command=bare)
    assert (made.plan.source, made.plan.notes) == ("policy", ())
    assert made.aims == guarded_plan(given, ahead, solve).aims
    mill = Deferrable(name="mill", power_kw=20.0, steps=4)
    made = make_plan(dataclasses.replace(given, loads=(mill,)), ahead, command=bare)
    assert made.plan.source == "policy"
    assert "pip install 'edgewatt[plan]'" in made.plan.notes[0]
