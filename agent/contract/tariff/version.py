"""One version of a tariff: all that one file says."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from decimal import Decimal

from agent.contract.tariff.calendar import Calendar, TimeOfUse
from agent.contract.tariff.model import (
    CENTS,
    ENERGY,
    EXPORT,
    FIXED,
    MAIN,
    POWER_FACTOR,
    Demand,
    Energy,
    Fee,
    Fixed,
    Meter,
    PowerFactor,
    Rounding,
    Tiered,
)

RESERVED = (ENERGY, EXPORT, FIXED, POWER_FACTOR, "all")


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """Prices from `valid_from` on (None: ever since), in the order in which they stand on a bill.

    Attributes:
        zone_name: of the times in it.
        billing_day: the day on which billing months begin.
        periods: the common calendar; None where the file has none.
        energies: with the plain periods first, as the charge `energy`, and the plain export last.
    """

    name: str
    zone_name: str
    currency: str
    calendar: Calendar
    periods: TimeOfUse | None
    valid_from: dt.date | None = None
    billing_day: int = 1
    rounding: Rounding = CENTS
    meters: tuple[Meter, ...] = (Meter(MAIN),)
    energies: tuple[Energy, ...] = ()
    fixed: tuple[Fixed, ...] = ()
    demands: tuple[Demand, ...] = ()
    power_factor: PowerFactor | None = None
    fees: tuple[Fee, ...] = ()

    def meter(self, name: str) -> Meter:
        """Return the meter of that name."""
        return next(meter for meter in self.meters if meter.name == name)

    @property
    def by_unit(self) -> tuple[Energy, ...]:
        """All charges by the unit of a meter: the energies, and fees that are such."""
        return (*self.energies, *(fee.energy for fee in self.fees if fee.energy is not None))

    @property
    def settles_by_month(self) -> bool:
        """Whether the cost of a day depends on the rest of its billing month."""
        return bool(
            self.demands
            or self.power_factor
            or any(fee.energy is None for fee in self.fees)
            or any(isinstance(energy.pricing, Tiered) or energy.free is not None for energy in self.by_unit)
        )

    @property
    def fixed_per_day(self) -> Decimal:
        """Of the plain charge by the day; 0 where there is none."""
        return next((one.price for one in self.fixed if one.name == FIXED), Decimal(0))
