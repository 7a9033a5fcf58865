"""What energy has emitted, and will: exact lines from slots and from forecasts, as a bill has them. Pure.

Rounding, stated once: energy x factor is gathered exactly for each entry of the file; a line's quantity is a whole
number of thousandths of its unit (largest remainders, so that the lines of a ledger add up), its emission is rounded
half-even to 0.001 kg, a total is the sum of its lines. So splitting a slot changes nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np

from agent.contract.errors import ConfigError, UnavailableError
from agent.contract.series import DECIMALS
from agent.contract.slots import Slot
from agent.planning.billing.grid import grouped
from agent.planning.billing.lines import whole
from agent.planning.billing.loads import FORECAST, KNOWN, MISSING, Ahead, Load, make_load
from agent.planning.carbon.factors import ELECTRICITY, Factors, Ledger

UNFACTORED = "no-factor"
_QUARTER_MS = 900_000  # no zone has changed its clocks within one
_EXACT = 1000 * 10**DECIMALS  # thousandths of a unit x 10^-8 kg a unit, in one kg


@dataclass(frozen=True, slots=True)
class Line:
    """One line of an account of emissions.

    Attributes:
        ledger: where it is booked.
        carrier: what was used.
        name: of the entry of the file, or `no-factor`, whose emission is 0 and whose range is in the total's.
        quantity: in `unit`, to 0.001; never below 0: what is exported emits nothing here and is not taken off.
        kg_per_unit: of the entry; for a series the mean as used, to 10^-8.
        kg: CO2e, rounded half-even to 0.001.
    """

    ledger: Ledger
    carrier: str
    name: str
    quantity: Decimal
    unit: str
    kg_per_unit: Decimal
    kg: Decimal

    def to_json(self) -> dict[str, Any]:
        """The form in a row of the `costs` stream."""
        return {
            "ledger": str(self.ledger),
            "carrier": self.carrier,
            "factor": self.name,
            "quantity": str(self.quantity),
            "unit": self.unit,
            "kg_per_unit": format(self.kg_per_unit, "f"),
            "kg": str(self.kg),
        }


@dataclass(frozen=True, slots=True)
class Amount:
    """An emission in kg CO2e and what it is at least and at most; all alike where nothing is missing or ahead."""

    kg: Decimal
    low: Decimal
    high: Decimal

    def __add__(self, other: Amount) -> Amount:
        return Amount(self.kg + other.kg, self.low + other.low, self.high + other.high)


NOTHING = Amount(Decimal("0.000"), Decimal("0.000"), Decimal("0.000"))


@dataclass(frozen=True, slots=True)
class Emissions:
    """The emissions of [start_ms, end_ms).

    Attributes:
        lines: by carrier and ledger, in the order of the file.
        ledgers: the total of each ledger of which the file has a factor.
        known_slots, forecast_slots, missing_slots: of all carriers.
    """

    start_ms: int
    end_ms: int
    lines: tuple[Line, ...]
    ledgers: Mapping[Ledger, Amount]
    known_slots: int
    forecast_slots: int
    missing_slots: int

    @property
    def total(self) -> Amount:
        """Scope 1 and location-based scope 2: what stands beside a cost."""
        return self.ledgers.get(Ledger.SCOPE_1, NOTHING) + self.ledgers.get(Ledger.LOCATION, NOTHING)

    @property
    def market_total(self) -> Amount | None:
        """Scope 1 and market-based scope 2; None without a factor for that."""
        market = self.ledgers.get(Ledger.MARKET)
        return None if market is None else self.ledgers.get(Ledger.SCOPE_1, NOTHING) + market

    def to_json(self) -> dict[str, Any]:
        """The fields of a row of the `costs` stream, in kg as decimal text; by market only where that is known."""
        total, market = self.total, self.market_total
        by_market = {} if market is None else {"kg_co2e_market": str(market.kg)}
        return {
            "kg_co2e": str(total.kg),
            "kg_co2e_low": str(total.low),
            "kg_co2e_high": str(total.high),
            **by_market,
            "emissions": [line.to_json() for line in self.lines],
        }


def emissions(
    factors: Factors,
    loads: Mapping[str, Iterable[Slot]],
    *,
    span_ms: tuple[int, int],
    forecast: Ahead | None = None,
    power_range_kw: tuple[float, float] | None = None,
) -> Emissions:
    """Account for the emissions of a span.

    A slot that is neither measured nor forecast is missing: it adds nothing to the lines, and the range holds it from
    nothing to the highest that was seen. Energy at a time without a factor stands in a line of 0, and the range holds
    it up to the greatest factor of its ledger.

    Args:
        factors: of the carriers; a carrier without one is left out.
        loads: slots by carrier, in thousandths of its unit (Wh for kWh); of two with one start the later counts.
        span_ms: [start, end); a slot that crosses an end counts in proportion to time.
        forecast: for slots of electricity that were not measured; its range is comonotonic.
        power_range_kw: of missing slots of electricity; by default of the given slots.

    Raises:
        ConfigError: when the span is empty, or the slots of a carrier differ in length or lie off their grid.
        UnavailableError: when slots are missing and nothing tells what they may have been.
    """
    if span_ms[1] <= span_ms[0]:
        raise ConfigError(f"the span {span_ms[0]}..{span_ms[1]} is empty", where="carbon")
    lines: list[Line] = []
    ledgers: dict[Ledger, Amount] = {}
    counts = [0, 0, 0]
    for carrier, unit in factors.carriers.items():
        is_main = carrier == ELECTRICITY
        ahead = forecast if is_main else None
        slots = list(loads.get(carrier, ()))
        if not slots and ahead is None:
            continue
        range_kw = power_range_kw if is_main else None
        load, _ = make_load(slots, span_ms=span_ms, forecast=ahead, power_range_kw=range_kw)
        states = np.bincount(load.states(*span_ms), minlength=3)
        counts = [count + int(states[state]) for count, state in zip(counts, (KNOWN, FORECAST, MISSING), strict=True)]
        for ledger in Ledger:
            if factors.of(carrier, ledger):
                account = _Account(factors, carrier, ledger, unit)
                account.add(load, span_ms)
                lines += account.lines()
                ledgers[ledger] = ledgers.get(ledger, NOTHING) + account.amount()
    if not ledgers:
        raise UnavailableError(
            f"{factors.name} has no factor of what is measured here", where="carbon", todo="Add one to [carbon] file"
        )
    return Emissions(*span_ms, tuple(lines), ledgers, *counts)


class _Account:
    """One carrier in one ledger: exact sums for each entry: least, likely, most, in thousandths of a unit."""

    def __init__(self, factors: Factors, carrier: str, ledger: Ledger, unit: str) -> None:
        self._factors = factors
        self._entries = factors.of(carrier, ledger)
        self._carrier, self._ledger, self._unit = carrier, ledger, unit
        self._cells = 1  # in a slot
        names = range(-1, len(self._entries))
        self._energy = {place: [0, 0, 0] for place in names}
        self._product = {place: [0, 0, 0] for place in names}

    def add(self, load: Load, span_ms: tuple[int, int]) -> None:
        """Gather slots, cut into cells so fine that each has one factor."""
        cell_ms = math.gcd(_QUARTER_MS, load.length_ms, *span_ms, *self._factors.series_ms)
        if cell_ms % 1000:
            raise ConfigError(f"the span {span_ms[0]}..{span_ms[1]} has no whole seconds", where="carbon")
        self._cells = load.length_ms // cell_ms
        starts_ms = np.arange(*span_ms, cell_ms, dtype=np.int64)
        places, steps = self._factors.at(self._carrier, self._ledger, span_ms[0], cell_ms // 1000, len(starts_ms))
        energies = np.maximum(load.energy[:, (starts_ms - load.start_ms) // load.length_ms], 0)
        for variant, energy in enumerate(energies):
            for sums, weight in ((self._energy, np.ones_like(steps)), (self._product, steps)):
                found = grouped(energy, weight, places + 1, len(sums))
                for place, sum_ in enumerate(found, start=-1):
                    sums[place][variant] += sum_

    def lines(self) -> Iterator[Line]:
        """Yield a line for each entry that was used, and for what has no factor."""
        quantities = whole({place: Fraction(energy[1], self._cells) for place, energy in self._energy.items()})
        for place, entry in (*enumerate(self._entries), (-1, None)):
            if not self._energy[place][2]:
                continue
            product, energy = self._product[place][1], self._energy[place][1]
            mean = Fraction(product, energy) if energy else Fraction(0 if entry is None else entry.steps)
            yield Line(
                self._ledger,
                self._carrier,
                UNFACTORED if entry is None else entry.name,
                Decimal(quantities[place]).scaleb(-3),
                self._unit,
                Decimal(round(mean)).scaleb(-DECIMALS).normalize(),
                self._kg(product),
            )

    def amount(self) -> Amount:
        """The total of the ledger with its range."""
        low, middle, high = (
            sum((self._kg(product[variant]) for product in self._product.values()), Decimal("0.000"))
            for variant in range(3)
        )
        limits = self._factors.limits(self._carrier, self._ledger)
        if limits is not None:
            high += self._kg(self._energy[-1][2] * limits[1])
        return Amount(middle, low, high)

    def _kg(self, product: int) -> Decimal:
        exact = Fraction(product, self._cells * _EXACT)
        return Decimal(round(exact * 1000)).scaleb(-3)  # `round` of a Fraction is exact and half-even
