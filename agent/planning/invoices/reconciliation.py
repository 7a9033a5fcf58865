"""A real invoice against ours: line by line, what each difference is made of, and what explains it. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from agent.contract.slots import Slot
from agent.contract.tariff.tariff import Tariff
from agent.planning.billing.bill import Bill, bill
from agent.planning.invoices.differences import Difference, causes, differences
from agent.planning.invoices.given import Given
from agent.planning.invoices.hypotheses import Question, explain
from agent.planning.invoices.kinds import kinds_of
from agent.planning.invoices.matching import Pair, match


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """What was found.

    Attributes:
        differences: a line each, ours first.
        causes: how much of the total difference is due to what, the greatest first; they add up to it.
        findings: explanations, a sentence each.
    """

    bill: Bill
    given: Given
    differences: tuple[Difference, ...]
    causes: Mapping[str, Decimal]
    findings: tuple[str, ...]

    @property
    def difference(self) -> Decimal:
        """Their sum less ours."""
        return sum((one.amount for one in self.differences), Decimal(0))


def reconcile(
    tariff: Tariff,
    slots: Sequence[Slot],
    span_ms: tuple[int, int],
    given: Given,
    told: Mapping[str, str],
    meters: Mapping[str, Sequence[Slot]] | None = None,
) -> Reconciliation:
    """Bill a span and explain how an invoice differs from that.

    Args:
        tariff: ours.
        slots: of the main meter, as far back as a bill looks, and of `hypotheses.margins` where they are known.
        span_ms: of the invoice.
        given: the invoice.
        told: our line by the name of theirs.
        meters: slots of the tariff's other meters; charges of those that are not here are left out.

    Raises:
        ConfigError: as `bill` and `match`.
        UnavailableError: as `bill`.
    """
    meters = meters or {}
    ours = bill(tariff, slots, span_ms=span_ms, meters=meters, partial=True)
    version = tariff.version_at(span_ms[0])
    pairs = match(given.lines, ours.lines, told)
    found = differences(pairs, kinds_of(tariff), tariff.currency, version.rounding)
    findings = [*explain(Question(tariff, slots, ours, meters), found), *_hints(pairs)]
    return Reconciliation(ours, given, tuple(found), causes(found), tuple(findings))


def _hints(pairs: Sequence[Pair]) -> list[str]:
    """Say which lines that only one side has may be the same: alike in amount, else in quantity and unit."""
    hints = []
    for pair in pairs:
        theirs = pair.theirs
        if theirs is None or pair.ours is not None:
            continue
        for other in pairs:
            ours = other.ours
            if ours is None or other.theirs is not None:
                continue
            same = theirs.quantity is not None and (theirs.quantity, theirs.unit) == (ours.quantity, ours.unit)
            if theirs.amount == ours.amount or same:
                what = "amount" if theirs.amount == ours.amount else "quantity"
                told = f"--map '{pair.name}={other.name}'"
                hints.append(f"their {pair.name!r} has the {what} of our {other.name}; if it is that: {told}")
                break
    return hints
