"""Blocks: the one unit of disk, wire, USB, acknowledgement and salvage. Immutable once made.

Plain form   `EWK1 | u16 header length | header | u32 body length | body`
At rest      `EWA1 | u16 header length | header | u32 length | nonce (12) + ciphertext + tag`, ChaCha20-Poly1305 with
             everything before the nonce as associated data.

The body is compressed columns: readings as delta-coded integers (`columns/1`), other streams as JSON lines (`json/1`).
A block holds rows `first..last` of one stream and epoch without a hole; the seq of a row is its place.
"""

from __future__ import annotations

import contextlib
import itertools
import secrets
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from numpy.typing import NDArray

from agent.contract import deflate, jsonform, varints
from agent.contract.channels import MAX_STEPS, Channel, Quality, Reading
from agent.contract.errors import ConfigError, RejectedError
from agent.contract.jsonform import Fields
from agent.contract.topics import STREAMS

MAX_HEADER_BYTES = 1024
MAX_BODY_BYTES = 16 * 2**20  # decompressed
MAX_STORED_BYTES = 8 * 2**20  # compressed, as sent or stored
MAX_ROWS = 65_536
MAX_CHANNELS = 1024
COLUMNS = "columns/1"
JSON_ROWS = "json/1"
AT_REST = b"EWA1"  # how a block at rest begins
HEAD_BYTES = 10 + MAX_HEADER_BYTES  # of a block at rest, at most, before what is sealed
_PLAIN = b"EWK1"
_NONCE = 12
_ROW_BYTES = 65_536
_DICTIONARY_BYTES = 2**18  # 1024 channels at their longest
_SPARE_BYTES = 4096  # header and frame, and an envelope around it: what can be stored can be sent

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class BlockHeader:
    """What a block says of itself without being opened.

    Attributes:
        stream: one of `topics.STREAMS`.
        epoch: counts the births of the device's store.
        boot: counts the starts of the agent; clock corrections refer to it.
        first, last: sequence numbers, from 1, of the first and last row.
        start_ms, end_ms: least and greatest time of the rows.
        codec: how the body is coded.
    """

    stream: str
    epoch: int
    boot: int
    first: int
    last: int
    start_ms: int
    end_ms: int
    codec: str

    @property
    def count(self) -> int:
        """Number of rows."""
        return self.last - self.first + 1

    def to_bytes(self) -> bytes:
        """The canonical JSON that is stored and authenticated."""
        return jsonform.dumps(
            {
                "boot": self.boot,
                "codec": self.codec,
                "count": self.count,
                "end_ms": self.end_ms,
                "epoch": self.epoch,
                "first": self.first,
                "last": self.last,
                "start_ms": self.start_ms,
                "stream": self.stream,
            }
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> BlockHeader:
        """Parse `to_bytes`.

        Raises:
            RejectedError: when a field is missing, out of range, or inconsistent with another.
        """
        fields = Fields(jsonform.loads(data, where="block header", max_bytes=MAX_HEADER_BYTES), "block header")
        header = cls(
            stream=fields.text("stream"),
            epoch=fields.integer("epoch", 1),
            boot=fields.integer("boot"),
            first=fields.integer("first", 1),
            last=fields.integer("last", 1),
            start_ms=fields.instant("start_ms"),
            end_ms=fields.instant("end_ms"),
            codec=fields.text("codec"),
        )
        if header.stream not in STREAMS:
            fields.fail("stream", f"{header.stream!r} is not a stream")
        if header.codec != _codec_of(header.stream):
            fields.fail("codec", f"{header.codec!r} is not the codec of {header.stream}")
        if not 1 <= header.count <= MAX_ROWS or header.count != fields.integer("count"):
            fields.fail("count", f"does not fit rows {header.first}..{header.last}")
        if header.end_ms < header.start_ms:
            fields.fail("end_ms", "lies before start_ms")
        return header


@dataclass(frozen=True, slots=True)
class Block:
    """A header and its compressed body."""

    header: BlockHeader
    body: bytes

    def to_bytes(self) -> bytes:
        """The plain form, for sealing into an envelope or an export."""
        return _frame(_PLAIN, self.header.to_bytes(), self.body)

    @classmethod
    def from_bytes(cls, data: bytes) -> Block:
        """Parse the plain form; the body is not opened yet.

        Raises:
            RejectedError: when the frame or the header is malformed.
        """
        header, body = _unframe(_PLAIN, data)
        return cls(BlockHeader.from_bytes(header), body)


def encode_readings(
    readings: Sequence[Reading], channels: Mapping[str, Channel], *, epoch: int, boot: int, first: int
) -> Block:
    """Pack readings, in the order of their sequence numbers, into one block.

    Values are rounded to the channel's resolution.

    Raises:
        ConfigError: when a reading names a channel that is not in `channels`, its value is not a finite number within
            2**53 steps of resolution, its time or quality is out of range, or there are none or too many.
    """
    _check_count(len(readings), first)
    channel_of, times_ms, numbers, qualities = zip(*readings, strict=True)
    names = list(dict.fromkeys(channel_of))
    with contextlib.suppress(KeyError):  # is told below
        names.sort(key=lambda name: _alike(channels[name]))  # what differs alike is compressed together
    if len(names) > MAX_CHANNELS:
        raise ConfigError(f"a block holds at most {MAX_CHANNELS} channels, not {len(names)}")
    try:
        used = [channels[name] for name in names]
    except KeyError as exc:
        raise ConfigError(f"channel {exc.args[0]!r} is not configured", todo="Add it under [[channel]]") from exc
    place = {name: index for index, name in enumerate(names)}
    index = np.array([place[name] for name in channel_of], dtype=np.int64)
    _check_range(min(times_ms), max(times_ms))
    times = np.array(times_ms, dtype=np.int64)
    values = np.array(numbers, dtype=np.float64)
    quality = np.array(qualities, dtype=np.int64)
    if quality.min() < 0 or quality.max() > max(Quality):
        raise ConfigError(f"a reading has a quality outside 0..{max(Quality):d}")
    scale = np.array([10.0**channel.decimals for channel in used])
    with np.errstate(over="ignore"):  # what overflows is refused in the next line
        steps = np.rint(values * scale[index])
    if not np.all(np.abs(steps) < MAX_STEPS):  # also catches NaN
        bad = readings[int(np.flatnonzero(~(np.abs(steps) < MAX_STEPS))[0])]
        raise ConfigError(f"value {bad.value} of channel {bad.channel} cannot be stored")
    head = jsonform.dumps({"channels": [channel.to_json() for channel in used]})
    parts = [struct.pack(">I", len(head)) + head + varints.encode(np.diff(index, prepend=0))]
    for _, group in itertools.groupby(range(len(used)), key=lambda number: _alike(used[number])):
        columns: list[NDArray[np.int64]] = []
        for number in group:
            mine = index == number
            columns += [_delta(_delta(times[mine])), _delta(steps[mine].astype(np.int64)), quality[mine]]
        parts.append(varints.encode(np.concatenate(columns)))
    return _block("readings", parts, times.tolist(), epoch, boot, first)


class Columns(NamedTuple):
    """Readings in the order of their sequence numbers, a column [count] each.

    Attributes:
        channels: the channels of the block.
        places: of each reading's channel among them.
    """

    channels: tuple[Channel, ...]
    places: NDArray[np.int64]
    times_ms: NDArray[np.int64]
    values: NDArray[np.float64]
    qualities: NDArray[np.int64]


def decode_readings(block: Block) -> tuple[dict[str, Channel], list[Reading]]:
    """Return the channels and readings of a block, in the order of their sequence numbers.

    Raises:
        RejectedError: when the body is malformed or does not fit the header.
    """
    used, places, *columns = decode_columns(block)
    names = np.array([channel.name for channel in used], dtype=object)[places].tolist()
    make = partial(tuple.__new__, Reading)  # spares a call of Python for each reading
    readings: list[Reading] = list(map(make, zip(names, *(column.tolist() for column in columns), strict=True)))
    return {channel.name: channel for channel in used}, readings


def decode_columns(block: Block) -> Columns:
    """Return the readings of a block by columns: what a centre takes in is bounded by it.

    Raises:
        RejectedError: when the body is malformed or does not fit the header.
    """
    where, count = _where(block), block.header.count
    body = deflate.decompress(block.body, MAX_BODY_BYTES, _where(block))
    size = struct.unpack_from(">I", body)[0] if len(body) >= 4 else 0
    fields = Fields(jsonform.loads(body[4 : 4 + size], where=where, max_bytes=_DICTIONARY_BYTES), where)
    used = [Channel.from_json(item) for item in fields.children("channels", MAX_CHANNELS)]
    if len({channel.name for channel in used}) != len(used):
        fields.fail("channels", "names a channel twice")
    numbers = varints.decode(body[4 + size :], 4 * count, where)
    index = np.cumsum(numbers[:count])
    if count and not (int(index.min()) >= 0 and int(index.max()) < len(used)):
        raise RejectedError("a reading names a channel that the block does not have", where=where)
    times = np.empty(count, dtype=np.int64)
    values = np.empty(count, dtype=np.float64)
    quality = np.empty(count, dtype=np.int64)
    at = count
    for number, channel in enumerate(used):
        mine = np.flatnonzero(index == number)
        size = len(mine)
        times[mine] = np.cumsum(np.cumsum(numbers[at : at + size]))
        steps = np.cumsum(numbers[at + size : at + 2 * size])
        if np.any((steps <= -MAX_STEPS) | (steps >= MAX_STEPS)):
            raise RejectedError(f"a value of {channel.name} is out of range", where=where)
        values[mine] = steps / 10.0**channel.decimals
        quality[mine] = numbers[at + 2 * size : at + 3 * size]
        at += 3 * size
    _check_times(block, int(times.min()), int(times.max()))
    if int(quality.min()) < 0 or int(quality.max()) > max(Quality):
        raise RejectedError("a reading has an unknown quality", where=where)
    return Columns(tuple(used), index, times, values, quality)


def encode_rows(stream: str, rows: Sequence[Row], *, epoch: int, boot: int, first: int) -> Block:
    """Pack rows of any other stream; each has an integer `time_ms`.

    Raises:
        ConfigError: when there are none or too many, or a row has no time, cannot be read again as JSON or is longer
            than 64 KiB.
    """
    _check_count(len(rows), first)
    times_ms = [Fields(row, stream, ConfigError).instant("time_ms") for row in rows]
    try:
        lines = [jsonform.dumps(row) for row in rows]
    except (TypeError, ValueError, RecursionError) as exc:
        raise ConfigError(f"a row of {stream} cannot be written as JSON ({exc})") from exc
    if max(map(len, lines)) > _ROW_BYTES:
        raise ConfigError(f"a row of {stream} is longer than {_ROW_BYTES} bytes")
    return _block(stream, [b"\n".join(lines)], times_ms, epoch, boot, first)


def decode_rows(block: Block) -> list[dict[str, Any]]:
    """Return the rows of a block of any stream but readings; unknown fields are kept.

    Raises:
        RejectedError: when the body is malformed or does not fit the header.
    """
    where = _where(block)
    body = deflate.decompress(block.body, MAX_BODY_BYTES, _where(block))
    # Counted before it is split: sixteen million line ends would be half a gigabyte of objects.
    count = body.count(b"\n") + 1
    if count != block.header.count:
        raise RejectedError(f"holds {count} rows where {block.header.count} are stated", where=where)
    lines = body.split(b"\n")
    rows = [jsonform.loads(line, where=where, max_bytes=_ROW_BYTES) for line in lines]
    times = [Fields(row, where).instant("time_ms") for row in rows]
    _check_times(block, min(times), max(times))
    return rows


def seal_block(block: Block, key: bytes) -> bytes:
    """Encrypt for the disk under the device's 32-byte storage key; the header stays readable and is authenticated."""
    header, nonce = block.header.to_bytes(), secrets.token_bytes(_NONCE)
    length = len(block.body) + _NONCE + 16
    prefix = AT_REST + struct.pack(">H", len(header)) + header + struct.pack(">I", length)
    return prefix + nonce + ChaCha20Poly1305(key).encrypt(nonce, block.body, prefix)


def sealed_header(data: bytes) -> BlockHeader:
    """Return what a block at rest says of itself; nothing vouches for that until it is unsealed.

    Raises:
        RejectedError: when the frame or the header is malformed.
    """
    return BlockHeader.from_bytes(_unframe(AT_REST, data)[0])


def sealed_head(data: bytes) -> tuple[BlockHeader, int]:
    """Return what the beginning of a block at rest says: its header, and how many bytes it has altogether.

    Raises:
        RejectedError: when no block begins here.
    """
    size = struct.unpack_from(">H", data, 4)[0] if len(data) >= 6 else 0
    if data[:4] != AT_REST or size > MAX_HEADER_BYTES or len(data) < 10 + size:
        raise RejectedError("does not begin here", where="block at rest")
    return BlockHeader.from_bytes(data[6 : 6 + size]), 10 + size + int(struct.unpack_from(">I", data, 6 + size)[0])


def unseal_block(data: bytes, key: bytes) -> Block:
    """Open what `seal_block` made.

    Raises:
        RejectedError: when a bit of it has changed or the key is another.
    """
    header, sealed = _unframe(AT_REST, data)
    prefix = data[: len(data) - len(sealed)]
    try:
        body = ChaCha20Poly1305(key).decrypt(sealed[:_NONCE], sealed[_NONCE:], prefix)
    except (InvalidTag, ValueError) as exc:
        raise RejectedError("is damaged or belongs to another key", where="block at rest") from exc
    return Block(BlockHeader.from_bytes(header), body)


def _codec_of(stream: str) -> str:
    return COLUMNS if stream == "readings" else JSON_ROWS


def _delta(values: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.diff(values, prepend=0)


def _check_count(count: int, first: int) -> None:
    if not 1 <= count <= MAX_ROWS:
        raise ConfigError(f"a block holds 1 to {MAX_ROWS} rows, not {count}")
    if not 1 <= first <= jsonform.MAX_SAFE_INTEGER - count:
        raise ConfigError(f"sequence number {first} is out of range")


def _check_range(low: int, high: int) -> None:
    """Refuse what the reader of the block would refuse."""
    if not 0 <= low <= high <= jsonform.MAX_TIME_MS:
        raise ConfigError(f"{low}..{high} ms are not times after 1970", todo="Set the clock")


def _block(stream: str, parts: Sequence[bytes], times_ms: Sequence[int], epoch: int, boot: int, first: int) -> Block:
    packed = deflate.compress(parts, noise=_codec_of(stream) == COLUMNS)
    if sum(map(len, parts)) > MAX_BODY_BYTES or len(packed) > MAX_STORED_BYTES - _SPARE_BYTES:
        raise ConfigError(f"{len(times_ms)} rows of {stream} do not fit one block", todo="Pack fewer at a time")
    last = first + len(times_ms) - 1
    return Block(BlockHeader(stream, epoch, boot, first, last, min(times_ms), max(times_ms), _codec_of(stream)), packed)


def _alike(channel: Channel) -> tuple[str, int, str]:
    """What channels have in common whose values differ alike."""
    return channel.unit, channel.decimals, channel.kind


def opened_bytes(block: Block, limit: int = MAX_BODY_BYTES) -> int:
    """Return the decompressed size of the body, without keeping it.

    Raises:
        RejectedError: when it is not compressed data, or larger than `limit`.
    """
    return len(deflate.decompress(block.body, limit, _where(block)))


def _check_times(block: Block, low: int, high: int) -> None:
    if (low, high) != (block.header.start_ms, block.header.end_ms):
        raise RejectedError("times do not fit the header", where=_where(block))


def _where(block: Block) -> str:
    header = block.header
    return f"block {header.stream} epoch {header.epoch} rows {header.first}..{header.last}"


def _frame(magic: bytes, header: bytes, body: bytes) -> bytes:
    return magic + struct.pack(">H", len(header)) + header + struct.pack(">I", len(body)) + body


def _unframe(magic: bytes, data: bytes) -> tuple[bytes, bytes]:
    if len(data) > MAX_STORED_BYTES or len(data) < 10 or data[:4] != magic:
        raise RejectedError("is not a block of this form", where="block")
    size = struct.unpack_from(">H", data, 4)[0]
    if size > MAX_HEADER_BYTES or len(data) < 10 + size:
        raise RejectedError("has a header that is too long or cut short", where="block")
    header = data[6 : 6 + size]
    length = struct.unpack_from(">I", data, 6 + size)[0]
    body = data[10 + size :]
    if length != len(body):
        raise RejectedError(f"has {len(body)} bytes of body where {length} are stated", where="block")
    return header, body
