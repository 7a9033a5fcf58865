"""Messages that must be refused, each with its reason noted and nothing else changed; and the small honest ones."""

import struct

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.contract.keys import SigningKey
from agent.contract.messages import MAX_PIECE_BYTES, NOT_FOUND, OK, REFUSED, RepoData, RepoGet, Status
from agent.contract.topics import DeviceTopics
from tests.support.bundles import TINY
from tests.support.centre import NOW_MS, Centre
from tests.support.field_device import FieldDevice
from trainer.fleet import database as db
from trainer.fleet import rejections

TOPICS = DeviceTopics("press-1")


def refused(centre: Centre, topic: str, payload: bytes) -> str:
    """Hand over what must be refused, check that only a rejection came of it, and return its reason."""
    before = centre.dump("rejection")
    with db.read(centre.engine) as connection:
        known = connection.execute(sa.select(sa.func.max(db.rejection.c.number))).scalar() or 0
    assert centre.ingest.handle(topic, payload) == []
    assert centre.dump("rejection") == before
    with db.read(centre.engine) as connection:
        query = sa.select(db.rejection).where(db.rejection.c.number > known)
        (row,) = connection.execute(query).all()
    assert row.bytes == len(payload)
    assert row.received_ms == centre.clock.ms
    return str(row.reason)


def flipped(data: bytes, place: int) -> bytes:
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


def test_a_changed_bit_anywhere_in_an_envelope_is_refused(centre: Centre) -> None:
    device = centre.device()
    data = device.seal(device.readings(20))
    header = 6 + struct.unpack_from(">H", data, 4)[0]
    places = {
        "magic": 0,
        "header length": 5,
        "header": header - 3,
        "length": header + 3,
        "encapsulated key": header + 10,
        "x25519 share": header + 4 + 1100,
        "ciphertext": len(data) - 64 - 20,
        "signature": len(data) - 5,
    }
    for place in places.values():
        refused(centre, TOPICS.up("readings"), flipped(data, place))
    for cut in (0, 3, 9, header, len(data) - 65, len(data) - 1):
        refused(centre, TOPICS.up("readings"), data[:cut])
    refused(centre, TOPICS.up("readings"), data + b"x")
    (answer,) = centre.ingest.handle(TOPICS.up("readings"), data)
    assert device.mark(answer.payload).high == 20


def test_an_envelope_larger_than_any_is_refused_by_its_length(centre: Centre) -> None:
    centre.device()
    assert "not an envelope of this size" in refused(centre, TOPICS.up("readings"), b"EWB1" + bytes(8 * 2**20))


def test_an_unknown_device_is_refused(centre: Centre) -> None:
    stranger = FieldDevice("press-9", centre.online.trust)
    assert "press-9 is not registered" in refused(
        centre, DeviceTopics("press-9").up("readings"), stranger.seal(stranger.readings(3))
    )


def test_a_registered_device_without_a_key_is_refused(centre: Centre) -> None:
    centre.enrolment("press-1")
    device = FieldDevice("press-1", centre.online.trust)
    assert "not enrolled with key" in refused(centre, TOPICS.up("readings"), device.seal(device.readings(3)))


def test_topic_header_and_key_must_be_of_one_device(centre: Centre) -> None:
    one, two = centre.device("press-1"), centre.device("press-2")
    data = one.seal(one.readings(3))
    assert "names device press-1 but came from press-2" in refused(centre, DeviceTopics("press-2").up("readings"), data)
    assert "not enrolled with key" in refused(centre, TOPICS.up("readings"), one.seal(one.readings(3), key=two.key))
    data = two.seal(two.readings(3), name="press-1")
    assert "not enrolled with key" in refused(centre, TOPICS.up("readings"), data)


def test_an_envelope_signed_by_another_key_under_the_devices_key_id_is_refused(centre: Centre) -> None:
    device = centre.device()
    impostor = SigningKey.generate()
    impostor.id = device.key.id
    assert "signature" in refused(centre, TOPICS.up("readings"), device.seal(device.readings(3), key=impostor))


def test_an_envelope_for_another_centre_is_refused(centre: Centre, tmp_path_factory: pytest.TempPathFactory) -> None:
    from tests.support.centre import make_centre

    folder = tmp_path_factory.mktemp("other")
    other = make_centre(folder, f"sqlite:///{folder / 'c.db'}")
    device = centre.device()
    device.trust = other.online.trust
    assert "is sealed to key" in refused(centre, TOPICS.up("readings"), device.seal(device.readings(3)))
    other.engine.dispose()


@pytest.mark.parametrize(
    "topic",
    [
        "ew/v1/press-1/up/secrets",
        "ew/v1/press-1/ack",
        "ew/v1/Press/up/readings",
        "ew/v2/press-1/status",
        "x",
        "",
        "ew/v1/press-1/up/",
    ],
)
def test_a_foreign_topic_is_refused(centre: Centre, topic: str) -> None:
    device = centre.device()
    assert "not a topic" in refused(centre, topic, device.seal(device.readings(3)))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    kind=st.sampled_from([TOPICS.up("readings"), TOPICS.status, TOPICS.repo_get, TOPICS.enrol_request]),
    payload=st.one_of(
        st.binary(max_size=200),
        st.binary(max_size=100).map(lambda tail: b"EWB1" + tail),
        st.text(max_size=100).map(str.encode),
        st.just(b'{"state":"online","time_ms":1e999,"version":"\\ud800","boot":0}'),
    ),
)
def test_no_bytes_end_ingest_or_change_anything(centre: Centre, kind: str, payload: bytes) -> None:
    before = centre.dump("rejection")
    if not centre.registry.known("press-1"):
        centre.device()
        before = centre.dump("rejection")
    assert centre.ingest.handle(kind, payload) == []
    assert centre.dump("rejection") == before


def test_birth_and_will_are_kept(any_centre: Centre) -> None:
    any_centre.device()
    any_centre.ingest.handle(TOPICS.status, Status("online", 5, "0.1.0", 3).to_bytes())
    (info,) = any_centre.registry.devices()
    assert (info.status, info.version, info.last_seen_ms) == ("online", "0.1.0", NOW_MS)
    any_centre.ingest.handle(TOPICS.status, Status("offline", 6, "0.1.0", 3).to_bytes())
    before = any_centre.dump()
    assert any_centre.registry.devices()[0].status == "offline"
    assert any_centre.ingest.handle(TOPICS.status, b"") == []  # a cleared retained message
    assert any_centre.dump() == before


def test_the_repository_is_given_out_in_pieces(centre: Centre) -> None:
    centre.device()
    target = centre.repository.publish(TINY.read_bytes(), centre.offline).target
    path = f"targets/models/{target.sha256}.tiny-plant-1.ewb"
    got, pieces = b"", 0
    while True:
        request = RepoGet("a1", path, len(got), 10_000)
        (answer,) = centre.ingest.handle(TOPICS.repo_get, request.to_bytes())
        assert answer.topic == TOPICS.repo_data
        data = RepoData.from_bytes(answer.payload)
        assert (data.id, data.status, data.total, data.offset) == ("a1", OK, target.length, len(got))
        got, pieces = got + data.data, pieces + 1
        if len(got) == data.total:
            break
    assert got == TINY.read_bytes()
    assert pieces == -(-target.length // 10_000) > 1


def ask(centre: Centre, path: str, offset: int = 0) -> RepoData:
    (answer,) = centre.ingest.handle(TOPICS.repo_get, RepoGet("a1", path, offset, MAX_PIECE_BYTES).to_bytes())
    return RepoData.from_bytes(answer.payload)


def test_what_is_not_there_is_said_to_be_not_there(centre: Centre) -> None:
    centre.device()
    assert ask(centre, "metadata/2.root.json").status == NOT_FOUND
    assert ask(centre, "targets/models").status in {NOT_FOUND, REFUSED}
    assert ask(centre, "metadata/timestamp.json", 10**6).status == REFUSED


@pytest.mark.parametrize(
    "path",
    [
        "../keys/online/ack-1.json",
        "metadata/../../keys/online/ack-1.json",
        "/etc/passwd",
        "metadata//x",
        "keys/x",
        "metadata/.lock",
        "metadata",
    ],
)
def test_a_path_out_of_the_repository_is_refused(centre: Centre, path: str) -> None:
    centre.device()
    refused(centre, TOPICS.repo_get, RepoGet("a1", path, 0, 100).to_bytes())


def test_a_link_out_of_the_repository_is_refused(centre: Centre) -> None:
    centre.device()
    (centre.folder / "repository" / "targets" / "leak").symlink_to(centre.folder / "keys")
    assert ask(centre, "targets/leak/online/ack-1.json").status == REFUSED


def test_a_stranger_gets_no_piece(centre: Centre) -> None:
    request = RepoGet("a1", "metadata/timestamp.json", 0, 100).to_bytes()
    assert "not registered" in refused(centre, TOPICS.repo_get, request)


def test_a_flood_of_bad_bytes_is_noted_only_so_often(centre: Centre) -> None:
    for number in range(300):
        centre.ingest.handle("x", str(number).encode())
    with db.read(centre.engine) as connection:
        first = connection.execute(sa.select(sa.func.count()).select_from(db.rejection)).scalar_one()
    assert first == 100
    centre.clock.ms += 1000
    for number in range(300):
        centre.ingest.handle("x", str(number).encode())
    with db.read(centre.engine) as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(db.rejection)).scalar_one() == 110


def test_only_the_newest_rejections_are_kept(centre: Centre, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rejections, "KEPT", 50)
    monkeypatch.setattr(rejections, "_PRUNE_EVERY", 1)
    for number in range(90):
        centre.ingest.handle("x", str(number).encode())
    with db.read(centre.engine) as connection:
        numbers = connection.execute(sa.select(db.rejection.c.number)).scalars().all()
    assert (len(numbers), max(numbers)) == (50, 90)


def test_a_defect_met_by_one_message_is_noted_and_the_next_one_is_handled(
    centre: Centre, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = centre.device()
    data = device.seal(device.readings(3))
    with monkeypatch.context() as patch:
        patch.setattr("trainer.fleet.intake.decode_columns", lambda _block: 1 / 0)
        assert "defect" in refused(centre, TOPICS.up("readings"), data)
    assert len(centre.ingest.handle(TOPICS.up("readings"), data)) == 1


def test_births_of_two_starts_that_take_turns_are_an_alarm_that_says_what_to_do(centre: Centre) -> None:
    centre.device()
    topic = DeviceTopics("press-1").status

    def born(epoch: int) -> None:
        centre.ingest.handle(topic, Status("online", centre.clock.ms, "1", 7, epoch).to_bytes())

    for epoch in (10, 20, 20, 30, 20, 0, 30):  # starts, the retained one again, an older image, one that does not say
        born(epoch)
    assert centre.dump()["rejection"] == []
    born(20)
    ((*_, reason, _bytes, _sha),) = centre.dump()["rejection"]
    assert "two devices use the identity of press-1" in str(reason)
    assert "device add press-1 --replace" in str(reason)
    centre.clock.ms += 3_600_001
    for epoch in (30, 20):
        born(epoch)
    assert len(centre.dump()["rejection"]) == 1
