"""One part of a bill: a billing month, or the part of it in which one version of the tariff holds.

Decides which share of a month, of a day and of a year a part is, and what is known of the months before it.
"""

from __future__ import annotations

import datetime as dt
import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np

from agent.contract.errors import ConfigError
from agent.contract.tariff.calendar import When
from agent.contract.tariff.model import Demand, Energy, Tiered
from agent.contract.tariff.series import PriceSeries
from agent.contract.tariff.tariff import Month, Tariff
from agent.contract.tariff.version import Version
from agent.contract.zones import to_local
from agent.planning.billing.forward import Forward, Peak, Used
from agent.planning.billing.grid import Bools, Grid, Ints, cell_ms, highest, looseness, most_kw
from agent.planning.billing.loads import HIGH, KNOWN, LOW, MIDDLE, MISSING, Load


@dataclass(slots=True)
class Books:
    """What all parts of one bill share: tariff, meters, peaks of earlier months, and what is in doubt.

    Attributes:
        loads: by meter.
        forward: what months count for that the loads do not reach.
        series: prices by the file's name, instead of those in the files.
        partial: charges of meters without slots are left out, with a note.
        notes: what a reader of the bill must know, in words.
        doubts: how often something was noted.
    """

    tariff: Tariff
    loads: Mapping[str, Load]
    forward: Forward = field(default_factory=Forward)
    series: Mapping[str, PriceSeries] = field(default_factory=dict)
    partial: bool = False
    notes: dict[str, None] = field(default_factory=dict)
    doubts: int = 0
    _peaks: dict[tuple[int, str, str, int], tuple[Fraction, bool]] = field(default_factory=dict)

    def peak_of(self, version: Version, demand: Demand, month: Month, until_ms: int) -> tuple[Fraction, bool]:
        """Return the highest demand (kW) of a month up to an instant by a version's windows, and whether it is sure."""
        key = id(demand), month.label, version.name, until_ms
        if key not in self._peaks:
            self._peaks[key] = self._find_peak(version, demand, month, until_ms)
        return self._peaks[key]

    def reaches(self, version: Version, demand: Demand, month: Month) -> bool:
        """Whether anything is known of the demand of a month."""
        return self.known_from_ms(version, demand, month) < month.end_ms

    def known_from_ms(self, version: Version, demand: Demand, month: Month) -> int:
        """Return since when something is known of a month; its end, or later, where nothing is."""
        if month.label in dict(demand.earlier_kw):
            return month.start_ms
        forward, measured_ms = self._forward(version, demand, month), self.load(demand.meter).start_ms
        return max(month.start_ms, measured_ms if forward is None else min(measured_ms, forward.from_ms))

    def load(self, meter: str) -> Load:
        """Return the slots of a meter.

        Raises:
            ConfigError: when they were not given.
        """
        load = self.loads.get(meter)
        if load is None:
            raise ConfigError(
                f"no slots of meter {meter!r} were given, and the tariff bills it", where="bill", todo="Give its slots"
            )
        return load

    def _forward(self, version: Version, demand: Demand, month: Month) -> Peak | None:
        return self.forward.peaks.get((version.valid_from, demand.name), {}).get(month.label)

    def _find_peak(self, version: Version, demand: Demand, month: Month, until_ms: int) -> tuple[Fraction, bool]:
        told, forward = dict(demand.earlier_kw).get(month.label), self._forward(version, demand, month)
        peak, sure = Fraction(told or 0), told is not None
        if forward is not None:
            peak, sure = max(peak, forward.kw), sure or forward.is_sure
        load = self.load(demand.meter)
        start_ms, end_ms = max(month.start_ms, load.start_ms), min(until_ms, load.end_ms)
        if start_ms >= end_ms:
            return peak, sure
        grid = Grid(self.tariff.zone_name, start_ms, end_ms, cell_ms(self.tariff, version, (load,)))
        counts = grid.holds(version.calendar, demand.when, version.periods)
        kw, _ = highest(grid, load, MIDDLE, demand.interval_s, counts)
        states = load.states(start_ms, end_ms)
        all_known = start_ms == month.start_ms and bool((states == KNOWN).all())
        is_exact = looseness(grid, load, demand.interval_s) == 1
        return max(peak, kw * version.meter(demand.meter).heat), sure or (all_known and is_exact)


@dataclass(frozen=True, slots=True)
class Part:
    """[start_ms, end_ms) of a billing month under one version.

    Attributes:
        first, end: local days [first, end) of the month on which the version holds, whatever the span.
        row: which of a load's energies are billed: LOW, MIDDLE or HIGH.
        doubt: -1, 0 or 1: what cannot be told (a price, a factor, an earlier peak) is taken as the least, not at
            all, or the most that it may be.
    """

    books: Books
    version: Version
    month: Month
    first: dt.date
    end: dt.date
    grid: Grid
    row: int
    doubt: int

    def load(self, meter: str) -> Load:
        """Return the slots of a meter; see `Books.load`."""
        return self.books.load(meter)

    @property
    def start_ms(self) -> int:
        """Start of the part."""
        return self.grid.start_ms

    @property
    def other_row(self) -> int:
        """The row to take where more costs less, so that the part at its least, or at its most, is that in every line.

        With negative prices, and where what is used makes something else cheaper, all slots low is not the least.
        """
        bounds = {(LOW, -1): HIGH, (HIGH, 1): LOW}
        return bounds.get((self.row, self.doubt), self.row)

    def counted(self, load: Load, falls: Bools | bool, *, export: bool = False) -> Ints:
        """Return the energies to bill, [N] as from `Grid.of`; `falls` says in which cells more costs less."""
        energy = self.grid.of(load, self.row, export=export)
        if self.other_row == self.row or not np.any(falls):
            return energy
        return np.where(falls, self.grid.of(load, self.other_row, export=export), energy)

    def taken(self, meter: str, row: int | None = None) -> Fraction:
        """Return what a meter shows as taken in the part, in thousandths of the unit that it is billed in."""
        return _sum(self.grid, self.load(meter), self.row if row is None else row) * self.version.meter(meter).heat

    def year_so_far(self, energy: Energy, tiered: Tiered) -> tuple[Fraction, bool]:
        """Return what an energy charge counted in the calendar year before the part, and whether all is known.

        In thousandths of the meter's own unit.
        """
        tariff, load = self.books.tariff, self.load(energy.meter)
        year_ms, end_ms = tariff.year_start(self.month).start_ms, self.start_ms
        used = self.books.forward.used.get((self.version.valid_from, energy.name))
        if used is None or not year_ms < used.until_ms <= end_ms:
            begin_ms = max(year_ms, load.start_ms)
            used = Used(Fraction(0), 0, begin_ms, begin_ms)
        told = used.from_ms > year_ms and tiered.earlier is not None
        before = Fraction(tiered.earlier or 0) * 1000 if told else Fraction(0)
        limit = 0 if self.row == MIDDLE else load.limits[self.row == HIGH]
        missing = min(limit, 0) if energy.export else max(limit, 0)
        found = used.thousandths + Fraction(used.missing_ms * missing, load.length_ms)
        start_ms, is_whole = max(used.until_ms, load.start_ms), not used.missing_ms
        if start_ms < end_ms:
            grid = Grid(tariff.zone_name, start_ms, end_ms, cell_ms(tariff, self.version, (load,)))
            in_force = grid.days(self.version.calendar, energy.when)
            is_whole &= not (in_force & (grid.states(load) == MISSING)).any()
            groups = np.where(in_force, 0, -1).astype(np.int64)
            found += grid.sums(grid.of(load, self.row, export=energy.export), load, groups, 1)[0]
        if not is_whole:
            self.note(f"{energy.name}: slots of the year so far are missing")
        is_reached = (told or used.from_ms == year_ms) and start_ms <= used.until_ms
        return before + abs(found), is_reached or year_ms >= end_ms

    def note(self, text: str) -> None:
        """Say what is in doubt, or what a reader of the bill must know."""
        self.books.notes[text] = None
        self.books.doubts += 1

    def leaves_out(self, name: str, meter: str) -> bool:
        """Whether a charge is left out, because its meter has no slots and that was allowed."""
        if meter in self.books.loads or not self.books.partial:
            return False
        self.note(f"{name}: left out, there are no slots of meter {meter}")
        return True

    def share(self, when: When) -> Fraction:
        """Return the share of the month's days on which version and charge are in force."""
        calendar = self.version.calendar
        days = range(self.first.toordinal(), self.end.toordinal())
        return Fraction(sum(when.in_force(calendar.day(day)) for day in days), self.month.days)

    def days(self, when: When) -> Iterator[tuple[dt.date, Fraction]]:
        """Yield the local days of the part on which a charge is in force, and how much of each is in the part."""
        tariff, start_ms = self.books.tariff, self.start_ms
        date = max(self.first, to_local(start_ms, tariff.zone).date())
        while date < self.end:
            begin, end = tariff.date_bounds_ms(date)
            if begin >= self.grid.end_ms:
                return
            if when.in_force(self.version.calendar.day(date.toordinal())):
                yield date, Fraction(min(end, self.grid.end_ms) - max(begin, start_ms), end - begin)
            date += dt.timedelta(days=1)


def split(tariff: Tariff, start_ms: int, end_ms: int) -> Iterator[tuple[Month, Version, dt.date, dt.date]]:
    """Yield months and versions that [start_ms, end_ms) touches, with the days [first, end) of the month of each."""
    for month in tariff.months(start_ms, end_ms):
        changes = {version.valid_from for version in tariff.versions if version.valid_from is not None}
        marks = sorted({month.first, month.end, *(day for day in changes if month.first < day < month.end)})
        for first, end in itertools.pairwise(marks):
            if tariff.date_bounds_ms(first)[0] < end_ms and tariff.date_bounds_ms(end)[0] > start_ms:
                yield month, tariff.version_on(first), first, end


def is_missing(load: Load, start_ms: int, end_ms: int) -> bool:
    """Whether a slot of a span is missing."""
    return bool((load.states(start_ms, end_ms) == MISSING).any())


def _sum(grid: Grid, load: Load, row: int) -> Fraction:
    return grid.sums(grid.of(load, row), load, np.zeros(len(grid.starts_ms), dtype=np.int64), 1)[0]


def possible_kw(part: Part, demand: Demand) -> Fraction:
    """The most that a meter may have shown in months of which nothing is known: the highest power within any slot."""
    load = part.load(demand.meter)
    return (
        max(most_kw(load), part.books.forward.most_kw)
        * looseness(part.grid, load, demand.interval_s)
        * part.version.meter(demand.meter).heat
    )
