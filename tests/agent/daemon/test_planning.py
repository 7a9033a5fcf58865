"""Plans beside the loop: made with each forecast, kept with their event, known over restarts."""

import dataclasses
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agent.contract import jsonform
from agent.contract.rows import Forecast, ForecastSource
from agent.contract.slots import Slot
from agent.daemon import planning as daemon_planning
from agent.daemon.history import History
from agent.daemon.planning import Planning
from agent.daemon.plannote import NOTE
from agent.daemon.troubles import Troubles
from agent.planning.advice import Task, Wishes
from agent.planning.pv import PvAhead
from agent.planning.schedule.aims import guarded_plan
from agent.planning.schedule.child import Made
from agent.planning.schedule.daily import Daily, DailyStage
from agent.planning.schedule.optimum import solve
from agent.planning.schedule.parts import Battery
from agent.planning.schedule.pricing import price_plan
from agent.planning.schedule.problem import Problem, plan_of
from agent.planning.schedule.prospect import Aims, Prospect
from tests.support import guards
from tests.support.agent_process import Agent
from tests.support.disks import small_disk
from tests.support.kept import Kept
from tests.support.schedules import START_MS, TARIFF, demand, problem
from tests.support.stores import Bench

WISHES = Wishes(
    battery=Battery(capacity_kwh=40, charge_kw=20, discharge_kw=20),
    loads=(Daily(name="mill", stages=(DailyStage(power_kw=30, minutes=60),), usual_min=600),),
)


def _forecast(at_step: int = 0) -> Forecast:
    levels = np.tile([70.0, 80.0, 95.0], (48, 1))
    origin_ms = START_MS + at_step * 1_800_000
    return Forecast(origin_ms, 1800, (0.1, 0.5, 0.9), levels, levels[:1], ForecastSource.ACTIVE, "m@1")


def _planning(store: daemon_planning.Kept, **more: Any) -> Planning:
    return Planning(store, History(1800), TARIFF, lambda _: WISHES, **more)


def _until_planned(planning: Planning) -> list[dict[str, Any]]:
    until = time.monotonic() + 60
    while not (rows := planning.turn(START_MS)):
        assert time.monotonic() < until
        time.sleep(0.02)
    return rows


def test_a_forecast_is_planned_beside_the_loop_and_the_plan_is_kept_before_its_event() -> None:
    store = Kept()
    planning = _planning(store)
    planning.begin(_forecast())
    assert planning.turn(START_MS) == []
    assert NOTE not in store.notes
    (row,) = _until_planned(planning)
    assert (row["kind"], row["source"], row["end_ms"]) == ("plan", "highs", START_MS + 86_400_000)
    value = jsonform.loads(store.notes[NOTE], where="note", max_bytes=1 << 20)
    assert sum(action["saving"] for action in value["actions"]) == pytest.approx(row["saving"], abs=0.02)
    assert value["solver"]["peak_kib"] > 0
    planning.close()


def test_of_forecasts_that_come_meanwhile_only_the_newest_is_planned() -> None:
    planning = _planning(Kept())
    for step in (0, 1, 2):
        planning.begin(_forecast(step))
        planning.turn(START_MS)
    starts = [_until_planned(planning)[0]["start_ms"] for _ in range(2)]
    assert starts == [START_MS, START_MS + 2 * 1_800_000]
    assert planning.turn(START_MS) == []


def test_a_restart_remembers_what_was_advised() -> None:
    store = Kept()
    planning = _planning(store)
    planning.begin(_forecast())
    _until_planned(planning)
    value = jsonform.loads(store.notes[NOTE], where="note", max_bytes=1 << 20)
    start = int(np.flatnonzero(value["plan"]["loads_kw"][0])[0])
    again = _planning(store)
    again.begin(_forecast(start + 1))
    _until_planned(again)
    value = jsonform.loads(store.notes[NOTE], where="note", max_bytes=1 << 20)
    load = value["problem"]["loads"][0]
    assert (load["steps"], load["on_before"]) == (1, 1)


def test_a_note_that_is_damaged_lets_planning_begin_anew() -> None:
    store = Kept()
    store.keep(NOTE, b'{"problem": 5}')
    planning = _planning(store)
    planning.begin(_forecast())
    assert _until_planned(planning)[0]["source"] == "highs"


@pytest.mark.parametrize("settled", [[5], ["mill 9999-12-31"], ["mill tomorrow"], 7])
def test_a_note_that_is_damaged_does_not_end_planning_when_the_clock_is_set(settled: object) -> None:
    store = Kept()
    guards.keep_plan(store)
    note = jsonform.loads(store.notes[NOTE], where="note", max_bytes=1 << 20)
    store.notes[NOTE] = damaged = jsonform.dumps({**note, "settled": settled})
    store.rows = lambda *_: [{"kind": "plan", "start_ms": note["start_ms"]}]
    _planning(store).clock_was_set(86_400_000)
    assert store.notes[NOTE] == damaged


def test_a_plan_for_which_the_disk_has_no_room_is_told_and_the_one_before_stays_whole(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", size_kib=6144) as disk:
        bench = Bench(disk.folder)
        planning = _planning(bench.store)
        planning.begin(_forecast())
        bench.store.append("events", _until_planned(planning))
        before = bench.store.note(NOTE)
        disk.fill()
        planning.begin(_forecast(2))
        rows = _until_planned(planning)
        bench.store.append("events", rows)
        assert "full" in bench.store.stats().storage_error
        newest = bench.store.note(NOTE)
        assert newest != before
        planning.begin(_forecast(4))  # planning goes on
        assert _until_planned(planning)[0]["start_ms"] == START_MS + 4 * 1_800_000
        disk.make_room()
        assert bench.crash().note(NOTE) == before
        bench.store.keep(NOTE, newest)
        bench.store.append("events", rows)
        assert bench.crash().note(NOTE) == newest
        bench.store.close()


def test_a_solver_that_fails_leaves_a_plan_by_rules_and_says_so() -> None:
    planning = _planning(Kept(), command=[sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"])
    planning.begin(_forecast())
    (row,) = _until_planned(planning)
    assert row["source"] == "rules"
    assert "by rules: the optimiser failed (ended by signal 9)" in row["text"]


def test_a_plan_that_cannot_be_kept_does_not_end_planning() -> None:
    class Failing(Kept):
        def keep(self, name: str, data: bytes) -> None:
            if not self.notes:
                self.notes["tried"] = b""
                raise OSError("no space")
            super().keep(name, data)

    planning = _planning(Failing())
    planning.begin(_forecast())
    with pytest.raises(OSError, match="no space"):
        _until_planned(planning)
    planning.begin(_forecast(2))
    assert _until_planned(planning)[0]["start_ms"] == START_MS + 2 * 1_800_000


def test_what_keeps_a_plan_from_being_made_is_one_trouble_until_the_next_is_in_the_making() -> None:
    wishes = iter([Wishes(battery=Battery(capacity_kwh=-1, charge_kw=1, discharge_kw=1)), WISHES])
    planning = Planning(Kept(), History(1800), TARIFF, lambda _: next(wishes))
    told: list[str] = []
    troubles = Troubles(lambda _, text: told.append(text))
    planning.begin(_forecast())
    for _ in range(3):
        assert not troubles.run("plan", lambda: planning.turn(START_MS))
    (text,) = told
    assert "battery.capacity_kwh is -1" in text
    planning.begin(_forecast(1))
    assert troubles.run("plan", lambda: planning.turn(START_MS))
    assert told == [text, f"well again after: {text}"]
    planning.close()


@pytest.mark.parametrize(("step", "now_step", "again"), [(1, 2, True), (0, 1, False), (1, 60, False)])
def test_a_run_that_ended_before_its_plan_was_made_is_followed_by_one_that_makes_it(
    step: int, now_step: int, again: bool
) -> None:
    store = Kept()
    planning = _planning(store)
    planning.begin(_forecast())
    _until_planned(planning)
    after = _planning(store)
    after.resume(_forecast(step).to_row(0), START_MS + now_step * 1_800_000)
    assert after.turn(START_MS) == []
    assert (after._making is not None) is again
    after.close()


def test_where_nothing_was_planned_yet_the_newest_forecast_is_planned_and_a_broken_one_is_not() -> None:
    for row, begins in ((_forecast().to_row(0), True), ({"origin_ms": 5}, False)):
        planning = _planning(Kept())
        planning.resume(row, START_MS)
        planning.turn(START_MS)
        assert (planning._making is not None) is begins
        planning.close()


@pytest.mark.parametrize("days", [-1, 0, 1])
def test_after_a_clock_was_set_by_days_a_run_that_was_made_is_that_of_its_true_day(days: int) -> None:
    class Told(Kept):
        def __init__(self) -> None:
            super().__init__()
            self.events: list[dict[str, Any]] = []

        def rows(self, stream: str, start_ms: int, end_ms: int) -> list[dict[str, Any]]:
            return [row for row in self.events if start_ms <= row["time_ms"] < end_ms]

    store = Told()
    planning = _planning(store)
    for step in (0, 30):
        planning.begin(_forecast(step))
        store.events += _until_planned(planning)
    assert _kept(store)["settled"] == ["mill 2026-01-15"]
    for row in store.events:
        row["time_ms"] += days * 86_400_000 + 3_600_000
    planning.clock_was_set(days * 86_400_000 + 3_600_000)
    moved = _kept(store)
    assert moved["settled"] == [f"mill 2026-01-{15 + days}"]
    planning.begin(_forecast(48 * days + 34))
    _until_planned(planning)
    assert _kept(store)["settled"] == [f"mill 2026-01-{15 + days}"]
    again = _planning(store)
    assert again._next(_forecast(48 * days + 38)).settled == (f"mill 2026-01-{15 + days}",)


def test_closing_ends_the_child() -> None:
    planning = _planning(Kept(), command=[sys.executable, "-c", "import time; time.sleep(99)"])
    planning.begin(_forecast())
    planning.turn(START_MS)
    child = planning._making._child  # type: ignore[union-attr]
    planning.close()
    assert child.poll() is not None


def test_a_running_agent_plans_and_its_commands_show_and_explain(tmp_path: Path) -> None:
    agent = Agent(tmp_path)
    text = agent.config.read_text()
    wishes = '[battery]\ncapacity_kwh = 200\ncharge_kw = 100\ndischarge_kw = 100\n[[load]]\nname = "mill"\n'
    agent.config.write_text(f'{text}{wishes}power_kw = 30\nminutes = 120\nusual = "10:00"\n')
    with agent.start():
        agent.until(lambda: agent.run("plan", "show").code == 0)
        shown = agent.run("plan", "show", "--plot")
        assert "advice only" in shown.out
        assert "stored kWh" in shown.out
        explained = agent.run("plan", "explain")
        assert "together" in explained.out
        assert agent.stop() == 0
    told = json.loads(agent.run("plan", "explain", "--json").out)
    assert told["live"] is False
    assert told["source"] == "highs"
    assert sum(action["saving"] for action in told["actions"]) == pytest.approx(told["saving"], abs=0.02)


SLOT_MS = 1_800_000


def _weeks_before(peak_kw: float = 110.0) -> History:
    """Five weeks of 80 kW, last year with an hour more in each evening."""
    slots = []
    for number in range(-36 * 48, 48):
        kw = peak_kw if number % 48 in (36, 37) and number < -14 * 48 else 80.0
        slots.append(Slot(START_MS + number * SLOT_MS, 1800, round(kw * 500), kw, 1.0))
    return History(1800, slots)


def _guarding(store: Any, history: History, **more: Any) -> Planning:
    return Planning(store, history, TARIFF, lambda _: Wishes(battery=WISHES.battery), **more)


def _kept(store: Any) -> dict[str, Any]:
    return jsonform.loads(store.note(NOTE), where="note", max_bytes=1 << 20)


def test_aims_outlive_a_power_cut_and_stand_until_the_next_day(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    planning = _guarding(bench.store, _weeks_before())
    planning.begin(_forecast())
    (row,) = _until_planned(planning)
    bench.store.append("events", [row])
    bench.store.commit()
    assert "; aims to keep " in row["text"]
    first = _kept(bench.store)
    assert len(first["to_go"]) == 49
    assert first["source"] == "policy"

    bench.crash()
    again = _guarding(bench.store, _weeks_before(peak_kw=160.0))  # what would now be aimed at is higher
    again.begin(_forecast(1))
    (row,) = _until_planned(again)
    bench.store.append("events", [row])
    assert _kept(bench.store)["aims"] == first["aims"]
    assert "aims to keep" not in row["text"]
    assert not any("aims to keep" in note for note in _kept(bench.store)["notes"])

    again.begin(_forecast(48))
    (row,) = _until_planned(again)
    bench.store.append("events", [row])
    assert _kept(bench.store)["aims"]["day"] == "2026-01-16"
    assert _kept(bench.store)["aims"]["peaks_kw"]["peak"] > first["aims"]["peaks_kw"]["peak"] + 10
    assert "; aims to keep " in row["text"]
    bench.store.close()


def test_without_a_week_of_load_no_peak_is_guarded() -> None:
    store = Kept()
    planning = _guarding(store, History(1800), command=[sys.executable, "-c", "raise SystemExit('none')"])
    planning.begin(_forecast())
    _until_planned(planning)
    assert (_kept(store)["to_go"], _kept(store)["aims"]) == (None, None)


def test_a_plan_that_not_even_rules_can_make_does_not_end_planning(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise MemoryError

    planning = _planning(Kept(), command=[sys.executable, "-c", "raise SystemExit('none')"])
    with monkeypatch.context() as patched:
        patched.setattr("agent.planning.schedule.child.rule_plan", fail)
        planning.begin(_forecast())
        with pytest.raises(MemoryError):
            _until_planned(planning)
    with pytest.raises(MemoryError):
        planning.turn(START_MS)
    planning.begin(_forecast(2))
    assert _until_planned(planning)[0]["start_ms"] == START_MS + 2 * 1_800_000


def test_a_guarded_plan_for_which_the_disk_has_no_room_leaves_aims_and_plan_before_whole(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", size_kib=6144) as disk:
        bench = Bench(disk.folder)
        planning = _guarding(bench.store, _weeks_before())
        planning.begin(_forecast())
        bench.store.append("events", _until_planned(planning))
        before = bench.store.note(NOTE)
        disk.fill()
        planning.begin(_forecast(48))
        bench.store.append("events", _until_planned(planning))
        assert "full" in bench.store.stats().storage_error
        assert _kept(bench.store)["aims"]["day"] == "2026-01-16"
        disk.make_room()
        assert bench.crash().note(NOTE) == before
        again = _guarding(bench.store, _weeks_before())
        again.begin(_forecast(1))
        bench.store.append("events", _until_planned(again))
        assert _kept(bench.store)["aims"] == jsonform.loads(before, where="note", max_bytes=1 << 20)["aims"]
        bench.store.close()


def _prospect(planning: Planning, given: Problem) -> Prospect | None:
    asked = planning._ask(_forecast())._replace(task=Task(given, (), ()))
    assert asked.before is not None
    while not asked.before.read(1.0):
        pass
    return planning._prospect(asked)


def test_where_pv_is_measured_the_policy_rests_on_what_the_battery_meets(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    shines = np.isin(np.arange(48), np.arange(20, 29))
    slots = [
        Slot(START_MS + n * SLOT_MS, 1800, 25_000, 50.0 if shines[n % 48] else 80.0, 1.0, (), 30.0 * shines[n % 48])
        for n in range(-36 * 48, 0)
    ]
    for back in range(1, 8):
        made = dataclasses.replace(_forecast(), origin_ms=START_MS - back * 86_400_000)
        bench.store.append("forecasts", [made.to_row(made.origin_ms + 5000)])
    given = problem(np.full(48, 80.0), step_s=1800, pv_kw=30.0 * shines, battery=WISHES.battery, demand=(demand(48),))
    planning = _guarding(bench.store, History(1800, slots), pv=lambda _: PvAhead(30.0 * shines))
    found = _prospect(planning, given)
    assert found is not None
    meter_kw = np.where(shines, 50.0, 80.0)
    assert np.unique(found.days_kw, axis=0) == pytest.approx(meter_kw[None])
    assert found.paths_kw == pytest.approx(np.tile(meter_kw, (7, 1)), abs=1e-6)
    bench.store.close()


def test_where_the_battery_is_measured_and_no_pv_the_peak_is_guarded_by_the_load_without_it() -> None:
    doings = np.where(np.arange(48) == 36, 20.0, 0.0)
    slots = [
        Slot(START_MS + n * SLOT_MS, 1800, 40_000, 80.0 - doings[n % 48], 1.0, (), None, doings[n % 48])
        for n in range(-36 * 48, 0)
    ]
    given = problem(np.full(48, 80.0), step_s=1800, battery=WISHES.battery, demand=(demand(48),))
    found = _prospect(_guarding(Kept(), History(1800, slots), pv=lambda _: None), given)
    assert found is not None
    assert np.unique(found.days_kw) == pytest.approx([80.0])


def test_demand_up_to_the_aim_is_not_told_as_paid_for() -> None:
    load = np.full(guards.DAY, 150.0)
    given = guards.problem(load, per_kw=40.0, peak_kw=160.0, initial_soc=0.0, efficiency_charge=0.8, month="2026-01")
    higher = load + np.where(np.isin(np.arange(guards.DAY), range(20, 30)), 170.0, 0.0)
    aims = Aims(peaks_kw={"demand": 250.0}, day="d", month="2026-01")
    ahead = guards.prospect(load, np.stack([load, higher]), day="d", month="2026-01", aims=aims)
    made = guarded_plan(given, ahead, solve)
    assert made.plan.grid_kw.max() > 200  # up to the aim nothing keeps it from charging
    planning = _guarding(Kept(), History(900))
    row = planning._take(
        0, Task(given, (), ()), Made(made.policy.problem, made.plan, 0.1, aims=made.aims, policy=made.policy)
    )
    assert row["cost"] == pytest.approx(price_plan(given, made.plan).total, abs=0.01)
    assert row["saving"] == pytest.approx(row["cost_of_nothing"] + row["left_over"] - row["cost"], abs=0.02)
    assert row["saving"] < 0
    assert row["text"].startswith(f"the plan costs {-row['saving']:.2f} more than doing nothing; it costs more because")


def test_where_energy_is_free_no_sum_is_told_as_below_nothing() -> None:
    empty_at_end = dataclasses.replace(WISHES.battery, initial_soc=1.0, final_soc=0.0)
    given = problem([40.0] * 4, battery=empty_at_end, import_per_kwh=0.0)
    store = Kept()
    made = Made(given, plan_of(given, np.zeros((0, 4)), 0.0, 5.0, source="highs"), 0.1)
    row = _planning(store)._take(0, Task(given, (), ()), made)
    assert (row["saving"], row["left_over"]) == (0.0, 0.0)
    kept = _kept(store)
    told = {name: kept[name] for name in ("cost", "cost_of_nothing", "left_over", "saving", "actions")}
    assert "-0.0" not in json.dumps([told, row])
