"""Whether the promise was kept: from what a device told and what its centre holds in the end. Pure.

Decides by (epoch, stream, seq) as the tickets told them; nothing is assumed of how epochs follow each other.
"""

from __future__ import annotations

import bisect
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from tests.soak import rows

MOST_TOLD = 12  # findings that are described
_UNTOLD = 1_000  # rows
Key = tuple[int, str]  # epoch, stream
Span = tuple[int, int]


class Ticket(NamedTuple):
    """Rows `number`, `number` + 1, ... were taken in under the sequence numbers first..last."""

    epoch: int
    stream: str
    first: int
    last: int
    number: int


@dataclass
class Told:
    """What a device told over all its runs: its tickets, and how far each stream of an epoch was durable."""

    tickets: list[Ticket] = field(default_factory=list)
    durable: dict[Key, int] = field(default_factory=dict)

    def take(self, message: Mapping[str, Any]) -> None:
        """Take one message of a device in; others than tickets and durability are passed over."""
        if "ticket" in message:
            self.tickets.append(Ticket(*message["ticket"]))
        for stream, last in message.get("durable", {}).items():
            key = (message["epoch"], stream)
            self.durable[key] = max(last, self.durable.get(key, 0))

    def copy(self) -> Told:
        """The same, to go on with apart."""
        return Told(list(self.tickets), dict(self.durable))


@dataclass
class Held:
    """What the centre holds of a device: rows by seq, and the ranges of the gap events among them."""

    rows: dict[Key, dict[int, Any]] = field(default_factory=dict)
    gaps: dict[Key, list[Span]] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)  # why messages were refused


@dataclass
class Verdict:
    """Counts, all of which are to be 0, and the first findings in words.

    Attributes:
        acknowledged_lost: durable rows that are neither at the centre nor in a gap.
        duplicates_at_centre: rows that are there under more than one number, counted beyond the first.
        unreported_gaps: holes below the last durable or held number of which no gap tells.
        wrong_values: rows that are not what was taken in, or stand where another row was taken in.
        false_gaps: gaps over numbers that were never given out.
        refused: messages that the centre refused.
        declared: durable rows that a gap declared lost; no fault by itself.
    """

    acknowledged_lost: int = 0
    duplicates_at_centre: int = 0
    unreported_gaps: int = 0
    wrong_values: int = 0
    false_gaps: int = 0
    refused: int = 0
    declared: int = 0
    findings: list[str] = field(default_factory=list)

    @property
    def is_clean(self) -> bool:
        """Whether the promise was kept."""
        return not (self.counts().total() - self.declared)

    def counts(self) -> Counter[str]:
        """The counts by name."""
        return Counter({name: value for name, value in vars(self).items() if isinstance(value, int)})

    def note(self, text: str) -> None:
        """Describe a finding, unless there were many."""
        if len(self.findings) < MOST_TOLD:
            self.findings.append(text)


def judge(told: Told, held: Held, seed: int) -> Verdict:
    """Compare what was told with what is held in the end, when nothing waits on the device any more."""
    verdict = Verdict(refused=len(held.refused))
    for reason in held.refused:
        verdict.note(f"refused: {reason}")
    gaps = {key: union(spans) for key, spans in held.gaps.items()}
    _judge_tickets(told, held, gaps, verdict)
    _judge_rows(held, seed, verdict)
    _judge_holes(told, held, gaps, verdict)
    return verdict


def _judge_tickets(told: Told, held: Held, gaps: Mapping[Key, list[Span]], verdict: Verdict) -> None:
    lost: dict[Key, list[Span]] = {}
    for ticket in told.tickets:
        key = (ticket.epoch, ticket.stream)
        found = held.rows.get(key, {})
        for seq in range(ticket.first, min(ticket.last, told.durable.get(key, 0)) + 1):
            wanted = ticket.number + seq - ticket.first
            if seq in found:
                number = rows.number_of(ticket.stream, found[seq])
                if number != wanted:
                    verdict.wrong_values += 1
                    verdict.note(f"{key} {seq}: row {number} stands where row {wanted} was taken in")
            elif _within(seq, gaps.get(key, [])):
                verdict.declared += 1
            else:
                verdict.acknowledged_lost += 1
                lost.setdefault(key, []).append((seq, seq))
    for key, spans in lost.items():
        for first, last in union(spans):
            verdict.note(f"{key} {first}..{last}: durable rows are lost, undeclared")


def _judge_rows(held: Held, seed: int, verdict: Verdict) -> None:
    times: Counter[tuple[str, int]] = Counter()
    for (epoch, stream), found in held.rows.items():
        for seq, row in found.items():
            number = rows.number_of(stream, row)
            if number is None:
                continue
            if row != rows.row(seed, stream, number):
                verdict.wrong_values += 1
                verdict.note(f"{(epoch, stream)} {seq}: {str(row)[:120]} was never taken in")
            times[stream, number] += 1
    for (stream, number), count in times.items():
        if count > 1:
            verdict.duplicates_at_centre += count - 1
            verdict.note(f"row {number} of {stream} is there {count} times")


def _judge_holes(told: Told, held: Held, gaps: Mapping[Key, list[Span]], verdict: Verdict) -> None:
    given: dict[Key, int] = dict(told.durable)
    for ticket in told.tickets:
        key = (ticket.epoch, ticket.stream)
        given[key] = max(ticket.last, given.get(key, 0))
    for key in {*told.durable, *held.rows}:
        found = held.rows.get(key, {})
        top = max([told.durable.get(key, 0), *found])
        given[key] = max(top, given.get(key, 0))
        for first, last in _holes(sorted(found), top):
            for start, end in subtract((first, last), gaps.get(key, [])):
                verdict.unreported_gaps += 1
                verdict.note(f"{key} {start}..{end}: a hole of which no gap tells")
    for key, spans in gaps.items():
        for first, last in spans:
            # The store's own events have no ticket, and what was being taken in when all ended has none yet.
            if last > given.get(key, 0) + _UNTOLD:
                verdict.false_gaps += 1
                verdict.note(f"{key} {first}..{last}: a gap over numbers that were never given out")


def _holes(held: list[int], top: int) -> Iterator[Span]:
    before = 0
    for seq in [*held, top + 1]:
        if seq > before + 1:
            yield before + 1, seq - 1
        before = seq


def union(spans: list[Span]) -> list[Span]:
    """The same numbers, sorted, without overlaps."""
    result: list[Span] = []
    for first, last in sorted(spans):
        if result and first <= result[-1][1] + 1:
            result[-1] = (result[-1][0], max(result[-1][1], last))
        else:
            result.append((first, last))
    return result


def subtract(span: Span, spans: list[Span]) -> list[Span]:
    """The numbers of one range that are in none of `spans`, which are a `union`."""
    result, first = [], span[0]
    for low, high in spans:
        if high < first or low > span[1]:
            continue
        if low > first:
            result.append((first, low - 1))
        first = high + 1
    return [*result, (first, span[1])] if first <= span[1] else result


def _within(seq: int, spans: list[Span]) -> bool:
    place = bisect.bisect_right(spans, (seq, 2**63)) - 1
    return place >= 0 and spans[place][1] >= seq
