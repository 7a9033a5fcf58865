"""Enrolment: the device's sealed request to the centre and its signed answer, over MQTT or as two files.

Decides nothing about trust (`contract.trust` does); keeps nothing (the caller's `Identity` does).
"""

from __future__ import annotations

import time
from collections.abc import Callable

from agent.contract.errors import RejectedError, UnavailableError
from agent.contract.keys import SigningKey
from agent.contract.topics import DeviceTopics
from agent.contract.trust import Enrolment, EnrolmentResponse, KeyUse, seal_request
from agent.sync.mqtt import MqttLink

_ASK_AGAIN_S = 5.0
_POLL_S = 0.05


def request_file(enrolment: Enrolment, key: SigningKey, *, now_ms: int) -> bytes:
    """Return the request to carry to a centre that cannot be reached: sealed to it, signed by `key`.

    Raises:
        RejectedError: when the enrolment file is out of date or names no key to seal to.
    """
    if enrolment.expires_at_ms <= now_ms:
        raise RejectedError("is out of date", where="enrolment file", todo="Ask the centre for a new one")
    return seal_request(enrolment, key, created_ms=now_ms)


def response_file(enrolment: Enrolment, key: SigningKey, data: bytes) -> EnrolmentResponse:
    """Read the centre's answer to the request made with `key`.

    Raises:
        RejectedError: when it is not this centre's answer to this request, or the centre refuses.
    """
    response = EnrolmentResponse.from_bytes(
        data, enrolment.trust.verifiers(KeyUse.ACK), device=enrolment.device, key=key.id
    )
    if not response.accepted:
        raise RejectedError(
            f"the centre refuses: {response.reason}", where="enrolment", todo="Ask the centre for a new enrolment file"
        )
    return response


def enrol_over_mqtt(
    enrolment: Enrolment,
    key: SigningKey,
    timeout_s: float = 60.0,
    *,
    now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
) -> EnrolmentResponse:
    """Ask the centre and wait for its answer. What is not its signed answer to this request is passed over.

    Raises:
        RejectedError: when the enrolment file is out of date, or the centre refuses.
        UnavailableError: when no answer came in time.
    """
    topics = DeviceTopics(enrolment.device)
    request = request_file(enrolment, key, now_ms=now_ms())
    broker = enrolment.broker
    link = MqttLink(
        # Not the device's own id: a daemon that is still running would be cut off.
        broker.host,
        broker.port,
        f"{enrolment.device}-enrol",
        ca_pem=broker.ca_pem,
        subscriptions=[topics.enrol_response],
    )
    link.start()
    try:
        return _converse(link, topics, request, enrolment, key, timeout_s)
    finally:
        link.stop()


def _converse(
    link: MqttLink, topics: DeviceTopics, request: bytes, enrolment: Enrolment, key: SigningKey, timeout_s: float
) -> EnrolmentResponse:
    end_s = time.monotonic() + timeout_s
    ask_s = 0.0
    passed_over = ""
    while time.monotonic() < end_s:
        if time.monotonic() >= ask_s and link.publish(topics.enrol_request, request):
            ask_s = time.monotonic() + _ASK_AGAIN_S
        for _, payload in link.receive():
            try:
                EnrolmentResponse.from_bytes(
                    payload, enrolment.trust.verifiers(KeyUse.ACK), device=enrolment.device, key=key.id
                )
            except RejectedError as exc:
                passed_over = f"; a message was passed over: {exc}"
                continue
            return response_file(enrolment, key, payload)
        time.sleep(_POLL_S)
    where = f"{enrolment.broker.host}:{enrolment.broker.port}"
    what = "the centre does not answer" if link.connections else "the broker cannot be reached"
    raise UnavailableError(what + passed_over, where=where, todo="Check the line and that edgewatt-trainer ingest runs")
