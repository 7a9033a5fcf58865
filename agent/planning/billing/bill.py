"""What energy costs: exact bills from slots and from forecasts.

Decides what is one bill; its lines are `settle`'s; which span is billed when is `costs`' decision. Pure functions.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np

from agent.contract.slots import Slot
from agent.contract.tariff.model import MAIN, Tiered
from agent.contract.tariff.series import PriceSeries
from agent.contract.tariff.tariff import Tariff
from agent.planning.billing.forward import Forward
from agent.planning.billing.grid import Grid, cell_ms
from agent.planning.billing.lines import Line, merged, total, without
from agent.planning.billing.loads import FORECAST, HIGH, KNOWN, LOW, MIDDLE, MISSING, Ahead, Load, make_load
from agent.planning.billing.part import Books, Part, split
from agent.planning.billing.settle import settle

Totals = tuple[Decimal, ...]
_VARIANTS = ((MIDDLE, 0), (LOW, -1), (LOW, 1), (HIGH, -1), (HIGH, 1))  # which energies, which way doubts go


@dataclass(frozen=True, slots=True)
class Invoice:
    """One billing month, or the part of it in which one version of the tariff held: its lines are exact.

    Attributes:
        label: of the month in which the billing month begins, such as `2026-03`.
        energy_wh: net of the main meter.
        totals: sum of the lines as billed, then as they may be (see `Bill.low`); all alike where nothing is open.
    """

    label: str
    start_ms: int
    end_ms: int
    lines: tuple[Line, ...]
    energy_wh: int
    totals: Totals

    @property
    def total(self) -> Decimal:
        """Sum of the lines."""
        return self.totals[0]

    @property
    def low(self) -> Decimal:
        """See `Bill.low`."""
        return min(self.totals)

    @property
    def high(self) -> Decimal:
        """See `Bill.high`."""
        return max(self.totals)

    def to_json(self) -> dict[str, Any]:
        """The form in an answer of a command; money is text."""
        return {
            "month": self.label,
            "start_ms": self.start_ms,
            "end_ms": self.end_ms,
            "energy_wh": self.energy_wh,
            "lines": [line.to_json() for line in self.lines],
            **_amounts(self),
        }


@dataclass(frozen=True, slots=True)
class Bill:
    """The cost of [start_ms, end_ms).

    Attributes:
        invoices: by billing month and version of the tariff, in order; their totals add up to the bill's.
        lines: of all invoices, alike ones added up; for the known slots and the median of the forecast.
        energy_wh: net energy of the main meter.
        known_slots, forecast_slots, missing_slots: of the main meter; how many each it rests on.
        notes: what a reader must know: what is not known and why there is a range.
    """

    start_ms: int
    end_ms: int
    currency: str
    invoices: tuple[Invoice, ...]
    lines: tuple[Line, ...]
    energy_wh: int
    totals: Totals
    known_slots: int
    forecast_slots: int
    missing_slots: int
    notes: tuple[str, ...] = ()

    @property
    def total(self) -> Decimal:
        """Sum of the lines."""
        return self.totals[0]

    @property
    def low(self) -> Decimal:
        """What the total is at least, given what is missing and the forecast's outer quantiles."""
        return min(self.totals)  # with a negative price more energy costs less

    @property
    def high(self) -> Decimal:
        """What the total is at most; equal to `total` and `low` where nothing is missing, in doubt or ahead."""
        return max(self.totals)

    def to_json(self) -> dict[str, Any]:
        """The form in an answer of a command; money is text."""
        return {
            "start_ms": self.start_ms,
            "end_ms": self.end_ms,
            "currency": self.currency,
            "energy_wh": self.energy_wh,
            "lines": [line.to_json() for line in self.lines],
            **_amounts(self),
            "invoices": [invoice.to_json() for invoice in self.invoices],
            "known_slots": self.known_slots,
            "forecast_slots": self.forecast_slots,
            "missing_slots": self.missing_slots,
            "notes": list(self.notes),
        }

    def after(self, before: Bill) -> Bill:
        """Return what this bill adds to one of an earlier part of its span: line by line, and in its range."""
        return dataclasses.replace(
            self,
            start_ms=before.end_ms,
            invoices=(),
            lines=without(self.lines, before.lines),
            energy_wh=self.energy_wh - before.energy_wh,
            totals=tuple(one - other for one, other in zip(self.totals, before.totals, strict=True)),
            known_slots=self.known_slots - before.known_slots,
            forecast_slots=self.forecast_slots - before.forecast_slots,
            missing_slots=self.missing_slots - before.missing_slots,
        )


def _amounts(found: Invoice | Bill) -> dict[str, str]:
    return {"amount": str(found.total), "low": str(found.low), "high": str(found.high)}


def bill(
    tariff: Tariff,
    slots: Iterable[Slot],
    *,
    span_ms: tuple[int, int] | None = None,
    forecast: Ahead | None = None,
    power_range_kw: tuple[float, float] | None = None,
    meters: Mapping[str, Iterable[Slot]] | None = None,
    forward: Forward | None = None,
    series: Mapping[str, PriceSeries] | None = None,
    partial: bool = False,
) -> Bill:
    """Bill a span from what was measured and, where given, from a forecast of the rest.

    A slot that is neither measured nor forecast is missing: it adds nothing to the lines, and the range says what it
    may have cost, from an idle plant (or its greatest export) to the highest mean power seen. The forecast's range is
    comonotonic: every slot low, or high, together, and the other way round in lines of which more costs less; errors of
    real slots partly cancel.

    Args:
        tariff: prices.
        slots: of the main meter; see `loads.make_load`. Those before the span tell earlier demand (ratchets, the
            year's highest), and cost nothing.
        span_ms: [start, end) to bill; by default from the first slot to the end of the last, or the forecast's span
            where there are no slots. A slot that crosses an end of the span counts in proportion to time.
        forecast: for slots of the span that were not measured.
        power_range_kw: lowest and highest mean power that missing slots may have had; by default of the given slots.
        meters: slots of the tariff's other meters by name, in thousandths of their unit.
        forward: what months before the first slot still count for; see `earlier`.
        series: prices of dynamic charges by the name of their file, instead of the file.
        partial: leave out charges of meters without slots and say so in `notes`, instead of refusing.

    Raises:
        ConfigError: when slots (or slots and forecast) differ in length or lie off their grid, the span is empty, the
            tariff has no prices for it, or bills a meter without slots.
        UnavailableError: when slots or prices are missing and there is nothing from which to tell what they may be.
    """
    main, span = make_load(
        slots, span_ms=span_ms, forecast=forecast, power_range_kw=power_range_kw, since_ms=since_ms(tariff, span_ms)
    )
    loads = {MAIN: main}
    for name, others in (meters or {}).items():
        loads[name], _ = make_load(others, span_ms=span)
    books = Books(tariff, loads, forward or Forward(), series or {}, partial)
    invoices = tuple(_invoices(books, *span))
    states = np.bincount(main.states(*span), minlength=3)
    return Bill(
        start_ms=span[0],
        end_ms=span[1],
        currency=tariff.currency,
        invoices=invoices,
        lines=merged(line for invoice in invoices for line in invoice.lines),
        energy_wh=sum(invoice.energy_wh for invoice in invoices),
        totals=tuple(sum(column, Decimal(0)) for column in zip(*(one.totals for one in invoices), strict=True)),
        known_slots=int(states[KNOWN]),
        forecast_slots=int(states[FORECAST]),
        missing_slots=int(states[MISSING]),
        notes=tuple(books.notes),
    )


def _invoices(books: Books, start_ms: int, end_ms: int) -> Iterable[Invoice]:
    tariff, main = books.tariff, books.loads[MAIN]
    for month, version, first, end in split(tariff, start_ms, end_ms):
        span = max(start_ms, tariff.date_bounds_ms(first)[0]), min(end_ms, tariff.date_bounds_ms(end)[0])
        grid = Grid(tariff.zone_name, *span, cell_ms(tariff, version, books.loads.values()))
        middle, *others = (Part(books, version, month, first, end, grid, row, doubt) for row, doubt in _VARIANTS)
        doubts = books.doubts
        lines = settle(middle)
        totals = [total(lines, version.rounding)]
        if books.doubts > doubts or any((load.states(*span) != KNOWN).any() for load in books.loads.values()):
            totals += [total(settle(part), version.rounding) for part in others]
        else:
            totals *= len(_VARIANTS)
        yield Invoice(month.label, *span, lines, _net_wh(grid, main), tuple(totals))


def _net_wh(grid: Grid, main: Load) -> int:
    """Imports and exports each rounded, as their lines are."""
    everywhere = np.zeros(len(grid.starts_ms), dtype=np.int64)
    both = (grid.sums(grid.of(main, MIDDLE, export=export), main, everywhere, 1)[0] for export in (False, True))
    return sum(round(exact) for exact in both)


def since_ms(tariff: Tariff, span_ms: tuple[int, int] | None) -> int:
    """Return from when on slots matter to a bill of a span: ratchets and the year look back."""
    if span_ms is None:
        return 0
    demands = [demand for version in tariff.versions for demand in version.demands]
    back = max((demand.ratchet.months for demand in demands if demand.ratchet is not None), default=0)
    month = tariff.month_at(span_ms[0])
    first_ms = tariff.months_before(month, back)[0].start_ms if back else span_ms[0]
    tiers = [energy.pricing for version in tariff.versions for energy in version.by_unit]
    by_year = any(isinstance(pricing, Tiered) and pricing.per == "year" for pricing in tiers)
    if by_year or any(demand.per == "year" for demand in demands):
        first_ms = min(first_ms, tariff.year_start(month).start_ms)
    return first_ms
