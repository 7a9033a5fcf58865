"""From an assignment to a model that runs: fetched, checked, tried, kept or rolled back."""

from pathlib import Path

import pytest

from agent.contract.errors import RejectedError, UnavailableError
from agent.contract.messages import RepoGet
from agent.contract.topics import REPO_GET, DeviceTopics
from agent.sync.mqtt import MqttLink
from agent.update.fetch import MqttFetcher, Partials
from tests.support.broker import Mosquitto
from tests.support.bundles import not_better_than_naive, tiny_bytes, with_version
from tests.support.updating import PLANT, Device, actions, path_of
from tests.support.waiting import eventually
from trainer.fleet.pieces import Pieces


def test_fetches_tries_and_activates_what_is_assigned(device: Device):
    device.assign(1)
    assert actions(device.settle()) == [("candidate", 1)]
    assert device.updater.status().phase == "trial"
    assert device.checked == [with_version(device.tiny, 1)]
    device.plant_days(24, 100, None, 150)
    rows = device.settle()
    assert actions(rows) == [("activated", 1)]
    assert rows[0]["time_ms"] == PLANT
    assert {"action", "model", "version", "reason", "text"} <= set(rows[0])
    assert device.updater.slots.read(device.updater.slots.active) == with_version(device.tiny, 1)
    assert device.settle() == []


def test_without_a_trial_it_runs_at_once(tmp_path: Path):
    device = Device(tmp_path, shadow_days=0)
    device.assign(1)
    assert actions(device.settle()) == [("candidate", 1), ("activated", 1)]


def test_refuses_a_bundle_that_its_check_refuses_and_does_not_fetch_it_again(device: Device):
    device.run_version(1)
    device.checked.clear()
    device.check_error = RejectedError("golden outputs differ by 3.2")
    device.assign(2)
    rows = device.settle()
    assert [row["action"] for row in rows] == ["refused"]
    assert "golden" in rows[0]["reason"]
    assert device.updater.slots.active.version == 1
    assert device.updater.slots.candidate is None
    device.check_error = None
    device.now_s += 10_000
    assert device.settle() == []
    device.boot()
    assert device.settle() == []
    device.assign(2)  # a new assignment of the same bytes
    rows = device.settle()
    assert "refused before" in rows[0]["reason"]
    assert len(device.checked) == 1
    device.now_s += 10_000
    assert device.settle() == []


def test_a_device_that_cannot_check_now_tries_again(device: Device):
    device.check_error = UnavailableError("no runtime is installed")
    device.assign(1)
    assert device.settle() == []
    assert device.updater.slots.refused == {}
    device.check_error = None
    device.now_s += 1000
    assert actions(device.settle()) == [("candidate", 1)]


def test_a_model_that_crashes_its_check_is_refused(device: Device):
    device.check_error = ValueError("vector::reserve")
    device.assign(1)
    rows = device.settle()
    assert [row["action"] for row in rows] == ["refused"]
    assert "vector::reserve" in rows[0]["reason"]


@pytest.mark.parametrize("data", [b"no zip at all", not_better_than_naive(tiny_bytes())])
def test_refuses_a_signed_bundle_that_is_none_or_no_better_than_naive(device: Device, data: bytes):
    device.repo.publish({"models/bad.ewb": data})
    device.assign(1, items=(device.repo.item("models/bad.ewb"),))
    assert actions(device.settle()) == [("refused", 0)]
    assert device.checked == []
    assert device.updater.slots.active is None


def test_refuses_a_candidate_that_loses_its_trial(device: Device):
    device.run_version(1)
    device.assign(2)
    device.settle()
    device.plant_days(24, 130, 105, 150)
    rows = device.settle()
    assert actions(rows) == [("refused", 2)]
    assert device.updater.slots.active.version == 1
    assert device.updater.status().phase == "idle"
    device.now_s += 10_000
    assert device.settle() == []


def test_refuses_a_candidate_that_fails_in_its_trial(device: Device):
    device.assign(1)
    device.settle()
    device.updater.candidate_failed("took 4 s")
    assert actions(device.settle()) == [("refused", 1)]
    assert device.settle() == []


def test_goes_on_with_the_trial_after_a_restart(device: Device):
    device.assign(1)
    device.settle()
    device.plant_days(20, 100, None, 150)
    days = device.updater.shadow.days
    device.updater.close()
    device.boot()
    assert device.updater.shadow.days == days > 0.8
    assert device.settle() == []  # nothing is told twice
    device.plant_days(4, 100, None, 150, start=20)
    assert actions(device.settle()) == [("activated", 1)]
    assert len(device.checked) == 1


def test_rows_that_were_not_taken_before_a_crash_come_again(device: Device):
    device.assign(1)
    eventually(lambda: any(row["action"] == "candidate" for row in device.updater.poll(PLANT)))
    device.boot()  # the daemon died before it stored them
    assert actions(device.settle()) == [("candidate", 1)]
    assert device.settle() == []


def test_rolls_back_by_itself_when_the_active_model_fails(device: Device):
    device.run_version(1)
    device.run_version(2)
    device.updater.active_failed("does not load")
    assert actions(device.settle()) == [("rolled-back", 2)]
    assert device.updater.slots.active.version == 1
    device.now_s += 10_000
    assert device.settle() == []  # the assignment does not bring it back
    device.boot()
    assert device.settle() == []


def test_a_model_damaged_on_the_disk_is_fetched_again(device: Device):
    device.run_version(1)
    path = next((device.disk / "models").glob("*.ewb"))
    path.write_bytes(b"rot")
    device.updater.active_failed("does not load")
    assert device.updater.slots.active is None
    device.now_s += 10_000
    assert actions(device.settle()) == [("rolled-back", 1), ("candidate", 1)]


def test_retries_with_back_off_while_the_repository_is_away(device: Device):
    moved = device.disk / "away"
    device.repo.folder.rename(moved)
    device.assign(1)
    attempts = []
    for _ in range(900):
        device.settle()
        note = device.updater._not_before_s
        if not attempts or attempts[-1] != note:
            attempts.append(note)
        device.now_s += 2
    assert 5 < len(attempts) < 20
    moved.rename(device.repo.folder)
    device.now_s += 1000
    assert actions(device.settle()) == [("candidate", 1)]
    assert not [row for row in device.rows if row["kind"] == "update"]


def test_does_not_begin_without_a_line(device: Device):
    device.reachable = False
    device.assign(1)
    assert device.settle() == []
    assert device.updater.status().phase == "waiting"
    device.reachable = True
    assert actions(device.settle()) == [("candidate", 1)]


def test_tells_of_an_attack_once_and_installs_when_it_is_over(device: Device):
    device.run_version(1)
    good = device.repo.target_file(path_of(2)).read_bytes()
    device.repo.target_file(path_of(2)).write_bytes(good[:-1] + b"x")
    before = device.updater.slots.active
    device.assign(2)
    rows = device.settle()
    assert [row["kind"] for row in rows] == ["update"]
    assert "not genuine" in rows[0]["text"]
    device.now_s += 1000
    assert device.settle() == []
    assert (device.updater.slots.active, device.updater.slots.candidate) == (before, None)
    device.repo.target_file(path_of(2)).write_bytes(good)
    device.now_s += 1000
    assert actions(device.settle()) == [("candidate", 2)]


def test_installs_over_a_real_broker_that_is_cut_in_the_middle(tmp_path: Path, mosquitto: Mosquitto):
    topics = DeviceTopics("press-1")
    device_link = MqttLink(
        "127.0.0.1", mosquitto.port, "press-1", subscriptions=[topics.repo_data], backoff_s=(0.05, 0.1)
    )
    centre_link = MqttLink("127.0.0.1", mosquitto.port, "centre", subscriptions=[REPO_GET], backoff_s=(0.05, 0.1))
    fetcher = MqttFetcher(device_link.publish, "press-1", Partials(tmp_path / "partials"), answer_s=0.5, attempts=2)
    device = Device(tmp_path, fetcher=fetcher, shadow_days=0)
    filler = with_version(device.tiny, 9)
    device.repo.publish({"models/large.ewb": filler})
    pieces = Pieces(device.repo.folder)
    served = []

    def turn() -> None:
        for _, payload in centre_link.receive():
            request = RepoGet.from_bytes(payload)
            served.append(request)
            centre_link.publish(topics.repo_data, pieces.answer(request).to_bytes())
        for _, payload in device_link.receive():
            fetcher.deliver(payload)
        device.now_s += 0.5
        device.rows += device.updater.poll(PLANT)

    device.reachable = True
    device_link.start()
    centre_link.start()
    try:
        eventually(lambda: device_link.connected and centre_link.connected)
        device.assign(1, items=(device.repo.item("models/large.ewb"),))
        eventually(lambda: (turn(), len(served) >= 3)[1])
        mosquitto.stop()
        for _ in range(20):
            turn()
        assert device.updater.slots.active is None
        mosquitto.start()
        eventually(lambda: (turn(), device.updater.slots.active is not None)[1])
    finally:
        device.updater.close()
        device_link.stop()
        centre_link.stop()
    assert device.updater.slots.active.version == 9
