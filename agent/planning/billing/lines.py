"""What stands on a bill: lines, and how they are merged and subtracted."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any, TypeVar

from agent.contract.tariff.model import Rounding

DAYS = "d"
K = TypeVar("K")


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a bill.

    Attributes:
        charge: which charge of the tariff it belongs to: by that name fees find it.
        period: what it is called: of the plain charges the period, else `charge` or `charge.part`.
        quantity: what is billed, in `unit`; negative of energy fed in.
        unit: kWh (or what the meter is billed in), kW, kVA, d (days), month, year, or the currency for percentages.
        price: for one unit; None where each step has its own.
        amount: rounded.
        share: of the billing month, where a charge by the month was in force for part of it.
    """

    charge: str
    period: str
    quantity: Decimal
    unit: str
    price: Decimal | None
    amount: Decimal
    share: Fraction = Fraction(1)

    @property
    def energy_wh(self) -> int:
        """Whole watt-hours; 0 where the line is not of energy."""
        return int(self.quantity * 1000) if self.unit == "kWh" else 0

    @property
    def days(self) -> Decimal:
        """Local days, to 4 decimals; 0 where the line is not of days."""
        return self.quantity if self.unit == DAYS else Decimal(0)

    def to_json(self) -> dict[str, Any]:
        """The form in a row of the `costs` stream."""
        quantity: dict[str, Any] = {"quantity": str(self.quantity), "unit": self.unit}
        if self.unit == "kWh":
            quantity = {"energy_wh": self.energy_wh}
        elif self.unit == DAYS:
            quantity = {"days": str(self.quantity)}
        share = {} if self.share == 1 else {"share": str(self.share)}
        price = None if self.price is None else f"{self.price:f}"
        return {"period": self.period, **quantity, "price": price, **share, "amount": str(self.amount)}


def total(lines: Iterable[Line], rounding: Rounding) -> Decimal:
    """Return the sum of the amounts, with the decimals of the rounding."""
    return sum((line.amount for line in lines), rounding(Fraction(0)))


def merged(lines: Iterable[Line]) -> tuple[Line, ...]:
    """Add up lines that differ in quantity and amount only; the order is that of the first of each."""
    found: dict[tuple[object, ...], Line] = {}
    for line in lines:
        key = _key(line)
        if (before := found.get(key)) is not None:
            line = dataclasses.replace(  # noqa: PLW2901 - the sum takes the place of its part
                line, quantity=before.quantity + line.quantity, amount=before.amount + line.amount
            )
        found[key] = line
    return tuple(found.values())


def without(lines: Iterable[Line], before: Iterable[Line]) -> tuple[Line, ...]:
    """Take `before` away from lines; what was there before alone stays as its negative."""
    return merged(
        (*lines, *(dataclasses.replace(line, quantity=-line.quantity, amount=-line.amount) for line in before))
    )


def whole(exact: Mapping[K, Fraction]) -> dict[K, int]:
    """Round to whole numbers that add up to the rounded sum: by largest remainder, the first of equals first."""
    floors = {name: value.__floor__() for name, value in exact.items()}
    left = round(sum(exact.values(), Fraction(0))) - sum(floors.values())
    by_remainder = sorted(exact, key=lambda name: floors[name] - exact[name])
    for name in by_remainder[:left]:
        floors[name] += 1
    return floors


def shown(value: Fraction, decimals: int = 4) -> Decimal:
    """Return a quantity as people read it; amounts are computed from the exact one."""
    return Decimal(round(value * 10**decimals)).scaleb(-decimals)


def _key(line: Line) -> tuple[object, ...]:
    return line.charge, line.period, line.unit, line.price, line.share
