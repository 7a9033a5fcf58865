"""A span cut into cells within which no price, no local minute and no slot changes; sums over them are exact.

Energy is gathered in whole Wh x time, without any rounding, so that splitting a slot changes nothing. Here as in the
whole folder np.unique and np.median are not used: they load numpy.ma, a megabyte of the device's memory.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Iterable
from fractions import Fraction
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from agent.contract.slotcalendar import SlotCalendar
from agent.contract.tariff.calendar import Calendar, TimeOfUse, When
from agent.contract.tariff.model import Dynamic, Energy, Timed
from agent.contract.tariff.tariff import Tariff
from agent.contract.tariff.version import Version
from agent.planning.billing.loads import HIGH, Load

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
_QUARTER_MS = 900_000  # no zone has changed its clocks within one
_SAFE = 2**62


class Grid:
    """The cells of [start_ms, end_ms).

    Attributes:
        start_ms, end_ms: of the span.
        cell_ms: length of a cell.
        starts_ms: [N] of cells; the first may begin before the span.
        weight: [N] how much of each cell lies in the span, in steps of `unit_ms`.
        local_ms: [N] of the wall clock, from its own 1970 on.
    """

    def __init__(self, zone_name: str, start_ms: int, end_ms: int, cell_ms: int) -> None:
        base_ms = start_ms // cell_ms * cell_ms
        count = -((base_ms - end_ms) // cell_ms)
        calendar = SlotCalendar(zone_name, (), cell_ms // 1000, base_ms, count)
        self.cell_ms = cell_ms
        self.start_ms = start_ms
        self.end_ms = end_ms
        self.starts_ms: Ints = base_ms + np.arange(count, dtype=np.int64) * cell_ms
        self.local_ms: Ints = (calendar.ordinal * 86_400 + calendar.second_of_day) * 1000
        self._ordinal = calendar.ordinal
        self._minute = calendar.second_of_day // 60
        weight_ms = np.full(count, cell_ms, dtype=np.int64)
        weight_ms[0] -= start_ms - base_ms
        weight_ms[-1] -= base_ms + count * cell_ms - end_ms
        self.unit_ms = math.gcd(cell_ms, int(weight_ms[0]), int(weight_ms[-1]))
        self.weight: Ints = weight_ms // self.unit_ms
        self._periods = lru_cache(maxsize=8)(lambda periods: periods.indices(self._ordinal, self._minute))

    def of(self, load: Load, row: int, *, export: bool = False) -> Ints:
        """Return the energy of the slot that each cell lies in, [N]: what was taken, or with `export` fed in (< 0)."""
        energy = load.energy[row, (self.starts_ms - load.start_ms) // load.length_ms]
        found: Ints = np.minimum(energy, 0) if export else np.maximum(energy, 0)
        return found

    def states(self, load: Load) -> NDArray[np.int8]:
        """Return the state of the slot that each cell lies in, [N]."""
        found: NDArray[np.int8] = load.state[(self.starts_ms - load.start_ms) // load.length_ms]
        return found

    def sums(self, energy: Ints, load: Load, groups: Ints, count: int) -> list[Fraction]:
        """Return the exact sum (thousandths of the unit) of each group of cells.

        Args:
            energy: [N] as from `of`.
            load: whose it is.
            groups: [N] from 0 to `count`; -1 counts nowhere.
            count: of groups.
        """
        return [Fraction(total * self.unit_ms, load.length_ms) for total in grouped(energy, self.weight, groups, count)]

    def periods(self, periods: TimeOfUse) -> Ints:
        """Return the index into `periods.names` of each cell."""
        found: Ints = self._periods(periods)
        return found

    def days(self, calendar: Calendar, when: When) -> Bools:
        """Whether the day of each cell is one on which `when` is in force."""
        if when.seasons is None and when.months is None:
            return np.ones(len(self._ordinal), dtype=np.bool_)
        first = int(self._ordinal[0])
        days = [when.in_force(calendar.day(at)) for at in range(first, int(self._ordinal[-1]) + 1)]
        found: Bools = np.array(days)[self._ordinal - first]
        return found

    def holds(self, calendar: Calendar, when: When, common: TimeOfUse | None) -> Bools:
        """Whether `when` holds at each cell; `common` is the calendar that its periods are of."""
        first, step_min = int(self._ordinal[0]), math.gcd(1440, *when.marks)
        rows = np.stack([when.row(calendar.day(at), step_min) for at in range(first, int(self._ordinal[-1]) + 1)])
        found: Bools = rows[self._ordinal - first, self._minute // step_min]
        if when.periods is not None and common is not None:
            wanted = np.array([name in when.periods for name in common.names])
            found &= wanted[self.periods(common)]
        return found


def grouped(values: Ints, weight: Ints, groups: Ints, count: int) -> list[int]:
    """Return the sum of values x weight of each group 0..count-1 as exact integers of any size."""
    most = int(np.abs(values).max(initial=0)) * int(weight.max(initial=0)) * max(1, len(values))
    product = values * weight if most < _SAFE else values.astype(object) * weight
    order = np.argsort(groups, kind="stable")
    ranked = groups[order]
    edges = np.flatnonzero(np.diff(ranked, prepend=-2))
    result = [0] * count
    if len(edges):
        for group, total in zip(ranked[edges], np.add.reduceat(product[order], edges), strict=True):
            if group >= 0:
                result[int(group)] = int(total)
    return result


def cell_ms(tariff: Tariff, version: Version, loads: Iterable[Load]) -> int:
    """Return the longest cell within which nothing changes."""
    steps = [_QUARTER_MS, *(load.length_ms for load in loads)]
    if isinstance(tariff.zone, dt.timezone):
        steps.append(round(tariff.zone.utcoffset(None).total_seconds()) * 1000)
    periods = [version.periods] if version.periods is not None else []
    for energy in (*version.energies, *(fee.energy for fee in version.fees)):
        if isinstance(energy, Energy) and isinstance(energy.pricing, Timed):
            periods.append(energy.pricing.periods)
        if isinstance(energy, Energy) and isinstance(energy.pricing, Dynamic):
            steps.append(energy.pricing.series.length_s * 1000)
    steps += [one.step_min * 60_000 for one in periods]
    steps += [mark * 60_000 for demand in version.demands for mark in demand.when.marks]
    return math.gcd(*steps)


def highest(
    grid: Grid, load: Load, row: int, interval_s: int, counts: Bools, *, doubt: int = 0
) -> tuple[Fraction, int]:
    """Return the highest mean of what was taken in an interval that is wholly in the span, and when it began.

    Args:
        grid: the span.
        load: of the meter.
        row: of its energies.
        interval_s: length of the intervals; they follow the local clock. Where the clocks change within one it is
            as long as the clock leaves it.
        counts: [N] cells in which an interval that counts may begin.
        doubt: where a slot lies in two intervals or more it is shared by time; 1: any may have had all of it, and -1:
            none may have had any, but where slots are as long as intervals or longer: one has their mean at least.

    Returns:
        kW (thousands of the meter's unit an hour), and epoch ms; 0 and 0 where no interval counts.
    """
    begins = _interval_begins(grid, interval_s)
    cells = np.diff(begins, append=len(grid.starts_ms))
    whole = counts[begins]
    whole[0] &= _is_edge(int(grid.local_ms[0]), interval_s) and grid.weight[0] * grid.unit_ms == grid.cell_ms
    whole[-1] &= _is_edge(int(grid.local_ms[-1]) + grid.cell_ms, interval_s) and (
        grid.weight[-1] * grid.unit_ms == grid.cell_ms
    )
    energy = grid.of(load, row)
    if doubt > 0 or (doubt < 0 and load.length_ms < interval_s * 1000):
        energy = _at_once(grid, load, energy, begins, whole_only=doubt < 0)
    totals = np.add.reduceat(energy, begins)
    best, at_ms = Fraction(0), 0
    for length in set(cells[whole].tolist()):
        chosen = np.flatnonzero(whole & (cells == length))
        one = chosen[np.argmax(totals[chosen])]
        kw = Fraction(int(totals[one]) * 3600, load.length_ms * length)
        if kw > best:
            best, at_ms = kw, int(grid.starts_ms[begins[one]])
    return best, at_ms


def looseness(grid: Grid, load: Load, interval_s: int) -> Fraction:
    """How much higher than any slot's mean an interval may have been; 1 where every slot lies within one interval."""
    begins_ms = grid.starts_ms[_interval_begins(grid, interval_s)[1:]]
    into_ms = (begins_ms - load.start_ms) % load.length_ms
    if not into_ms.any():
        return Fraction(1)
    # Intervals that begin with every slot divide it; others lie in as many slots as they can touch.
    touched = 1 if load.length_ms % (interval_s * 1000) == 0 and (into_ms == 0).any() else 2
    touched += interval_s * 1000 // load.length_ms if touched > 1 else 0
    return touched * Fraction(load.length_ms, interval_s * 1000)


def _interval_begins(grid: Grid, interval_s: int) -> Ints:
    """Cells in which an interval of the local clock begins, the first of the span always."""
    key = grid.local_ms // (interval_s * 1000)
    moved = np.diff(grid.local_ms, prepend=grid.local_ms[0] - grid.cell_ms) != grid.cell_ms
    return np.flatnonzero((np.diff(key, prepend=key[0] - 1) != 0) | moved)


def _at_once(grid: Grid, load: Load, energy: Ints, begins: Ints, *, whole_only: bool) -> Ints:
    """Return energies of cells, all of a slot in the first of its cells in an interval; or only if it has all cells."""
    slot = (grid.starts_ms - load.start_ms) // load.length_ms
    first = np.diff(slot, prepend=slot[0] - 1) != 0
    first[begins] = True
    at = np.flatnonzero(first)
    cells = load.length_ms // grid.cell_ms
    chosen = at[np.diff(at, append=len(slot)) == cells] if whole_only else at
    found = np.zeros_like(energy)
    found[chosen] = energy[chosen] * cells
    return found


def most_kw(load: Load) -> Fraction:
    """The highest mean power of any slot, missing ones at their greatest."""
    return Fraction(int(load.energy[HIGH].max(initial=0)) * 3600, load.length_ms)


def _is_edge(local_ms: int, interval_s: int) -> bool:
    return local_ms % (interval_s * 1000) == 0
