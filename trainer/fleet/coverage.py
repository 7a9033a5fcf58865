"""Which sequence numbers the centre has, as sorted inclusive ranges, and the marks that follow. Pure functions.

Decides what an acknowledgement may promise: rows that are held or were declared lost, and nothing that is disputed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from agent.contract.acknowledgement import MAX_MISSING, Mark

Span = tuple[int, int]


@dataclass
class Coverage:
    """What is known of one stream of one epoch; every list is sorted, without overlaps or touching neighbours.

    Attributes:
        held: rows that are stored.
        gaps: rows that the device declared lost and that are not held.
        disputed: rows that were claimed with two different contents: the first is kept, and none is acknowledged until
            an operator has decided, or a cloned or restored device would lose what only it has.
    """

    held: list[Span] = field(default_factory=list)
    gaps: list[Span] = field(default_factory=list)
    disputed: list[Span] = field(default_factory=list)

    def hold(self, first: int, last: int) -> None:
        """Note rows as stored, also those that were given up before."""
        self.held = union(self.held, [(first, last)])
        self.gaps = subtract(self.gaps, [(first, last)])

    def give_up(self, first: int, last: int) -> None:
        """Note rows as lost for good, except those that are stored."""
        self.gaps = union(self.gaps, subtract([(first, last)], self.held))

    def dispute(self, first: int, last: int) -> None:
        """Note rows as claimed with two contents."""
        self.disputed = union(self.disputed, [(first, last)])

    def mark(self, epoch: int, stream: str, max_ranges: int = MAX_MISSING) -> Mark:
        """Return the mark; with more than `max_ranges` holes it ends before the first one that it cannot name."""
        safe = subtract(union(self.held, self.gaps), self.disputed)
        high = safe[-1][1] if safe else 0
        missing = subtract([(1, high)], safe) if high else []
        if len(missing) > max_ranges:
            high = missing[max_ranges][0] - 1
            missing = missing[:max_ranges]
        gaps = intersect(subtract(self.gaps, self.disputed), [(1, high)]) if high else []
        return Mark(epoch, stream, high, tuple(missing), tuple(gaps[-max_ranges:]))


def union(left: Iterable[Span], right: Iterable[Span]) -> list[Span]:
    """Return every number of either side; touching ranges are joined."""
    result: list[Span] = []
    for first, last in sorted([*left, *right]):
        if result and first <= result[-1][1] + 1:
            result[-1] = (result[-1][0], max(result[-1][1], last))
        else:
            result.append((first, last))
    return result


def subtract(left: Sequence[Span], right: Sequence[Span]) -> list[Span]:
    """Return the numbers of `left` that are not in `right`; both sorted."""
    result: list[Span] = []
    at = 0
    for start, last in left:
        first = start
        while at < len(right) and right[at][1] < first:
            at += 1
        index = at
        while index < len(right) and right[index][0] <= last:
            if right[index][0] > first:
                result.append((first, right[index][0] - 1))
            first = right[index][1] + 1
            index += 1
        if first <= last:
            result.append((first, last))
    return result


def intersect(left: Sequence[Span], right: Sequence[Span]) -> list[Span]:
    """Return the numbers of both sides; both sorted."""
    return subtract(left, subtract(left, right))
