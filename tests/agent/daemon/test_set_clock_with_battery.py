"""A clock that is set on a plant with PV and a battery: slots hold both at their true times, and the plan moves along."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from agent.contract.channels import Reading
from agent.contract.slots import FLAG_GROSS_UNKNOWN, Slot
from agent.daemon.history import History
from agent.daemon.slots import make_closer
from tests.support.schedules import TARIFF_TEXT
from tests.support.set_clocks import HOUR_MS, NOON_MS, TO_1970, Device

CONFIG = """
[device]
id = "d"
state_dir = "state"
socket = "s"
[plant]
zone = "Europe/Berlin"
power_channel = "{channel}"
slot_minutes = 60
[store]
commit_window_s = {window}
[forecast]
horizon_hours = 24
[tariff]
file = "tariff.toml"
[battery]
capacity_kwh = 40
charge_kw = 20
discharge_kw = 20
power_channel = "battery"
[pv]
power_channel = "pv"
[[channel]]
name = "power"
unit = "kW"
interval_s = 3600
[[channel]]
name = "pv"
unit = "kW"
interval_s = 3600
[[channel]]
name = "battery"
unit = "kW"
interval_s = 3600
[[source]]
kind = "simulator"
channels = ["power", "pv", "battery"]
"""
AT_MS = 600_000  # past the hour


def _hour(at_ms: int) -> int:
    return at_ms // HOUR_MS


class Plant(Device):
    """It is looked at ten minutes past every hour."""

    def __init__(self, folder: Path, monkeypatch: Any, **more: Any) -> None:
        (folder / "tariff.toml").write_text(TARIFF_TEXT)
        beside = {
            "pv": lambda at_ms: float(max(0, 30 - 5 * abs(_hour(at_ms) % 24 - 11))),
            "battery": lambda at_ms: float(_hour(at_ms) % 5 - 2),
        }
        super().__init__(folder, monkeypatch, text=CONFIG, beside=beside, **more)
        self.pass_ms(AT_MS)

    def pass_hours(self, hours: int) -> None:
        for _ in range(hours):
            self.pass_ms(HOUR_MS)
            self.daemon.turn()

    def until_planned(self) -> dict[str, Any]:
        """Turns without time passing, until what was asked for is planned; return the note."""
        planning, until = self.daemon.rooms.planning, time.monotonic() + 60
        assert planning is not None
        while planning._making or planning._asked or planning._due:
            assert time.monotonic() < until
            self.daemon.turn()
            time.sleep(0.02)
        return self.note()

    def note(self) -> dict[str, Any]:
        value: dict[str, Any] = json.loads(self.daemon.rooms.store.note("plan") or b"{}")
        return value

    def events(self, kind: str) -> list[dict[str, Any]]:
        rows = self.daemon.rooms.store.rows("events", 0, 2**52)
        return [row for row in rows if row["kind"] == kind]

    def perfect_slots(self) -> list[Slot]:
        truth = {meter.channels[0].name: meter.truth for meter in (self.meter, *self.beside.values())}

        def between(channel: str, start_ms: int, end_ms: int) -> Sequence[Reading]:
            return [reading for reading in truth[channel] if start_ms <= reading.time_ms < end_ms]

        history = History(3600)
        closer = make_closer(self.config, between, history.between)
        for readings in truth.values():
            closer.saw(readings)
        found: list[Slot] = []
        while slots := closer.due(self.true_ms):
            closer.closed(slots)
            found += slots
            for slot in slots:
                history.add(slot)
        return [Slot.from_row(slot.to_row()) for slot in found]

    def check(self) -> None:
        """Slots, and what PV and battery gave in them, are as by a clock that was always right; nothing is wrong."""
        self.catch_up()
        assert self.slots() == self.perfect_slots()
        remembered = self.daemon.rooms.history.between(0, 2**52)
        assert [Slot.from_row(slot.to_row()) for slot in remembered] == self.slots()
        assert self.daemon.troubles.open == {}


def test_slots_of_a_device_that_began_in_1970_hold_pv_and_battery_at_their_true_times(tmp_path, monkeypatch):
    plant = Plant(tmp_path, monkeypatch, error_ms=TO_1970)
    plant.pass_hours(30)
    assert plant.slots() == []
    plant.error_ms = 0
    plant.pass_hours(3)
    plant.check()
    known = plant.slots()[1:]
    assert len(known) >= 29
    assert not any(FLAG_GROSS_UNKNOWN in slot.flags for slot in known)
    value = plant.until_planned()
    assert value["start_ms"] == plant.daemon.rooms.history.end_ms
    assert max(value["problem"]["pv_kw"]) > 25
    plant.daemon.close()


@pytest.mark.parametrize("error_ms", [5 * HOUR_MS, -3 * HOUR_MS])
def test_a_plan_moves_with_the_clock_that_it_was_made_by_and_the_next_one_goes_on_from_it(
    tmp_path, monkeypatch, error_ms
):
    plant = Plant(tmp_path, monkeypatch, error_ms=error_ms)
    plant.pass_hours(26)
    before = plant.until_planned()
    plant.error_ms = 0
    plant.pass_hours(1)
    moved = plant.note()
    assert [moved[name] - before[name] for name in ("made_ms", "start_ms", "end_ms")] == [-error_ms] * 3
    assert moved["problem"]["start_ms"] == moved["start_ms"]
    assert plant.events("plan")[-1]["time_ms"] == moved["made_ms"]
    ahead = plant.daemon.rooms.ahead
    assert ahead is not None
    assert ahead._planned is not None
    assert ahead._planned[0] == moved["start_ms"]
    after = plant.until_planned()
    plant.check()
    assert after["start_ms"] == plant.daemon.rooms.history.end_ms == moved["start_ms"] + HOUR_MS
    assert after["problem"]["battery"]["initial_soc"] == pytest.approx(moved["plan"]["stored_kwh"][0] / 40, abs=1e-5)
    assert all(NOON_MS - HOUR_MS <= row["time_ms"] <= plant.true_ms for row in plant.events("plan"))
    plant.daemon.close()


def test_a_plan_in_the_making_is_let_go_when_the_clock_is_set(tmp_path, monkeypatch):
    plant = Plant(tmp_path, monkeypatch, error_ms=5 * HOUR_MS)
    plant.pass_hours(26)
    planning = plant.daemon.rooms.planning
    assert planning is not None
    assert planning._making is not None
    child = planning._making._child
    plant.error_ms = 0
    plant.pass_ms(1000)
    plant.daemon.turn()
    assert child is not None
    assert child.poll() is not None
    plant.until_planned()
    assert [row["start_ms"] <= plant.true_ms for row in plant.events("plan")] == [True]
    plant.check()
    plant.daemon.close()


def test_while_slots_are_made_anew_nothing_is_planned_for_the_days_before(tmp_path, monkeypatch):
    plant = Plant(tmp_path, monkeypatch, error_ms=5 * HOUR_MS)
    plant.pass_hours(60)
    plant.until_planned()
    before = len(plant.events("plan"))
    monkeypatch.setattr("agent.daemon.slots._MOST_AT_ONCE", 30)
    plant.error_ms = 0
    plant.pass_hours(1)
    assert plant.daemon.rooms.history.end_ms < plant.true_ms - 20 * HOUR_MS
    plant.until_planned()
    ends = [row["start_ms"] for row in plant.events("plan")[before:]]
    assert ends == [plant.daemon.rooms.history.end_ms]
    plant.check()
    plant.daemon.close()


def test_a_plan_of_an_earlier_start_of_the_machine_stays_where_it_is(tmp_path, monkeypatch):
    plant = Plant(tmp_path, monkeypatch)
    plant.pass_hours(26)
    before = plant.until_planned()
    plant.error_ms = -2 * HOUR_MS
    plant.restart(off_ms=3 * HOUR_MS, machine="machine-2")
    plant.pass_hours(1)
    plant.error_ms = 0
    plant.pass_ms(1000)
    plant.daemon.turn()
    assert [row["text"][:22] for row in plant.events("clock")] == ["the clock was set from"]
    assert plant.note() == before
    plant.pass_hours(2)
    plant.check()
    plant.daemon.close()
