"""What earlier months still count for, found a month at a time: a year of slots need not be in memory for a bill.

Decides which months count and what is kept of each; a bill with it is the bill of all the slots.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import NamedTuple

import numpy as np

from agent.contract.errors import UnavailableError
from agent.contract.slots import SLOT_LENGTHS_S, Slot
from agent.contract.tariff.model import MAIN, Demand, Energy, Tiered
from agent.contract.tariff.tariff import Month, Tariff
from agent.contract.tariff.version import Version
from agent.planning.billing.forward import Forward, Key, Peak, Used
from agent.planning.billing.grid import Grid, cell_ms, most_kw
from agent.planning.billing.loads import KNOWN, MIDDLE, Load, make_load
from agent.planning.billing.part import Books, split

REACH_MS = max(SLOT_LENGTHS_S) * 1000  # before a month: a slot may lie over its begin
Read = Callable[[int, int], Iterable[Slot]]


class _Energy(NamedTuple):
    """What a charge counted in a month: as in `Used`, and for how long it was in force before anything is known."""

    thousandths: Fraction = Fraction(0)
    missing_ms: int = 0
    lead_ms: int = 0


@dataclass(frozen=True, slots=True)
class MonthBefore:
    """What a month that is over counts for.

    Attributes:
        from_ms: since when anything of it is known; None where nothing is.
        keys: of the charges that it was looked at for.
        most_kw: highest mean power of any slot.
    """

    month: Month
    from_ms: int | None
    keys: frozenset[Key]
    peaks: Mapping[Key, Peak] = field(default_factory=dict)
    energies: Mapping[Key, _Energy] = field(default_factory=dict)
    most_kw: Fraction = Fraction(0)


def months_that_count(tariff: Tariff, now_ms: int) -> list[Month]:
    """Return the earlier billing months that count in that of an instant, oldest first."""
    month, found = tariff.month_at(now_ms), dict[int, Month]()
    for version in _versions(tariff, month):
        demands = _demands(version)
        back = max((demand.ratchet.months for demand in demands if demand.ratchet is not None), default=0)
        found |= {one.start_ms: one for one in tariff.months_before(month, back)}
        if _energies(version) or any(demand.per == "year" for demand in demands):
            year_ms = tariff.year_start(month).start_ms
            found |= {one.start_ms: one for one in tariff.months(year_ms, month.start_ms)}
    return [found[start_ms] for start_ms in sorted(found)]


def keys_that_count(tariff: Tariff, now_ms: int) -> frozenset[Key]:
    """Return the charges that look back, of the versions that hold in the month of an instant and in the next."""
    found: set[Key] = set()
    for version in _versions(tariff, tariff.month_at(now_ms)):
        found |= {(version.valid_from, demand.name) for demand in _demands(version)}
        found |= {(version.valid_from, energy.name) for energy in _energies(version)}
    return frozenset(found)


def month_before(tariff: Tariff, now_ms: int, month: Month, slots: Iterable[Slot]) -> MonthBefore:
    """Return what a month counts for in that of an instant.

    Args:
        tariff: whose charges.
        now_ms: in the billing month that is to be billed, or in its end.
        month: one that is over.
        slots: of the main meter, from `REACH_MS` before the month to its end. Slots of two lengths, where the plant's
            length was changed, each tell of their part of the month.
    """
    by_length: dict[int, list[Slot]] = {}
    for slot in slots:
        by_length.setdefault(slot.length_s, []).append(slot)
    loads = [load for group in by_length.values() if (load := _load(group, month)) is not None]
    from_ms = min((_known_from_ms(load, month) for load in loads), default=None)
    peaks, energies = dict[Key, Peak](), dict[Key, _Energy]()
    for version in _versions(tariff, tariff.month_at(now_ms)):
        for demand in _demands(version) if from_ms is not None else ():
            found = [Books(tariff, {MAIN: load}).peak_of(version, demand, month, month.end_ms) for load in loads]
            sure = len(found) == 1 and found[0][1]
            peaks[version.valid_from, demand.name] = Peak(max(kw for kw, _ in found), sure, from_ms or 0)
        for energy in _energies(version):
            energies[version.valid_from, energy.name] = _counted(tariff, version, energy, month, loads, from_ms)
    most = max((most_kw(load) for load in loads), default=Fraction(0))
    return MonthBefore(month, from_ms, keys_that_count(tariff, now_ms), peaks, energies, most)


def brought_forward(tariff: Tariff, now_ms: int, months: Iterable[MonthBefore]) -> Forward:
    """Join what earlier months count for in that of an instant.

    Months before the first of which a slot is known are left out: the device was not there. One after it of which no
    slot is known is missing.
    """
    known = sorted(months, key=lambda one: one.month.start_ms)
    while known and known[0].from_ms is None:
        known.pop(0)
    year_ms = tariff.year_start(tariff.month_at(now_ms)).start_ms
    of_year = [one for one in known if one.month.start_ms >= year_ms]
    peaks, used = dict[Key, dict[str, Peak]](), dict[Key, Used]()
    for number, one in enumerate(known):
        for key, peak in one.peaks.items():
            peaks.setdefault(key, {})[one.month.label] = (
                peak if number == 0 else peak._replace(from_ms=one.month.start_ms)
            )
        for key in one.keys - one.peaks.keys() - one.energies.keys():  # nothing is known of it
            peaks.setdefault(key, {})[one.month.label] = Peak(Fraction(0), is_sure=False, from_ms=one.month.start_ms)
    for key in of_year[0].energies if of_year else ():
        is_first = of_year[0] is known[0]
        parts = [one.energies[key] for one in of_year]
        missing_ms = sum(part.missing_ms + part.lead_ms for part in parts) - (parts[0].lead_ms if is_first else 0)
        from_ms = of_year[0].from_ms if is_first else None
        used[key] = Used(
            sum((part.thousandths for part in parts), Fraction(0)),
            missing_ms,
            of_year[0].month.start_ms if from_ms is None else from_ms,
            of_year[-1].month.end_ms,
        )
    return Forward(peaks, used, max((one.most_kw for one in known), default=Fraction(0)))


def read_forward(tariff: Tariff, now_ms: int, read: Read) -> Forward:
    """Return what is brought forward into the billing month of an instant, all at once.

    Args:
        tariff: whose charges.
        now_ms: in the billing month that is to be billed.
        read: slots of the main meter that start in [start_ms, end_ms).
    """
    months = months_that_count(tariff, now_ms)
    found = [month_before(tariff, now_ms, month, read(month.start_ms - REACH_MS, month.end_ms)) for month in months]
    return brought_forward(tariff, now_ms, found)


def _versions(tariff: Tariff, month: Month) -> list[Version]:
    """Return the versions that hold in a month and in the next, into which a forecast may reach."""
    start_ms, end_ms = max(month.start_ms, tariff.begin_ms), tariff.month_at(month.end_ms).end_ms
    if start_ms >= end_ms:
        return []
    return list({version.valid_from: version for _, version, _, _ in split(tariff, start_ms, end_ms)}.values())


def _demands(version: Version) -> list[Demand]:
    """Return the demand charges that look back."""
    return [
        demand
        for demand in version.demands
        if demand.meter == MAIN and (demand.ratchet is not None or demand.per == "year")
    ]


def _energies(version: Version) -> list[Energy]:
    """Return the energy charges that look back."""
    return [
        energy
        for energy in version.by_unit
        if energy.meter == MAIN and isinstance(energy.pricing, Tiered) and energy.pricing.per == "year"
    ]


def _load(slots: Sequence[Slot], month: Month) -> Load | None:
    """Return the slots of a month; None where none of them is known."""
    try:
        load, _ = make_load(slots, span_ms=(month.start_ms, month.end_ms))
    except UnavailableError:
        return None
    return load if (load.states(month.start_ms, month.end_ms) == KNOWN).any() else None


def _known_from_ms(load: Load, month: Month) -> int:
    first = int(np.flatnonzero(load.state == KNOWN)[0])
    return max(month.start_ms, load.start_ms + first * load.length_ms)


def _counted(
    tariff: Tariff, version: Version, energy: Energy, month: Month, loads: Sequence[Load], from_ms: int | None
) -> _Energy:
    """Return what a charge counted in a month, by slots of whatever lengths."""
    grid = Grid(tariff.zone_name, month.start_ms, month.end_ms, cell_ms(tariff, version, loads))
    in_force = grid.days(version.calendar, energy.when)
    groups = np.where(in_force, 0, -1).astype(np.int64)
    lead = grid.starts_ms + grid.cell_ms <= (month.end_ms if from_ms is None else from_ms)
    thousandths, known = Fraction(0), np.zeros(len(grid.starts_ms), dtype=np.bool_)
    for load in loads:
        thousandths += grid.sums(grid.of(load, MIDDLE, export=energy.export), load, groups, 1)[0]
        known |= grid.states(load) == KNOWN
    missing_ms, lead_ms = (int(grid.weight[in_force & which].sum()) * grid.unit_ms for which in (~lead & ~known, lead))
    return _Energy(thousandths, missing_ms, lead_ms)
