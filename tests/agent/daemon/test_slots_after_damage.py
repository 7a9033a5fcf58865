"""Slots and damage: none is made without readings that are about to come back, or in the place of one that is."""

from __future__ import annotations

import pytest

import agent.daemon.loop
from tests.support.set_clocks import HOUR_MS, MINUTE_MS, YEAR_MS, Device, check


def filled(folder, monkeypatch) -> Device:
    """Two hours, packed often, so that salvage brings them back little by little."""
    device = Device(folder, monkeypatch)
    for _ in range(24):
        device.pass_minutes(5)
        device.daemon.rooms.store._journal.pack(("readings", "slots", "events"))
    device.pass_minutes(3)
    device.daemon.rooms.store._journal.pack(("readings",))
    assert device.daemon.rooms.store.repair()  # what damage does, too
    device.daemon.rooms.store._salvage_kib_s = 128  # little, as beside a large store
    return device


def salvage(device: Device, *, until_blocks: int = 10**9) -> None:
    store = device.daemon.rooms.store
    while store.is_salvaging and store.stats().salvage[0].blocks < until_blocks:
        store._mended_at -= 0.25
        store.tick()


def test_the_slot_in_which_damage_was_found_waits_for_its_readings_and_the_running_demand_does_not(
    tmp_path, monkeypatch
):
    device = filled(tmp_path, monkeypatch)
    device.pass_minutes(10)
    (told,) = device.daemon.rooms.watching.peaks.told(device.daemon.rooms.clock.now_ms())
    assert (told["interval"]["end_ms"] - device.true_ms, told["interval"]["covered"]) == (2 * MINUTE_MS, 1.0)
    device.pass_minutes(2)
    assert device.slots() == []
    salvage(device)
    device.pass_minutes(7)
    check(device)
    device.daemon.close()


@pytest.mark.parametrize("blocks", [1, 10, 20, 40])
@pytest.mark.parametrize("ending", ["restart", "crash"])
def test_a_start_amid_salvage_makes_no_empty_slots_in_the_place_of_those_that_come_back(
    tmp_path, monkeypatch, blocks, ending
):
    device = filled(tmp_path, monkeypatch)
    salvage(device, until_blocks=blocks)
    assert device.daemon.rooms.store.is_salvaging
    getattr(device, ending)()
    device.pass_minutes(12)
    salvage(device)
    device.pass_minutes(7)
    check(device)
    device.daemon.close()


def test_salvage_of_what_a_clock_stamped_ahead_makes_no_slots_of_times_to_come(tmp_path, monkeypatch):
    device = Device(tmp_path, monkeypatch, error_ms=3 * HOUR_MS)
    device.pass_minutes(20)
    device.error_ms = 0
    device.pass_minutes(7)
    store = device.daemon.rooms.store
    store._journal.pack(("readings", "slots", "events"))
    assert store.repair()
    salvage(device)
    device.pass_minutes(7)
    check(device)
    device.daemon.close()


def test_a_start_that_finds_damage_makes_no_slots_of_times_to_come_either(tmp_path, monkeypatch):
    device = Device(tmp_path, monkeypatch, error_ms=YEAR_MS)
    device.pass_minutes(20)
    device.error_ms = 0
    device.pass_minutes(7)
    device.daemon.rooms.store._journal.pack(("readings", "slots", "events"))
    device.daemon.close()
    with next(tmp_path.rglob("store.db")).open("r+b") as file:
        file.write(b"garbled" * 2)
    device.start()
    device.pass_minutes(2)
    salvage(device)
    device.pass_minutes(7)
    check(device)
    last_ms = device.daemon.rooms.store.last_time_ms("readings", "power")
    assert last_ms == device.true_ms
    device.restart()
    assert device.daemon.rooms.store.last_time_ms("readings", "power") == last_ms
    device.daemon.close()


def test_slots_wait_no_longer_than_salvage_should_take(tmp_path, monkeypatch):
    device = filled(tmp_path, monkeypatch)
    salvage(device, until_blocks=40)
    device.daemon.rooms.store._salvage_kib_s = 0  # there is no room for it
    device.restart()
    device.daemon.rooms.store._salvage_kib_s = 0
    device.pass_minutes(7)
    before = device.slots()
    assert len(before) == 24
    monkeypatch.setattr(agent.daemon.loop, "_SALVAGE_S", 0.0)
    device.pass_minutes(1)
    device.catch_up()
    slots = device.slots()
    assert slots[:24] == before
    assert slots[-1].end_ms > device.true_ms - 6 * MINUTE_MS
    device.daemon.close()
