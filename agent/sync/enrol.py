"""Enrolment: the device's sealed request to the centre and its signed answer, over MQTT or as two files.

Decides nothing about trust (`contract.trust` does); keeps nothing (the caller's `Identity` does).
"""

from __future__ import annotations

import time
from collections.abc import Callable

from agent.contract.certificates import certificate_request, check_certificate
from agent.contract.enrolment import Enrolment, EnrolmentResponse, seal_request
from agent.contract.errors import EdgewattError, RejectedError, UnavailableError
from agent.contract.keys import SigningKey, TlsKey
from agent.contract.topics import DeviceTopics
from agent.contract.trust import KeyUse
from agent.contract.zones import utc_iso
from agent.sync.mqtt import MqttLink

_ASK_AGAIN_S = 5.0
_POLL_S = 0.05
_NEW_FILE = "Ask the centre for a new file: edgewatt-trainer device add NAME --out FILE"
_NOT_LET_IN = ("Not authorized", "Bad user name or password")


def request_file(enrolment: Enrolment, key: SigningKey, tls: TlsKey | None = None, *, now_ms: int) -> bytes:
    """Return the request to carry to a centre that cannot be reached: sealed to it, signed by `key`.

    With `tls` it asks for a client certificate of that key, too.

    Raises:
        RejectedError: when the enrolment file is out of date or names no key to seal to.
    """
    if enrolment.expires_at_ms <= now_ms:
        raise RejectedError(
            f"is out of date since {utc_iso(enrolment.expires_at_ms)}", where="enrolment file", todo=_NEW_FILE
        )
    csr = certificate_request(tls, enrolment.device) if tls is not None else ""
    return seal_request(enrolment, key, created_ms=now_ms, csr=csr)


def response_file(enrolment: Enrolment, key: SigningKey, data: bytes, tls: TlsKey | None = None) -> EnrolmentResponse:
    """Read the centre's answer to the request made with `key` (and `tls`).

    Raises:
        RejectedError: when it is not this centre's answer to this request, the centre refuses, or the certificate in
            it is not the one that was asked for, or is missing where the broker asks for one.
    """
    response = EnrolmentResponse.from_bytes(
        data, enrolment.trust.verifiers(KeyUse.ACK), device=enrolment.device, key=key.id
    )
    if not response.accepted:
        raise RejectedError(
            f"the centre refuses: {response.reason}", where="enrolment", todo="Ask the centre for a new enrolment file"
        )
    if tls is not None and response.certificate:
        check_certificate(response.certificate, tls, enrolment.device)
    elif enrolment.broker.enrol_port:
        raise RejectedError(
            "the centre sent no certificate, and its broker asks for one",
            where="enrolment",
            todo="Run `edgewatt-trainer broker init` at the centre, then enrol again",
        )
    return response


def enrol_over_mqtt(
    enrolment: Enrolment,
    key: SigningKey,
    timeout_s: float = 60.0,
    *,
    tls: TlsKey | None = None,
    now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
) -> EnrolmentResponse:
    """Ask the centre and wait for its answer. What is not its signed answer to this request is passed over.

    Raises:
        RejectedError: when the enrolment file is out of date, or the centre refuses.
        UnavailableError: when no answer came in time.
    """
    topics = DeviceTopics(enrolment.device)
    request = request_file(enrolment, key, tls, now_ms=now_ms())
    broker = enrolment.broker
    made_ms = max((key.not_before_ms for key in enrolment.trust.keys), default=0)
    link = MqttLink(
        # Not the device's own id: a daemon that is still running would be cut off.
        broker.host,
        broker.enrol_port or broker.port,
        topics.enrol_user,
        ca_pem=broker.ca_pem,
        server_name=broker.server_name,
        # A clock that stands before the centre's own keys were made is a board's without a battery.
        check_time=lambda: now_ms() >= made_ms,
        username=topics.enrol_user if broker.enrol_port else "",
        password=enrolment.token if broker.enrol_port else "",
        subscriptions=[topics.enrol_response],
    )
    link.start()
    try:
        payload = _converse(link, topics, request, enrolment, key, timeout_s)
    finally:
        link.stop()
    return response_file(enrolment, key, payload, tls)


def _converse(
    link: MqttLink, topics: DeviceTopics, request: bytes, enrolment: Enrolment, key: SigningKey, timeout_s: float
) -> bytes:
    end_s = time.monotonic() + timeout_s
    ask_s = 0.0
    passed_over, foreign = "", False
    while time.monotonic() < end_s:
        if time.monotonic() >= ask_s and link.publish(topics.enrol_request, request):
            ask_s = time.monotonic() + _ASK_AGAIN_S
        for _, payload in link.receive():
            try:
                EnrolmentResponse.from_bytes(
                    payload, enrolment.trust.verifiers(KeyUse.ACK), device=enrolment.device, key=key.id
                )
            except RejectedError as exc:
                passed_over = str(exc)
                foreign = foreign or (key.id.encode() in payload and "not trusted" in passed_over)
                continue
            return payload
        time.sleep(_POLL_S)
    where = f"{enrolment.broker.host}:{enrolment.broker.enrol_port or enrolment.broker.port}"
    if not link.connections:
        raise _unreached(link.reason, where, named=bool(enrolment.broker.enrol_port))
    if foreign:
        raise RejectedError(
            f"the centre answers with a key that the enrolment file does not name ({passed_over})",
            where=where,
            todo=f"Its keys were changed since the file was made. {_NEW_FILE}",
        )
    more = f"; a message was passed over: {passed_over}" if passed_over else ""
    raise UnavailableError(
        f"the centre does not answer{more}",
        where=where,
        todo="Check that edgewatt-trainer ingest runs. If it does, it cannot open what is sealed to key "
        f"{enrolment.trust.recipient().id} of this file any more: its log says so. {_NEW_FILE}",
    )


def _unreached(reason: str, where: str, *, named: bool) -> EdgewattError:
    """Say why the broker let nobody in, as far as the device can know."""
    if named and any(word in reason for word in _NOT_LET_IN):
        return RejectedError(
            f"the broker does not take the token of the enrolment file ({reason})",
            where=where,
            todo=f"It was used, has expired, or a newer file was made. {_NEW_FILE}",
        )
    if "CERTIFICATE_VERIFY_FAILED" in reason or "certificate verify failed" in reason:
        return RejectedError(
            f"the broker is not the one that the enrolment file names ({reason})",
            where=where,
            todo=f"It got another certificate since, or somebody else answers there. {_NEW_FILE}",
        )
    return UnavailableError(
        f"the broker cannot be reached ({reason})",
        where=where,
        todo=f"Check the line and the firewall. If the broker has moved: {_NEW_FILE}",
    )
