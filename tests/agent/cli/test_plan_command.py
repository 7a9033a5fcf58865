"""`edgewatt plan show` with a guarded peak: which limit holds, and what the battery is to do now."""

import json
import time
from pathlib import Path

import pytest

from agent.cli.main import run_command
from agent.contract.channels import Reading
from agent.store.identity import Identity
from agent.store.store import Store
from tests.support.guards import configured, keep_plan
from tests.support.schedules import START_MS

AT_MS = START_MS + 42 * 900_000  # 10:30


@pytest.fixture
def plant(tmp_path: Path) -> list[str]:
    """A command line for a plant whose agent is down: a plan, a load of 334 kW, no state of charge."""
    config = configured(tmp_path)
    (tmp_path / "state").mkdir()
    identity = Identity.open(tmp_path / "state" / "identity")
    identity.begin_boot()
    path = tmp_path / "state" / "store.db"
    store = Store(path, identity, config.channels, now_ms=lambda: AT_MS, monotonic=time.monotonic)
    store.append("events", [keep_plan(store)])
    store.append("readings", [Reading("power", AT_MS, 334.0)])
    store.close()
    return ["--config", str(tmp_path / "agent.toml")]


def test_the_limit_and_what_to_do_now_are_told_in_a_line_each(
    plant: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command([*plant, "plan", "show"]) == 0
    lines = {line.split("  ")[0]: line.split("  ")[-1] for line in capsys.readouterr().out.splitlines()}
    assert lines["limit"] == "keep the meter below 280 kW: anything above adds to the charge 'demand'"
    assert lines["reserve"] == "at this price nothing is given except to keep the limit"
    assert lines["made by"] == "weighing what stored energy is worth"
    assert lines["now"].startswith("battery gives 54 kW, at 10:30 with 334 kW of load, ")
    assert lines["assumed"] == "as much is stored as planned: charged told nothing for an hour"


def test_json_has_what_to_do_now_and_what_is_aimed_at(plant: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command([*plant, "plan", "show", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert "to_go" not in answer
    assert answer["now"] | {"stored_kwh": 0, "reserve_kwh": 0} == {
        "time_ms": AT_MS,
        "battery_kw": 54.0,
        "load_kw": 334.0,
        "stored_kwh": 0,
        "keep_below_kw": 280.0,
        "reserve_kwh": 0,
        "assumed": [
            "the battery rests, and the meter shows the load alone: battery.power_channel is not set",
            "as much is stored as planned: charged told nothing for an hour",
        ],
    }
    assert answer["aims"]["day"] == "2026-01-15"


def test_the_battery_s_power_is_above_0_where_it_gives(plant: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command([*plant, "plan", "show"]) == 0
    out = capsys.readouterr().out
    head, rows = next(line for line in out.splitlines() if "battery kW" in line), out.splitlines()
    names = head.split("  ")
    columns = [name.strip() for name in names if name.strip()]
    shaved = next(line for line in rows if line.startswith("10:00"))
    row = dict(zip(columns, shaved.split(), strict=True))
    assert float(row["battery kW"]) == pytest.approx(40.0, abs=0.1)
    assert float(row["grid kW"]) == pytest.approx(280.0, abs=0.1)
