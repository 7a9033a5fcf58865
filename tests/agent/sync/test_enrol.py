"""A device becomes known to the centre, over a real broker and by two files."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from agent.contract.enrolment import Enrolment, EnrolmentResponse, open_request
from agent.contract.errors import RejectedError, UnavailableError
from agent.contract.keys import SigningKey, key_id
from agent.contract.topics import ENROL_REQUEST, DeviceTopics, device_of
from agent.contract.trust import Broker
from agent.sync.enrol import _unreached, enrol_over_mqtt, request_file, response_file
from agent.sync.mqtt import MqttLink
from tests.support.broker import Mosquitto, free_port, running_mosquitto
from tests.support.small_centre import SmallCentre
from tests.support.waiting import eventually

TOKEN = "tok-0123456789abcdef"
NOW_MS = time.time_ns() // 1_000_000


def enrolment(centre: SmallCentre, port: int = 1, *, life_ms: int = 3_600_000) -> Enrolment:
    return Enrolment("press-1", TOKEN, NOW_MS + life_ms, Broker("127.0.0.1", port), centre.trust(), "{}")


def judge(centre: SmallCentre, data: bytes, *, accepted: bool = True, key: SigningKey | None = None) -> bytes:
    request = open_request(data, {centre.seal_key.id: centre.seal_key})
    assert request.token == TOKEN
    reason = "" if accepted else "token was used"
    response = EnrolmentResponse(request.device, key_id(request.public), accepted, reason, NOW_MS)
    return response.to_bytes(key or centre.ack_key)


@contextlib.contextmanager
def office(port: int, answer: Callable[[bytes], list[bytes]]) -> Iterator[None]:
    """The centre's side, in a thread."""
    link = MqttLink("127.0.0.1", port, "centre", subscriptions=[ENROL_REQUEST], backoff_s=(0.05, 0.1))
    over = threading.Event()

    def work() -> None:
        while not over.wait(0.02):
            for topic, payload in link.receive():
                for reply in answer(payload):
                    link.publish(DeviceTopics(device_of(topic)).enrol_response, reply)

    thread = threading.Thread(target=work)
    link.start()
    thread.start()
    try:
        eventually(lambda: link.connected)
        yield
    finally:
        over.set()
        thread.join()
        link.stop()


def test_enrols_over_the_broker(mosquitto: Mosquitto):
    centre, key = SmallCentre(), SigningKey.generate()
    with office(mosquitto.port, lambda data: [judge(centre, data)]):
        response = enrol_over_mqtt(enrolment(centre, mosquitto.port), key, 20)
    assert response.accepted
    assert response.key == key.id


def test_passes_over_answers_that_are_not_the_centres(mosquitto: Mosquitto):
    centre, key = SmallCentre(), SigningKey.generate()

    def answers(data: bytes) -> list[bytes]:
        forged = judge(centre, data, accepted=False, key=SigningKey.generate())
        other = EnrolmentResponse("press-1", "00" * 8, False, "for another key", NOW_MS).to_bytes(centre.ack_key)
        return [b"", forged, other, judge(centre, data)]

    with office(mosquitto.port, answers):
        assert enrol_over_mqtt(enrolment(centre, mosquitto.port), key, 20).accepted


def test_says_why_the_centre_refuses(mosquitto: Mosquitto):
    centre = SmallCentre()
    with (
        office(mosquitto.port, lambda data: [judge(centre, data, accepted=False)]),
        pytest.raises(RejectedError, match="token was used"),
    ):
        enrol_over_mqtt(enrolment(centre, mosquitto.port), SigningKey.generate(), 20)


def test_tells_a_silent_centre_from_a_broker_that_is_away(mosquitto: Mosquitto):
    centre = SmallCentre()
    with pytest.raises(UnavailableError, match="centre does not answer"):
        enrol_over_mqtt(enrolment(centre, mosquitto.port), SigningKey.generate(), 1.0)
    with pytest.raises(UnavailableError, match="broker cannot be reached") as caught:
        enrol_over_mqtt(enrolment(centre, free_port()), SigningKey.generate(), 0.3)
    assert TOKEN not in str(caught.value)


def test_a_file_older_than_the_centres_keys_is_told_from_a_silent_centre(mosquitto: Mosquitto):
    old, new = SmallCentre(), SmallCentre()
    new.seal_key = old.seal_key  # draining: it opens the request still
    with (
        office(mosquitto.port, lambda data: [judge(new, data)]),
        pytest.raises(RejectedError, match=r"keys were changed since the file was made.+device add"),
    ):
        enrol_over_mqtt(enrolment(old, mosquitto.port), SigningKey.generate(), 2.0)


def test_a_centre_that_cannot_open_the_request_any_more_is_among_the_reasons(mosquitto: Mosquitto):
    centre = SmallCentre()
    with pytest.raises(UnavailableError, match=rf"sealed to key {centre.seal_key.id} of this file any more"):
        enrol_over_mqtt(enrolment(centre, mosquitto.port), SigningKey.generate(), 1.0)


def test_a_token_that_the_broker_refuses_is_told_from_a_broker_that_is_away(tmp_path: Path):
    centre = SmallCentre()
    with running_mosquitto(tmp_path, settings=("allow_anonymous false",)) as broker:
        file = replace(enrolment(centre), broker=Broker("127.0.0.1", 1, "", broker.port))
        with pytest.raises(RejectedError, match=r"does not take the token.+newer file was made") as caught:
            enrol_over_mqtt(file, SigningKey.generate(), 1.0)
    assert TOKEN not in str(caught.value)


def test_a_broker_with_another_authority_is_not_the_one_of_the_file():
    error = _unreached("[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: self-signed", "b:1", named=True)
    assert isinstance(error, RejectedError)
    assert "not the one that the enrolment file names" in str(error)


def test_an_enrolment_file_that_is_out_of_date_asks_nobody():
    centre = SmallCentre()
    with pytest.raises(RejectedError, match="out of date"):
        enrol_over_mqtt(enrolment(centre, life_ms=-1), SigningKey.generate(), 1.0)


def test_enrols_by_two_files():
    centre, key = SmallCentre(), SigningKey.generate()
    file = enrolment(centre)
    request = request_file(file, key, now_ms=NOW_MS)
    assert TOKEN.encode() not in request
    assert response_file(file, key, judge(centre, request)).accepted
    with pytest.raises(RejectedError, match="token was used"):
        response_file(file, key, judge(centre, request, accepted=False))
    with pytest.raises(RejectedError):
        response_file(file, SigningKey.generate(), judge(centre, request))
    with pytest.raises(RejectedError):
        response_file(file, key, judge(centre, request)[:-1])
