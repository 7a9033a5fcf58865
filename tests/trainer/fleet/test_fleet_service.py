"""A real ingest process, a real Mosquitto, and devices made of contract code."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from agent.contract.assignment import Assignment
from agent.contract.enrolment import seal_request
from agent.contract.keys import SigningKey
from agent.contract.messages import RepoData, RepoGet, Status
from agent.contract.topics import DeviceTopics
from agent.contract.trust import KeyUse
from tests.support import central_queries as queries
from tests.support.broker import Mosquitto
from tests.support.bundles import TINY
from tests.support.centre import DAY_MS, Centre, make_centre
from tests.support.field_device import FieldDevice, MqttDevice
from tests.support.postgres import Postgres
from tests.support.trainer_process import TrainerProcess, running_trainer
from tests.support.waiting import eventually
from trainer.fleet import database as db
from trainer.fleet.assignments import Assignments


@pytest.fixture
def live(centre: Centre) -> Centre:
    """A centre whose clock is the machine's, as the process's is."""
    centre.clock.ms = time.time_ns() // 1_000_000
    return centre


@pytest.fixture
def address(mosquitto: Mosquitto) -> str:
    return f"{mosquitto.host}:{mosquitto.port}"


@pytest.fixture
def serving(live: Centre, address: str) -> Iterator[TrainerProcess]:
    with running_trainer(live.folder, "ingest", "--broker", address) as process:
        process.said("connected to broker")
        yield process


@pytest.fixture
def press(live: Centre, mosquitto: Mosquitto) -> Iterator[MqttDevice]:
    device = MqttDevice(live.device(), mosquitto.host, mosquitto.port)
    yield device
    device.close()


def assign(centre: Centre, device: str, *paths: str) -> Assignment:
    version, targets = centre.repository.targets()
    return Assignments(centre.engine, centre.clock.now).assign(
        device, paths, targets=targets, snapshot_version=version, key=centre.online.assign
    )


def read_assignment(centre: Centre, data: bytes, device: str) -> Assignment:
    return Assignment.from_bytes(data, centre.online.trust.verifiers(KeyUse.ASSIGN), device=device)


def test_a_device_enrols_sends_and_is_told_what_to_run(
    live: Centre, serving: TrainerProcess, mosquitto: Mosquitto
) -> None:
    enrolment = live.enrolment("press-1")
    press = MqttDevice(FieldDevice("press-1", enrolment.trust), mosquitto.host, mosquitto.port)
    try:
        request = seal_request(enrolment, press.device.key, created_ms=live.clock.ms)
        press.send(press.topics.enrol_request, request)
        assert press.enrolled(press.receive(press.topics.enrol_response)).accepted
        press.send(press.topics.status, Status("online", 1, "0.1.0", 1).to_bytes(), retain=True)
        press.send_rows(press.device.readings(500), press.device.events("hello"))
        assert press.mark().high == 500
        live.repository.publish(TINY.read_bytes(), live.offline)
        made = assign(live, "press-1", "models/tiny-plant-1.ewb")
        assert read_assignment(live, press.receive(press.topics.assign), "press-1") == made
        path = f"targets/models/{made.items[0].sha256}.tiny-plant-1.ewb"
        press.send(press.topics.repo_get, RepoGet("1", path, 0, 65_536).to_bytes())
        assert RepoData.from_bytes(press.receive(press.topics.repo_data)).data == TINY.read_bytes()
        eventually(lambda: live.registry.devices()[0].status == "online")
    finally:
        press.close()
    assert queries.readings_stored(live.engine, "press-1") == 500


def test_an_assignment_is_retained_and_a_newer_one_takes_its_place(
    live: Centre, serving: TrainerProcess, press: MqttDevice, mosquitto: Mosquitto
) -> None:
    live.repository.publish(TINY.read_bytes(), live.offline)
    assign(live, "press-1", "models/tiny-plant-1.ewb")
    press.receive(press.topics.assign)
    newer = assign(live, "press-1", "trust/fleet.json")
    assert [item.path for item in newer.items] == ["models/tiny-plant-1.ewb", "trust/fleet.json"]
    press.receive(press.topics.assign)
    late = MqttDevice(press.device, mosquitto.host, mosquitto.port)
    try:
        assert read_assignment(live, late.receive(late.topics.assign), "press-1") == newer
    finally:
        late.close()


def test_a_token_lets_one_device_in_over_the_broker(
    live: Centre, serving: TrainerProcess, mosquitto: Mosquitto
) -> None:
    enrolment = live.enrolment("press-1")
    press = MqttDevice(FieldDevice("press-1", enrolment.trust), mosquitto.host, mosquitto.port)
    try:
        for accepted in (True, False):
            press.device.key = SigningKey.generate()
            press.send(press.topics.enrol_request, seal_request(enrolment, press.device.key, created_ms=1))
            assert press.enrolled(press.receive(press.topics.enrol_response)).accepted is accepted
    finally:
        press.close()


def test_bad_bytes_are_noted_and_the_next_device_is_served(
    live: Centre, serving: TrainerProcess, press: MqttDevice
) -> None:
    good = press.device.seal(press.device.readings(10))
    stranger = FieldDevice("press-9", live.online.trust)
    before = live.dump("rejection")
    bad = [
        (press.topics.up("readings"), good[:-1] + bytes([good[-1] ^ 1])),
        (press.topics.up("readings"), b""),
        (press.topics.up("readings"), b"\xff" * 3_000_000),
        (press.topics.up("nonsense"), good),
        (DeviceTopics("press-9").up("readings"), stranger.seal(stranger.readings(3))),
        (press.topics.repo_get, b'{"id":"1","path":"../keys/online/ack-1.json","offset":0,"length":9}'),
        (press.topics.status, b"[" * 900),
        (press.topics.enrol_request, b"EWR1" + bytes(100)),
    ]
    for topic, payload in bad:
        press.send(topic, payload)
    eventually(lambda: len(live.dump()["rejection"]) == len(bad))
    assert live.dump("rejection") == before
    assert press.waiting() == []
    press.send(press.topics.up("readings"), good)
    assert press.mark().high == 10
    assert serving.running


def test_nothing_is_lost_or_doubled_when_the_broker_restarts(
    live: Centre, serving: TrainerProcess, press: MqttDevice, mosquitto: Mosquitto
) -> None:
    live.repository.publish(TINY.read_bytes(), live.offline)
    assign(live, "press-1", "models/tiny-plant-1.ewb")
    press.receive(press.topics.assign)
    press.send_rows(press.device.readings(100))
    assert press.mark().high == 100
    mosquitto.stop()
    lost = press.device.seal(press.device.readings(100))
    serving.said("is away")
    mosquitto.start()
    serving.said("connected to broker", 2)
    press.receive(press.topics.assign)  # the broker had forgotten it
    press.send(press.topics.up("readings"), lost)
    assert press.mark().high == 200
    assert (queries.readings_stored(live.engine, "press-1"), queries.readings_missing(live.engine, "press-1")) == (
        200,
        0,
    )


def test_nothing_is_lost_or_doubled_when_ingest_is_killed_in_the_middle(
    live: Centre, press: MqttDevice, address: str
) -> None:
    envelopes = [press.device.seal(press.device.readings(200), press.device.events(str(n))) for n in range(60)]
    for _ in range(3):
        with running_trainer(live.folder, "ingest", "--broker", address) as process:
            connected = process.log.count("connected to broker")
            process.said("connected to broker", connected + 1)
            for data in envelopes:
                press.send(press.topics.up("batch"), data)
            press.mark()  # the first is acknowledged; the others are anywhere
            process.kill()
    with running_trainer(live.folder, "ingest", "--broker", address) as process:
        process.said("connected to broker", 4)
        for data in envelopes:
            press.send(press.topics.up("batch"), data)
        eventually(lambda: press.mark().high == 12_000 and press.waiting() == [])
        assert process.terminate() == 0
    assert queries.readings_stored(live.engine, "press-1") == 12_000
    assert queries.readings_duplicated(live.engine, "press-1") == 0
    assert queries.readings_missing(live.engine, "press-1") == 0
    assert sorted(int(row["text"]) for row in queries.rows(live.engine, "press-1", "events")) == list(range(60))
    with db.read(live.engine) as connection:
        assert connection.execute(sa.select(db.rejection)).all() == []


def test_two_ingest_processes_share_the_envelopes_and_one_is_killed(
    tmp_path: Path, postgres: Postgres, mosquitto: Mosquitto, address: str
) -> None:
    url = postgres.database()
    live = make_centre(tmp_path, url)
    live.clock.ms = time.time_ns() // 1_000_000
    press = MqttDevice(live.device(), mosquitto.host, mosquitto.port)
    command = ("--database", url, "ingest", "--broker", address, "--verbose")
    with running_trainer(live.folder, *command) as one, running_trainer(live.folder, *command) as two:
        two.said("connected to broker", 2)  # both write to one log
        sent = [press.send_rows(press.device.readings(300), press.device.events("x")) for _ in range(40)]
        counters = {press.device.read_ack(press.receive(press.topics.ack)).counter for _ in sent}
        assert counters == set(range(1, 41))  # each was handled by one of them
        assert press.waiting() == []
        more = [press.device.seal(press.device.readings(300), press.device.events("x")) for _ in range(60)]
        for data in more:
            press.send(press.topics.up("batch"), data)
        press.mark()
        one.kill()  # what it had been given is lost with it, or written and not answered

        stored = [-1]

        def sent_again() -> bool:  # as a device does that hears nothing, and not while the other works through it
            stored.append(queries.readings_stored(live.engine, "press-1"))
            if stored[-1] == stored[-2]:
                for data in more:
                    press.send(press.topics.up("batch"), data)
            return stored[-1] == 100 * 300

        eventually(sent_again, within_s=60, every_s=0.5)
        eventually(lambda: press.mark().high == 100 * 300)
        assert two.terminate() == 0
    press.close()
    assert queries.readings_stored(live.engine, "press-1") == 30_000
    assert queries.readings_duplicated(live.engine, "press-1") == 0
    assert queries.readings_missing(live.engine, "press-1") == 0
    with db.read(live.engine) as connection:
        assert connection.execute(sa.select(db.rejection)).all() == []
    live.engine.dispose()


def test_ingest_waits_for_a_broker_that_is_not_there_yet_and_ends_in_order(
    live: Centre, mosquitto: Mosquitto, address: str
) -> None:
    mosquitto.stop()
    with running_trainer(live.folder, "ingest", "--broker", address) as process:
        process.said("is away")
        mosquitto.start()
        process.said("connected to broker")
        assert process.terminate() == 0
    assert "Traceback" not in process.log
    secret = (live.folder / "keys" / "online" / "ack-1.json").read_text()
    assert secret not in process.log


def test_the_daily_signature_is_given_without_being_asked(centre: Centre, address: str) -> None:
    folder = centre.folder / "repository" / "metadata"
    centre.clock.ms = time.time_ns() // 1_000_000 - 2 * DAY_MS
    for path in folder.iterdir():
        path.unlink()
    centre.repository.create(centre.offline)
    path, before = folder / "timestamp.json", (folder / "timestamp.json").read_bytes()
    with running_trainer(centre.folder, "ingest", "--broker", address) as process:
        eventually(lambda: path.read_bytes() != before)
        process.said("signed anew")
