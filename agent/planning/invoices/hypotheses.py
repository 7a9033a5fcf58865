"""What could explain that they counted something else: clocks, days, gaps, ratios; each is tried by billing anew.

Decides which explanations are tried and when one holds; the sums are `billing`'s.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from functools import cached_property
from typing import Any

from agent.contract.errors import EdgewattError
from agent.contract.slots import Slot
from agent.contract.tariff.calendar import ALWAYS
from agent.contract.tariff.model import MAIN
from agent.contract.tariff.tariff import Tariff
from agent.contract.tariff.version import Version
from agent.contract.zones import to_local
from agent.planning.billing.bill import Bill, bill
from agent.planning.invoices.differences import Difference, plain
from agent.planning.invoices.kinds import Kind

_HOUR_MS = 3_600_000
_KWH = Fraction(1, 2)  # an invoice's energies may be whole kWh
_HOLDS = Fraction(1, 20)  # of the difference may be left by an explanation
_GAPS_HOLD = Fraction(1, 4)  # what filled a gap was no steady load
_Trial = tuple[str, Fraction, Mapping[str, Fraction]]  # words, how much it may leave, and the quantities by line
_MARGIN_MS = 25 * _HOUR_MS  # slots before and after the span that explanations look at


@dataclass(frozen=True)
class Question:
    """What is to be explained: the bill of a span, and the slots around it; `meters` are those of other meters."""

    tariff: Tariff
    slots: Sequence[Slot]
    bill: Bill
    meters: Mapping[str, Sequence[Slot]] = field(default_factory=dict)

    @property
    def span(self) -> tuple[int, int]:
        """What is billed."""
        return self.bill.start_ms, self.bill.end_ms

    @cached_property
    def moved(self) -> list[_Trial]:
        """Bills by other clocks and of other days."""
        return list(_moved(self))


def margins(span: tuple[int, int]) -> tuple[int, int]:
    """Return the span of which slots are wanted for `explain`."""
    return span[0] - _MARGIN_MS, span[1] + _MARGIN_MS


def explain(question: Question, found: Sequence[Difference]) -> list[str]:
    """Return what explains the differences, a sentence each; those that only one side has explain themselves."""
    return [*_energies(question, found), *_demands(question, found), *_prices(question, found)]


def _energies(question: Question, found: Sequence[Difference]) -> Iterator[str]:
    """Explain the main meter's energies of all lines together: what moves a clock moves energy from one to another."""
    by_unit = (energy for version in question.tariff.versions for energy in version.by_unit)
    names = _energy_names(found, {energy.name for energy in by_unit if energy.meter == MAIN})
    wanted: dict[str, tuple[Fraction, Fraction]] = {}
    for one in found:
        for theirs_kwh, ours_kwh in _quantities(one, "kWh") if one.pair.name in names else ():
            sums = wanted.get(one.pair.name, (Fraction(0), Fraction(0)))
            wanted[one.pair.name] = sums[0] + theirs_kwh, sums[1] + ours_kwh
    theirs = {name: pair[0] for name, pair in wanted.items()}
    before = _misfit(theirs, {name: pair[1] for name, pair in wanted.items()})
    if before <= _KWH * len(wanted):
        return
    more = sum((pair[0] - pair[1] for pair in wanted.values()), Fraction(0))
    best: tuple[Fraction, str] | None = None
    for trials in (question.moved, _gaps(question, more), _ratio(wanted)):  # the next only where none holds before
        for words, holds, quantities in trials if best is None else ():
            left = _misfit(theirs, {name: quantities.get(name, Fraction(0)) for name in wanted})
            if left <= max(holds * before, _KWH * len(wanted)) and (best is None or left < best[0]):
                best = left, words
    total = f"their energies are {plain(abs(more), 3)} kWh {'more' if more > 0 else 'less'} than ours together"
    if best is None:
        yield f"{total}, which no shift of the clock by an hour or two, no day more or less and no ratio explains"
        return
    leaves = f"; {plain(best[0], 3)} kWh are left" if best[0] else ", to the Wh"
    yield f"{total}: explained by {best[1]}{leaves}"


def _moved(question: Question) -> Iterator[_Trial]:
    """Yield other clocks and other days."""
    start_ms, end_ms = question.span
    zone = question.tariff.zone
    for hours in (1, -1, 2, -2):
        moved = [dataclasses.replace(slot, start_ms=slot.start_ms + hours * _HOUR_MS) for slot in question.slots]
        word = "ahead of" if hours > 0 else "behind"
        words = f"a clock of theirs that is {abs(hours)} h {word} ours (summer time, or a meter in another zone)"
        yield from _tried(question, words, slots=moved)
    if to_local(start_ms, zone).dst() != to_local(end_ms - 1, zone).dst():
        words = "a clock of theirs that does not change to summer time"
        yield from _tried(question, words, slots=_without_summer_time(question.slots, zone))
    first, last = (to_local(at_ms, zone).date() for at_ms in (start_ms, end_ms - 1))
    day = dt.timedelta(days=1)
    for words, span in (
        (f"their invoice ending before {last}", (start_ms, question.tariff.date_bounds_ms(last)[0])),
        (f"their invoice ending after {last + day}", (start_ms, question.tariff.date_bounds_ms(last + day)[1])),
        (f"their invoice beginning after {first}", (question.tariff.date_bounds_ms(first)[1], end_ms)),
        (f"their invoice beginning with {first - day}", (question.tariff.date_bounds_ms(first - day)[0], end_ms)),
    ):
        if span[0] < span[1]:
            yield from _tried(question, words, span=span)


def _without_summer_time(slots: Sequence[Slot], zone: dt.tzinfo) -> list[Slot]:
    """Place slots where a clock that stays in winter time shows them; what falls together is added up."""
    found: dict[int, Slot] = {}
    for slot in slots:
        early_ms = round((to_local(slot.start_ms, zone).dst() or dt.timedelta()).total_seconds()) * 1000
        start_ms = slot.start_ms - early_ms
        before = found.get(start_ms)
        more_wh = 0 if before is None else before.energy_wh
        found[start_ms] = dataclasses.replace(slot, start_ms=start_ms, energy_wh=slot.energy_wh + more_wh)
    return list(found.values())


def _ratio(wanted: Mapping[str, tuple[Fraction, Fraction]]) -> Iterator[_Trial]:
    """Yield one ratio in all lines, where there are two or more to tell by."""
    theirs, ours = (sum((pair[side] for pair in wanted.values()), Fraction(0)) for side in (0, 1))
    if ours > 0 and theirs > 0 and len([pair for pair in wanted.values() if pair[1]]) > 1:
        ratio = theirs / ours
        words = f"one ratio of {plain(ratio, 4)} in every line: a transformer's ratio, or losses between the meters"
        yield words, _HOLDS, {name: pair[1] * ratio for name, pair in wanted.items()}


def _gaps(question: Question, more_kwh: Fraction) -> Iterator[_Trial]:
    """Yield what our missing slots would hold if they explained the difference: a load between nothing and the most."""
    count, known = question.bill.missing_slots, [slot for slot in question.slots if slot.known_kw is not None]
    if not count or more_kwh <= 0 or not known:
        return
    length_ms = known[0].length_s * 1000
    mean_kw = more_kwh * _HOUR_MS / (count * length_ms)
    most_kw = max(slot.power_kw or 0.0 for slot in known)
    if mean_kw > Fraction(most_kw):
        return
    there = {slot.start_ms for slot in known}
    starts = range(question.span[0] - question.span[0] % length_ms, question.span[1], length_ms)
    energy_wh = round(mean_kw * length_ms / 3600)
    filled = [Slot(at_ms, length_ms // 1000, energy_wh, float(mean_kw), 1.0) for at_ms in starts if at_ms not in there]
    words = (
        f"the {count} slots that are missing in ours, with a mean of {plain(mean_kw, 1)} kW in them "
        f"(up to {most_kw:.1f} kW were seen)"
    )
    yield from _tried(question, words, slots=[*known, *filled], holds=_GAPS_HOLD)


def _tried(
    question: Question,
    words: str,
    *,
    slots: Sequence[Slot] | None = None,
    span: tuple[int, int] | None = None,
    holds: Fraction = _HOLDS,
) -> Iterator[_Trial]:
    found = _billed(question, question.tariff, slots, span)
    if found is not None:
        yield words, holds, _by_name(found)


def _demands(question: Question, found: Sequence[Difference]) -> Iterator[str]:
    """Explain each demand that differs, by another way to measure it."""
    names = [one.pair.name for one in found]
    differing = [
        (one, theirs)
        for one in found
        if one.kind is Kind.DEMAND and one.by_quantity and names.count(one.pair.name) == 1
        for theirs, _ in _quantities(one, "kW")
    ]
    tried = [(words, by_name) for words, _, by_name in question.moved] if differing else []
    for words, tariff in _other_demands(question.tariff) if differing else ():
        bill_of = _billed(question, tariff)
        tried += [(words, _by_name(bill_of))] if bill_of is not None else []
    for one, theirs in differing:
        leeway = _leeway(theirs)
        alike = [way for way, by_name in tried if abs(by_name.get(one.pair.name, Fraction(-1)) - theirs) <= leeway]
        start = f"{one.pair.name}: their demand is {plain(theirs)} kW, ours {plain(_ours(one))} kW"
        missing = "; slots are missing, in which it may have been higher" if question.bill.missing_slots else ""
        yield f"{start}: explained by {alike[0]}" if alike else f"{start}{missing}"


def _other_demands(tariff: Tariff) -> Iterator[tuple[str, Tariff]]:
    for minutes in (15, 30, 60):
        yield f"demand measured over {minutes} min", _with_demands(tariff, interval_s=minutes * 60)
    yield "demand counted at all times", _with_demands(tariff, when=ALWAYS)
    yield "no ratchet, and no least demand", _with_demands(tariff, ratchet=None, minimum_share=Decimal(0))
    yield "no demand that is free", _with_demands(tariff, free_kw=Decimal(0))


def _with_demands(tariff: Tariff, **changes: Any) -> Tariff:
    return tariff.with_versions(
        [
            dataclasses.replace(
                version, demands=tuple(dataclasses.replace(demand, **changes) for demand in version.demands)
            )
            for version in tariff.versions
        ]
    )


def _prices(question: Question, found: Sequence[Difference]) -> Iterator[str]:
    """Explain each price that differs: another version of the tariff, fewer decimals, or tax that is in it."""
    differing = [one for one in found if one.by_price and not one.follows]
    versions = question.tariff.versions if differing else ()
    by_version: list[tuple[Version, Mapping[str, Decimal | None]]] = []
    for version in versions:
        alone = question.tariff.with_versions([dataclasses.replace(version, valid_from=None)])
        if (billed := _billed(question, alone)) is not None:
            by_version.append((version, {line.period: line.price for line in billed.lines}))
    for one in differing:
        theirs, ours = one.pair.theirs, one.pair.ours
        if theirs is None or ours is None or theirs.price is None or ours.price is None:
            continue
        start = f"{one.pair.name}: their price is {plain(theirs.price)}, ours {plain(ours.price)}"
        cause = _price_cause(theirs.price, ours.price, one.pair.name, by_version, question.tariff)
        yield f"{start}: {cause}" if cause else start


def _price_cause(
    theirs: Fraction,
    ours: Fraction,
    name: str,
    by_version: Sequence[tuple[Version, Mapping[str, Decimal | None]]],
    tariff: Tariff,
) -> str:
    for version, prices in by_version:
        price = prices.get(name)
        if price is not None and Fraction(price) == theirs:
            since = "the first version" if version.valid_from is None else f"the version from {version.valid_from}"
            return f"that of {since} of the tariff ({version.name})"
    if abs(theirs - ours) <= _leeway(theirs):
        return "ours, rounded"
    for fee in tariff.versions[-1].fees:
        if fee.percent and abs(ours * (1 + Fraction(fee.percent) / 100) - theirs) <= _leeway(theirs):
            return f"ours with {fee.name} ({fee.percent} %) in it"
    return ""


def _billed(
    question: Question, tariff: Tariff, slots: Sequence[Slot] | None = None, span: tuple[int, int] | None = None
) -> Bill | None:
    load = question.slots if slots is None else slots
    try:
        return bill(tariff, load, span_ms=span or question.span, meters=question.meters, partial=True)
    except EdgewattError:  # this explanation cannot be tried
        return None


def _quantities(one: Difference, unit: str) -> Iterator[tuple[Fraction, Fraction]]:
    """Yield their quantity and ours, where both are known in a unit."""
    theirs, ours = one.pair.theirs, one.pair.ours
    if theirs is None or ours is None or ours.unit != unit or theirs.unit not in (unit, ""):
        return
    if theirs.quantity is not None and ours.quantity is not None:
        yield theirs.quantity, ours.quantity


def _energy_names(found: Sequence[Difference], of_main: Collection[str]) -> set[str]:
    """Names of lines whose energies are each counted once: taxes on energy count it again.

    Of the charges `of_main`: what another meter counted, no slot of the plant explains.
    """
    ours = [one for one in found if one.pair.ours is not None and one.pair.charge in of_main]
    energy = [one for one in ours if one.kind is Kind.ENERGY]
    plain_ones = {one.pair.name for one in energy if one.pair.charge == "energy"}
    if plain_ones:
        return plain_ones
    first = next((charge for charge, _ in Counter(one.pair.charge for one in energy).most_common(1)), "")
    return {one.pair.name for one in energy if one.pair.charge == first}


def _by_name(found: Bill) -> dict[str, Fraction]:
    sums: dict[str, Fraction] = {}
    for line in found.lines:
        sums[line.period] = sums.get(line.period, Fraction(0)) + Fraction(line.quantity)
    return sums


def _misfit(theirs: Mapping[str, Fraction], ours: Mapping[str, Fraction]) -> Fraction:
    return sum((abs(quantity - ours[name]) for name, quantity in theirs.items()), Fraction(0))


def _leeway(value: Fraction) -> Fraction:
    """Half of the last decimal that a number was printed with."""
    decimals = next((count for count in range(10) if (value * 10**count).denominator == 1), 10)
    return Fraction(1, 2 * 10**decimals)


def _ours(one: Difference) -> Fraction:
    assert one.pair.ours is not None  # noqa: S101 - `_quantities` has seen it
    assert one.pair.ours.quantity is not None  # noqa: S101 - likewise
    return one.pair.ours.quantity
