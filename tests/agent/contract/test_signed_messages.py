"""Signed words of the centre: acknowledgement, assignment, enrolment answer; and the enrolment request."""

import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.contract import acknowledgement, renewal, signed
from agent.contract.acknowledgement import MAX_MARKS, MAX_MISSING, Acknowledgement, Mark
from agent.contract.assignment import Assignment, Item, ItemKind
from agent.contract.enrolment import Enrolment, EnrolmentResponse, open_request, seal_request
from agent.contract.errors import ConfigError, RejectedError
from agent.contract.keys import SealingKey, SigningKey
from agent.contract.topics import STREAMS
from agent.contract.trust import Broker, FleetKey, FleetTrust, KeyState, KeyUse
from tests.support.nasty import mutations

T = 1_764_000_000_000
ACK = Acknowledgement(
    "plant-1",
    "centre-1",
    9,
    T,
    "0123456789abcdef",
    (Mark(3, "readings", 45, ((42, 43),), ((1, 40),)), Mark(3, "events", 1)),
)
ASSIGNMENT = Assignment(
    "plant-1",
    4,
    T,
    T + 86_400_000,
    12,
    (Item(ItemKind.MODEL, "models/victoria-2.ewb", 1234, "ab" * 32),),
    allow_downgrade=True,
)
KEY_ID = "56475aa75463474c"
RESPONSE = EnrolmentResponse("plant-1", KEY_ID, accepted=True, reason="", issued_at_ms=T)

PARSERS = {
    "ack": lambda data, keys: Acknowledgement.from_bytes(data, keys, device="plant-1"),
    "assignment": lambda data, keys: Assignment.from_bytes(data, keys, device="plant-1"),
    "enrol_response": lambda data, keys: EnrolmentResponse.from_bytes(data, keys, device="plant-1", key=KEY_ID),
}
VALUES = {"ack": ACK, "assignment": ASSIGNMENT, "enrol_response": RESPONSE}
KINDS = {"ack": "ack", "assignment": "assign", "enrol_response": "enrol-response"}
every_form = pytest.mark.parametrize("form", list(PARSERS))


@pytest.fixture
def keys(signing_key):
    return {signing_key.id: signing_key.public}


@every_form
class TestEveryForm:
    def test_bytes_are_pinned(self, form, golden, signing_key, keys):
        data = bytes.fromhex(golden[form])
        assert VALUES[form].to_bytes(signing_key) == data
        assert PARSERS[form](data, keys) == VALUES[form]

    def test_any_flipped_byte_is_refused(self, form, golden, keys):
        data = bytes.fromhex(golden[form])
        for index in range(len(data)):
            damaged = bytearray(data)
            damaged[index] ^= 0x01
            with pytest.raises(RejectedError):
                PARSERS[form](bytes(damaged), keys)

    def test_any_cut_or_addition_is_refused(self, form, golden, keys):
        data = bytes.fromhex(golden[form])
        for cut in range(len(data)):
            with pytest.raises(RejectedError):
                PARSERS[form](data[:cut], keys)
        with pytest.raises(RejectedError, match="bytes too many"):
            PARSERS[form](data + b"\0", keys)

    def test_an_unknown_signer_is_refused(self, form, golden):
        other = SigningKey.generate()
        for keys in ({}, {other.id: other.public}):
            with pytest.raises(RejectedError, match="not trusted"):
                PARSERS[form](bytes.fromhex(golden[form]), keys)

    def test_another_key_under_the_same_name_is_refused(self, form, golden, signing_key):
        with pytest.raises(RejectedError, match="does not fit"):
            PARSERS[form](bytes.fromhex(golden[form]), {signing_key.id: SigningKey.generate().public})
        with pytest.raises(RejectedError):
            PARSERS[form](bytes.fromhex(golden[form]), {signing_key.id: b"short"})

    def test_one_kind_never_passes_for_another(self, form, golden, keys):
        for other in set(PARSERS) - {form}:
            with pytest.raises(RejectedError, match="does not fit"):
                PARSERS[other](bytes.fromhex(golden[form]), keys)

    def test_every_field_is_checked_even_under_a_good_signature(self, form, golden, signing_key, keys):
        body = signed.verify(KINDS[form], bytes.fromhex(golden[form]), keys)
        tried = 0
        for what, changed in mutations(body):
            tried += 1
            try:
                data = signed.sign(KINDS[form], changed, signing_key)
            except (ValueError, ConfigError):
                continue
            try:
                value = PARSERS[form](data, keys)
            except RejectedError:
                continue
            # What was let through is a value that can be written and read again.
            assert PARSERS[form](value.to_bytes(signing_key), keys) == value, what
        assert tried > 100

    def test_another_device_is_refused(self, form, golden, signing_key, keys):
        body = {**signed.verify(KINDS[form], bytes.fromhex(golden[form]), keys), "device": "plant-2"}
        with pytest.raises(RejectedError, match="device"):
            PARSERS[form](signed.sign(KINDS[form], body, signing_key), keys)

    def test_unknown_fields_are_no_error(self, form, golden, signing_key, keys):
        body = {**signed.verify(KINDS[form], bytes.fromhex(golden[form]), keys), "later": [1]}
        assert PARSERS[form](signed.sign(KINDS[form], body, signing_key), keys) == VALUES[form]


@given(st.binary(max_size=200))
def test_any_bytes_are_refused(data):
    key = SigningKey(bytes(32))
    for text in (data, b"EWS1" + data, b"EWS1" + bytes.fromhex(key.id) + data):
        for parse in PARSERS.values():
            with pytest.raises(RejectedError):
                parse(text, {key.id: key.public})


def test_a_message_longer_than_its_receiver_reads_is_not_made(signing_key, keys):
    with pytest.raises(ConfigError, match="too long"):
        signed.sign("x", {"a": "y" * signed.MAX_BYTES}, signing_key)
    fits = signed.sign("x", {"a": "y" * (signed.MAX_BYTES - 80 - 8)}, signing_key)
    assert len(fits) == signed.MAX_BYTES
    assert signed.verify("x", fits, keys)
    with pytest.raises(RejectedError):
        signed.verify("x", fits, keys, max_bytes=signed.MAX_BYTES - 1)


class TestMarks:
    def test_covers_what_is_held(self):
        mark = Mark(1, "readings", 100, ((10, 12), (20, 20)))
        assert mark.covers(1, 9)
        assert mark.covers(13, 19)
        assert mark.covers(21, 100)
        for first, last in ((1, 10), (12, 13), (11, 11), (1, 100), (20, 20), (99, 101), (101, 101)):
            assert not mark.covers(first, last)

    @given(
        st.integers(1, 60),
        st.sets(st.integers(1, 60)),
        st.integers(1, 60),
        st.integers(0, 5),
    )
    def test_covers_exactly_when_every_row_is_held(self, high, lost, first, more):
        missing = tuple((row, row) for row in sorted(lost) if row <= high)
        last = first + more
        held = all(row <= high and row not in lost for row in range(first, last + 1))
        assert Mark(1, "readings", high, missing).covers(first, last) == held

    def test_the_largest_acknowledgement_allowed_is_read(self, signing_key, keys):
        big = 2**53
        ranges = tuple((big - 2 * index, big - 2 * index) for index in range(MAX_MISSING, 0, -1))
        marks = tuple(Mark(big - index, "forecasts", big, ranges, ranges) for index in range(MAX_MARKS))
        ack = Acknowledgement("x" * 32, "c" * 64, big, T, "f" * 16, marks)
        data = ack.to_bytes(signing_key)
        assert len(data) <= acknowledgement.MAX_BYTES
        assert Acknowledgement.from_bytes(data, keys, device="x" * 32) == ack

    @pytest.mark.parametrize(
        "ranges",
        [((2, 1),), ((1, 2), (2, 3)), ((5, 6), (1, 2)), ((0, 1),), tuple((2 * i + 1, 2 * i + 1) for i in range(257))],
    )
    def test_ranges_out_of_order_or_too_many_are_refused(self, ranges, signing_key, keys):
        for mark in (Mark(1, "readings", 9, missing=ranges), Mark(1, "readings", 9, gaps=ranges)):
            data = Acknowledgement("plant-1", "c", 1, T, "0" * 16, (mark,)).to_bytes(signing_key)
            with pytest.raises(RejectedError, match="range"):
                Acknowledgement.from_bytes(data, keys, device="plant-1")

    def test_one_stream_twice_is_refused(self, signing_key, keys):
        data = Acknowledgement("plant-1", "c", 1, T, "0" * 16, (Mark(1, "slots", 9), Mark(1, "slots", 4))).to_bytes(
            signing_key
        )
        with pytest.raises(RejectedError, match="twice"):
            Acknowledgement.from_bytes(data, keys, device="plant-1")

    @given(
        st.lists(
            st.tuples(st.integers(1, 2**53), st.sampled_from(STREAMS), st.integers(0, 2**53)),
            max_size=8,
            unique_by=lambda t: t[:2],
        ),
        st.integers(0, 2**53),
    )
    def test_round_trip(self, marks, counter):
        key = SigningKey(bytes(32))
        ack = Acknowledgement("d", "c", counter, T, "0" * 16, tuple(Mark(*mark) for mark in marks))
        assert Acknowledgement.from_bytes(ack.to_bytes(key), {key.id: key.public}, device="d") == ack


class TestAssignmentItems:
    @pytest.mark.parametrize(
        "path",
        [
            "",
            "/etc/passwd",
            "../x",
            "a/../b",
            "a//b",
            "a/",
            ".hidden",
            "a/.b",
            "A",
            "a\\b",
            "a b",
            "a\n",
            "a/b/c/d/e",
            "x" * 65,
        ],
    )
    def test_paths_that_leave_the_repository_are_refused(self, path, signing_key, keys):
        data = Assignment("d", 1, T, T, 1, (Item(ItemKind.MODEL, path, 1, "00" * 32),)).to_bytes(signing_key)
        with pytest.raises(RejectedError, match="path"):
            Assignment.from_bytes(data, keys, device="d")

    def test_two_items_of_a_kind_are_refused(self, signing_key, keys):
        item = Item(ItemKind.TARIFF, "tariffs/a.toml", 1, "00" * 32)
        data = Assignment("d", 1, T, T, 1, (item, item)).to_bytes(signing_key)
        with pytest.raises(RejectedError, match="twice"):
            Assignment.from_bytes(data, keys, device="d")

    def test_an_item_is_found_by_its_kind(self):
        assert ASSIGNMENT.item(ItemKind.MODEL).path == "models/victoria-2.ewb"
        assert ASSIGNMENT.item(ItemKind.TRUST) is None


@pytest.fixture(scope="module")
def trust(signing_key, sealing_key):
    return FleetTrust(
        "fleet-1",
        (
            FleetKey(KeyUse.SEAL, sealing_key.public, 0, KeyState.ACTIVE),
            FleetKey(KeyUse.ACK, signing_key.public, 0, KeyState.ACTIVE),
            FleetKey(KeyUse.ASSIGN, signing_key.public, 5, KeyState.DRAINING),
        ),
    )


@pytest.fixture(scope="module")
def enrolment(trust):
    return Enrolment("plant-1", "token-0123456789abcdef", T, Broker("192.0.2.1", 8883, ""), trust, "{}")


class TestEnrolment:
    def test_file_is_pinned_and_read_back(self, enrolment, golden):
        import hashlib

        data = enrolment.to_bytes()
        assert hashlib.sha256(data).hexdigest() == golden["enrolment_sha256"]
        assert Enrolment.from_bytes(data) == enrolment

    def test_every_field_of_the_file_is_checked(self, enrolment):
        complaints = []
        for what, changed in mutations(json.loads(enrolment.to_bytes())):
            try:
                value = Enrolment.from_bytes(json.dumps(changed).encode())
            except RejectedError as exc:
                complaints.append(str(exc))
                continue
            assert Enrolment.from_bytes(value.to_bytes()) == value, what
        assert "token-0123456789abcdef" not in "".join(complaints)

    def test_the_largest_trust_allowed_fits_the_file(self, enrolment):
        keys = tuple(FleetKey(KeyUse.SEAL, SealingKey.generate().public, T, KeyState.ACTIVE) for _ in range(32))
        big = Enrolment("plant-1", "t" * 128, T, Broker("h", 1, "x" * 16_384), FleetTrust("f", keys), "y" * 32_768)
        assert Enrolment.from_bytes(big.to_bytes()) == big

    def test_golden_request_is_opened(self, golden, sealing_key, signing_key):
        request = open_request(bytes.fromhex(golden["enrol_request"]), {sealing_key.id: sealing_key})
        assert (request.device, request.token) == ("plant-1", "token-0123456789abcdef")
        assert (request.public, request.created_ms) == (signing_key.public, T)

    def test_any_flipped_byte_of_a_request_is_refused(self, golden, sealing_key):
        data = bytes.fromhex(golden["enrol_request"])
        for index in range(len(data)):
            damaged = bytearray(data)
            damaged[index] ^= 0x80
            with pytest.raises(RejectedError):
                open_request(bytes(damaged), {sealing_key.id: sealing_key})

    def test_a_request_signed_by_another_key_is_refused(self, enrolment, sealing_key, signing_key):
        data = seal_request(enrolment, signing_key, created_ms=T)
        thief = SigningKey.generate()
        forged = data[:-64] + thief.sign(b"edgewatt/enrol-request/v1\0" + data[:-64])
        with pytest.raises(RejectedError, match="not signed by the key in it"):
            open_request(forged, {sealing_key.id: sealing_key})

    def test_another_centre_cannot_open_it(self, enrolment, sealing_key, signing_key):
        data = seal_request(enrolment, signing_key, created_ms=T)
        other = SealingKey.generate()
        with pytest.raises(RejectedError, match="another centre"):
            open_request(data, {other.id: other})
        with pytest.raises(RejectedError, match="cannot be decrypted"):
            open_request(data, {sealing_key.id: other})

    @given(st.binary(max_size=200))
    def test_any_bytes_are_refused(self, data):
        key = SealingKey(bytes(96))
        for text in (data, b"EWR1" + bytes.fromhex(key.id) + data):
            with pytest.raises(RejectedError):
                open_request(text, {key.id: key})

    def test_an_answer_to_another_key_is_refused(self, signing_key, keys):
        data = RESPONSE.to_bytes(signing_key)
        with pytest.raises(RejectedError, match="not the one that asked"):
            EnrolmentResponse.from_bytes(data, keys, device="plant-1", key="0" * 16)

    def test_the_token_is_never_shown(self, enrolment, golden, sealing_key):
        request = open_request(bytes.fromhex(golden["enrol_request"]), {sealing_key.id: sealing_key})
        assert "0123456789abcdef" not in repr(enrolment) + str(enrolment) + repr(request) + str(request)


class TestTrust:
    def test_revoked_keys_verify_nothing_and_draining_ones_still_do(self, trust, signing_key):
        assert trust.verifiers(KeyUse.ASSIGN) == {signing_key.id: signing_key.public}
        revoked = FleetTrust("f", (FleetKey(KeyUse.ACK, signing_key.public, 0, KeyState.REVOKED),))
        assert revoked.verifiers(KeyUse.ACK) == {}
        assert trust.verifiers(KeyUse.SEAL).keys() == {trust.recipient().id}

    def test_seals_to_the_newest_active_key(self):
        old, new, gone = SealingKey.generate(), SealingKey.generate(), SealingKey.generate()
        keys = (
            FleetKey(KeyUse.SEAL, new.public, 10, KeyState.ACTIVE),
            FleetKey(KeyUse.SEAL, old.public, 5, KeyState.ACTIVE),
            FleetKey(KeyUse.SEAL, gone.public, 20, KeyState.DRAINING),
        )
        assert FleetTrust("f", keys).recipient().id == new.id
        with pytest.raises(RejectedError, match="no active sealing key"):
            FleetTrust("f", keys[2:]).recipient()

    def test_a_key_id_that_is_not_the_keys_is_refused(self, trust):
        value = trust.to_json()
        value["keys"][1]["id"] = "0" * 16
        with pytest.raises(RejectedError, match="is not the key's"):
            FleetTrust.from_json(value)

    def test_a_later_schema_is_refused(self, trust):
        with pytest.raises(RejectedError, match="update the agent"):
            FleetTrust.from_json({**trust.to_json(), "schema": 2})

    def test_what_a_broker_with_certificates_needs_is_read_back(self, enrolment, sealing_key, signing_key):
        broker = Broker("b.example", 8883, "pem", enrol_port=8884, server_name="mqtt.example")
        file = dataclasses.replace(enrolment, broker=broker)
        assert Enrolment.from_bytes(file.to_bytes()) == file
        for field, value in (("enrol_port", 0), ("enrol_port", 65_536), ("server_name", "a b"), ("server_name", 5)):
            changed = json.loads(file.to_bytes())
            changed["broker"][field] = value
            with pytest.raises(RejectedError, match=field):
                Enrolment.from_bytes(json.dumps(changed).encode())

        request = open_request(
            seal_request(enrolment, signing_key, created_ms=T, csr="c" * 2048), {sealing_key.id: sealing_key}
        )
        assert request.csr == "c" * 2048
        with pytest.raises(RejectedError, match="csr"):
            open_request(
                seal_request(enrolment, signing_key, created_ms=T, csr="c" * 2049), {sealing_key.id: sealing_key}
            )

    def test_an_answer_carries_a_certificate(self, signing_key, keys):
        for length, fits in ((8192, True), (8193, False)):
            answer = dataclasses.replace(RESPONSE, certificate="c" * length)
            data = answer.to_bytes(signing_key)
            if fits:
                assert EnrolmentResponse.from_bytes(data, keys, device="plant-1", key=KEY_ID) == answer
            else:
                with pytest.raises(RejectedError, match="certificate"):
                    EnrolmentResponse.from_bytes(data, keys, device="plant-1", key=KEY_ID)


class TestRenewal:
    def test_request_and_answer_are_read_back_by_whom_they_are_for(self, signing_key, keys):
        request = renewal.sign_request("plant-1", "csr", signing_key)
        answer = renewal.sign_response("plant-1", "chain", signing_key)
        assert renewal.verify_request(request, keys, device="plant-1") == "csr"
        assert renewal.verify_response(answer, keys, device="plant-1") == "chain"
        for verify, data in ((renewal.verify_request, request), (renewal.verify_response, answer)):
            with pytest.raises(RejectedError, match="plant-2"):
                verify(data, keys, device="plant-2")
            with pytest.raises(RejectedError, match="not trusted"):
                verify(data, {}, device="plant-1")
        with pytest.raises(RejectedError):
            renewal.verify_response(request, keys, device="plant-1")

    @given(st.integers(0, 10_000), st.integers(1, 255))
    def test_a_changed_byte_is_refused(self, place, change):
        key = SigningKey(bytes(32))
        data = bytearray(renewal.sign_request("plant-1", "csr", key))
        data[place % len(data)] ^= change
        with pytest.raises(RejectedError):
            renewal.verify_request(bytes(data), {key.id: key.public}, device="plant-1")
