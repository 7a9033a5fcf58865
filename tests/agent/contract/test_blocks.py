"""Blocks: golden bytes, round trips, and what a damaged or hostile one does."""

import contextlib
import json
import math
import struct
import zlib
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.contract import blocks
from agent.contract.blocks import Block, BlockHeader, decode_readings, decode_rows, encode_readings, encode_rows
from agent.contract.channels import Channel, Kind, Quality, Reading
from agent.contract.errors import ConfigError, RejectedError
from agent.contract.jsonform import MAX_TIME_MS
from tests.support.nasty import mutations

T = 1_764_000_000_000
CHANNELS = {"load": Channel("load", "kW", 2), "meter": Channel("meter", "kWh", 3, Kind.COUNTER)}
READINGS = [
    Reading("load", T, 12.34),
    Reading("meter", T + 5, 100.001),
    Reading("load", T + 1000, -0.5, 2),
    Reading("meter", T + 1005, 100.002, 1),
    Reading("load", T + 1900, 12.34),
]
EVENTS = [{"time_ms": T, "kind": "boot", "text": "Grüße"}]


def readings_block():
    return encode_readings(READINGS, CHANNELS, epoch=3, boot=7, first=41)


def events_block(rows=EVENTS):
    return encode_rows("events", rows, epoch=3, boot=7, first=1)


def test_many_readings_of_several_kinds_come_back_in_their_order():
    channels = {
        f"c{number}": Channel(f"c{number}", ("kW", "V", "kWh")[number % 3], number % 3, Kind.GAUGE)
        for number in range(9)
    }
    given = [
        Reading(f"c{number}", T + second * 1000, round(100 + (second * 37 + number * 11) % 91 / 7, number % 3))
        for second in range(900)
        for number in range(9)
    ]
    block = encode_readings(given, channels, epoch=3, boot=7, first=41)
    assert decode_readings(block) == (channels, given)


def with_body(block: Block, body: bytes) -> Block:
    return Block(block.header, zlib.compress(body))


def columns(channels: list[dict], numbers: bytes) -> bytes:
    head = json.dumps({"channels": channels}).encode()
    return struct.pack(">I", len(head)) + head + numbers


class TestGolden:
    def test_plain_bytes_of_readings_are_pinned(self, golden):
        block = Block.from_bytes(bytes.fromhex(golden["block_readings"]))
        channels, readings = decode_readings(block)
        assert readings == READINGS
        assert channels == CHANNELS
        # zlib builds compress differently; header, frame and what is compressed are the same everywhere.
        made = readings_block()
        assert made.header.to_bytes() == block.header.to_bytes()
        assert zlib.decompress(made.body) == zlib.decompress(block.body)
        assert block.to_bytes().hex() == golden["block_readings"]

    def test_header_bytes_are_pinned(self):
        assert readings_block().header.to_bytes() == (
            b'{"boot":7,"codec":"columns/1","count":5,"end_ms":1764000001900,"epoch":3,"first":41,"last":45,'
            b'"start_ms":1764000000000,"stream":"readings"}'
        )

    def test_columns_are_pinned(self):
        body = zlib.decompress(readings_block().body)
        head = (
            b'{"channels":[{"decimals":2,"kind":"gauge","name":"load","unit":"kW"},'
            b'{"decimals":3,"kind":"counter","name":"meter","unit":"kWh"}]}'
        )
        assert body.startswith(struct.pack(">I", len(head)) + head)
        assert body[4 + len(head) :].hex() == (
            "0002010201"  # channel of each reading, differences
            "80a0bfe9d666af90bfe9d666c701a4138714881400"
            "0400"  # load: times (second differences), values, qualities
            "8aa0bfe9d666b990bfe9d666c29a0c020002"  # meter
        )

    def test_rows_are_pinned(self, golden):
        block = Block.from_bytes(bytes.fromhex(golden["block_events"]))
        assert decode_rows(block) == EVENTS
        assert zlib.decompress(events_block().body) == '{"kind":"boot","text":"Grüße","time_ms":1764000000000}'.encode()
        assert zlib.decompress(block.body) == zlib.decompress(events_block().body)

    def test_a_block_at_rest_is_opened(self, golden, storage_key):
        opened = blocks.unseal_block(bytes.fromhex(golden["block_at_rest"]), storage_key)
        assert opened.to_bytes().hex() == golden["block_readings"]


names = st.sampled_from(["load", "meter", "t.1", "temp"])
many = {
    "load": Channel("load", "kW", 2),
    "meter": Channel("meter", "kWh", 3, Kind.COUNTER),
    "t.1": Channel("t.1", "°C", 6),
    "temp": Channel("temp", "V", 0),
}


@given(
    st.lists(
        st.builds(
            lambda name, time_ms, steps, quality: Reading(name, time_ms, steps / 10.0 ** many[name].decimals, quality),
            names,
            st.integers(0, MAX_TIME_MS),
            st.integers(-(2**51), 2**51),  # beyond, a double times ten to the sixth may round to a neighbour
            st.sampled_from([int(quality) for quality in Quality]),
        ),
        min_size=1,
        max_size=60,
    ),
    st.integers(1, 2**53 - 100),
)
def test_readings_round_trip_over_the_wire(readings, first):
    block = encode_readings(readings, many, epoch=1, boot=0, first=first)
    channels, back = decode_readings(Block.from_bytes(block.to_bytes()))
    assert back == readings
    assert all(channels[name] == many[name] for name in channels)
    assert (block.header.first, block.header.last, block.header.count) == (
        first,
        first + len(readings) - 1,
        len(readings),
    )


@given(
    st.lists(
        st.fixed_dictionaries(
            {"time_ms": st.integers(0, MAX_TIME_MS)},
            optional={
                "text": st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")),
                "value": st.floats(allow_nan=False, allow_infinity=False),
                "later": st.lists(st.integers()),
            },
        ),
        min_size=1,
        max_size=10,
    )
)
def test_rows_round_trip_at_rest_and_keep_unknown_fields(rows):
    key = bytes(32)
    block = encode_rows("alerts", rows, epoch=2, boot=1, first=9)
    assert decode_rows(blocks.unseal_block(blocks.seal_block(block, key), key)) == rows


def test_values_are_rounded_to_the_resolution():
    block = encode_readings([Reading("load", T, 1.23456)], CHANNELS, epoch=1, boot=0, first=1)
    assert decode_readings(block)[1] == [Reading("load", T, 1.23)]


def test_sealing_is_never_the_same_and_says_nothing(storage_key):
    block = readings_block()
    one, two = blocks.seal_block(block, storage_key), blocks.seal_block(block, storage_key)
    assert one != two
    assert block.body not in one


class TestRefusedAtOnce:
    """What a reader would refuse is not written."""

    @pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 2.0**53, 1.7e308])
    def test_value_that_cannot_be_stored(self, value):
        with pytest.raises(ConfigError, match="channel load"):
            encode_readings([Reading("load", T, value)], CHANNELS, epoch=1, boot=0, first=1)

    @pytest.mark.parametrize("time_ms", [-1, MAX_TIME_MS + 1, 2**63, -(2**70)])
    def test_time_out_of_range(self, time_ms):
        with pytest.raises(ConfigError):
            encode_readings([Reading("load", time_ms, 1.0)], CHANNELS, epoch=1, boot=0, first=1)
        with pytest.raises(ConfigError):
            events_block([{"time_ms": time_ms}])

    @pytest.mark.parametrize(
        "row",
        [
            {},
            {"time_ms": "1"},
            {"time_ms": 1.0},
            {"time_ms": True},
            {"time_ms": T, "x": math.nan},
            {"time_ms": T, "x": object()},
            {"time_ms": T, "x": "\ud800"},
            {"time_ms": T, "x": "y" * 65_536},
        ],
    )
    def test_row_that_is_not_json_with_a_time(self, row):
        with pytest.raises(ConfigError):
            events_block([row])

    def test_unknown_channel_and_quality(self):
        with pytest.raises(ConfigError, match="'other' is not configured"):
            encode_readings([Reading("other", T, 1.0)], CHANNELS, epoch=1, boot=0, first=1)
        for quality in (3, -1):
            with pytest.raises(ConfigError, match="quality"):
                encode_readings([Reading("load", T, 1.0, quality)], CHANNELS, epoch=1, boot=0, first=1)

    def test_none_or_too_many_rows(self):
        for count in (0, blocks.MAX_ROWS + 1):
            with pytest.raises(ConfigError, match="1 to 65536 rows"):
                encode_readings([READINGS[0]] * count, CHANNELS, epoch=1, boot=0, first=1)
            with pytest.raises(ConfigError, match="1 to 65536 rows"):
                events_block(EVENTS * count)

    def test_rows_that_no_reader_would_open(self):
        with pytest.raises(ConfigError, match="Pack fewer"):
            events_block([{"time_ms": T, "x": "y" * 60_000}] * 300)

    def test_sequence_number_out_of_range(self):
        for first in (0, 2**53):
            with pytest.raises(ConfigError, match="out of range"):
                encode_rows("events", EVENTS, epoch=1, boot=0, first=first)


class TestTampering:
    @pytest.mark.parametrize("bit", [0, 7])
    def test_any_flipped_bit_at_rest_is_seen(self, storage_key, bit):
        sealed = blocks.seal_block(readings_block(), storage_key)
        for index in range(len(sealed)):
            damaged = bytearray(sealed)
            damaged[index] ^= 1 << bit
            with pytest.raises(RejectedError):
                blocks.unseal_block(bytes(damaged), storage_key)

    def test_any_cut_or_addition_at_rest_is_seen(self, storage_key):
        sealed = blocks.seal_block(readings_block(), storage_key)
        for cut in range(len(sealed)):
            with pytest.raises(RejectedError):
                blocks.unseal_block(sealed[:cut], storage_key)
        with pytest.raises(RejectedError):
            blocks.unseal_block(sealed + b"\0", storage_key)

    def test_another_key_opens_nothing(self, storage_key):
        sealed = blocks.seal_block(readings_block(), storage_key)
        for key in (bytes(32), b"short", b""):
            with pytest.raises(RejectedError, match="another key"):
                blocks.unseal_block(sealed, key)

    def test_a_header_cannot_be_moved_to_another_block(self, storage_key):
        one = blocks.seal_block(readings_block(), storage_key)
        two = blocks.seal_block(encode_readings(READINGS, CHANNELS, epoch=4, boot=7, first=41), storage_key)
        with pytest.raises(RejectedError):
            blocks.unseal_block(
                two[: -len(readings_block().body) - 28] + one[-len(readings_block().body) - 28 :], storage_key
            )

    def test_any_flipped_byte_of_the_plain_form_is_refused(self):
        data = readings_block().to_bytes()
        for index in range(len(data)):
            damaged = bytearray(data)
            damaged[index] ^= 0xFF
            try:
                decode_readings(Block.from_bytes(bytes(damaged)))
            except RejectedError:
                continue
            pytest.fail(f"byte {index} does not matter")  # the plain form has zlib's checksum


class TestHostileBodies:
    def test_bomb_is_stopped_at_the_limit(self):
        bomb = Block(events_block().header, zlib.compress(bytes(64 * 2**20), 9))
        with pytest.raises(RejectedError, match="larger than"):
            decode_rows(bomb)
        with pytest.raises(RejectedError, match="larger than"):
            blocks.opened_bytes(bomb)
        with pytest.raises(RejectedError, match="larger than 10 bytes"):
            blocks.opened_bytes(events_block(), 10)

    def test_a_body_of_exactly_the_limit_is_opened(self):
        block = with_body(events_block(), bytes(blocks.MAX_BODY_BYTES))
        assert blocks.opened_bytes(block) == blocks.MAX_BODY_BYTES

    @pytest.mark.parametrize("body", [b"", b"x", zlib.compress(b"{}")[:-1], zlib.compress(b"{}") + b"more"])
    def test_body_that_is_not_one_whole_stream(self, body):
        with pytest.raises(RejectedError):
            decode_rows(Block(events_block().header, body))

    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"\n" * 1000,
            b"{}",
            b'{"time_ms":1}',
            b'{"time_ms":1764000000000}\n',
            b"[1]",
            b'{"time_ms":1e3}',
            b"null",
            b"\xff",
        ],
    )
    def test_rows_that_do_not_fit_the_header(self, body):
        with pytest.raises(RejectedError):
            decode_rows(with_body(events_block(), body))

    @pytest.mark.parametrize(
        ("channels", "numbers"),
        [
            ([], "00" * 4),
            ([{"name": "load", "unit": "kW", "decimals": 2, "kind": "gauge"}], "02000000"),  # channel 1 of 1
            ([{"name": "load", "unit": "kW", "decimals": 2, "kind": "gauge"}], "01000000"),  # channel -1
            ([{"name": "load", "unit": "kW", "decimals": 2, "kind": "gauge"}], "00000006"),  # quality 3, time 0
            ([{"name": "load", "unit": "kW", "decimals": 7, "kind": "gauge"}], "00000000"),
            ([{"name": "LOAD", "unit": "kW", "decimals": 2, "kind": "gauge"}], "00000000"),
            ([{"name": "load", "unit": "", "decimals": 2, "kind": "gauge"}], "00000000"),
            ([{"name": "load", "unit": "kW", "decimals": 2, "kind": "other"}], "00000000"),
            ([{"name": "load", "unit": "kW", "decimals": 2}], "00000000"),
            ([{"name": "load", "unit": "kW", "decimals": 2, "kind": "gauge"}], "000000"),
        ],
    )
    def test_columns_that_do_not_fit(self, channels, numbers):
        block = encode_readings([Reading("load", 0, 0.0)], CHANNELS, epoch=1, boot=0, first=1)
        with pytest.raises(RejectedError):
            decode_readings(with_body(block, columns(channels, bytes.fromhex(numbers))))

    def test_channel_named_twice(self):
        block = encode_readings([Reading("load", 0, 0.0)], CHANNELS, epoch=1, boot=0, first=1)
        one = {"name": "load", "unit": "kW", "decimals": 2, "kind": "gauge"}
        assert decode_readings(with_body(block, columns([one], bytes(4))))[1] == [Reading("load", 0, 0.0)]
        with pytest.raises(RejectedError, match="twice"):
            decode_readings(with_body(block, columns([one, one], bytes(4))))

    def test_value_beyond_what_a_double_holds(self):
        block = encode_readings([Reading("load", 0, 0.0)], CHANNELS, epoch=1, boot=0, first=1)
        one = {"name": "load", "unit": "kW", "decimals": 2, "kind": "gauge"}
        with pytest.raises(RejectedError, match="out of range"):
            decode_readings(with_body(block, columns([one], b"\0\0" + b"\xff" * 9 + b"\x01" + b"\0")))

    @given(st.binary(max_size=200))
    def test_a_body_of_any_bytes_is_refused(self, body):
        for block, decode in ((events_block(), decode_rows), (readings_block(), decode_readings)):
            with pytest.raises(RejectedError):
                decode(with_body(block, body))

    @given(st.binary(max_size=100), st.binary(min_size=0, max_size=60))
    def test_any_columns_are_read_or_refused(self, tail, swap):
        body = bytearray(zlib.decompress(readings_block().body))
        body[-len(swap) or len(body) :] = swap
        with contextlib.suppress(RejectedError):
            decode_readings(with_body(readings_block(), bytes(body) + tail))


class TestHeader:
    def test_every_field_is_checked(self):
        value = json.loads(readings_block().header.to_bytes())
        for what, changed in mutations(value):
            data = json.dumps(changed).encode()
            try:
                header = BlockHeader.from_bytes(data)
            except RejectedError:
                continue
            assert header.stream == "readings", what
            assert 1 <= header.count <= blocks.MAX_ROWS, what

    @pytest.mark.parametrize(
        "change",
        [{"stream": "other"}, {"codec": "json/1"}, {"last": 40}, {"start_ms": T + 10_000}, {"epoch": 0}, {"first": 0}],
    )
    def test_inconsistent_headers_are_refused(self, change):
        header = replace(readings_block().header, **change)
        with pytest.raises(RejectedError):
            BlockHeader.from_bytes(header.to_bytes())

    def test_longer_than_its_cap_is_refused(self):
        head = b'{"' + b"x" * blocks.MAX_HEADER_BYTES + b'":1}'
        data = b"EWK1" + struct.pack(">H", len(head)) + head + struct.pack(">I", 0)
        with pytest.raises(RejectedError, match="header that is too long"):
            Block.from_bytes(data)

    @given(st.binary(max_size=80))
    def test_any_bytes_are_refused(self, data):
        for prefix in (b"", b"EWK1", b"EWA1"):
            with pytest.raises(RejectedError):
                Block.from_bytes(prefix + data)
            with pytest.raises(RejectedError):
                blocks.unseal_block(prefix + data, bytes(32))

    def test_more_than_a_stored_block_may_have_is_refused(self):
        with pytest.raises(RejectedError):
            Block.from_bytes(b"EWK1" + bytes(blocks.MAX_STORED_BYTES))
