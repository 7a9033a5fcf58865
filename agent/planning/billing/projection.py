"""The load of the rest of a billing month: the forecast as far as it reaches, then what such days have been like.

Decides what a time of day may come to when nothing forecasts it; its cost is `bill`'s.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agent.contract.rows import Forecast
from agent.contract.slotcalendar import SlotCalendar
from agent.contract.slots import Slot
from agent.contract.tariff.tariff import Tariff

Floats = NDArray[np.float64]
_DAY_S = 86_400


@dataclass(frozen=True, slots=True)
class Projection:
    """Mean power ahead as a range, in the form in which bills take a forecast.

    Attributes:
        origin_ms: start of the first slot.
        slot_s: slot length.
        quantiles: of the columns, by name; the outer ones are the least and the most seen where nothing forecasts.
        power_kw: [steps, 3].
        profiled: how many steps rest on earlier days alone.
    """

    origin_ms: int
    slot_s: int
    quantiles: tuple[float, ...]
    power_kw: Floats
    profiled: int


def project(
    tariff: Tariff, slots: Iterable[Slot], forecast: Forecast | None, start_ms: int, end_ms: int
) -> Projection | None:
    """Return the load of [start_ms, end_ms): the forecast, and beyond it least, median and most of earlier days.

    A day is like the days of its weekday (holidays as the tariff has them) or, where none of them is known, like all.

    Args:
        tariff: zone and holidays.
        slots: known so far, of one length.
        forecast: from `start_ms` on or earlier; None: there is none.
        start_ms: on the grid of the slots.
        end_ms: where a local midnight lies within a slot, that slot is told, too.

    Returns:
        None where less than a whole day is known, or nothing is ahead.
    """
    known = [slot for slot in slots if slot.known_kw is not None]
    if end_ms <= start_ms or not known or len(known) * known[0].length_s < _DAY_S:
        return None
    slot_s = known[0].length_s
    first_ms = min(slot.start_ms for slot in known)
    steps = -((start_ms - end_ms) // (slot_s * 1000))
    past = np.full((start_ms - first_ms) // (slot_s * 1000), np.nan)
    for slot in known:
        index = (slot.start_ms - first_ms) // (slot_s * 1000)
        if 0 <= index < len(past):
            past[index] = slot.power_kw
    calendar = SlotCalendar(tariff.zone_name, (), slot_s, first_ms, len(past) + steps)
    days, times = calendar.ordinal - calendar.ordinal[0], calendar.second_of_day // slot_s
    table = np.full((int(days[-1]) + 1, _DAY_S // slot_s), np.nan)
    table[days[: len(past)], times[: len(past)]] = past
    kind_of = tariff.version_at(start_ms).calendar.day
    kinds = np.array([kind_of(int(calendar.ordinal[0]) + day).weekday for day in range(len(table))])
    power_kw = np.empty((steps, 3))
    for kind in set(kinds[days[len(past) :]].tolist()):
        alike = table[kinds == kind]
        found = _spread(alike, table)
        where = kinds[days[len(past) :]] == kind
        power_kw[where] = found[times[len(past) :][where]]
    profiled = steps
    if forecast is not None and forecast.slot_s == slot_s:
        skip = (start_ms - forecast.origin_ms) // (slot_s * 1000)
        columns = [0, forecast.quantiles.index(0.5), -1]
        ahead = forecast.power_kw[max(0, skip) :, columns][:steps]
        power_kw[: len(ahead)] = ahead
        profiled -= len(ahead)
    return Projection(start_ms, slot_s, (0.0, 0.5, 1.0), power_kw, profiled)


def _spread(alike: Floats, every: Floats) -> Floats:
    """Return least, median and most [times, 3] of the days alike; of all days where a time has none of them."""
    result = np.empty((alike.shape[1], 3))
    for time in range(alike.shape[1]):
        for values in (alike[:, time], every[:, time], every.ravel()):
            known = np.sort(values[~np.isnan(values)])
            if len(known):
                middle = (known[(len(known) - 1) // 2] + known[len(known) // 2]) / 2
                result[time] = known[0], middle, known[-1]
                break
    return result
