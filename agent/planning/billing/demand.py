"""Lines of demand charges: the highest interval of a month or a year, ratchets, contracts, and capacity instead."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from decimal import Decimal
from fractions import Fraction

from agent.contract.tariff.model import Demand, Rounding
from agent.contract.tariff.tariff import Month
from agent.contract.zones import to_local, year_days
from agent.planning.billing.grid import highest, looseness
from agent.planning.billing.lines import Line, shown
from agent.planning.billing.part import Part, possible_kw

EXCESS = "excess"


def demand_lines(part: Part, demand: Demand) -> Iterator[Line]:
    """Yield the line of a demand charge, and that of its excess."""
    share = part.share(demand.when)
    if not share or part.leaves_out(demand.name, demand.meter):
        return
    if demand.by_capacity:
        amount = part.version.rounding(Fraction(demand.price_per_kva) * Fraction(demand.capacity_kva) * share)
        yield Line(demand.name, demand.name, demand.capacity_kva, "kVA", demand.price_per_kva, amount, share)
        return
    measured = _measured(part, demand)
    if demand.per == "year":
        yield _yearly(part, demand, measured)
        return
    floor = max(Fraction(demand.least_kw), _ratchet(part, demand))
    billed, above = _split(demand, measured, floor)
    reduction = _reduction(part, demand)
    yield _line(part, demand, demand.name, billed, Fraction(demand.price_per_kw) * reduction, share)
    if above:
        assert demand.excess_price_per_kw is not None  # noqa: S101 - there is no excess without its price
        price = Fraction(demand.excess_price_per_kw) * reduction
        yield _line(part, demand, f"{demand.name}.{EXCESS}", above, price, share)


def _split(demand: Demand, measured: Fraction, floor: Fraction) -> tuple[Fraction, Fraction]:
    """Return what is billed at the price, and what at the excess price (kW).

    With an excess price the contract is billed at most, and what exceeds it within the tolerance costs nothing.
    """
    billed = max(measured - Fraction(demand.free_kw), floor, Fraction(0))
    if demand.contracted_kw is None or demand.excess_from_kw is None:
        return billed, Fraction(0)
    return min(billed, Fraction(demand.contracted_kw)), max(billed - Fraction(demand.excess_from_kw), Fraction(0))


def _measured(part: Part, demand: Demand) -> Fraction:
    """Return the highest demand of the part, rounded as the charge says (kW)."""
    load = part.load(demand.meter)
    counts = part.grid.holds(part.version.calendar, demand.when, part.version.periods)
    is_exact = looseness(part.grid, load, demand.interval_s) == 1
    if not is_exact:
        part.note(
            f"{demand.name}: slots of {load.length_ms // 60_000} min do not show the demand of "
            f"{demand.interval_s // 60} min, which may be higher"
        )
    kw, _ = highest(part.grid, load, part.row, demand.interval_s, counts, doubt=0 if is_exact else part.doubt)
    return _rounded(part, demand, kw * part.version.meter(demand.meter).heat)


def _rounded(part: Part, demand: Demand, kw: Fraction) -> Fraction:
    return Fraction(Rounding(demand.round_kw, part.version.rounding.half_up)(kw))


def _ratchet(part: Part, demand: Demand) -> Fraction:
    if demand.ratchet is None:
        return Fraction(0)
    months = part.books.tariff.months_before(part.month, demand.ratchet.months)
    return _before(part, demand, months, "ratchet") * Fraction(demand.ratchet.share)


def _before(part: Part, demand: Demand, months: list[Month], what: str, until_ms: int | None = None) -> Fraction:
    """Return the highest demand of earlier months, up to an instant; what is not known of them is in doubt."""
    best, all_sure = Fraction(0), True
    for month in months:
        end_ms = month.end_ms if until_ms is None else min(month.end_ms, until_ms)
        kw, sure = part.books.peak_of(part.version, demand, month, end_ms)
        best = max(best, _rounded(part, demand, kw))
        all_sure &= sure
    if not all_sure:
        part.note(f"{demand.name}: the {what} rests on months that are not wholly known; earlier_kw may tell them")
        if part.doubt > 0:
            best = max(best, _rounded(part, demand, possible_kw(part, demand)))
    return best


def _yearly(part: Part, demand: Demand, measured: Fraction) -> Line:
    """Return what the part adds to: the year's highest demand so far x the share of the year that is over."""
    tariff, books = part.books.tariff, part.books
    year_ms, start_ms = tariff.year_start(part.month).start_ms, part.start_ms
    months = [month for month in tariff.months(year_ms, start_ms) if books.reaches(part.version, demand, month)]
    before, passed = Fraction(0), Fraction(0)
    if months:
        before = _before(part, demand, months, "year's highest", start_ms)
        passed = _years(part, demand, books.known_from_ms(part.version, demand, months[0]), start_ms)
    added = _years(part, demand, start_ms, part.grid.end_ms)
    free = Fraction(demand.free_kw)
    quantity = max(before - free, measured - free, Fraction(0))
    owed = quantity * (passed + added) - max(before - free, Fraction(0)) * passed
    amount = part.version.rounding(Fraction(demand.price_per_kw) * owed)
    return Line(demand.name, demand.name, shown(quantity, 6).normalize() + 0, "kW", demand.price_per_kw, amount, added)


def _years(part: Part, demand: Demand, start_ms: int, end_ms: int) -> Fraction:
    """Return the share of the year that the days of a span are on which the charge is in force."""
    tariff, found = part.books.tariff, Fraction(0)
    date = to_local(start_ms, tariff.zone).date()
    while (bounds := tariff.date_bounds_ms(date))[0] < end_ms:
        if demand.when.in_force(part.version.calendar.day(date.toordinal())):
            share = Fraction(min(bounds[1], end_ms) - max(bounds[0], start_ms), bounds[1] - bounds[0])
            found += share / year_days(date.year)
        date += dt.timedelta(days=1)
    return found


def _reduction(part: Part, demand: Demand) -> Fraction:
    """Return the share of the price that is paid: less in a month in which the transformer was used well."""
    if demand.reduced is None:
        return Fraction(1)
    used = part.taken(demand.meter, part.other_row)
    wanted = Fraction(demand.reduced.from_kwh_per_kva) * Fraction(demand.capacity_kva) * part.share(demand.when)
    return Fraction(demand.reduced.share) if used / 1000 >= wanted else Fraction(1)


def _line(part: Part, demand: Demand, name: str, kw: Fraction, price: Fraction, share: Fraction) -> Line:
    amount = part.version.rounding(price * kw * share)
    exact = Decimal(price.numerator) / Decimal(price.denominator)
    return Line(demand.name, name, shown(kw, 6).normalize() + 0, "kW", exact, amount, share)
