"""What energy has emitted, and will: exact lines from slots and from forecasts, as a bill has them. Pure.

Rounding, stated once: energy x factor is gathered exactly for each entry of the file; a line's quantity is a whole
number of thousandths of its unit (largest remainders, so that the lines of a ledger add up), its emission is rounded
half-even to 0.001 kg, a total is the sum of its lines. So splitting a slot changes nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any

from agent.contract.errors import ConfigError, UnavailableError
from agent.contract.slots import MIN_COMPLETENESS, Slot
from agent.planning.billing.loads import Ahead
from agent.planning.carbon.factors import ELECTRICITY, Factors, Ledger
from agent.planning.carbon.series import DECIMALS

UNFACTORED = "no-factor"
_QUARTER_MS = 900_000  # no zone has changed its clocks within one
_EXACT = 1000 * 10**DECIMALS  # thousandths of a unit x 10^-8 kg a unit, in one kg
_Energies = tuple[int, int, int]  # least, likely, most; thousandths of a unit


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
        load = _Load(carrier, slots, ahead, power_range_kw if is_main else None)
        energies = list(load.energies(*span_ms, counts))
        for ledger in Ledger:
            if factors.of(carrier, ledger):
                account = _Account(factors, carrier, ledger, unit)
                account.add(energies, span_ms, load.length_ms)
                lines += account.lines()
                ledgers[ledger] = ledgers.get(ledger, NOTHING) + account.amount()
    if not ledgers:
        raise UnavailableError(
            f"{factors.name} has no factor of what is measured here", where="carbon", todo="Add one to [carbon] file"
        )
    return Emissions(*span_ms, tuple(lines), ledgers, *counts)


class _Load:
    """The slots of one carrier, measured and ahead."""

    def __init__(
        self, carrier: str, slots: Sequence[Slot], forecast: Ahead | None, power_range_kw: tuple[float, float] | None
    ) -> None:
        grids = {(slot.length_s * 1000, slot.start_ms % (slot.length_s * 1000)) for slot in slots}
        if forecast is not None:
            grids.add((forecast.slot_s * 1000, forecast.origin_ms % (forecast.slot_s * 1000)))
        if len(grids) > 1 or next(iter(grids))[1]:
            raise ConfigError(f"slots of {carrier} differ in length or lie off their grid", where="carbon")
        self.length_ms = next(iter(grids))[0]
        self._carrier = carrier
        known = {slot.start_ms: slot for slot in slots}
        self._known = {
            at: max(0, slot.energy_wh)
            for at, slot in known.items()
            if slot.power_kw is not None and slot.completeness >= MIN_COMPLETENESS
        }
        self._ahead = _ahead(forecast) if forecast is not None else {}
        self._most = max(self._known.values(), default=None)
        if power_range_kw is not None:
            self._most = max(0, round(power_range_kw[1] * self.length_ms / 3600))

    def energies(self, start_ms: int, end_ms: int, counts: list[int]) -> Iterator[tuple[int, _Energies]]:
        """Yield start and energies of each slot of the span; count known, forecast and missing ones."""
        for at in range(start_ms - start_ms % self.length_ms, end_ms, self.length_ms):
            if at in self._known:
                counts[0] += 1
                yield at, (self._known[at],) * 3
            elif at in self._ahead:
                counts[1] += 1
                yield at, self._ahead[at]
            elif self._most is not None:
                counts[2] += 1
                yield at, (0, 0, self._most)
            else:
                raise UnavailableError(
                    f"no slot of {self._carrier} is known, so nothing can be said of its emissions",
                    where="carbon",
                    todo="Wait for the first readings",
                )


class _Account:
    """One carrier in one ledger: exact sums for each entry, three times: least, likely, most."""

    def __init__(self, factors: Factors, carrier: str, ledger: Ledger, unit: str) -> None:
        self._factors = factors
        self._entries = factors.of(carrier, ledger)
        self._carrier, self._ledger, self._unit = carrier, ledger, unit
        self._cells = 1  # in a slot
        names = range(-1, len(self._entries))
        self._energy = {place: [0, 0, 0] for place in names}
        self._product = {place: [0, 0, 0] for place in names}

    def add(self, energies: Sequence[tuple[int, _Energies]], span_ms: tuple[int, int], length_ms: int) -> None:
        """Gather slots, cut into cells so fine that each has one factor."""
        cell_ms = math.gcd(_QUARTER_MS, length_ms, span_ms[0], span_ms[1], *self._factors.series_ms)
        if cell_ms % 1000:
            raise ConfigError(f"the span {span_ms[0]}..{span_ms[1]} has no whole seconds", where="carbon")
        self._cells = length_ms // cell_ms
        count = (span_ms[1] - span_ms[0]) // cell_ms
        places, steps = self._factors.at(self._carrier, self._ledger, span_ms[0], cell_ms // 1000, count)
        places_list, steps_list = places.tolist(), steps.tolist()  # Python's integers: no sum overflows
        for at, energy in energies:
            first = max(0, (at - span_ms[0]) // cell_ms)
            for cell in range(first, min(count, (at + length_ms - span_ms[0]) // cell_ms)):
                place = places_list[cell]
                for variant in range(3):
                    self._energy[place][variant] += energy[variant]
                    self._product[place][variant] += energy[variant] * steps_list[cell]

    def lines(self) -> Iterator[Line]:
        """Yield a line for each entry that was used, and for what has no factor."""
        quantities = _whole({place: Fraction(energy[1], self._cells) for place, energy in self._energy.items()})
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


def _ahead(forecast: Ahead) -> dict[int, _Energies]:
    middle = forecast.quantiles.index(0.5)
    table = forecast.power_kw[:, [0, middle, -1]].clip(min=0.0) * (forecast.slot_s / 3.6)
    return {
        forecast.origin_ms + step * forecast.slot_s * 1000: (
            round(float(low)),
            round(float(likely)),
            round(float(high)),
        )
        for step, (low, likely, high) in enumerate(table)
    }


def _whole(exact: Mapping[int, Fraction]) -> dict[int, int]:
    """Round to whole numbers that add up to the rounded sum: by largest remainder, the first of equals first."""
    floors = {name: value.__floor__() for name, value in exact.items()}
    left = round(sum(exact.values(), Fraction(0))) - sum(floors.values())
    for name in sorted(exact, key=lambda name: floors[name] - exact[name])[:left]:
        floors[name] += 1
    return floors
