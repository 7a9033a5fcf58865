"""Demand of earlier months, read a month at a time: a year of slots need not be in memory for a ratchet."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from decimal import Decimal

from agent.contract.errors import UnavailableError
from agent.contract.slots import Slot
from agent.contract.tariff.model import MAIN, Demand
from agent.contract.tariff.tariff import Month, Tariff
from agent.planning.billing.lines import shown
from agent.planning.billing.loads import make_load
from agent.planning.billing.part import Books


def looks_back(tariff: Tariff, now_ms: int) -> dict[Month, list[Demand]]:
    """Return the earlier months whose demand counts in the billing month of an instant, and for which charges."""
    month, found = tariff.month_at(now_ms), dict[Month, list[Demand]]()
    for demand in tariff.version_at(now_ms).demands:
        months: list[Month] = []
        if demand.ratchet is not None:
            months = tariff.months_before(month, demand.ratchet.months)
        elif demand.per == "year":
            months = list(tariff.months(tariff.year_start(month).start_ms, month.start_ms))
        for one in months if demand.meter == MAIN else ():
            found.setdefault(one, []).append(demand)
    return found


def earlier_peaks(
    tariff: Tariff, now_ms: int, read: Callable[[int, int], Iterable[Slot]]
) -> dict[str, dict[str, Decimal]]:
    """Return the highest demand (kW) of the months that still count, by charge and month, as `bill` takes it.

    Months of which no slot is known are left out; what was measured of the others counts as their demand. Slots of two
    lengths, where the plant's length was changed, each tell of their part of a month.

    Args:
        tariff: whose charges.
        now_ms: in the billing month that is to be billed.
        read: slots of the main meter that start in [start_ms, end_ms).
    """
    version, peaks = tariff.version_at(now_ms), dict[str, dict[str, Decimal]]()
    for month, demands in looks_back(tariff, now_ms).items():
        lengths: dict[int, list[Slot]] = {}
        for slot in read(month.start_ms, month.end_ms):
            lengths.setdefault(slot.length_s, []).append(slot)
        for slots in lengths.values():
            try:
                load, _ = make_load(slots, span_ms=(month.start_ms, month.end_ms))
            except UnavailableError:
                continue
            books = Books(tariff, {MAIN: load}, {}, {})
            for demand in demands:
                kw = shown(books.peak_of(version, demand, month, month.end_ms)[0], 6)
                known = peaks.setdefault(demand.name, {})
                known[month.label] = max(kw, known.get(month.label, kw))
    return peaks
