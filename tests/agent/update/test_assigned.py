"""Which assignments count, and which of them are forged, foreign, replayed, expired or not allowed."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.contract.assignment import Item, ItemKind
from agent.contract.errors import RejectedError
from tests.support.updating import DAY_MS, NOW_MS, Device, actions, path_of


def test_the_retained_assignment_sent_again_changes_nothing(device: Device):
    payload = device.assign(1)
    device.settle()
    before = device.state()
    for _ in range(3):
        device.updater.on_assignment(payload)
        assert device.settle() == []
    assert device.state() == before
    device.boot()
    device.updater.on_assignment(payload)
    assert device.settle() == []
    assert device.state() == before
    assert len(device.checked) == 1


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_a_tampered_assignment_changes_nothing(tmp_path_factory, data):
    device = Device(tmp_path_factory.mktemp("device"))
    good = bytearray(device.assignment().to_bytes(device.centre.assign_key))
    good[data.draw(st.integers(0, len(good) - 1))] ^= data.draw(st.integers(1, 255))
    before = device.state()
    with pytest.raises(RejectedError):
        device.updater.on_assignment(bytes(good))
    assert device.state() == before
    assert not (device.disk / "update" / "assignment.bin").exists()


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"device": "press-2"}, "is not press-1"),
        ({"expires_at_ms": NOW_MS}, "expired"),
        ({"counter": 1}, "replay"),
        ({"counter": 2}, "same counter"),
    ],
)
def test_rejects_an_assignment_that_is_not_for_now(device: Device, change, match: str):
    device.assign(1)
    device.assign(1)
    device.settle()
    before = device.state()
    with pytest.raises(RejectedError, match=match):
        device.assign(2, **change)
    assert device.settle() == []
    assert device.state() == before


def test_rejects_an_assignment_signed_by_a_key_for_other_things(device: Device):
    before = device.state()
    with pytest.raises(RejectedError, match="not trusted"):
        device.updater.on_assignment(device.assignment().to_bytes(device.centre.ack_key))
    assert device.state() == before


def test_an_old_assignment_is_a_replay_also_after_the_files_are_lost(device: Device):
    old = device.assignment(1).to_bytes(device.centre.assign_key)
    device.assign(2)
    (device.disk / "update" / "assignment.bin").unlink()
    device.boot()
    with pytest.raises(RejectedError, match="replay"):
        device.updater.on_assignment(old)


def test_a_clock_behind_its_floor_waits_and_does_not_judge_expiry(device: Device):
    device.floors.raise_floor("clock", NOW_MS)
    payload = device.assignment(1).to_bytes(device.centre.assign_key)
    device.now_ms = 60_000
    device.updater.on_assignment(payload)
    assert device.settle() == []
    assert "clock is behind" in device.updater.status().note
    with pytest.raises(RejectedError, match="expired"):
        device.assign(1, expires_at_ms=NOW_MS - 1)
    device.now_ms = NOW_MS
    device.now_s += 100
    assert actions(device.settle()) == [("candidate", 1)]


def test_a_model_below_the_active_one_needs_permission(device: Device):
    device.run_version(2)
    active = device.updater.slots.active
    device.assign(1)
    rows = device.settle()
    assert actions(rows) == [("refused", 1)]
    assert "downgrade" in rows[0]["reason"]
    assert device.updater.slots.active == active
    assert device.updater.slots.refused == {}
    device.assign(1, allow_downgrade=True)
    assert actions(device.settle()) == [("candidate", 1)]


def test_a_newer_assignment_ends_the_trial_of_an_older_one(device: Device):
    device.assign(1)
    device.settle()
    device.assign(2)
    rows = device.settle()
    assert actions(rows) == [("refused", 1), ("candidate", 2)]
    assert device.updater.slots.candidate.version == 2
    assert device.updater.slots.refused == {}


def test_an_assignment_that_expires_before_it_is_installed_ends(device: Device):
    device.reachable = False
    device.assign(1)
    device.settle()
    device.reachable = True
    device.now_ms += 8 * DAY_MS
    rows = device.settle()
    assert ["expired" in row["text"] for row in rows] == [True]
    assert device.settle() == []
    assert device.checked == []


def test_refuses_kinds_other_than_model_and_installs_the_model(device: Device):
    item = device.repo.item(path_of(1))
    tariff = Item(ItemKind.TARIFF, "tariffs/tou.toml", 10, "00" * 32)
    device.assign(1, items=(tariff, item))
    rows = device.settle()
    assert [(row["kind"], row.get("action", "")) for row in rows] == [("update", ""), ("model", "candidate")]
    assert "does not install it" in rows[0]["text"]
