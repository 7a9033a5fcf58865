"""What kind of charge a line of a bill belongs to: by that, bills under different tariffs can be compared."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from decimal import Decimal

from agent.contract.tariff.model import POWER_FACTOR
from agent.contract.tariff.tariff import Tariff
from agent.planning.billing.lines import Line


class Kind(enum.StrEnum):
    """Kinds of charges, in the order of a bill."""

    ENERGY = "energy"
    FIXED = "fixed"
    DEMAND = "demand"
    POWER_FACTOR = "power factor"
    TAXES = "taxes and fees"


def kinds_of(tariff: Tariff) -> dict[str, Kind]:
    """Return the kind of each charge of a tariff by its name; of a name that has changed its kind the latest."""
    found: dict[str, Kind] = {POWER_FACTOR: Kind.POWER_FACTOR}
    for version in tariff.versions:
        for charges, kind in (
            (version.energies, Kind.ENERGY),
            (version.fixed, Kind.FIXED),
            (version.demands, Kind.DEMAND),
            (version.fees, Kind.TAXES),
        ):
            found |= {charge.name: kind for charge in charges}
    return found


def by_kind(lines: Iterable[Line], kinds: Mapping[str, Kind]) -> dict[Kind, Decimal]:
    """Return the sum of the lines of each kind, 0 where there is none; together they are the total."""
    sums = dict.fromkeys(Kind, Decimal(0))
    for line in lines:
        sums[kinds[line.charge]] += line.amount
    return sums
