"""A plant with PV and a battery that acts: forecast of the gross load, bill of the meter, plan with PV."""

from __future__ import annotations

import contextlib
import datetime as dt
import io
import json
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from agent.cli.main import run_command
from agent.config import Config, load
from agent.daemon.build import build
from agent.daemon.loop import Daemon
from agent.daemon.offline import open_offline_store
from agent.daemon.realtime import real_ms
from agent.daemon.views import View, stored_slots
from tests.support.configs import device
from tests.support.schedules import TARIFF_TEXT

DAYS, STEPS = 8, 48
START = dt.datetime(2026, 1, 5, tzinfo=dt.UTC)
END_MS = round(START.timestamp() * 1000) + DAYS * 86_400_000
HOURS = np.arange(DAYS * STEPS) / 2
GROSS = 60 + 30 * np.sin(2 * np.pi * HOURS / 24) ** 2
PV = 25 * np.maximum(np.sin(2 * np.pi * (HOURS - 6) / 24), 0)
DAY = (HOURS // 24).astype(int)
# Another hour every day: who forecasts the meter forecasts the battery's doings of yesterday.
BATTERY = np.where(HOURS % 24 == 1 + DAY, -20.0, np.where(HOURS % 24 == 12 + DAY, 20.0, 0.0))
METER = GROSS - PV - BATTERY
CONFIG = """
[clock]
plant_start = 2026-01-05T00:00:00Z
anchor_real_ms = {anchor_ms}
[tariff]
file = "tariff.toml"
[battery]
capacity_kwh = 40
charge_kw = 20
discharge_kw = 20
power_channel = "battery"
[pv]
power_channel = "pv"
[peak]
target_kw = 150.0
"""
SOURCE = """
[[channel]]
name = "{name}"
unit = "kW"
interval_s = 1800
[[source]]
kind = "csv"
path = "{name}.csv"
channel = "{name}"
zone = "UTC"
timestamp_column = "time"
value_column = "kw"
"""


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    folder = tmp_path_factory.mktemp("plant")
    text = device("meter", slot_minutes=30) + CONFIG.format(
        anchor_ms=real_ms() - DAYS * 86_400_000 - 3_600_000
    )  # all is over by now
    for name, curve in {"meter": METER, "pv": PV, "battery": BATTERY}.items():
        rows = [
            f"{(START + dt.timedelta(hours=hour)).isoformat()},{kw:.3f}" for hour, kw in zip(HOURS, curve, strict=True)
        ]
        (folder / f"{name}.csv").write_text("\n".join(["time,kw", *rows]) + "\n")
        text += SOURCE.format(name=name)
    (folder / "tariff.toml").write_text(TARIFF_TEXT)
    (folder / "agent.toml").write_text(text)
    return load(folder / "agent.toml")


@pytest.fixture(scope="module")
def lived(config: Config) -> Iterator[Daemon]:
    """The daemon when all is taken in, forecast, planned and, with the plan, costed."""
    daemon = build(config)
    daemon.start()
    until = time.monotonic() + 60
    while _plan(daemon).get("start_ms") != END_MS:
        assert time.monotonic() < until
        daemon.turn()
        time.sleep(0.02)
    planned_s = time.monotonic()
    while time.monotonic() < planned_s + 0.6:  # costs are told twice a second at most
        daemon.turn()
        time.sleep(0.05)
    yield daemon
    daemon.close()


def _plan(lived: Daemon) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(lived.rooms.store.note("plan") or b"{}")
    return value


def test_no_room_is_in_trouble(lived: Daemon) -> None:
    assert lived.troubles.open == {}


def test_the_forecast_is_made_of_the_gross_load(lived: Daemon) -> None:
    rooms = lived.rooms
    _, power_kw = rooms.history.power_kw(rooms.history.end_ms or 0)
    np.testing.assert_allclose(power_kw, GROSS, atol=0.002)
    assert rooms.forecasting.latest is not None
    np.testing.assert_allclose(rooms.forecasting.latest.level(0.5), GROSS[:STEPS], atol=0.01)


def test_the_bill_is_of_the_meter(lived: Daemon) -> None:
    now_ms = lived.rooms.clock.now_ms()
    costs = {row["scope"]: row for row in lived.rooms.store.rows("costs", 0, now_ms)}
    assert costs["month"]["energy_wh"] == pytest.approx(METER.sum() * 500, abs=DAYS * STEPS)
    (demand,) = lived.rooms.watching.peaks.told(lived.rooms.history.end_ms or 0)
    assert demand["month_peak"]["kw"] == pytest.approx(METER.max(), abs=0.01)


def test_the_plan_has_pv_and_the_gross_load(lived: Daemon) -> None:
    value = _plan(lived)
    np.testing.assert_allclose(value["problem"]["pv_kw"], PV[:STEPS], atol=0.01)
    np.testing.assert_allclose(value["problem"]["load_kw"], GROSS[:STEPS], atol=0.01)
    assert value["source"] == "policy"
    assert max(value["plan"]["charge_kw"]) > 1


def test_what_is_expected_at_the_meter_is_the_plan(lived: Daemon) -> None:
    value = _plan(lived)
    expected = lived.rooms.expected()
    assert expected is not None
    grid_kw = np.array(value["plan"]["grid_kw"])
    np.testing.assert_allclose(expected.level(0.5), grid_kw, atol=0.01)
    assert lived.rooms.watching.peaks.forecast is expected
    costs = {row["scope"]: row for row in lived.rooms.store.rows("costs", 0, lived.rooms.clock.now_ms())}
    assert costs["next_24h"]["energy_wh"] == pytest.approx(grid_kw.sum() * 500, abs=STEPS)


def test_commands_read_the_same_and_say_gross(lived: Daemon, config: Config) -> None:
    expected = lived.rooms.expected()
    with open_offline_store(config) as (store, identity):
        view = View(store, config, identity.enrolment)
        told = view.expected()
        assert told is not None
        assert expected is not None
        np.testing.assert_allclose(told.power_kw, expected.power_kw, atol=1e-3)
        assert view.status()["gross_kw"] == pytest.approx(GROSS[-1], abs=0.01)
        assert view.status()["power_kw"] == pytest.approx(METER[-1], abs=0.01)


@pytest.mark.parametrize(
    ("command", "words"),
    [("plan show", "PV kW"), ("status", "gross load"), ("forecast", "Gross load (without PV and battery)")],
)
def test_each_command_tells_what_it_is_of(lived: Daemon, config: Config, command: str, words: str) -> None:
    lived.rooms.control.close()  # the commands read the store, as while the agent is down
    out, file = io.StringIO(), config.device.state_dir.parent / "agent.toml"
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(io.StringIO()):
        assert run_command(["--config", str(file), *command.split()]) == 0
    assert words in out.getvalue()


def test_stored_slots_hold_the_meter_and_its_parts(lived: Daemon) -> None:
    slots = stored_slots(lived.rooms.store, 30)
    assert len(slots) == DAYS * STEPS
    for slot, meter, pv, battery in zip(slots, METER, PV, BATTERY, strict=True):
        assert (slot.power_kw, slot.pv_kw, slot.battery_kw) == pytest.approx((meter, pv, battery), abs=0.001)
