r"""Envelopes: blocks on their way to the centre, sealed to its key and signed by the device.

`EWB1 | u16 header length | header (<= 1 KiB) | u32 length | enc + ciphertext | Ed25519 signature (64)`

HPKE `info` and the signature's prefix are `edgewatt/batch/v1\0`; `info` goes on with the header bytes as sent, so
neither half can be moved to another envelope. Opening goes: length limit, header, signature, decryption, blocks.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature, InvalidTag

from agent.contract import jsonform
from agent.contract.acknowledgement import MAX_CENTRE_ID
from agent.contract.blocks import MAX_BODY_BYTES, Block, opened_bytes
from agent.contract.errors import ConfigError, RejectedError
from agent.contract.jsonform import MAX_SAFE_INTEGER, Fields
from agent.contract.keys import SEAL_OVERHEAD_BYTES, SIGNATURE_BYTES, SealingKey, SealTo, SigningKey, verify_key
from agent.contract.topics import DEVICE_ID, STREAMS

MAX_BYTES = 8 * 2**20
MAX_OPENED_BYTES = 16 * 2**20  # all bodies of an envelope together, decompressed
MAX_HEADER_BYTES = 1024
MAX_RANGES = 12  # what usually fits into the header
_SURE_RANGES = 9  # what fits with the greatest numbers, too
_MAGIC = b"EWB1"
_CONTEXT = b"edgewatt/batch/v1\0"
_CODEC = "blocks/1"
_KEY_ID = r"[0-9a-f]{16}"


@dataclass(frozen=True, slots=True)
class Range:
    """Rows of one stream and epoch in an envelope: `count` rows between `first` and `last`."""

    stream: str
    epoch: int
    first: int
    last: int
    count: int


@dataclass(frozen=True, slots=True)
class EnvelopeHeader:
    """The readable part of an envelope; nothing in it may be believed before the signature is checked.

    Attributes:
        seen: id of the centre and counter of the last acknowledgement that the device took: a centre which has counted
            less far was restored from a backup.
        trust: name of the centre's keys that the device trusts (`FleetTrust.name`); empty where it does not say.
    """

    device: str
    signer: str
    recipient: str
    created_ms: int
    ranges: tuple[Range, ...]
    seen: tuple[str, int] | None = None
    trust: str = ""

    def to_bytes(self) -> bytes:
        """The canonical JSON that is sent and authenticated."""
        return jsonform.dumps(
            {
                "codec": _CODEC,
                "created_ms": self.created_ms,
                "device": self.device,
                "ranges": [[r.stream, r.epoch, r.first, r.last, r.count] for r in self.ranges],
                "recipient": self.recipient,
                "signer": self.signer,
            }
            | ({"seen": list(self.seen)} if self.seen else {})
            | ({"trust": self.trust} if self.trust else {})
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> EnvelopeHeader:
        """Parse `to_bytes`.

        Raises:
            RejectedError: when a field is missing or out of range, or the codec is unknown.
        """
        where = "envelope header"
        fields = Fields(jsonform.loads(data, where=where, max_bytes=MAX_HEADER_BYTES), where)
        if fields.text("codec") != _CODEC:
            fields.fail("codec", "is unknown here")
        return cls(
            device=fields.text("device", pattern=DEVICE_ID),
            signer=fields.text("signer", pattern=_KEY_ID),
            recipient=fields.text("recipient", pattern=_KEY_ID),
            created_ms=fields.instant("created_ms"),
            ranges=tuple(_range(fields, item) for item in fields.items("ranges", MAX_RANGES)),
            seen=_seen(fields) if "seen" in fields.as_dict() else None,
            trust=fields.text("trust", pattern=_KEY_ID) if "trust" in fields else "",
        )


def _range(fields: Fields, item: object) -> Range:
    if not isinstance(item, list) or len(item) != 5 or item[0] not in STREAMS:
        fields.fail("ranges", "has an entry that is not [stream, epoch, first, last, count]")
    if not all(type(number) is int and 1 <= number <= MAX_SAFE_INTEGER for number in item[1:]):
        fields.fail("ranges", "has a number out of range")
    stream, epoch, first, last, count = item
    if not count <= last - first + 1:
        fields.fail("ranges", "counts more rows than it spans")
    return Range(stream, epoch, first, last, count)


def _seen(fields: Fields) -> tuple[str, int]:
    centre, counter = [*fields.items("seen", 2), None, None][:2]
    if not isinstance(centre, str) or not 0 < len(centre) <= MAX_CENTRE_ID:
        fields.fail("seen", "does not begin with the id of a centre")
    if type(counter) is not int or not 0 <= counter <= MAX_SAFE_INTEGER:
        fields.fail("seen", "has no counter in range")
    return centre, counter


def ranges_of(blocks: Iterable[Block]) -> tuple[Range, ...]:
    """Sum blocks up by stream and epoch, in the order of their first appearance."""
    sums: dict[tuple[str, int], Range] = {}
    for block in blocks:
        header = block.header
        key = (header.stream, header.epoch)
        old = sums.get(key)
        sums[key] = Range(
            *key,
            min(header.first, old.first) if old else header.first,
            max(header.last, old.last) if old else header.last,
            header.count + (old.count if old else 0),
        )
    return tuple(sums.values())


def take(blocks: Sequence[Block], *, max_bytes: int = MAX_BYTES) -> int:
    """Return how many of the leading blocks fit one envelope of at most `max_bytes`; 0 when not even the first does.

    `seal` takes what this allows, and the centre opens it: bytes as sent, bytes decompressed, ranges, header.

    Raises:
        RejectedError: when the body of a block is damaged.
    """
    sent, opened = 10 + MAX_HEADER_BYTES + SEAL_OVERHEAD_BYTES + SIGNATURE_BYTES, 0
    ranges: set[tuple[str, int]] = set()
    for count, block in enumerate(blocks):
        sent += 4 + len(block.to_bytes())
        opened += opened_bytes(block)
        ranges.add((block.header.stream, block.header.epoch))
        if sent > max_bytes or opened > MAX_OPENED_BYTES or len(ranges) > _SURE_RANGES:
            return count
    return len(blocks)


def seal(
    blocks: Sequence[Block],
    *,
    device: str,
    signing_key: SigningKey,
    recipient: SealTo,
    created_ms: int,
    seen: tuple[str, int] | None = None,
    trust: str = "",
) -> bytes:
    """Seal blocks of one device into an envelope; `seen` and `trust` as in the header.

    Raises:
        ConfigError: when there is no block, or more than an envelope carries (see `take`).
    """
    header = _header(EnvelopeHeader(device, signing_key.id, recipient.id, created_ms, ranges_of(blocks), seen, trust))
    if header is None:
        raise ConfigError(f"an envelope carries 1 to {MAX_RANGES} ranges in a header of {MAX_HEADER_BYTES} bytes")
    if sum(map(opened_bytes, blocks)) > MAX_OPENED_BYTES:
        raise ConfigError(f"blocks open to more than {MAX_OPENED_BYTES} bytes", todo="Send fewer at a time")
    plain = b"".join(struct.pack(">I", len(data)) + data for data in (block.to_bytes() for block in blocks))
    sealed = recipient.seal(plain, _CONTEXT + header)
    message = _MAGIC + struct.pack(">H", len(header)) + header + struct.pack(">I", len(sealed)) + sealed
    if len(message) + SIGNATURE_BYTES > MAX_BYTES:
        raise ConfigError(f"an envelope of {len(message)} bytes is too large", todo="Send fewer blocks at a time")
    return message + signing_key.sign(_CONTEXT + message)


def _header(header: EnvelopeHeader) -> bytes | None:
    """Return the header bytes, or None when its readers would refuse it."""
    data = header.to_bytes()
    return data if 1 <= len(header.ranges) <= MAX_RANGES and len(data) <= MAX_HEADER_BYTES else None


def peek(data: bytes) -> EnvelopeHeader:
    """Read the header of an envelope that is not verified yet, to find the keys and to check the topic's device.

    Raises:
        RejectedError: when too long or malformed.
    """
    header, _ = _split(data)
    return EnvelopeHeader.from_bytes(header)


def open_envelope(
    data: bytes,
    *,
    device: str,
    signer_public: Callable[[str], bytes],
    recipient_key: Callable[[str], SealingKey],
) -> tuple[EnvelopeHeader, list[Block]]:
    """Verify and decrypt an envelope that came on the topic of `device`.

    Args:
        data: the envelope.
        device: the device whose topic it came on; must be the header's, and the owner of the signing key.
        signer_public: the public key of that device for a key id; raises RejectedError when it has no such key.
        recipient_key: the centre's private key for a key id; raises RejectedError when unknown or revoked.

    Raises:
        RejectedError: when anything about it is wrong; nothing of it may then be used.
    """
    head, sealed = _split(data)
    header = EnvelopeHeader.from_bytes(head)
    if header.device != device:
        raise RejectedError(f"names device {header.device} but came from {device}", where="envelope")
    message, signature = data[:-SIGNATURE_BYTES], data[-SIGNATURE_BYTES:]
    try:
        verify_key(signer_public(header.signer)).verify(signature, _CONTEXT + message)
        plain = recipient_key(header.recipient).open(sealed, _CONTEXT + head)
    except InvalidSignature as exc:
        raise RejectedError("has a signature that does not fit", where="envelope") from exc
    except (InvalidTag, ValueError) as exc:
        raise RejectedError("cannot be decrypted", where="envelope") from exc
    blocks = _blocks(plain)
    left = MAX_OPENED_BYTES
    for block in blocks:  # many small bombs are one large one
        left -= opened_bytes(block, left)
    if ranges_of(blocks) != header.ranges:
        raise RejectedError("holds other rows than its header states", where="envelope")
    return header, blocks


def _split(data: bytes) -> tuple[bytes, bytes]:
    if not 10 + SIGNATURE_BYTES <= len(data) <= MAX_BYTES or data[:4] != _MAGIC:
        raise RejectedError("is not an envelope of this size", where="envelope")
    size = struct.unpack_from(">H", data, 4)[0]
    if size > MAX_HEADER_BYTES or len(data) < 10 + size + SIGNATURE_BYTES:
        raise RejectedError("has a header that is too long or cut short", where="envelope")
    length = struct.unpack_from(">I", data, 6 + size)[0]
    sealed = data[10 + size : -SIGNATURE_BYTES]
    if length != len(sealed):
        raise RejectedError("is cut short or has bytes too many", where="envelope")
    return data[6 : 6 + size], sealed


def _blocks(plain: bytes) -> list[Block]:
    blocks, at = [], 0
    while at < len(plain):
        if len(plain) - at < 4:
            raise RejectedError("ends within a block", where="envelope")
        size = struct.unpack_from(">I", plain, at)[0]
        if size > min(MAX_BODY_BYTES, len(plain) - at - 4):
            raise RejectedError("ends within a block", where="envelope")
        blocks.append(Block.from_bytes(plain[at + 4 : at + 4 + size]))
        at += 4 + size
    return blocks
