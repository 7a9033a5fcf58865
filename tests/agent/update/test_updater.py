"""From an assignment to a model that runs, and everything that must not."""

import datetime as dt
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.contract import jsonform
from agent.contract.assignment import Assignment, Item, ItemKind
from agent.contract.errors import RejectedError, StorageError, UnavailableError
from agent.contract.keys import SigningKey
from agent.contract.messages import RepoGet
from agent.contract.rows import Forecast, ForecastSource
from agent.contract.topics import REPO_GET, DeviceTopics
from agent.contract.trust import FleetKey, FleetTrust, KeyState, KeyUse
from agent.sync.mqtt import MqttLink
from agent.update.fetch import FolderFetcher, MqttFetcher, Partials, RepositoryFetcher
from agent.update.repository import Repository
from agent.update.slots import ModelSlots
from agent.update.updater import Updater
from tests.support.broker import Mosquitto
from tests.support.bundles import not_better_than_naive, tiny_bytes, with_version
from tests.support.small_centre import MemoryFloors, SmallCentre
from tests.support.tuf_repository import TufRepository
from tests.support.waiting import eventually
from trainer.fleet.pieces import Pieces

NOW = dt.datetime.now(dt.UTC)
NOW_MS = int(NOW.timestamp() * 1000)
DAY_MS = 86_400_000
HOUR = 3_600_000
PLANT = NOW_MS // HOUR * HOUR


def path_of(version: int) -> str:
    return f"models/tiny-plant-{version}.ewb"


def loss(power_kw, truth, quantiles) -> float:
    return float(np.abs(power_kw - truth[:, None]).mean())


class Device:
    """An updater with its repository in a folder and the centre's keys; `boot` starts it anew on the same disk."""

    def __init__(self, tmp_path: Path, *, fetcher: RepositoryFetcher | None = None, shadow_days: float = 1.0):
        self.disk = tmp_path
        self.repo = TufRepository(tmp_path / "repo", now=NOW)
        self.tiny = tiny_bytes()
        self.repo.publish({path_of(version): with_version(self.tiny, version) for version in (1, 2, 3)})
        self.centre, self.floors = SmallCentre(), MemoryFloors()
        self.fetcher = fetcher or FolderFetcher(self.repo.folder)
        self.shadow_days = shadow_days
        self.now_s, self.now_ms = 0.0, NOW_MS
        self.reachable = True
        self.checked: list[bytes] = []
        self.check_error: Exception | None = None
        self.taken: list[FleetTrust] = []
        self.take_error: Exception | None = None
        self.counter = 0
        self.rows: list[dict] = []
        self.updater = self.boot()

    def boot(self) -> Updater:
        repository = Repository(
            self.disk / "tuf", self.repo.root_bytes, self.fetcher, self.floors, now_ms=lambda: self.now_ms
        )
        self.updater = Updater(
            self.disk / "update",
            self.centre.device,
            self.centre.trust(),
            self.floors,
            ModelSlots(self.disk / "models"),
            repository,
            check=self.check,
            loss=loss,
            shadow_days=self.shadow_days,
            real_ms=lambda: self.now_ms,
            monotonic=lambda: self.now_s,
            reachable=lambda: self.reachable,
            rng=lambda: 0.5,
            on_trust=self.take,
        )
        return self.updater

    def take(self, trust: FleetTrust) -> None:
        if self.take_error is not None:
            raise self.take_error
        self.taken.append(trust)

    def check(self, data: bytes) -> None:
        self.checked.append(data)
        if self.check_error is not None:
            raise self.check_error

    def assignment(self, version: int = 1, **changes) -> Assignment:
        self.counter += 1
        item = self.repo.item(path_of(version))
        made = Assignment("press-1", self.counter, self.now_ms, self.now_ms + 7 * DAY_MS, 0, (item,))
        return replace(made, **changes)

    def assign(self, version: int = 1, **changes) -> bytes:
        payload = self.assignment(version, **changes).to_bytes(self.centre.assign_key)
        self.updater.on_assignment(payload)
        return payload

    def settle(self) -> list[dict]:
        """Poll until nothing is under way; return the new rows."""
        fresh: list[dict] = []

        def quiet() -> bool:
            fresh.extend(self.updater.poll(PLANT))
            return self.updater.status().phase in {"idle", "trial", "waiting"}

        eventually(quiet)
        fresh.extend(self.updater.poll(PLANT))
        self.rows += fresh
        return fresh

    def plant_days(self, hours: int, candidate: float, active: float | None, naive: float, start: int = 0) -> None:
        def made(now: int, kw: float | None) -> Forecast | None:
            if kw is None:
                return None
            power_kw = np.full((24, 3), kw)
            return Forecast(now, 3600, (0.1, 0.5, 0.9), power_kw, power_kw[:1], ForecastSource.CANDIDATE, "x@1")

        for hour in range(start, start + hours):
            shadow = self.updater.shadow
            if shadow is None:
                return
            now = PLANT + hour * HOUR
            shadow.add_forecasts(made(now, candidate), made(now, active), made(now, naive))
            shadow.add_truth(now, 100.0)

    def run_version(self, version: int) -> None:
        self.assign(version)
        self.settle()
        self.plant_days(24, 100, None if self.updater.slots.active is None else 100, 150)
        self.settle()
        assert self.updater.slots.active.version == version

    def state(self):
        slots = self.updater.slots
        return (slots.active, slots.previous, slots.candidate, dict(slots.refused), dict(self.floors.values))


def actions(rows: list[dict]) -> list[tuple[str, int]]:
    return [(row["action"], row["version"]) for row in rows if row["kind"] == "model"]


@pytest.fixture
def device(tmp_path: Path) -> Device:
    return Device(tmp_path)


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


def test_a_newer_assignment_ends_the_trial_of_an_older_one(device: Device):
    device.assign(1)
    device.settle()
    device.assign(2)
    rows = device.settle()
    assert actions(rows) == [("refused", 1), ("candidate", 2)]
    assert device.updater.slots.candidate.version == 2
    assert device.updater.slots.refused == {}


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


def trust_item(device: Device, trust: FleetTrust) -> Item:
    """Publish keys of the centre; the item that assigns them."""
    device.repo.publish({"trust/fleet.json": jsonform.dumps(trust.to_json())})
    return replace(device.repo.item("trust/fleet.json"), kind=ItemKind.TRUST)


def rotated(centre: SmallCentre, use: KeyUse, state: KeyState) -> tuple[FleetTrust, SigningKey]:
    """Trust with one more active key of a use, and the old one in another state."""
    new = SigningKey.generate()
    keys = [replace(key, state=state) if key.use is use else key for key in centre.trust().keys]
    return FleetTrust("works", (*keys, FleetKey(use, new.public, 1, KeyState.ACTIVE))), new


def test_takes_the_centres_newer_keys_and_obeys_them(device: Device):
    trust, new = rotated(device.centre, KeyUse.ASSIGN, KeyState.REVOKED)
    item = trust_item(device, trust)
    device.assign(items=(item, device.repo.item(path_of(1))))
    rows = device.settle()
    assert device.taken == [trust]
    assert [(row["kind"], row.get("item", row.get("action"))) for row in rows] == [
        ("update", "trust"),
        ("model", "candidate"),
    ]
    with pytest.raises(RejectedError, match="not trusted"):
        device.assign(2)
    device.centre.assign_key = new
    device.assign(items=(item, device.repo.item(path_of(2))))
    assert device.settle()[-1]["action"] == "candidate"
    assert device.taken == [trust]  # the same keys are not fetched again


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda trust: replace(trust, fleet="other"), "of fleet other"),
        (lambda trust: replace(trust, keys=trust.keys[1:]), "no active key for seal"),
        (lambda trust: replace(trust, keys=()), "no active key for ack, assign, seal"),
    ],
)
def test_refuses_keys_with_which_it_would_cut_itself_off(device: Device, change, match: str):
    item = trust_item(device, change(device.centre.trust()))
    device.assign(items=(item,))
    rows = device.settle()
    assert [match in row["text"] for row in rows] == [True]
    assert device.taken == []
    assert device.updater.trust == device.centre.trust()
    assert device.settle() == []
    device.run_version(1)


def test_keys_that_are_no_keys_are_refused(device: Device):
    device.repo.publish({"trust/fleet.json": b"{}"})
    device.assign(items=(replace(device.repo.item("trust/fleet.json"), kind=ItemKind.TRUST),))
    assert ["was refused" in row["text"] for row in device.settle()] == [True]
    assert device.taken == []


def test_keys_that_cannot_be_kept_are_taken_later(device: Device):
    trust, _ = rotated(device.centre, KeyUse.ACK, KeyState.DRAINING)
    device.take_error = StorageError("the disk is full")
    device.assign(items=(trust_item(device, trust),))
    with pytest.raises(StorageError):
        device.settle()
    assert device.updater.trust == device.centre.trust()
    device.take_error = None
    device.now_s += 1000
    device.settle()
    assert device.taken == [trust]
    assert device.updater.trust == trust


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
