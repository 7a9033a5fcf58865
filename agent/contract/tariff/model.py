"""The parts of a tariff as values: when something holds, what is charged for it, and how money is rounded.

Decides what a tariff can say; how a file says it is `reader`'s, what it comes to is `agent.planning.billing`'s.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Literal, NamedTuple

from agent.contract.series import SeriesFile
from agent.contract.tariff.calendar import ALWAYS, TimeOfUse, When
from agent.contract.tariff.series import PriceSeries

MAIN = "main"
ENERGY, EXPORT, FIXED, POWER_FACTOR = "energy", "export", "fixed", "power-factor"  # charges that the file does not name
Per = Literal["day", "month", "year"]


@dataclass(frozen=True, slots=True)
class Rounding:
    """To multiples of `step`; a half goes to the even neighbour, or with `half_up` away from zero."""

    step: Decimal = Decimal("0.01")
    half_up: bool = False

    def __call__(self, value: Fraction) -> Decimal:
        """Round an exact value."""
        steps = value / Fraction(self.step)
        if not self.half_up:
            return Decimal(round(steps)) * self.step  # `round` of a Fraction is exact and half-even
        whole = (abs(steps) + Fraction(1, 2)).__floor__()
        return Decimal(whole if steps >= 0 else -whole) * self.step


CENTS = Rounding()


@dataclass(frozen=True, slots=True)
class Meter:
    """What is counted, and in what it is billed.

    Attributes:
        unit: of the meter; its slots hold thousandths of it (Wh for kWh, litres for m3).
        kwh_per_unit: heat value; where given, the meter is billed in kWh.
    """

    name: str
    carrier: str = "electricity"
    unit: str = "kWh"
    kwh_per_unit: Decimal | None = None

    @property
    def billed_unit(self) -> str:
        """The unit of prices."""
        return self.unit if self.kwh_per_unit is None else "kWh"

    @property
    def heat(self) -> Fraction:
        """How much is billed for one of its units."""
        return Fraction(1 if self.kwh_per_unit is None else self.kwh_per_unit)


@dataclass(frozen=True, slots=True)
class Flat:
    """One price."""

    price: Decimal


@dataclass(frozen=True, slots=True)
class Timed:
    """A price for each period of a calendar, by its name."""

    periods: TimeOfUse
    prices: dict[str, Decimal]


class Tier(NamedTuple):
    """Up to so many units of a billing month or a year (None: all the rest)."""

    up_to: Decimal | None
    price: Decimal


@dataclass(frozen=True, slots=True)
class Tiered:
    """Block rates, from the first unit of a billing month on, or of the calendar year.

    Attributes:
        earlier: units of the year before the first slot, where they are known.
    """

    tiers: tuple[Tier, ...]
    per: Literal["month", "year"] = "month"
    earlier: Decimal | None = None


@dataclass(frozen=True, slots=True)
class Dynamic:
    """A price of its own for each step of a series: price x scale x (1 + markup_percent / 100) + markup.

    Attributes:
        between: what a missing price may be, after `scale`; None: least and greatest of the series.
    """

    series: SeriesFile[PriceSeries]
    scale: Decimal = Decimal(1)
    markup: Decimal = Decimal(0)
    markup_percent: Decimal = Decimal(0)
    between: tuple[Decimal, Decimal] | None = None


class FreeShare(NamedTuple):
    """`share` of what the meter `of` shows."""

    of: str
    share: Decimal


Pricing = Flat | Timed | Tiered | Dynamic


@dataclass(frozen=True, slots=True)
class Energy:
    """A charge per unit of one meter; of `export` the price is what a unit brings.

    Attributes:
        when: the days on which it is in force (seasons and months only).
        free: what is not billed: so many units for each unit that a meter shows in the billing month.
    """

    name: str
    pricing: Pricing
    meter: str = MAIN
    export: bool = False
    when: When = ALWAYS
    free: FreeShare | None = None


@dataclass(frozen=True, slots=True)
class Fixed:
    """A charge for time, whatever is used: `quantity` x price for each day, month or year."""

    name: str
    price: Decimal
    per: Per
    quantity: Decimal = Decimal(1)
    unit: str = ""
    when: When = ALWAYS


class Ratchet(NamedTuple):
    """Billed is at least `share` of the highest demand of the last `months` billing months."""

    share: Decimal
    months: int


class Reduced(NamedTuple):
    """The price is `share` of itself in a month with so many kWh for each kVA or more."""

    from_kwh_per_kva: Decimal
    share: Decimal


@dataclass(frozen=True, slots=True)
class Demand:
    """A charge for the highest mean power of an interval.

    Attributes:
        interval_s: of the intervals, which follow the local clock.
        per: `month`: highest of the billing month; `year`: highest of the calendar year so far, at a price per year.
        when: where it counts; an interval belongs to where it begins.
        free_kw: what costs nothing.
        round_kw: step to which the measured demand is rounded.
        earlier_kw: highest demand of months before there were slots, by label such as `2025-11`.
        contracted_kw, minimum_share, excess_from_share, excess_price: see the schema; None where there is none.
        capacity_kva, price_per_kva: of the transformer.
        by_capacity: the capacity is billed, not the demand.
    """

    name: str
    price_per_kw: Decimal
    interval_s: int = 900
    per: Literal["month", "year"] = "month"
    meter: str = MAIN
    when: When = ALWAYS
    free_kw: Decimal = Decimal(0)
    round_kw: Decimal = Decimal("0.001")
    ratchet: Ratchet | None = None
    earlier_kw: tuple[tuple[str, Decimal], ...] = ()
    contracted_kw: Decimal | None = None
    minimum_share: Decimal = Decimal(0)
    excess_from_share: Decimal = Decimal(1)
    excess_price_per_kw: Decimal | None = None
    by_capacity: bool = False
    capacity_kva: Decimal = Decimal(0)
    price_per_kva: Decimal = Decimal(0)
    reduced: Reduced | None = None

    @property
    def least_kw(self) -> Decimal:
        """What is billed of the contracted demand however little is used."""
        return self.minimum_share * (self.contracted_kw or 0)

    @property
    def excess_from_kw(self) -> Decimal | None:
        """Above it the excess price holds; None where there is none."""
        if self.contracted_kw is None or self.excess_price_per_kw is None:
            return None
        return self.contracted_kw * self.excess_from_share


@dataclass(frozen=True, slots=True)
class PowerFactor:
    """Percent of the charges in `of` (None: of all), by the first row of `table` (at least, percent) it reaches."""

    of: frozenset[str] | None
    table: tuple[tuple[Decimal, Decimal], ...]
    reactive: str
    meter: str = MAIN
    round_to: Decimal = Decimal("0.01")


@dataclass(frozen=True, slots=True)
class Fee:
    """A tax or fee: `percent` of the charges in `of` (None: of all lines above), or an energy charge at its place."""

    name: str
    percent: Decimal = Decimal(0)
    of: frozenset[str] | None = None
    energy: Energy | None = None
