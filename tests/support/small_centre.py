"""The centre as a device sees it: opens envelopes, keeps which rows it holds, signs acknowledgements. No database."""

import secrets
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from agent.contract import envelope
from agent.contract.acknowledgement import Acknowledgement, Mark
from agent.contract.blocks import Block, encode_rows
from agent.contract.keys import SealingKey, SigningKey
from agent.contract.topics import URGENT
from agent.contract.trust import FleetKey, FleetTrust, KeyState, KeyUse


@dataclass
class SmallCentre:
    """Holds the keys of one fleet and the rows of one device."""

    device: str = "press-1"
    centre: str = "centre-a"
    seal_key: SealingKey = field(default_factory=SealingKey.generate)
    ack_key: SigningKey = field(default_factory=SigningKey.generate)
    assign_key: SigningKey = field(default_factory=SigningKey.generate)
    device_key: SigningKey = field(default_factory=SigningKey.generate)
    now_ms: int = 1_700_000_000_000
    counter: int = 0
    envelopes: list[bytes] = field(default_factory=list)
    rows: dict[tuple[str, int], set[int]] = field(default_factory=dict)

    def trust(self) -> FleetTrust:
        uses = (
            (KeyUse.SEAL, self.seal_key.public),
            (KeyUse.ACK, self.ack_key.public),
            (KeyUse.ASSIGN, self.assign_key.public),
        )
        return FleetTrust("works", tuple(FleetKey(use, public, 0, KeyState.ACTIVE) for use, public in uses))

    def take(self, data: bytes) -> list[Block]:
        """Open an envelope and keep its rows."""
        _, blocks = envelope.open_envelope(
            data,
            device=self.device,
            signer_public=lambda key_id: {self.device_key.id: self.device_key.public}[key_id],
            recipient_key=lambda key_id: {self.seal_key.id: self.seal_key}[key_id],
        )
        self.envelopes.append(data)
        for block in blocks:
            header = block.header
            self.rows.setdefault((header.stream, header.epoch), set()).update(range(header.first, header.last + 1))
        return blocks

    def marks(self) -> tuple[Mark, ...]:
        marks = []
        for (stream, epoch), held in sorted(self.rows.items()):
            high = max(held, default=0)
            gone = [row for row in range(1, high) if row not in held]
            ranges: list[tuple[int, int]] = []
            for row in gone:
                if ranges and ranges[-1][1] == row - 1:
                    ranges[-1] = (ranges[-1][0], row)
                else:
                    ranges.append((row, row))
            marks.append(Mark(epoch, stream, high, tuple(ranges)))
        return tuple(marks)

    def acknowledge(self, *, device: str | None = None, counter: int | None = None) -> bytes:
        """Sign what is held now."""
        self.counter += 1
        self.now_ms += 1000
        return Acknowledgement(
            device=device or self.device,
            centre=self.centre,
            counter=self.counter if counter is None else counter,
            issued_at_ms=self.now_ms,
            nonce=secrets.token_hex(8),
            marks=self.marks(),
        ).to_bytes(self.ack_key)

    def restored(self, rows: dict[tuple[str, int], set[int]]) -> None:
        """Go back to a backup: another id, counters and rows of then."""
        self.centre, self.counter = "centre-b", 0
        self.rows = {key: set(held) for key, held in rows.items()}


@dataclass(frozen=True)
class Waiting:
    id: int
    block: Block
    backlog: bool = False


@dataclass
class MemoryOutbox:
    """The store as the uplink sees it; the real one is tried against the same story in the daemon's tests."""

    blocks: dict[int, Block] = field(default_factory=dict)
    safe: set[int] = field(default_factory=set)
    last: dict[str, int] = field(default_factory=dict)
    old: set[int] = field(default_factory=set)  # backlog; all else is new
    births: int = 1

    def replace(self) -> None:
        """Begin anew, empty: the blocks of the next one have the ids of the last one."""
        self.blocks.clear()
        self.safe.clear()
        self.old.clear()
        self.births += 1

    def add(self, stream: str, rows: int = 10, *, text: str = "x", epoch: int = 1) -> int:
        first = self.last.get(stream, 0) + 1
        content = [{"time_ms": 1_700_000_000_000 + index, "text": text} for index in range(rows)]
        return self.put(encode_rows(stream, content, epoch=epoch, boot=1, first=first))

    def put(self, block: Block) -> int:
        self.last[block.header.stream] = block.header.last
        block_id = len(self.blocks) + 1
        self.blocks[block_id] = block
        return block_id

    def waiting(self) -> set[int]:
        return set(self.blocks) - self.safe

    def unacknowledged(self, limit_bytes: int, *, skip: Collection[int], backlog: bool) -> list[Waiting]:
        wanted = self.waiting() - set(skip) - (set() if backlog else self.old)
        order = sorted(wanted, key=lambda i: (self.blocks[i].header.stream not in URGENT, i in self.old, i))
        result, sizes = [], {True: 0, False: 0}
        for block_id in order:
            urgent = self.blocks[block_id].header.stream in URGENT
            before, sizes[urgent] = sizes[urgent], sizes[urgent] + len(self.blocks[block_id].body)
            if not before or sizes[urgent] <= limit_bytes:
                result.append(Waiting(block_id, self.blocks[block_id], block_id in self.old))
        return result

    def covered(self, marks: Sequence[Mark]) -> set[int]:
        return {
            block_id
            for block_id, block in self.blocks.items()
            for mark in marks
            if (block.header.stream, block.header.epoch) == (mark.stream, mark.epoch)
            and mark.covers(block.header.first, block.header.last)
        }

    def apply_marks(self, marks: Sequence[Mark]) -> int:
        fresh = self.covered(marks) - self.safe
        self.safe |= fresh
        return len(fresh)

    def recall(self, marks: Sequence[Mark]) -> int:
        gone = self.safe - self.covered(marks)
        self.safe -= gone
        return len(gone)


@dataclass
class MemoryFloors:
    """`Identity`'s floors, and a clock that stands still."""

    values: dict[str, int] = field(default_factory=dict)

    def floor(self, name: str) -> int:
        return self.values.get(name, 0)

    def floors(self) -> dict[str, int]:
        return dict(self.values)

    def raise_floor(self, name: str, value: int) -> None:
        self.values[name] = max(value, self.floor(name))


@dataclass
class Wire:
    """A line that a test can cut; what goes over it can be looked at."""

    connected: bool = True
    connections: int = 1
    sent: list[tuple[str, bytes]] = field(default_factory=list)
    full: bool = False
    heard: int = 0

    def publish(self, topic: str, payload: bytes) -> bool:
        if not self.connected or self.full:
            return False
        self.sent.append((topic, payload))
        return True

    def news(self) -> list[tuple[str, bytes]]:
        """What has come since it was asked last; nobody hears it again."""
        heard, self.heard = self.heard, len(self.sent)
        return self.sent[heard:]
