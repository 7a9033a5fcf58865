"""A real daemon that is killed in the middle of a demand interval: its figures, its alerts and its shelves go on."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.support.agent_process import CSV, TARIFF, Agent

FRAME = dt.timezone(dt.timedelta(hours=10))
FIRST_MS = round(dt.datetime(2014, 1, 19, tzinfo=FRAME).timestamp() * 1000)
MIN_MS = 60_000
MINUTES = 55 * 60
LOAD_KW = np.random.default_rng(9).uniform(100, 400, MINUTES).round(3)


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Agent]:
    """Replays means of a minute; two days and twelve minutes lie before the clock's start and come at once."""
    rows = (
        f"{dt.datetime(2014, 1, 19) + dt.timedelta(minutes=minute):%Y-%m-%dT%H:%M:%S},{kw:.3f}"  # noqa: DTZ001 - local
        for minute, kw in enumerate(LOAD_KW)
    )
    (tmp_path / "load.csv").write_text("\n".join(["timestamp,load", *rows, ""]))
    with Agent(tmp_path, source=CSV, rate=12) as agent:
        text = agent.config.read_text().replace("interval_s = 1800", "interval_s = 60")
        text = text.replace("2014-01-21T00:00:00", "2014-01-21T00:12:00").replace(f'[tariff]\nfile = "{TARIFF}"\n', "")
        agent.config.write_text(text + "[peak]\ntarget_kw = 380\nprice_per_kw = 11.5\n")
        yield agent


def check(answer: dict[str, object]) -> dict[str, object]:
    """Compare what `edgewatt peak` says with the sums of the file; return the interval."""
    (demand,) = answer["demands"]  # type: ignore[misc, attr-defined]
    halves = LOAD_KW[: 96 * 30].reshape(96, 30).mean(axis=1)
    peak, now = demand["month_peak"], demand["interval"]
    assert peak["known"] >= 96
    assert peak["kw"] == pytest.approx(halves.max(), rel=1e-5)
    assert peak["start_ms"] == FIRST_MS + int(halves.argmax()) * 30 * MIN_MS
    passed = (now["now_ms"] - now["start_ms"]) / MIN_MS
    measured = round(now["covered"] * passed, 2)
    first = (now["start_ms"] - FIRST_MS) // MIN_MS
    whole, part = int(measured), measured % 1
    energy = (LOAD_KW[first : first + whole].sum() + part * LOAD_KW[first + whole]) / 60
    assert now["energy_kwh"] == pytest.approx(energy, rel=1e-3)
    assert now["covered"] > 0.5
    assert now["target_kw"] == 380
    assert now["predicted_kw"] == pytest.approx(2 * (energy + now["rest_kw"] * (0.5 - measured / 60)), rel=1e-3)
    return now  # type: ignore[no-any-return]


def test_killed_in_the_middle_of_a_demand_interval_it_goes_on_with_the_same_figures_and_shelves(agent: Agent) -> None:
    agent.start()
    agent.until(lambda: agent.ask("peak")["demands"][0]["month_peak"]["known"] >= 96)
    agent.until(lambda: bool(agent.ask("alerts", "list")["alerts"]))
    alert = next(row for row in agent.ask("alerts", "list")["alerts"] if row["rule"] == "peak-ahead")
    done = agent.run("alerts", "shelve", alert["id"], "--for", "2d")
    assert done.code == 0, done.err
    assert "is shelved until 2014-01-23" in done.out
    before = check(agent.ask("peak"))
    agent.kill()
    down = check(agent.ask("peak"))  # from the store alone
    assert down["start_ms"] == before["start_ms"]
    agent.start()
    agent.until(lambda: agent.ask("status")["live"])
    after = check(agent.ask("peak"))
    assert after["start_ms"] == before["start_ms"]
    assert after["energy_kwh"] >= before["energy_kwh"]
    assert alert["id"] in agent.run("alerts", "list").out.partition("On the shelf:")[2]
    assert agent.ask("status")["alerts_open"] < len(agent.ask("alerts", "list")["alerts"])
    told = agent.run("peak").out
    for part in ("demand, mean of 30 min", "month's peak", "load may be", "new peak", "limit", "380.0 kW"):
        assert part in told
    assert agent.run("alerts", "unshelve", "peak-ahead").code == 0
    states = {row["id"]: row["state"] for row in agent.ask("alerts", "list", "--all")["alerts"]}
    assert states[alert["id"]] in {"raised", "cleared"}
    assert agent.run("alerts", "shelve", alert["id"], "--for", "a while").code == 2
