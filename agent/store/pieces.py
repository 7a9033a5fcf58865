"""What the store knows of a run of rows, or of a stream, without opening it."""

from __future__ import annotations

from dataclasses import dataclass

from agent.contract.errors import RejectedError


class GoneError(RejectedError):
    """A piece that was listed is no more: it was packed or let go since."""


BLOCK, JOURNAL, RING = "block", "journal", "ring"


@dataclass(frozen=True, slots=True)
class Piece:
    """Where one sealed run of rows lies, and what its header says.

    Attributes:
        place: `BLOCK`, `JOURNAL` (a table each) or `RING`.
        id: there.
        size: bytes as stored.
    """

    place: str
    id: int
    stream: str
    epoch: int
    boot: int
    first: int
    last: int
    start_ms: int
    end_ms: int
    size: int

    @property
    def count(self) -> int:
        """Number of rows."""
        return self.last - self.first + 1


@dataclass(frozen=True, slots=True)
class StreamState:
    """Counters of one stream and epoch, over its blocks; the journal is not in them."""

    stream: str
    epoch: int
    last: int
    rows: int
    waiting_rows: int
    waiting_blocks: int
    waiting_bytes: int
