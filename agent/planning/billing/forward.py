"""What is brought forward into a bill: what the months before its slots still count for.

A ratchet rests on the demand of earlier months, a price by the year on the year's demand, tiers by the year on what the
year has used so far. Values only; `earlier` finds them.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from typing import NamedTuple

from agent.contract.tariff.model import Tiered
from agent.contract.tariff.version import Version
from agent.planning.billing.lines import shown

Earlier = Mapping[str, Mapping[str, Decimal]]  # demand charge -> label of the month -> kW
Key = tuple[dt.date | None, str]  # first day of the version of the tariff, name of the charge


class Peak(NamedTuple):
    """The highest demand of a month that is over.

    Attributes:
        kw: as far as it was measured, not rounded.
        is_sure: whether all of the month was measured, and by slots that show the demand exactly.
        from_ms: since when anything of the month is known.
    """

    kw: Fraction
    is_sure: bool
    from_ms: int


class Used(NamedTuple):
    """What a charge counted in the calendar year, in the billing months that are over.

    Attributes:
        thousandths: of the meter's own unit, of the slots that are known; below 0 of energy fed in.
        missing_ms: for how long the charge was in force while slots are missing.
        from_ms: since when anything of the year is known.
        until_ms: end of those months.
    """

    thousandths: Fraction
    missing_ms: int
    from_ms: int
    until_ms: int


@dataclass(frozen=True, slots=True)
class Forward:
    """What is brought forward.

    Attributes:
        peaks: demand of earlier months, by charge and label of the month.
        used: by charge with tiers by the year.
        most_kw: highest mean power of any slot of those months.
    """

    peaks: Mapping[Key, Mapping[str, Peak]] = field(default_factory=dict)
    used: Mapping[Key, Used] = field(default_factory=dict)
    most_kw: Fraction = Fraction(0)

    def earlier(self, version: Version) -> dict[str, dict[str, Decimal]]:
        """Return the demand of earlier months by the charges of a version: for whoever plans or watches by it."""
        of_version = {name: months for (first, name), months in self.peaks.items() if first == version.valid_from}
        return {
            name: {label: shown(peak.kw, 6) for label, peak in months.items()} for name, months in of_version.items()
        }

    def used_kwh(self, version: Version, year_ms: int) -> dict[str, float]:
        """Return what the charges of a version with tiers by the year counted since the year began at `year_ms`.

        In the unit of the charge's meter, up to the billing months that are over; with what the tariff's file tells of
        the time before the device was there.
        """
        found = {}
        for energy in (*version.energies, *(fee.energy for fee in version.fees if fee.energy is not None)):
            used = self.used.get((version.valid_from, energy.name))
            if used is not None and used.until_ms > year_ms and isinstance(energy.pricing, Tiered):
                told = energy.pricing.earlier if used.from_ms > year_ms else None
                found[energy.name] = float(abs(used.thousandths)) / 1000 + float(told or 0)
        return found
