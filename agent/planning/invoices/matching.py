"""Which of their lines is which of ours: by what they were told to be, else by name."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

from agent.contract.errors import ConfigError
from agent.planning.billing.lines import Line
from agent.planning.invoices.given import GivenLine, comes_to


@dataclass(frozen=True, slots=True)
class Side:
    """What one party says of a line, or of several that stand for one.

    Attributes:
        names: as they stand on the bill.
        quantity: None where it is not stated, or not in one unit.
        price: for one unit, of which a share of the month is a part; None where it is not stated and cannot be told.
    """

    names: tuple[str, ...]
    unit: str
    quantity: Fraction | None
    price: Fraction | None
    amount: Decimal


@dataclass(frozen=True, slots=True)
class Pair:
    """A line of ours, and what they bill for it; either may be None, not both.

    Attributes:
        name: ours, or theirs where we have none.
        charge: of the tariff; empty where we have no such line.
    """

    name: str
    charge: str
    theirs: Side | None
    ours: Side | None

    @property
    def difference(self) -> Decimal:
        """Their amount less ours."""
        theirs, ours = (Decimal(0) if side is None else side.amount for side in (self.theirs, self.ours))
        return theirs - ours


def match(theirs: Sequence[GivenLine], ours: Sequence[Line], told: Mapping[str, str]) -> list[Pair]:
    """Pair the lines of two bills: ours in their order, then what only they have.

    Of several lines of one name those with one price belong together, then those in one place; where their numbers
    differ they are compared as one.

    Args:
        theirs: lines of the utility.
        ours: lines of our bill.
        told: our line by their name; it goes before what a table says.

    Raises:
        ConfigError: when something was told that is on neither bill.
    """
    known = {line.period: line.period for line in ours}
    for line in ours:
        alone = sum(other.charge == line.charge for other in ours) == 1
        known |= {line.charge: line.period} if alone and line.charge not in known else {}
    if unused := set(told) - {line.name for line in theirs}:
        raise ConfigError(f"{min(unused)!r} is no line of theirs", where="--map", todo="Write the name as it stands")
    found: dict[str, list[GivenLine]] = {period: [] for period in known.values()}
    alien: list[Pair] = []
    for one in theirs:
        target = told.get(one.name) or one.ours
        if target and target not in known:
            raise ConfigError(
                f"{target!r} is no line of ours", where=one.place, todo=f"Ours are {', '.join(dict.fromkeys(known))}"
            )
        name = known.get(target or _plain(one.name))
        if name is None:
            alien.append(Pair(one.name, "", _their_side([one]), None))
        else:
            found[name].append(one)
    pairs: list[Pair] = []
    for period in dict.fromkeys(line.period for line in ours):
        pairs += _paired(period, found[period], [line for line in ours if line.period == period])
    return pairs + alien


def _paired(period: str, theirs: list[GivenLine], ours: list[Line]) -> Iterable[Pair]:
    charge = ours[0].charge
    if not theirs:
        return [Pair(period, charge, None, _our_side([line])) for line in ours]
    if len(theirs) != len(ours):
        return [Pair(period, charge, _their_side(theirs), _our_side(ours))]
    left = list(theirs)
    chosen: dict[int, GivenLine] = {}
    for place, line in enumerate(ours):
        if same := next((one for one in left if one.price is not None and one.price == line.price), None):
            chosen[place] = same
            left.remove(same)
    return [
        Pair(period, charge, _their_side([chosen[place] if place in chosen else left.pop(0)]), _our_side([line]))
        for place, line in enumerate(ours)
    ]


def _their_side(lines: Sequence[GivenLine]) -> Side:
    names, units = tuple(line.name for line in lines), {line.unit for line in lines}
    amount = sum((line.amount for line in lines), Decimal(0))
    quantities = [Fraction(line.quantity) for line in lines if line.quantity is not None]
    is_one = len(quantities) == len(lines) and len(units) == 1
    quantity = sum(quantities, Fraction(0)) if is_one else None
    price = None
    if len(lines) == 1 and lines[0].price is not None:
        price = Fraction(lines[0].price) * lines[0].share
    return _side(names, units.pop() if len(units) == 1 else "", quantity, price, amount)


def _our_side(lines: Sequence[Line]) -> Side:
    names, units = tuple(line.period for line in lines), {line.unit for line in lines}
    amount = sum((line.amount for line in lines), Decimal(0))
    quantity = sum((Fraction(line.quantity) for line in lines), Fraction(0)) if len(units) == 1 else None
    price = None
    if len(lines) == 1 and lines[0].price is not None:
        price = Fraction(lines[0].price) * lines[0].share
    return _side(names, units.pop() if len(units) == 1 else "", quantity, price, amount)


def _side(
    names: tuple[str, ...], unit: str, quantity: Fraction | None, price: Fraction | None, amount: Decimal
) -> Side:
    """Make a side; where quantity x price is not the amount, or no price is stated, it is what a unit came to."""
    if quantity and (price is None or not comes_to(quantity * price, amount)):
        price = Fraction(amount) / quantity
    return Side(names, unit, quantity, price, amount)


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]+", "-", name.casefold().strip())
