"""A clock that is set while the agent is down, or while its store cannot be opened: one clock holds for all rows."""

from __future__ import annotations

import pytest

from agent.contract.errors import StorageError
from agent.store.store import Store
from tests.support.set_clocks import HOUR_MS, MINUTE_MS, TO_1970, Device, check


def hear(device: Device) -> None:
    """The centre agrees with the real clock."""
    device.daemon.rooms.time.watch._heard = lambda: (device.true_ms + device.error_ms, 20)


def test_what_the_centre_confirmed_holds_over_a_restart_of_the_agent_but_not_of_the_machine(tmp_path, monkeypatch):
    device = Device(tmp_path, monkeypatch)
    hear(device)
    device.pass_minutes(12)
    device.error_ms = HOUR_MS
    device.restart()
    device.pass_minutes(7)
    assert device.meter.steps == []
    check(device)
    hear(device)
    device.pass_minutes(2)
    assert device.meter.steps == [HOUR_MS]
    device.restart(machine="machine-2")
    device.error_ms = 0
    device.pass_minutes(2)
    assert device.meter.steps == [HOUR_MS, -HOUR_MS]
    device.daemon.close()


def restart_late(device: Device, monkeypatch) -> Store:
    """Start on a disk that takes nothing, and open the store later."""
    with monkeypatch.context() as patch:
        patch.setattr("agent.store.opening.open_database", _full)
        device.restart(off_ms=9 * MINUTE_MS)
        device.pass_minutes(14)
    store = device.daemon.rooms.store
    assert not store.is_open
    store._guard.due_at = store._guard._open_at = 0.0  # the disk is well again, and it is time to try
    device.pass_minutes(2)
    assert store.is_open
    return store


def test_what_the_centre_confirmed_holds_over_a_start_on_a_bad_disk(tmp_path, monkeypatch):
    device = Device(tmp_path, monkeypatch)
    hear(device)
    device.pass_minutes(12)
    device.error_ms = HOUR_MS
    restart_late(device, monkeypatch)
    device.pass_minutes(3)
    assert device.daemon.rooms.clock.now_ms() == device.true_ms
    check(device)
    device.daemon.close()


@pytest.mark.parametrize(
    ("before_ms", "meanwhile_ms"),
    [
        (2 * HOUR_MS, 0),  # it was set right between two runs
        (-3 * HOUR_MS, 0),
        (0, TO_1970),  # and wrong: the time before holds
        (HOUR_MS, 3 * HOUR_MS),
        (0, 0),
    ],
)
def test_a_clock_that_was_set_before_a_start_on_a_bad_disk_is_corrected_once_the_store_opens(
    tmp_path, monkeypatch, before_ms, meanwhile_ms
):
    device = Device(tmp_path, monkeypatch, error_ms=before_ms)
    device.pass_minutes(32)
    device.error_ms = meanwhile_ms
    store = restart_late(device, monkeypatch)
    if meanwhile_ms == TO_1970:
        assert store.aside_ms == 0
        assert device.daemon.rooms.clock.now_ms() == device.true_ms
    device.error_ms = 0
    device.pass_minutes(11)
    check(device)
    device.restart()
    device.pass_minutes(2)
    check(device)
    device.daemon.close()


def test_slots_of_the_time_before_a_store_was_opened_are_made_anew(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("agent.store.opening.open_database", _full)
        device = Device(tmp_path, monkeypatch, error_ms=-2 * HOUR_MS)
        device.pass_minutes(75)
    store = device.daemon.rooms.store
    store._guard.due_at = store._guard._open_at = 0.0
    device.pass_minutes(5)
    assert len(device.slots()) == 16
    device.error_ms = 0
    device.pass_minutes(2)
    check(device)
    device.daemon.close()


def _full(*_):
    raise StorageError("the disk is full")
