"""A real daemon in a process of its own: it samples, forecasts, bills, watches, survives SIGKILL, and ends cleanly."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.store.identity import Identity
from agent.store.reader import Reader
from tests.support.agent_process import CSV, Agent
from tests.support.bundles import write_history_csv

SLOT_MS, DAY_MS = 1_800_000, 86_400_000


@pytest.fixture
def simulated(tmp_path: Path) -> Iterator[Agent]:
    with Agent(tmp_path) as agent:
        yield agent


@pytest.fixture
def replay(tmp_path: Path) -> Iterator[Agent]:
    """Replays 30 days; 20 of them lie before the clock's start and come at once."""
    write_history_csv(tmp_path / "load.csv", days=30)
    with Agent(tmp_path, source=CSV) as agent:
        yield agent


def stored(agent: Agent, stream: str) -> list[Any]:
    state = agent.folder / "state"
    reader = Reader.open(state / "store.db", Identity.open(state / "identity").storage_key)
    try:
        if stream == "readings":
            return reader.readings("power", 0, 2**53)
        return reader.rows(stream, 0, 2**53)
    finally:
        reader.close()


def scored(forecasts: list[Any], slots: list[Any]) -> tuple[int, int]:
    """Slots of the last 28 days that were scored, and those within the published band: the rule, written once more.

    A forecast is followed for a day; the one that begins at or after its end is the next.
    """
    power_kw = {row["time_ms"]: row["power_kw"] for row in slots}
    followed: list[Any] = []
    for row in forecasts:
        if not followed or row["origin_ms"] >= followed[-1]["origin_ms"] + 48 * SLOT_MS:
            followed.append(row)
    last_day = forecasts[-1]["origin_ms"] // DAY_MS
    found = [
        low <= power_kw[time_ms] <= high
        for row in followed[:-1]
        for time_ms, (low, _, high) in zip(
            range(row["origin_ms"], row["origin_ms"] + 48 * SLOT_MS, SLOT_MS), row["power_kw"], strict=True
        )
        if last_day - 28 < time_ms // DAY_MS <= last_day
    ]
    return len(found), sum(found)


def test_a_running_daemon_answers_every_reading_command(simulated: Agent) -> None:
    simulated.start()
    simulated.until(lambda: simulated.run("forecast").code == 0)
    simulated.until(lambda: len(simulated.ask("cost")["costs"]) == 4)
    status = simulated.ask("status")
    assert status["live"] is True
    assert status["state"] == "running"
    assert status["exhausted"] is False
    assert status["troubles"] == {}
    assert status["backlog_rows"] > 0
    forecast = simulated.ask("forecast")
    assert forecast["source"] == "naive"
    assert forecast["fallback"] is True
    assert len(forecast["power_kw"]) == 48
    assert {row["scope"] for row in simulated.ask("cost")["costs"]} == {"today", "month", "month_end", "next_24h"}
    assert simulated.ask("buffer", "status")["rows"]["slots"] > 48
    assert simulated.ask("sync", "status")["enrolled"] is False
    assert simulated.ask("model", "status")["active"] is None
    for command in (["status"], ["cost"], ["buffer", "status"], ["sync", "status"], ["model", "status"]):
        shown = simulated.run(*command)
        assert shown.code == 0, shown.err
        assert shown.out
    assert "not enrolled" in simulated.run("buffer", "status").out
    drawn = simulated.run("forecast", "--plot")
    assert "fallback" in drawn.out
    assert simulated.run("model", "rollback").code == 78


def test_a_peak_is_raised_and_can_be_acknowledged(simulated: Agent) -> None:
    simulated.start()
    simulated.until(lambda: bool(simulated.ask("alerts", "list")["alerts"]))
    alert = simulated.ask("alerts", "list")["alerts"][0]
    assert alert["rule"] == "peak-ahead"
    assert alert["state"] == "raised"
    assert simulated.run("alerts", "ack", alert["id"]).code == 0
    states = {row["id"]: row["state"] for row in simulated.ask("alerts", "list", "--all")["alerts"]}
    assert states[alert["id"]] in {"acknowledged", "cleared"}
    refused = simulated.run("alerts", "ack", "no-such-alert")
    assert refused.code == 78
    assert refused.out == ""
    assert "no-such-alert" in refused.err


def test_killed_and_started_again_no_row_is_lost_or_doubled(replay: Agent) -> None:
    replay.start()
    for _ in range(2):
        before = replay.ask("buffer", "status")["rows"]["slots"]
        # A slow machine may reach the end of the replay meanwhile; nothing may be lost or doubled then either.
        replay.until(lambda least=before: replay.ask("buffer", "status")["rows"]["slots"] > min(least + 20, 1439))
        replay.kill()
        replay.start()
    replay.until(lambda: replay.ask("status")["exhausted"])
    replay.until(lambda: replay.ask("buffer", "status")["rows"]["slots"] == 30 * 48)
    assert replay.ask("status")["state"] == "exhausted"
    assert replay.stop() == 0
    readings = [reading.time_ms for reading in stored(replay, "readings")]
    assert len(readings) == 30 * 48
    assert max(Counter(readings).values()) == 1
    slots = stored(replay, "slots")
    starts = [row["time_ms"] for row in slots]
    assert starts == list(range(starts[0], starts[0] + 30 * 48 * SLOT_MS, SLOT_MS))
    assert all(row["flags"] == [] for row in slots)
    origins = [row["origin_ms"] for row in stored(replay, "forecasts")]
    assert len(origins) == len(set(origins))
    assert stored(replay, "forecasts")[-1]["calibrated"] is True
    events = stored(replay, "events")
    assert [row["text"] for row in events if row.get("room") == "calibration"] == []
    held = replay.ask("status")["model"]
    known, within = scored(stored(replay, "forecasts"), slots)
    assert held["coverage_slots"] == known >= 48
    assert held["coverage_28d"] == round(within / known, 4)
    shown = replay.run("status")
    assert f"held {held['coverage_28d']:.0%} of {held['coverage_slots']:,} slots of the last 28 days" in shown.out
    assert "80 % band, calibrated on this plant: held " in replay.run("forecast").out
    starts = [row for row in events if row["kind"] == "boot"]
    assert [row["boot"] for row in starts] == [1, 2, 3]
    assert {row["zone"] for row in starts} == {"Australia/Melbourne"}


def test_with_the_daemon_down_commands_read_the_store_and_say_so(replay: Agent) -> None:
    replay.start()
    replay.until(lambda: bool(replay.ask("cost")["costs"]))
    live = replay.ask("buffer", "status")["rows"]["slots"]
    assert replay.stop() == 0
    assert not (replay.folder / "agent.sock").exists()
    status = replay.ask("status")
    assert status["live"] is False
    assert status["state"] == "offline"
    assert replay.ask("buffer", "status")["rows"]["slots"] >= live
    assert len(replay.ask("forecast")["power_kw"]) == 48
    assert replay.ask("cost")["costs"]
    shown = replay.spawn("status")
    assert shown.code == 0
    assert "read from the store instead" in shown.err
    changed = replay.run("alerts", "ack", "x")
    assert changed.code == 75
    assert "edgewatt run" in changed.err


def test_a_second_daemon_on_the_same_state_is_refused_and_the_first_goes_on(simulated: Agent) -> None:
    simulated.start()
    second = simulated.spawn("run")
    assert second.code == 75
    assert "another edgewatt process" in second.err
    assert simulated.ask("status")["live"] is True


def test_a_replay_is_not_continued_with_another_clock(simulated: Agent) -> None:
    simulated.start()
    assert simulated.stop() == 0
    text = simulated.config.read_text()
    simulated.config.write_text(text.replace("rate = 57600", "rate = 3600"))
    refused = simulated.spawn("run")
    assert refused.code == 78
    assert "another plant_start or rate" in refused.err
    simulated.config.write_text(text)
    assert simulated.start().ask("status")["live"] is True
