"""Who is let in, and who is not; the same on both databases."""

from dataclasses import replace

import pytest
import sqlalchemy as sa

from agent.contract.enrolment import Enrolment, EnrolmentResponse, seal_request
from agent.contract.errors import ConfigError, RejectedError
from agent.contract.keys import SealingKey, SigningKey
from agent.contract.topics import DeviceTopics
from agent.contract.trust import FleetKey, FleetTrust, KeyState, KeyUse
from tests.support.centre import DAY_MS, Centre
from tests.support.field_device import FieldDevice
from trainer.fleet import database as db


def judge(centre: Centre, enrolment: Enrolment, key: SigningKey, topic: str | None = None) -> EnrolmentResponse:
    request = seal_request(enrolment, key, created_ms=centre.clock.ms)
    response, message = centre.registry.judge(
        request, topic_device=topic, seal=centre.online.seal, ack=centre.online.ack
    )
    verifiers = centre.online.trust.verifiers(KeyUse.ACK)
    assert EnrolmentResponse.from_bytes(message, verifiers, device=enrolment.device, key=key.id) == response
    return response


def test_a_device_enrols_itself_with_its_token(any_centre: Centre) -> None:
    key = SigningKey.generate()
    response = judge(any_centre, any_centre.enrolment("press-1"), key, "press-1")
    assert (response.accepted, response.reason) == (True, "")
    assert any_centre.registry.public_key("press-1", key.id) == key.public
    (info,) = any_centre.registry.devices()
    assert (info.name, info.key, info.status) == ("press-1", key.id, None)


def test_a_token_lets_one_key_in_once(any_centre: Centre) -> None:
    enrolment, first, second = any_centre.enrolment("press-1"), SigningKey.generate(), SigningKey.generate()
    judge(any_centre, enrolment, first)
    before = any_centre.dump()
    response = judge(any_centre, enrolment, second)
    assert (response.accepted, "has been used" in response.reason) == (False, True)
    assert any_centre.dump() == before


def test_the_same_request_again_gets_the_same_answer(any_centre: Centre) -> None:
    enrolment, key = any_centre.enrolment("press-1"), SigningKey.generate()
    assert judge(any_centre, enrolment, key).accepted
    before = any_centre.dump()
    assert judge(any_centre, enrolment, key).accepted
    assert any_centre.dump() == before


def test_an_expired_token_is_refused(any_centre: Centre) -> None:
    enrolment = any_centre.enrolment("press-1", valid_ms=DAY_MS)
    any_centre.clock.ms += DAY_MS
    before = any_centre.dump()
    response = judge(any_centre, enrolment, SigningKey.generate())
    assert (response.accepted, "expired" in response.reason) == (False, True)
    assert any_centre.dump() == before


def test_an_unknown_device_and_a_token_of_another_device_are_refused(any_centre: Centre) -> None:
    mine, other = any_centre.enrolment("press-1"), any_centre.enrolment("press-2")
    before = any_centre.dump()
    assert "not registered" in judge(any_centre, replace(mine, device="press-9"), SigningKey.generate()).reason
    assert "not of this device" in judge(any_centre, replace(mine, token=other.token), SigningKey.generate()).reason
    assert "not of this device" in judge(any_centre, replace(mine, token="x" * 43), SigningKey.generate()).reason
    assert any_centre.dump() == before


def test_a_request_on_the_topic_of_another_device_gets_no_answer(any_centre: Centre) -> None:
    enrolment = any_centre.enrolment("press-1")
    before = any_centre.dump()
    with pytest.raises(RejectedError, match="came from press-2"):
        judge(any_centre, enrolment, SigningKey.generate(), "press-2")
    assert any_centre.dump() == before


def test_a_request_to_another_centre_or_with_a_changed_bit_gets_no_answer(centre: Centre) -> None:
    enrolment, key = centre.enrolment("press-1"), SigningKey.generate()
    stranger = FleetKey(KeyUse.SEAL, SealingKey.generate().public, 0, KeyState.ACTIVE)
    foreign = seal_request(replace(enrolment, trust=FleetTrust("x", (stranger,))), key, created_ms=1)
    good = seal_request(enrolment, key, created_ms=1)
    topic = DeviceTopics("press-1").enrol_request
    before = centre.dump("rejection")
    assert centre.ingest.handle(topic, foreign) == []
    for place in (0, 5, 14, 40, len(good) // 2, len(good) - 70, len(good) - 1):
        assert centre.ingest.handle(topic, good[:place] + bytes([good[place] ^ 1]) + good[place + 1 :]) == []
    assert centre.dump("rejection") == before
    (answer,) = centre.ingest.handle(topic, good)
    assert answer.topic == DeviceTopics("press-1").enrol_response


def test_a_replacement_takes_the_place_of_the_old_key(any_centre: Centre) -> None:
    old = any_centre.device("press-1")
    with pytest.raises(ConfigError, match="--replace"):
        any_centre.enrolment("press-1")
    enrolment, key = any_centre.enrolment("press-1", replace=True), SigningKey.generate()
    assert any_centre.registry.public_key("press-1", old.key.id) == old.key.public  # until the new one is there
    assert judge(any_centre, enrolment, key).accepted
    with pytest.raises(RejectedError, match="was replaced"):
        any_centre.registry.public_key("press-1", old.key.id)
    again = any_centre.enrolment("press-1", replace=True)
    assert "was used before" in judge(any_centre, again, old.key).reason
    assert any_centre.registry.public_key("press-1", key.id) == key.public


def test_a_newer_enrolment_file_makes_the_older_one_worthless(any_centre: Centre) -> None:
    older, newer = any_centre.enrolment("press-1"), any_centre.enrolment("press-1")
    assert not judge(any_centre, older, SigningKey.generate()).accepted
    assert judge(any_centre, newer, SigningKey.generate()).accepted


def test_the_token_itself_is_nowhere_in_the_database(any_centre: Centre) -> None:
    enrolment = any_centre.enrolment("press-1")
    judge(any_centre, enrolment, SigningKey.generate())
    assert enrolment.token not in repr(any_centre.dump())


def test_a_key_of_one_device_does_not_count_for_another(any_centre: Centre) -> None:
    one = any_centre.device("press-1")
    any_centre.device("press-2")
    with pytest.raises(RejectedError, match="not enrolled with key"):
        any_centre.registry.public_key("press-2", one.key.id)


def test_a_malformed_name_is_refused(any_centre: Centre) -> None:
    for name in ("", "Press", "a/b", "x" * 33, "ä"):
        with pytest.raises(ConfigError, match="device id"):
            any_centre.registry.add(name, valid_ms=DAY_MS)
    assert any_centre.registry.devices() == []


def test_two_requests_with_one_token_at_once_let_one_key_in(any_centre: Centre) -> None:
    import threading

    enrolment = any_centre.enrolment("press-1")
    keys = [SigningKey.generate() for _ in range(4)]
    answers: list[EnrolmentResponse] = []
    workers = [
        threading.Thread(target=lambda key=key: answers.append(judge(any_centre, enrolment, key))) for key in keys
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert sorted(answer.accepted for answer in answers) == [False, False, False, True]
    with db.read(any_centre.engine) as connection:
        assert len(connection.execute(sa.select(db.device_key)).all()) == 1


def test_enrolment_over_a_topic_is_answered_and_refusals_are_noted(any_centre: Centre) -> None:
    enrolment = any_centre.enrolment("press-1")
    topics = DeviceTopics("press-1")
    for key in (SigningKey.generate(), SigningKey.generate()):
        request = seal_request(enrolment, key, created_ms=1)
        (answer,) = any_centre.ingest.handle(topics.enrol_request, request)
        assert answer.topic == topics.enrol_response
        assert not answer.retain
    with db.read(any_centre.engine) as connection:
        (row,) = connection.execute(sa.select(db.rejection)).all()
    assert (row.device, row.topic) == ("press-1", topics.enrol_request)
    assert "has been used" in row.reason
    assert FieldDevice("press-1", any_centre.online.trust).key.id not in {
        item.key for item in any_centre.registry.devices()
    }
