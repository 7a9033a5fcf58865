"""The lines of one part of a bill: energy, time, power factor, taxes and fees. Demand is `demand`'s.

Rounding, stated once: energy is gathered exactly; a line's energy is then a whole number of Wh (largest remainders, so
that the lines of a charge add up to its energy); a line's amount is its quantity x price, rounded as the tariff says;
a percentage is taken of rounded amounts, and rounded; the total is the sum of the lines.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from decimal import ROUND_HALF_UP, Decimal, localcontext
from fractions import Fraction

import numpy as np

from agent.contract.errors import UnavailableError
from agent.contract.series import DECIMALS
from agent.contract.tariff.model import ENERGY, POWER_FACTOR, Dynamic, Energy, Fixed, Flat, PowerFactor, Tiered, Timed
from agent.contract.zones import year_days
from agent.planning.billing.demand import demand_lines
from agent.planning.billing.lines import DAYS, Line, shown, whole
from agent.planning.billing.loads import HIGH, LOW, MIDDLE
from agent.planning.billing.part import Part, is_missing

UNPRICED = "unpriced"
_KILO = 1000


def settle(part: Part) -> tuple[Line, ...]:
    """Return the lines of a part in the order of a bill.

    Raises:
        ConfigError: when slots of a meter that the tariff bills were not given.
        UnavailableError: when no price of a dynamic charge is known.
    """
    version = part.version
    lines: list[Line] = []
    for energy in version.energies:
        lines += _energy_lines(part, energy)
    for fixed in version.fixed:
        lines += _fixed_lines(part, fixed)
    for demand in version.demands:
        lines += demand_lines(part, demand)
    if version.power_factor is not None and not part.leaves_out(POWER_FACTOR, version.power_factor.meter):
        lines.append(_power_factor_line(part, version.power_factor, lines))
    for fee in version.fees:
        if fee.energy is not None:
            lines += _energy_lines(part, fee.energy)
        else:
            lines.append(_percent_line(part, fee.name, fee.percent, _base(lines, fee.of)))
    return tuple(lines)


def _energy_lines(part: Part, energy: Energy) -> Iterator[Line]:
    if part.leaves_out(energy.name, energy.meter):
        return
    if energy.free is not None and part.leaves_out(energy.name, energy.free.of):
        return
    load = part.load(energy.meter)
    meter, grid = part.version.meter(energy.meter), part.grid
    if energy.export and not grid.of(load, part.row, export=True).any():
        return
    heat = meter.heat
    in_force = grid.days(part.version.calendar, energy.when)
    if not in_force.any():
        return
    pricing = energy.pricing
    if isinstance(pricing, Dynamic):
        yield from _dynamic_lines(part, energy, pricing, heat)
        return
    if isinstance(pricing, Timed):
        names, groups = pricing.periods.names, grid.periods(pricing.periods)
        # Energy of the plain charge is told by its period alone.
        prefix = "" if energy.name == ENERGY else f"{energy.name}."
        falls = np.array([pricing.prices[name] < 0 for name in names])[groups]
        counted = part.counted(load, falls, export=energy.export)
        exact = grid.sums(counted, load, np.where(in_force, groups, -1), len(names))
        priced = [
            (f"{prefix}{name}", sum_ * heat, pricing.prices[name]) for name, sum_ in zip(names, exact, strict=True)
        ]
    else:
        is_credit = isinstance(pricing, Flat) and pricing.price < 0
        counted = part.counted(load, is_credit, export=energy.export)
        (sum_,) = grid.sums(counted, load, np.where(in_force, 0, -1), 1)
        if energy.free is not None:
            free = part.taken(energy.free.of, part.row if is_credit else part.other_row)
            sum_ = max(Fraction(0), sum_ - Fraction(energy.free.share) * free / heat)
        if isinstance(pricing, Tiered):
            priced = list(_tiers(part, energy, pricing, sum_ * heat, heat))
        else:
            priced = [(energy.name, sum_ * heat, pricing.price)]
    thousandths = whole({name: exact for name, exact, _ in priced})
    for name, _, price in priced:
        quantity = Fraction(thousandths[name], _KILO)
        yield Line(
            energy.name,
            name,
            shown(quantity, 3),
            meter.billed_unit,
            price,
            part.version.rounding(quantity * Fraction(price)),
        )


def _tiers(
    part: Part, energy: Energy, pricing: Tiered, thousandths: Fraction, heat: Fraction
) -> Iterator[tuple[str, Fraction, Decimal]]:
    """Fill the tiers one after the other; where the charge is in force for part of the month they are smaller."""
    sign = -1 if thousandths < 0 else 1
    left = abs(thousandths)
    share, before = part.share(energy.when), Fraction(0)
    only: Decimal | None = None  # price of the only tier, where it cannot be told which
    if pricing.per == "year":
        share, (so_far, is_sure) = Fraction(1), part.year_so_far(energy, pricing)
        before = so_far * heat
        if not is_sure:
            part.note(f"{energy.name}: not all of the year so far is known, nor which tier its energy falls in")
            prices = [tier.price for tier in pricing.tiers]
            only = None if not part.doubt else min(prices) if part.doubt < 0 else max(prices)
    for number, tier in enumerate(pricing.tiers, start=1):
        if only is not None and tier.price != only:
            continue
        top = None if tier.up_to is None or only is not None else Fraction(tier.up_to) * share * _KILO
        room = left if top is None else min(left, max(top - before, Fraction(0)))
        yield f"{energy.name}.tier-{number}", sign * room, tier.price
        before, left = before + room, left - room


def _dynamic_lines(part: Part, energy: Energy, pricing: Dynamic, heat: Fraction) -> Iterator[Line]:
    """Yield the energy at the prices of a series, and that of which the price is missing."""
    load, grid, rounding = part.load(energy.meter), part.grid, part.version.rounding
    series = part.books.series.get(pricing.series.name) or pricing.series.latest()
    prices, known = series.at(grid.starts_ms)
    in_force = grid.days(part.version.calendar, energy.when)
    known |= ~in_force
    distinct = sorted(set(prices.tolist()))
    groups = np.searchsorted(np.array(distinct, dtype=np.int64), prices)
    unit = part.version.meter(energy.meter).billed_unit
    factor = Fraction(pricing.scale) * (1 + Fraction(pricing.markup_percent) / 100)
    least = -Fraction(pricing.markup) * 10**DECIMALS  # where the market's part is below it more costs less
    falls = prices < math.ceil(least / factor) if factor else least > 0
    counted = np.where(in_force, part.counted(load, falls, export=energy.export), 0)
    sums = grid.sums(counted, load, np.where(known, groups, -1), len(distinct))
    opens = [
        grid.sums(grid.of(load, row, export=energy.export), load, np.where(known, -1, 0), 1)[0]
        for row in (part.row, part.other_row)
    ]
    open_sum = opens[0]
    priced = sum(sums, Fraction(0))
    at_market = sum((sum_ * price for sum_, price in zip(sums, distinct, strict=True)), Fraction(0))
    exact = (at_market * factor / 10**DECIMALS + priced * Fraction(pricing.markup)) * heat / _KILO
    thousandths = whole({energy.name: priced * heat, UNPRICED: open_sum * heat})
    yield Line(
        energy.name, energy.name, shown(Fraction(thousandths[energy.name], _KILO), 3), unit, None, rounding(exact)
    )
    if known.all():
        return
    amount = Fraction(0)
    limits = pricing.between
    if limits is None:
        if series.limits is None:
            raise UnavailableError(
                f"no price of {pricing.series.name} is known",
                where=energy.name,
                todo="Give prices, or missing_between in the tariff",
            )
        limits = series.limits[0] * pricing.scale, series.limits[1] * pricing.scale
    part.note(
        f"{energy.name}: {int((~known).sum()) * grid.cell_ms // 60_000} min have no price in {pricing.series.name}"
    )
    if part.doubt:
        markup = 1 + Fraction(pricing.markup_percent) / 100
        costs = [Fraction(limit) * markup + Fraction(pricing.markup) for limit in limits]
        amounts = [cost * one * heat / _KILO for cost in costs for one in opens]
        amount = min(amounts) if part.doubt < 0 else max(amounts)
    yield Line(
        energy.name,
        f"{energy.name}.{UNPRICED}",
        shown(Fraction(thousandths[UNPRICED], _KILO), 3),
        unit,
        None,
        rounding(amount),
    )


def _fixed_lines(part: Part, fixed: Fixed) -> Iterator[Line]:
    time = Fraction(0)
    for date, share in part.days(fixed.when):
        length = {"day": 1, "month": part.month.days, "year": year_days(date.year)}[fixed.per]
        time += share / length
    if not time:
        return
    unit = DAYS if fixed.per == "day" else fixed.per
    quantity = time * Fraction(fixed.quantity)
    yield Line(
        fixed.name,
        fixed.name,
        shown(quantity),
        f"{fixed.unit} {unit}" if fixed.unit else unit,
        fixed.price,
        part.version.rounding(Fraction(fixed.price) * quantity),
    )


def _power_factor_line(part: Part, rule: PowerFactor, lines: Sequence[Line]) -> Line:
    base, reactive_load = _base(lines, rule.of), part.books.loads.get(rule.reactive)
    if reactive_load is None:
        part.note(f"{POWER_FACTOR}: the reactive energy ({rule.reactive}) is not known")
        percents = [percent for _, percent in rule.table]
        middle = Decimal(0)
    else:
        rows = (LOW, MIDDLE, HIGH)
        actives = [part.taken(rule.meter, row) for row in (rows if part.doubt else (part.row,))]
        reactives = [part.taken(rule.reactive, row) for row in rows]
        percents = [_percent(rule, active, reactive) for active in actives for reactive in reactives]
        middle = percents[MIDDLE]
        if is_missing(reactive_load, part.start_ms, part.grid.end_ms):
            part.note(f"{POWER_FACTOR}: slots of {rule.reactive} are missing")
    if part.doubt:  # of a credit the least percent is the most
        middle = sorted(percents, key=lambda percent: percent * base)[0 if part.doubt < 0 else -1]
    return _percent_line(part, POWER_FACTOR, middle, base)


def _percent(rule: PowerFactor, active: Fraction, reactive: Fraction) -> Decimal:
    """Percent for a month's energies; 0 where nothing was used."""
    if not active and not reactive:
        return Decimal(0)
    with localcontext() as context:
        context.prec = 30
        squared = active * active / (active * active + reactive * reactive)
        factor = (Decimal(squared.numerator) / Decimal(squared.denominator)).sqrt()
        factor = (factor / rule.round_to).quantize(Decimal(1), ROUND_HALF_UP) * rule.round_to
    return next(percent for at_least, percent in rule.table if factor >= at_least)


def _percent_line(part: Part, name: str, percent: Decimal, base: Decimal) -> Line:
    rate = percent / 100
    amount = part.version.rounding(Fraction(base) * Fraction(rate))
    return Line(name, name, base, part.version.currency, rate, amount)


def _base(lines: Sequence[Line], of: frozenset[str] | None) -> Decimal:
    return sum((line.amount for line in lines if of is None or line.charge in of), Decimal(0))
