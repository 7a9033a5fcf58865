"""What the uplink needs of the store and of the line to the broker; it knows neither of them otherwise."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol

from agent.contract.acknowledgement import Mark
from agent.contract.blocks import Block


class WaitingBlock(Protocol):
    """A durable block that no acknowledgement covers yet."""

    @property
    def id(self) -> int:
        """Its place in the store."""
        ...

    @property
    def block(self) -> Block:
        """The block."""
        ...

    @property
    def backlog(self) -> bool:
        """Whether it is old, and leaves within the bandwidth that is left to what is old."""
        ...


class Outbox(Protocol):
    """What the uplink needs of the store."""

    @property
    def births(self) -> int:
        """How often its database was begun or opened: the ids of blocks are those of one birth."""
        ...

    def unacknowledged(self, limit_bytes: int, *, skip: Collection[int], backlog: bool) -> Sequence[WaitingBlock]:
        """Return durable blocks but `skip`: alerts and events, then what is new, then the backlog.

        About `limit_bytes` of alerts and events, and as much of all else; the backlog only when `backlog` is set.
        """
        ...

    def apply_marks(self, marks: Sequence[Mark]) -> int:
        """Mark the blocks that the marks cover; return how many became safe.

        Raises:
            StorageError: when the disk fails; nothing may be taken for acknowledged then.
        """
        ...

    def recall(self, marks: Sequence[Mark]) -> int:
        """Let blocks wait again that the marks of a restored centre do not cover; return how many.

        Raises:
            StorageError: when the disk fails; to be asked for again.
        """
        ...


class Line(Protocol):
    """What the uplink needs of the link to the broker."""

    @property
    def connected(self) -> bool:
        """Whether publishing makes sense."""
        ...

    @property
    def connections(self) -> int:
        """How many connections there have been: a new one forgets what was under way."""
        ...

    def publish(self, topic: str, payload: bytes) -> bool:
        """Take a message without waiting; False when it cannot."""
        ...
