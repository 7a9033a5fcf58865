"""What `edgewatt plan` says in all the cases that a plant can be in."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agent.cli.main import run_command
from agent.cli.plan import _explain, _show
from agent.contract import jsonform
from agent.daemon.history import History
from agent.daemon.planning import Planning
from agent.daemon.plannote import NOTE
from agent.planning.advice import Task, Wishes
from agent.planning.schedule.child import Made
from agent.planning.schedule.optimum import solve
from agent.planning.schedule.parts import Battery, Deferrable
from agent.planning.schedule.problem import Problem
from agent.planning.schedule.rules import rule_plan
from agent.store.identity import Identity
from agent.store.store import Store
from tests.support.guards import configured
from tests.support.kept import Kept
from tests.support.schedules import START_MS, TARIFF, demand, problem

BATTERY = Battery(capacity_kwh=20, charge_kw=20, discharge_kw=20, min_soc=0.1)


def answer_of(given: Problem, *, rules: bool = False, **more: Any) -> dict[str, Any]:
    """What the agent answers about the plan of a problem."""
    store = Kept()
    planning = Planning(store, History(900), TARIFF, lambda _: Wishes())
    made = Made(
        given, rule_plan(given, "the optimiser cannot be started (it is not there)") if rules else solve(given), 0.1
    )
    planning._take(START_MS, Task(given, (), ()), made)
    value = jsonform.loads(store.notes[NOTE], where="note", max_bytes=1 << 20)
    return {"device": "d1", "zone": "UTC", "is_over": False, "now": None, **value, **more}


def told(answer: dict[str, Any]) -> dict[str, str]:
    """The facts at the head of `plan show`."""
    head = _show(answer, plot=False).split("\n\n")[0]
    return {line[:15].strip(): line[15:] for line in head.splitlines()}


def hour(**more: Any) -> Problem:
    return problem([40.0, 60.0, 40.0, 40.0], **{"currency": "EUR"} | more)


def now(**more: Any) -> dict[str, Any]:
    given = {"time_ms": 1_767_225_600_000, "battery_kw": 0.0, "load_kw": 40.0, "stored_kwh": 10.0, "assumed": []}
    return {**given, "keep_below_kw": None, "reserve_kwh": 2.0, **more}


def test_a_plant_without_battery_pv_and_loads_is_not_shown_columns_of_them() -> None:
    mill = Deferrable(name="mill 2026-01-15", power_kw=40, steps=1)
    table = _show(answer_of(hour(loads=(mill,))), plot=False).split("\n\n")[1]
    assert table.splitlines()[0].split() == ["from", "to", "EUR/kWh", "load", "kW", "grid", "kW", "runs"]
    assert "stored kWh" in _show(answer_of(hour(battery=BATTERY)), plot=False)


def test_a_plan_with_nothing_to_do_says_so() -> None:
    assert _explain(answer_of(hour(battery=BATTERY))).endswith(
        "The plan is to do nothing: nothing else would save money."
    )
    assert _explain(answer_of(hour(), rules=True)).endswith("The plan is to do nothing.")


def test_a_plan_that_costs_more_says_by_how_much_and_what_it_leaves_stored() -> None:
    battery = dataclasses.replace(BATTERY, initial_soc=0.1, final_soc=0.5)
    facts = told(answer_of(hour(battery=battery, import_per_kwh=np.array([0.2, 0.2, 0.2, 0.2]))))
    assert facts["left stored"] == "8 kWh more than doing nothing, worth 1.68 EUR"
    assert facts["saves"] == "0.00 EUR"
    facts = told(answer_of(hour(battery=battery, import_per_kwh=0.2), saving=-2.63))
    assert facts["saves"] == "nothing: it costs 2.63 EUR more than doing nothing"


def test_what_of_the_cost_is_the_month_s_is_told_beside_it() -> None:
    facts = told(answer_of(hour(demand=(demand(4, peak_so_far_kw=50.0),))))
    assert facts["cost"] == "109.00 EUR, of which 100.00 for a peak above what is paid for so far"
    assert told(answer_of(hour()))["cost"] == "9.00 EUR"


def test_savings_stand_before_what_saves_them_so_that_long_texts_may_run_on() -> None:
    mill = Deferrable(name="mill 2026-01-01", power_kw=40, steps=1)
    lines = _explain(answer_of(hour(loads=(mill,), import_per_kwh=[0.3, 0.3, 0.3, 0.1]))).splitlines()
    assert lines[-3:] == [
        "saves EUR  action (at prices in EUR/kWh)",
        "     2.00  run 'mill 2026-01-01' 00:45-01:00 at 0.100 instead of 00:00-00:15 at 0.300",
        "     2.00  together",
    ]


def test_a_plan_by_rules_says_why() -> None:
    facts = told(answer_of(hour(battery=BATTERY), rules=True))
    assert facts["made by"] == "rules, not the optimiser"
    assert facts["note"] == "the optimiser cannot be started (it is not there)"


def test_a_source_of_a_later_version_is_told_as_it_stands() -> None:
    assert told(answer_of(hour(battery=BATTERY), source="oracle"))["made by"].startswith("oracle")


def test_a_plan_that_has_ended_says_so() -> None:
    assert told(answer_of(hour(battery=BATTERY), is_over=True))["over"].startswith("this plan has ended")
    assert "over" not in told(answer_of(hour(battery=BATTERY)))


@pytest.mark.parametrize(
    ("given", "below_kw", "words"),
    [
        ({}, None, "none: no demand is charged now"),
        (
            {"site_limit_kw": 80.0},
            80.0,
            "keep the meter below the site's limit of 80 kW, though no demand is charged now",
        ),
        (
            {"site_limit_kw": 80.0, "demand": (demand(4, peak_so_far_kw=90.0),)},
            80.0,
            "keep the meter below the site's limit of 80 kW",
        ),
        (
            {"site_limit_kw": 80.0, "demand": (demand(4, peak_so_far_kw=70.0), demand(4, name="new"))},
            0.0,
            "every kW at the meter adds to the charge 'new' now",
        ),
        (
            {"demand": (demand(4, peak_so_far_kw=70.0), demand(4, name="free", per_kw=0.0))},
            70.0,
            "keep the meter below 70 kW: anything above adds to the charge 'month'",
        ),
        (
            {"site_limit_kw": 65.0, "demand": (demand(4, peak_so_far_kw=70.0),)},
            52.5,
            "keep the meter below 52.5 kW until the interval ends: anything above adds to the charge 'month'",
        ),
    ],
)
def test_which_limit_holds_and_why_is_told(given: dict[str, Any], below_kw: float | None, words: str) -> None:
    facts = told(answer_of(hour(battery=BATTERY, **given), now=now(keep_below_kw=below_kw)))
    assert facts["limit"] == words


def test_a_reserve_is_told_only_where_more_is_kept_than_the_least() -> None:
    assert "reserve" not in told(answer_of(hour(battery=BATTERY), now=now()))
    more = {"reserve_kwh": 12.5, "stored_kwh": 16.0, "load_kw": -8.0, "battery_kw": -4.0}
    facts = told(answer_of(hour(battery=BATTERY), now=now(**more)))
    assert facts["reserve"] == "at this price keep 12.5 kWh stored for later"
    assert facts["now"] == "battery takes 4 kW, at 00:00 with 8 kW of PV left over, 16 kWh stored"
    facts = told(answer_of(hour(battery=BATTERY), now=now(**{**more, "stored_kwh": 12.0})))
    assert facts["reserve"] == "at this price nothing is given"


def _stored(folder: Path, note: bytes | None) -> list[str]:
    """A command line for a plant whose agent is down, with what it kept as its plan."""
    (folder / "state").mkdir()
    identity = Identity.open(folder / "state" / "identity")
    identity.begin_boot()
    config = configured(folder)
    path = folder / "state" / "store.db"
    store = Store(path, identity, config.channels, now_ms=lambda: START_MS, monotonic=time.monotonic)
    if note is not None:
        store.keep(NOTE, note)
    store.append("events", [{"time_ms": START_MS, "kind": "boot", "text": "boot"}])
    store.close()
    return ["--config", str(folder / "agent.toml")]


@pytest.mark.parametrize("note", [b"{}", b'{"start_ms":1,"end_ms":2,"cost":1.0,"to_go":null}'])
def test_a_kept_plan_that_is_not_whole_is_one_clear_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], note: bytes
) -> None:
    assert run_command([*_stored(tmp_path, note), "plan", "show"]) == 65
    assert "the plan that is kept has no '" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("has_battery", "wanted"), [(False, "give [battery] or [[load]]"), (True, "comes with the first forecast")]
)
def test_where_there_is_no_plan_it_is_said_what_it_waits_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], has_battery: bool, wanted: str
) -> None:
    command = _stored(tmp_path, None)
    file = tmp_path / "agent.toml"
    before, battery, _ = file.read_text().partition("[battery]\n")
    assert battery
    if not has_battery:
        file.write_text(before)
    assert run_command([*command, "plan", "show"]) == 75
    assert wanted in capsys.readouterr().err
