"""Envelopes: a golden one is opened; nothing altered, moved, oversized or foreign is."""

import json
import os
import struct
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.contract import envelope
from agent.contract.blocks import Block, BlockHeader, decode_readings, decode_rows, encode_readings, encode_rows
from agent.contract.channels import Channel, Reading
from agent.contract.envelope import EnvelopeHeader, Range, open_envelope, peek, seal, take
from agent.contract.errors import ConfigError, RejectedError
from agent.contract.keys import SealingKey, SealTo, SigningKey
from agent.contract.topics import STREAMS
from tests.support.nasty import mutations

T = 1_764_000_000_000
CONTEXT = b"edgewatt/batch/v1\0"
CHANNELS = {"load": Channel("load", "kW", 2)}


def readings(first=1, count=3, epoch=1):
    rows = [Reading("load", T + 1000 * row, float(row)) for row in range(first, first + count)]
    return encode_readings(rows, CHANNELS, epoch=epoch, boot=1, first=first)


def events(first=1, count=1, epoch=1, stream="events"):
    rows = [{"time_ms": T + row, "kind": "boot"} for row in range(count)]
    return encode_rows(stream, rows, epoch=epoch, boot=1, first=first)


@pytest.fixture(scope="module")
def recipient(sealing_key):
    return SealTo(sealing_key.public)


@pytest.fixture(scope="module")
def send(signing_key, recipient):
    def send(blocks, device="plant-1"):
        return seal(blocks, device=device, signing_key=signing_key, recipient=recipient, created_ms=T)

    return send


@pytest.fixture(scope="module")
def receive(signing_key, sealing_key):
    def find(table, key_id):
        if key_id not in table:
            raise RejectedError(f"key {key_id} is unknown")
        return table[key_id]

    def receive(data, device="plant-1"):
        return open_envelope(
            data,
            device=device,
            signer_public=lambda key_id: find({signing_key.id: signing_key.public}, key_id),
            recipient_key=lambda key_id: find({sealing_key.id: sealing_key}, key_id),
        )

    return receive


@pytest.fixture(scope="module")
def forge(signing_key, recipient):
    """An envelope of a device that holds good keys and lies: any header, any plain text, properly sealed and signed."""

    def forge(header: bytes, plain: bytes):
        sealed = recipient.seal(plain, CONTEXT + header)
        message = b"EWB1" + struct.pack(">H", len(header)) + header + struct.pack(">I", len(sealed)) + sealed
        return message + signing_key.sign(CONTEXT + message)

    return forge


def framed(*blocks):
    return b"".join(struct.pack(">I", len(data)) + data for data in (block.to_bytes() for block in blocks))


def header_of(blocks, signing_key, recipient):
    return EnvelopeHeader("plant-1", signing_key.id, recipient.id, T, envelope.ranges_of(blocks)).to_bytes()


def test_golden_envelope_is_opened(golden, receive, signing_key, sealing_key):
    header, blocks = receive(bytes.fromhex(golden["envelope"]))
    assert header == EnvelopeHeader(
        "plant-1", signing_key.id, sealing_key.id, T, (Range("readings", 3, 41, 45, 5), Range("events", 3, 1, 1, 1))
    )
    assert [block.to_bytes().hex() for block in blocks] == [golden["block_readings"], golden["block_events"]]
    assert peek(bytes.fromhex(golden["envelope"])) == header


def test_header_bytes_are_pinned(golden, signing_key, sealing_key):
    data = bytes.fromhex(golden["envelope"])
    text = (
        '{"codec":"blocks/1","created_ms":1764000000000,"device":"plant-1",'
        '"ranges":[["readings",3,41,45,5],["events",3,1,1,1]],'
        f'"recipient":"{sealing_key.id}","signer":"{signing_key.id}"}}'
    ).encode()
    assert data.startswith(b"EWB1" + struct.pack(">H", len(text)) + text)


def test_key_names_are_pinned(golden, signing_key, sealing_key):
    assert (signing_key.id, sealing_key.id) == (golden["signing_id"], golden["sealing_id"])
    assert len(sealing_key.public) == 1216


def test_overhead_is_what_keys_state(recipient):
    from agent.contract.keys import SEAL_OVERHEAD_BYTES

    assert len(recipient.seal(b"12345", b"")) == 5 + SEAL_OVERHEAD_BYTES


@settings(max_examples=25)
@given(st.lists(st.tuples(st.sampled_from(STREAMS), st.integers(1, 40), st.integers(1, 3)), min_size=1, max_size=9))
def test_round_trip_of_several_streams(send, receive, plan):
    following = {}
    blocks = []
    for stream, count, epoch in plan:
        first = following.get((stream, epoch), 1)
        following[stream, epoch] = first + count
        blocks.append(readings(first, count, epoch) if stream == "readings" else events(first, count, epoch, stream))
    header, back = receive(send(blocks))
    assert back == blocks
    assert {(r.stream, r.epoch): r.last + 1 for r in header.ranges} == following
    for block in back:
        assert decode_readings(block) if block.header.stream == "readings" else decode_rows(block)


def test_any_flipped_bit_is_refused(send, receive):
    data = send([readings(), events()])
    for index in range(len(data)):
        damaged = bytearray(data)
        damaged[index] ^= 1 << (index % 8)
        with pytest.raises(RejectedError):
            receive(bytes(damaged))


def test_any_cut_or_addition_is_refused(send, receive):
    data = send([events()])
    for cut in range(len(data)):
        with pytest.raises(RejectedError):
            receive(data[:cut])
    with pytest.raises(RejectedError, match="bytes too many"):
        receive(data + b"\0")


def test_another_topic_is_refused(send, receive):
    with pytest.raises(RejectedError, match="names device plant-1 but came from plant-2"):
        receive(send([events()]), device="plant-2")


def test_a_key_of_another_device_is_refused(signing_key, sealing_key, recipient):
    data = seal([events()], device="plant-1", signing_key=SigningKey.generate(), recipient=recipient, created_ms=T)

    def owned(key_id):
        if key_id != signing_key.id:
            raise RejectedError(f"device plant-1 has no key {key_id}")
        return signing_key.public

    with pytest.raises(RejectedError, match="has no key"):
        open_envelope(data, device="plant-1", signer_public=owned, recipient_key=lambda _: sealing_key)


def test_halves_cannot_be_moved_between_envelopes(send, receive, forge, signing_key, recipient):
    one, two = [events(1)], [events(2)]
    header_one = header_of(one, signing_key, recipient)
    sealed_two = recipient.seal(framed(*two), CONTEXT + header_of(two, signing_key, recipient))
    message = (
        b"EWB1" + struct.pack(">H", len(header_one)) + header_one + struct.pack(">I", len(sealed_two)) + sealed_two
    )
    with pytest.raises(RejectedError, match="cannot be decrypted"):
        receive(message + signing_key.sign(CONTEXT + message))


def test_another_centres_key_opens_nothing(send, signing_key):
    with pytest.raises(RejectedError, match="cannot be decrypted"):
        open_envelope(
            send([events()]),
            device="plant-1",
            signer_public=lambda _: signing_key.public,
            recipient_key=lambda _: SealingKey.generate(),
        )


def test_the_signature_is_checked_before_anything_is_decrypted(send, signing_key):
    def no_key(_):
        pytest.fail("asked for the private key of an envelope whose signature does not fit")

    data = bytearray(send([events()]))
    data[-1] ^= 1
    with pytest.raises(RejectedError, match="signature"):
        open_envelope(bytes(data), device="plant-1", signer_public=lambda _: signing_key.public, recipient_key=no_key)


class TestLyingDevice:
    """Good keys, bad content."""

    def test_rows_other_than_stated(self, forge, receive, signing_key, recipient):
        header = header_of([events(1)], signing_key, recipient)
        for blocks in ([events(2)], [events(1), events(2)], [events(1, stream="alerts")], [events(1, epoch=2)], []):
            with pytest.raises(RejectedError, match="other rows"):
                receive(forge(header, framed(*blocks)))

    def test_rows_twice(self, forge, receive, signing_key, recipient):
        blocks = [events(1), events(1)]
        with pytest.raises(RejectedError, match="more rows than it spans"):
            receive(forge(header_of(blocks, signing_key, recipient), framed(*blocks)))

    @pytest.mark.parametrize(
        "plain", [b"\0", b"\0\0\0\1", b"\xff\xff\xff\xff", b"\0\0\0\0", b"\0\0\0\4EWK1", bytes(1000)]
    )
    def test_plain_text_that_is_no_row_of_blocks(self, plain, forge, receive, signing_key, recipient):
        with pytest.raises(RejectedError):
            receive(forge(header_of([events(1)], signing_key, recipient), plain))

    @settings(max_examples=30)
    @given(plain=st.binary(max_size=120))
    def test_any_plain_text_is_refused(self, plain, forge, receive, signing_key, recipient):
        with pytest.raises(RejectedError):
            receive(forge(header_of([events(1)], signing_key, recipient), plain))

    def test_many_small_bombs(self, forge, receive, signing_key, recipient):
        bomb = zlib.compress(bytes(4 * 2**20), 9)
        blocks = [Block(BlockHeader("events", 1, 1, row, row, T, T, "json/1"), bomb) for row in range(1, 6)]
        with pytest.raises(RejectedError, match="larger than"):
            receive(forge(header_of(blocks, signing_key, recipient), framed(*blocks)))
        header, _ = receive(forge(header_of(blocks[:4], signing_key, recipient), framed(*blocks[:4])))
        assert header.ranges[0].count == 4

    def test_every_field_of_the_header(self, forge, receive, signing_key, recipient):
        value = json.loads(header_of([readings(), events()], signing_key, recipient)) | {"seen": ["centre", 7]}
        plain = framed(readings(), events())
        for what, changed in mutations(value):
            header = json.dumps(changed).encode()
            if len(header) > 65_535:
                continue
            try:
                opened, _ = receive(forge(header, plain))
            except RejectedError:
                continue
            assert opened.device == "plant-1", what
            assert opened.ranges == envelope.ranges_of([readings(), events()]), what
            assert opened.seen is None or (isinstance(opened.seen[0], str) and opened.seen[1] >= 0), what

    @pytest.mark.parametrize(
        "seen", [None, 7, [], ["a"], ["a", 1, 2], ["", 1], ["a" * 65, 1], ["a", -1], ["a", True], [1, 1]]
    )
    def test_a_last_acknowledgement_without_its_form(self, seen, forge, receive, signing_key, recipient):
        value = json.loads(header_of([events()], signing_key, recipient)) | {"seen": seen}
        with pytest.raises(RejectedError, match="seen"):
            receive(forge(json.dumps(value).encode(), framed(events())))

    def test_header_longer_than_its_cap(self, forge, receive, signing_key, recipient):
        value = json.loads(header_of([events()], signing_key, recipient))
        value["more"] = "x" * 1024
        with pytest.raises(RejectedError, match="header that is too long"):
            receive(forge(json.dumps(value).encode(), framed(events())))


@given(st.binary(max_size=300))
def test_any_bytes_are_refused(data):
    for text in (data, b"EWB1" + data, b"EWB1\0\2{}" + data):
        with pytest.raises(RejectedError):
            peek(text)


def test_more_than_an_envelope_may_have_is_refused_unread():
    with pytest.raises(RejectedError, match="of this size"):
        peek(b"EWB1" + bytes(envelope.MAX_BYTES))


class TestSender:
    def test_refuses_nothing_and_too_many_ranges(self, send):
        with pytest.raises(ConfigError, match="ranges"):
            send([])
        with pytest.raises(ConfigError, match="ranges"):
            send([events(epoch=epoch) for epoch in range(1, 14)])

    def test_refuses_what_the_centre_would_not_open(self, send):
        big = [events_of(4 * 2**20, row) for row in range(1, 6)]
        with pytest.raises(ConfigError, match="Send fewer"):
            send(big)

    def test_takes_what_fits_and_the_centre_opens_it(self, send, receive):
        big = [events_of(4 * 2**20, row) for row in range(1, 6)]
        assert take(big) == 3  # sixteen MiB and a little more than four blocks' worth of brackets
        assert receive(send(big[: take(big)]))[1] == big[:3]

    def test_the_largest_block_that_can_be_stored_can_be_sent(self, signing_key, recipient):
        from agent.contract.blocks import MAX_STORED_BYTES
        from agent.contract.keys import SEAL_OVERHEAD_BYTES, SIGNATURE_BYTES

        rows = [{"time_ms": T, "x": os.urandom(30_000).hex()} for _ in range(240)]
        block = encode_rows("events", rows, epoch=1, boot=1, first=1)
        assert len(block.body) > 7 * 2**20
        assert take([block]) == 1
        assert seal([block], device="d", signing_key=signing_key, recipient=recipient, created_ms=T)
        overhead = 2 * (10 + envelope.MAX_HEADER_BYTES) + 4 + SEAL_OVERHEAD_BYTES + SIGNATURE_BYTES
        assert MAX_STORED_BYTES - 4096 + overhead <= envelope.MAX_BYTES

    def test_takes_by_bytes_as_sent(self, send):
        blocks = [readings(1 + 100 * index, 100) for index in range(50)]
        for limit in (0, 2500, 4096, 8192):
            count = take(blocks, max_bytes=limit)
            assert count < 50
            if count:
                assert len(send(blocks[:count])) <= limit
        assert take(blocks, max_bytes=65_536) == 50
        assert take([]) == 0

    def test_takes_no_more_ranges_than_surely_fit_the_header(self, signing_key, recipient):
        huge = 2**53 - 200
        blocks = [
            encode_rows("forecasts", [{"time_ms": T}] * 100, epoch=huge - i, boot=1, first=huge) for i in range(12)
        ]
        count = take(blocks)
        assert count == 9
        seen = "c" * 64, 2**53 - 1
        data = seal(
            blocks[:count], device="x" * 32, signing_key=signing_key, recipient=recipient, created_ms=T, seen=seen
        )
        assert (peek(data).ranges, peek(data).seen) == (envelope.ranges_of(blocks[:count]), seen)


def events_of(size: int, row: int) -> Block:
    """A block of one JSON stream row-set that opens to a little more than `size` bytes and compresses well."""
    rows = [{"time_ms": T, "x": "y" * 60_000}] * (size // 60_000 + 1)
    return encode_rows("events", rows, epoch=1, boot=1, first=1 + (row - 1) * len(rows))
