"""What one more kilowatt-hour costs at each step ahead, and one more kilowatt of demand: for whoever plans by it.

Decides how taxes and fees reach the marginal price; the bill itself is `bill`'s. Floats: nothing here is billed.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal

import numpy as np
from numpy.typing import NDArray

from agent.contract.series import DECIMALS
from agent.contract.tariff.model import MAIN, POWER_FACTOR, Demand, Dynamic, Energy, Tiered, Timed
from agent.contract.tariff.series import PriceSeries
from agent.contract.tariff.tariff import Month, Tariff
from agent.contract.tariff.version import Version
from agent.contract.zones import year_days
from agent.planning.billing.forward import Earlier
from agent.planning.billing.grid import Grid, cell_ms
from agent.planning.billing.part import split

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class DemandTerm:
    """One demand charge of one billing month.

    Attributes:
        name: of the charge, or `charge.excess` for what is paid on top above the contracted demand.
        label: of the billing month; the highest of another month is another's.
        per_kw: money for each kW of the highest interval mean, taxes and fees in it; of a charge by the year all that
            a kW comes to within the year.
        interval_s: of the mean.
        counts: [steps] steps that may set it.
        free_kw: up to here nothing more is paid: free, contracted, owed by a ratchet, or the year's highest so far.
    """

    name: str
    label: str
    per_kw: float
    interval_s: int
    counts: Bools
    free_kw: float


@dataclass(frozen=True, slots=True)
class Marginal:
    """Prices at the margin, [steps] each.

    Attributes:
        import_per_kwh, export_per_kwh: what a kWh taken costs, and one fed in brings, taxes and fees in it.
        guessed: steps of which a dynamic price is not known yet: it is that of the same time on the last day that has
            one, or the mean of the series.
        demand: of the main meter, by billing month.
    """

    import_per_kwh: Floats
    export_per_kwh: Floats
    guessed: Bools
    demand: tuple[DemandTerm, ...]


def marginal_prices(
    tariff: Tariff,
    start_ms: int,
    step_s: int,
    steps: int,
    *,
    taken_kwh: float = 0.0,
    used_kwh: Mapping[str, float] | None = None,
    power_factor_percent: float = 0.0,
    earlier: Earlier | None = None,
    series: Mapping[str, PriceSeries] | None = None,
) -> Marginal:
    """Return prices of the main meter at `steps` steps from `start_ms` on.

    Args:
        tariff: prices.
        start_ms: a whole number of steps from the epoch.
        step_s: length of a step; a price that changes within one is averaged.
        steps: how many, at least one.
        taken_kwh: so far in the billing month that holds the start: in which tier the next kWh falls.
        used_kwh: of charges with tiers by the year, what they counted in the months of that year before.
        power_factor_percent: what the power factor adds at present.
        earlier: highest demand (kW) of earlier months by charge and month, for ratchets and charges by the year.
        series: dynamic prices by the name of their file, instead of the file.

    Raises:
        ConfigError: when the tariff has no prices for the span.
    """
    end_ms = start_ms + steps * step_s * 1000
    taken, fed, guessed = np.zeros(steps), np.zeros(steps), np.zeros(steps, dtype=np.bool_)
    terms: list[DemandTerm] = []
    begun = tariff.month_at(start_ms)
    for month, version, first, end in split(tariff, start_ms, end_ms):
        span = max(start_ms, tariff.date_bounds_ms(first)[0]), min(end_ms, tariff.date_bounds_ms(end)[0])
        cell = int(np.gcd(cell_ms(tariff, version, ()), step_s * 1000))
        grid = Grid(tariff.zone_name, *span, cell)
        step_of = (grid.starts_ms - start_ms) // (step_s * 1000)
        passed_on = _passed_on(version, power_factor_percent / 100)
        for energy in _energies(version):
            counted_kwh = _counted_kwh(tariff, energy, begun, month, taken_kwh, used_kwh or {})
            prices, known = _prices(grid, energy, counted_kwh, series or {})
            prices *= passed_on[energy.name] * grid.days(version.calendar, energy.when)
            np.add.at(fed if energy.export else taken, step_of, prices * cell / (step_s * 1000))
            guessed[step_of[~known]] = True
        for demand in version.demands:
            if demand.meter == MAIN and not demand.by_capacity:
                counts = np.zeros(steps, dtype=np.bool_)
                counts[step_of[grid.holds(version.calendar, demand.when, version.periods)]] = True
                floor = _floor_kw(tariff, demand, month, earlier or {})
                share = _share(version, demand, month, first, end)
                terms += _terms(demand, month, share * passed_on[demand.name], counts, floor)
    return Marginal(taken, fed, guessed, tuple(terms))


def _energies(version: Version) -> Iterator[Energy]:
    for energy in (*version.energies, *(fee.energy for fee in version.fees)):
        if energy is not None and energy.meter == MAIN:
            yield energy


def _passed_on(version: Version, power_factor: float) -> dict[str, float]:
    """Return what each unit of money of a charge comes to with all percentages on it and on each other."""
    charges = [charge.name for kind in (version.energies, version.fixed, version.demands) for charge in kind]
    parts = {name: {name: 1.0} for name in charges}  # of each line, by the charge that it comes from

    def take(name: str, rate: float, of: frozenset[str] | None) -> None:
        taken: dict[str, float] = {}
        for line, shares in parts.items():
            for charge, share in shares.items() if of is None or line in of else ():
                taken[charge] = taken.get(charge, 0.0) + rate * share
        parts[name] = taken

    if version.power_factor is not None:
        take(POWER_FACTOR, power_factor, version.power_factor.of)
    for fee in version.fees:
        if fee.energy is not None:
            parts[fee.name] = {fee.name: 1.0}
        else:
            take(fee.name, float(fee.percent) / 100, fee.of)
    result: dict[str, float] = {}
    for shares in parts.values():
        for charge, share in shares.items():
            result[charge] = result.get(charge, 0.0) + share
    return result


def _counted_kwh(
    tariff: Tariff, energy: Energy, begun: Month, month: Month, taken_kwh: float, used_kwh: Mapping[str, float]
) -> float:
    """Return what a charge has counted when a month ahead begins, or goes on; `begun` is the month of the start."""
    if not isinstance(energy.pricing, Tiered) or energy.pricing.per == "month":
        return taken_kwh if month.start_ms == begun.start_ms else 0.0
    is_same = tariff.year_start(month).start_ms == tariff.year_start(begun).start_ms
    return used_kwh.get(energy.name, 0.0) + taken_kwh if is_same else 0.0


def _prices(grid: Grid, energy: Energy, taken_kwh: float, series: Mapping[str, PriceSeries]) -> tuple[Floats, Bools]:
    """Return the price of each cell, and whether it is known."""
    pricing, count = energy.pricing, len(grid.starts_ms)
    known = np.ones(count, dtype=np.bool_)
    if isinstance(pricing, Timed):
        by_period = np.array([float(pricing.prices[name]) for name in pricing.periods.names])
        return by_period[grid.periods(pricing.periods)], known
    if isinstance(pricing, Tiered):
        price = next(tier.price for tier in pricing.tiers if tier.up_to is None or taken_kwh < tier.up_to)
        return np.full(count, float(price)), known
    if isinstance(pricing, Dynamic):
        return _dynamic(grid, pricing, series.get(pricing.series.name) or pricing.series.latest())
    return np.full(count, float(pricing.price)), known


def _dynamic(grid: Grid, pricing: Dynamic, series: PriceSeries) -> tuple[Floats, Bools]:
    prices, known = series.likely(grid.starts_ms)
    market = prices / 10.0**DECIMALS * float(pricing.scale)
    if not len(series.prices) and pricing.between is not None:
        market += float(sum(pricing.between)) / 2
    return market * (1 + float(pricing.markup_percent) / 100) + float(pricing.markup), known


def _share(version: Version, demand: Demand, month: Month, first: dt.date, end: dt.date) -> float:
    """Return the share of the charge's month, or of its year, on whose days it is in force."""
    days, of = range(first.toordinal(), end.toordinal()), month.days
    if demand.per == "year":
        new_year, of = dt.date(first.year, 1, 1).toordinal(), year_days(first.year)
        days = range(new_year, new_year + of)
    return sum(demand.when.in_force(version.calendar.day(day)) for day in days) / of


def _floor_kw(tariff: Tariff, demand: Demand, month: Month, earlier: Earlier) -> float:
    """Return the demand that is paid for anyway."""
    told = dict(demand.earlier_kw) | dict(earlier.get(demand.name, {}))

    def highest(months: int) -> Decimal:
        labels = [one.label for one in tariff.months_before(month, months)]
        return max((told[label] for label in labels if label in told), default=Decimal(0))

    if demand.per == "year":
        return float(max(demand.free_kw, highest(month.first.month - 1)))
    floor = demand.least_kw
    if demand.ratchet is not None:
        floor = max(floor, demand.ratchet.share * highest(demand.ratchet.months))
    return float(floor + demand.free_kw)


def _terms(demand: Demand, month: Month, factor: float, counts: Bools, floor_kw: float) -> Iterator[DemandTerm]:
    """Yield what a kW costs from the floor on, and what it costs more above the contract."""
    if not counts.any():
        return
    price, contracted_kw = float(demand.price_per_kw) * factor, float(demand.contracted_kw or 0)
    has_excess = demand.excess_from_kw is not None and demand.excess_price_per_kw is not None
    if not has_excess or floor_kw < contracted_kw:
        yield DemandTerm(demand.name, month.label, price, demand.interval_s, counts, floor_kw)
    if demand.excess_from_kw is not None and demand.excess_price_per_kw is not None:
        # Where the contract is owed anyway, the ordinary price is never met.
        more = float(demand.excess_price_per_kw) * factor - (price if floor_kw < contracted_kw else 0.0)
        start_kw = float(demand.excess_from_kw + demand.free_kw)
        yield DemandTerm(f"{demand.name}.excess", month.label, more, demand.interval_s, counts, start_kw)
