"""Slots to energy a local day: only whole days count, whatever their length. Pure."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from agent.contract.features import Floats
from agent.contract.slots import Slot
from agent.contract.zones import local_day_bounds_ms, parse_zone


@dataclass(frozen=True, slots=True, eq=False)
class DailyEnergy:
    """Energy of consecutive local days.

    Attributes:
        first: the first day.
        energy_kwh: [N] net energy of each day; NaN where a slot of it is missing or was less than half read.
    """

    first: dt.date
    energy_kwh: Floats

    @property
    def last(self) -> dt.date:
        """The last day."""
        return self.first + dt.timedelta(days=len(self.energy_kwh) - 1)


def span_ms(first: dt.date, last: dt.date, zone: str) -> tuple[int, int]:
    """Return [start, end) of the local days from `first` to `last`."""
    place = parse_zone(zone)
    return local_day_bounds_ms(first, place)[0], local_day_bounds_ms(last, place)[1]


def daily_energy(slots: Sequence[Slot], zone: str, first: dt.date, last: dt.date) -> DailyEnergy:
    """Sum slots to local days. A slot over midnight is shared by time.

    Args:
        slots: at most one for each start, in any order; lengths may differ.
        zone: the plant's.
        first: the first day.
        last: the last day.
    """
    place = parse_zone(zone)
    count = (last - first).days + 1
    days = [first + dt.timedelta(days=number) for number in range(count)]
    bounds = np.array([local_day_bounds_ms(day, place)[0] for day in days] + [local_day_bounds_ms(last, place)[1]])
    known = [slot for slot in slots if slot.known_kw is not None]
    starts = np.array([slot.start_ms for slot in known], dtype=np.int64)
    lengths_ms = np.array([slot.length_s * 1000 for slot in known], dtype=np.int64)
    energies_kwh = np.array([slot.energy_wh for slot in known], dtype=np.float64) / 1000
    total, covered_ms = np.zeros(count), np.zeros(count, dtype=np.int64)
    for step in (0, 1):  # a slot lies in at most two days
        day = np.searchsorted(bounds, starts, side="right") - 1 + step
        inside = (day >= 0) & (day < count)
        day, begin, length_ms = day[inside], starts[inside], lengths_ms[inside]
        part_ms = np.minimum(begin + length_ms, bounds[day + 1]) - np.maximum(begin, bounds[day])
        part_ms = np.maximum(part_ms, 0)
        np.add.at(total, day, energies_kwh[inside] * part_ms / length_ms)
        np.add.at(covered_ms, day, part_ms)
    # Slots of two lengths may overlap where the length was changed: such a day is as unknown as one with a hole.
    return DailyEnergy(first, np.where(covered_ms == np.diff(bounds), total, np.nan))
