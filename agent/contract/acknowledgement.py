"""Acknowledgements: the centre's signed word that rows are safe with it. Only this lets a row leave a device."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from agent.contract import signed
from agent.contract.errors import RejectedError
from agent.contract.jsonform import MAX_SAFE_INTEGER, Fields
from agent.contract.keys import SigningKey
from agent.contract.topics import DEVICE_ID, STREAMS

KIND = "ack"
CENTRE_ID = r"[A-Za-z0-9][A-Za-z0-9._-]*"
MAX_CENTRE_ID = 64
MAX_MISSING = 256
MAX_MARKS = 64
MAX_BYTES = 2 * 2**20  # every allowed acknowledgement fits: 64 marks of twice 256 ranges of the greatest numbers


@dataclass(frozen=True, slots=True)
class Mark:
    """How far the centre holds one stream of one epoch.

    The centre holds durably, or knows as a gap, every row from 1 to `high` except those in `missing`.

    Attributes:
        missing: inclusive ranges, ascending; where there are more than 256, `high` is lowered to before the 257th.
        gaps: inclusive ranges that the device declared lost and the centre accepted.
    """

    epoch: int
    stream: str
    high: int
    missing: tuple[tuple[int, int], ...] = ()
    gaps: tuple[tuple[int, int], ...] = ()

    def covers(self, first: int, last: int) -> bool:
        """Whether every row of first..last is safe."""
        return last <= self.high and not any(low <= last and first <= high for low, high in self.missing)

    def safe(self) -> list[tuple[int, int]]:
        """Return the inclusive ranges of rows that are safe, ascending."""
        ranges: list[tuple[int, int]] = []
        at = 1
        for first, last in [*self.missing, (self.high + 1, self.high + 1)]:
            end = min(first - 1, self.high)
            if at <= end:
                ranges.append((at, end))
            at = last + 1
        return ranges


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """Marks of one device at one moment.

    Attributes:
        centre: id of the centre's database; it changes when that is restored from a backup, and then marks may go back.
        counter: rises with every acknowledgement of this centre id to this device; an older one is a replay.
        nonce: 16 hexadecimal digits, so that no two acknowledgements are the same bytes.
    """

    device: str
    centre: str
    counter: int
    issued_at_ms: int
    nonce: str
    marks: tuple[Mark, ...]

    def to_bytes(self, key: SigningKey) -> bytes:
        """Sign."""
        marks = [
            [mark.epoch, mark.stream, mark.high, [list(r) for r in mark.missing], [list(r) for r in mark.gaps]]
            for mark in self.marks
        ]
        body = {
            "centre": self.centre,
            "counter": self.counter,
            "device": self.device,
            "issued_at_ms": self.issued_at_ms,
            "marks": marks,
            "nonce": self.nonce,
        }
        return signed.sign(KIND, body, key, max_bytes=MAX_BYTES)

    @classmethod
    def from_bytes(cls, data: bytes, keys: Mapping[str, bytes], *, device: str) -> Acknowledgement:
        """Verify and parse.

        Raises:
            RejectedError: when altered, signed by an unknown key, malformed, or for another device.
        """
        fields = Fields(signed.verify(KIND, data, keys, max_bytes=MAX_BYTES), KIND)
        if fields.text("device", pattern=DEVICE_ID) != device:
            fields.fail("device", f"is not {device}")
        marks = tuple(_mark(fields, item) for item in fields.items("marks", MAX_MARKS))
        if len({(mark.epoch, mark.stream) for mark in marks}) != len(marks):
            fields.fail("marks", "names a stream of an epoch twice")
        return cls(
            device=device,
            centre=fields.text("centre", max_length=MAX_CENTRE_ID, pattern=CENTRE_ID),
            counter=fields.integer("counter"),
            issued_at_ms=fields.instant("issued_at_ms"),
            nonce=fields.text("nonce", max_length=16, pattern="[0-9a-f]{16}"),
            marks=marks,
        )


def _mark(fields: Fields, item: object) -> Mark:
    if not isinstance(item, list) or len(item) != 5:
        fields.fail("marks", "has an entry that is not [epoch, stream, high, missing, gaps]")
    epoch, stream, high, missing, gaps = item
    if stream not in STREAMS or not _whole(epoch, 1) or not _whole(high, 0):
        fields.fail("marks", "names an unknown stream or a number out of range")
    try:
        return Mark(epoch, stream, high, _ranges(missing), _ranges(gaps))
    except RejectedError as exc:
        fields.fail("marks", exc.what)


def _ranges(value: object) -> tuple[tuple[int, int], ...]:
    if not isinstance(value, list) or len(value) > MAX_MISSING:
        raise RejectedError(f"has ranges that are not a list of at most {MAX_MISSING}")
    ranges: list[tuple[int, int]] = []
    for pair in value:
        if not isinstance(pair, list) or len(pair) != 2 or not all(_whole(end, 1) for end in pair):
            raise RejectedError("has a range that is not [first, last]")
        first, last = pair
        if last < first or (ranges and first <= ranges[-1][1]):
            raise RejectedError("has ranges out of order")
        ranges.append((first, last))
    return tuple(ranges)


def _whole(value: object, low: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= MAX_SAFE_INTEGER
