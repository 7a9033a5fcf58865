"""What a unit of energy emits and when: emission factors. Pure.

Decides which factor holds at an instant; sums are `emissions`', the file is `reader`'s. Local time exists here: a
factor's days are days of its zone. Four ledgers are kept apart:

    scope-1           fuels burnt at the plant
    scope-2-location  bought energy by the mix of its grid
    scope-2-market    bought energy by what was contracted
    marginal          what one unit more or less would cause; for decisions, in no inventory
"""

from __future__ import annotations

import datetime as dt
import enum
from dataclasses import dataclass

import numpy as np

from agent.contract.features import Floats, Ints
from agent.contract.series import DECIMALS, Series, SeriesFile
from agent.contract.slotcalendar import SlotCalendar

ELECTRICITY = "electricity"
FIRST_DAY, LAST_DAY = dt.date(1970, 1, 1), dt.date(2199, 12, 31)
ALL_MONTHS = frozenset(range(1, 13))


class Ledger(enum.StrEnum):
    """Where an emission is booked."""

    SCOPE_1 = "scope-1"
    LOCATION = "scope-2-location"
    MARKET = "scope-2-market"
    MARGINAL = "marginal"


@dataclass(frozen=True, slots=True, eq=False)
class Factor:
    """One entry of the file.

    Attributes:
        name: of its lines.
        carrier: what is used: `electricity`, `gas`, ...
        unit: in which it is metered.
        ledger: where it is booked.
        steps: the factor in 10^-8 kg CO2e a unit; 0 with a series.
        series: factors that change; None for one that does not.
        first, last: local days from and up to which it holds.
        months: of the year in which it holds.
        source: publisher, year and address, for people.
    """

    name: str
    carrier: str
    unit: str
    ledger: Ledger
    steps: int = 0
    series: SeriesFile[Series] | None = None
    first: dt.date = FIRST_DAY
    last: dt.date = LAST_DAY
    months: frozenset[int] = ALL_MONTHS
    source: str = ""

    @property
    def limits(self) -> tuple[int, int] | None:
        """The least and the greatest factor of the entry; None of an empty series."""
        if self.series is None:
            return self.steps, self.steps
        steps = self.series.latest().values
        return (int(steps.min()), int(steps.max())) if len(steps) else None


@dataclass(frozen=True, slots=True, eq=False)
class Factors:
    """A file of factors. Of several that hold at an instant the first in the file that has a value counts."""

    name: str
    zone: str
    factors: tuple[Factor, ...]

    @property
    def series_ms(self) -> tuple[int, ...]:
        """Lengths of the intervals of all series."""
        return tuple({factor.series.length_s * 1000 for factor in self.factors if factor.series is not None})

    @property
    def carriers(self) -> dict[str, str]:
        """Units by carrier."""
        return {factor.carrier: factor.unit for factor in self.factors}

    def series_trouble(self) -> str:
        """Return what is wrong in the series at present, in words; empty where nothing is."""
        found = dict.fromkeys(factor.series.trouble() for factor in self.factors if factor.series is not None)
        return "; ".join(text for text in found if text)

    def of(self, carrier: str, ledger: Ledger) -> tuple[Factor, ...]:
        """Return the entries of a carrier in one ledger, in the order of the file."""
        return tuple(factor for factor in self.factors if (factor.carrier, factor.ledger) == (carrier, ledger))

    def limits(self, carrier: str, ledger: Ledger) -> tuple[int, int] | None:
        """Return the least and greatest factor in 10^-8 that are known; None where none is."""
        found = [factor.limits for factor in self.of(carrier, ledger) if factor.limits is not None]
        return (min(low for low, _ in found), max(high for _, high in found)) if found else None

    def at(self, carrier: str, ledger: Ledger, start_ms: int, step_s: int, count: int) -> tuple[Ints, Ints]:
        """Return for each step the place of its entry in `of`, -1 for none, and its factor in 10^-8.

        Steps must be so fine that none lies over a local midnight or over two values of a series.
        """
        starts_ms = start_ms + 1000 * step_s * np.arange(count, dtype=np.int64)
        ordinal = SlotCalendar(self.zone, (), step_s, start_ms, count).ordinal
        months = np.array([dt.date.fromordinal(day).month for day in ordinal.tolist()])
        place, steps = np.full(count, -1, dtype=np.int64), np.zeros(count, dtype=np.int64)
        for number, factor in enumerate(self.of(carrier, ledger)):
            holds = (place < 0) & (ordinal >= factor.first.toordinal()) & (ordinal <= factor.last.toordinal())
            holds &= np.isin(months, list(factor.months))
            values = np.full(count, factor.steps, dtype=np.int64)
            if factor.series is not None:
                values, known = factor.series.latest().at(starts_ms)
                holds &= known
            place[holds], steps[holds] = number, values[holds]
        return place, steps

    def kg_per_unit(self, carrier: str, ledger: Ledger, start_ms: int, step_s: int, steps: int) -> Floats:
        """[steps] factors for an optimisation; NaN where there is none."""
        place, found = self.at(carrier, ledger, start_ms, step_s, steps)
        return np.where(place >= 0, found / 10.0**DECIMALS, np.nan)
