"""The form of `counters.json`: what must never go back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from agent.store.kept import twofold

NAME = "counters.json"
STRIDE = 2**31  # of epochs; half of it a start lasts for eight million starts
_KNOWN = frozenset({"schema", "boot", "epoch", "floors"})


@dataclass(frozen=True, slots=True)
class Counters:
    """Boot, epoch and floors.

    Attributes:
        boot: number of this start of the agent; 0 before the first.
        epoch: under which sequence numbers are given out; 0 before the first.
        floors: the least that is accepted, by name.
        lost: whether floors were lost: what the centre signed long ago would be taken for new. Until the device is
            enrolled anew it does not speak with its centre.
    """

    boot: int = 0
    epoch: int = 0
    floors: Mapping[str, int] = field(default_factory=dict)
    lost: bool = False

    @classmethod
    def from_bytes(cls, data: bytes) -> Counters:
        """Parse the file.

        Raises:
            RejectedError: when it is not as it was written.
        """
        fields = twofold.loads(data, NAME, _KNOWN)
        floors = fields.child("floors")
        return cls(
            fields.integer("boot"),
            fields.integer("epoch"),
            {name: floors.integer(name) for name in floors.as_dict()},
            "lost" in fields and fields.flag("lost"),
        )

    def to_bytes(self) -> bytes:
        """Return the file."""
        value = {"schema": 1, "boot": self.boot, "epoch": self.epoch, "floors": dict(self.floors)}
        return twofold.dumps(value | ({"lost": True} if self.lost else {}))

    @classmethod
    def anew(cls, randbelow: Callable[[int], int]) -> Counters:
        """Begin where all was lost: boot numbers, too, are drawn, since none may come twice."""
        return cls(boot=randbelow(STRIDE), lost=True)
