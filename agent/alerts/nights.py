"""The load that never stops: the lowest load of each night, and how it moved over the weeks. Pure functions."""

from __future__ import annotations

import datetime as dt
import itertools
import math
from collections.abc import Sequence

import numpy as np

from agent.alerts.observations import NightTrend
from agent.contract.slots import Slot
from agent.contract.zones import to_local

_LEAST_NIGHTS = 21
_LEAST_KNOWN = 0.8  # of a night's slots
_WEEK = 7


def nightly_minima(
    slots: Sequence[Slot], zone: dt.tzinfo, from_hour: int = 0, to_hour: int = 5
) -> list[tuple[int, float]]:
    """Return (day number, lowest gross load of a slot in kW) of each local night of which four fifths are known.

    Args:
        slots: in time order, of one length.
        zone: the plant's; a night of the clocks' change has an hour less or more.
        from_hour: local hour in which the window begins.
        to_hour: local hour before which it ends; both on one day.
    """
    if not slots:
        return []
    slot_ms = slots[0].length_s * 1000
    known = {slot.start_ms: slot.known_gross_kw for slot in slots}
    day, last = to_local(slots[0].start_ms, zone).date(), to_local(slots[-1].start_ms, zone).date()
    found = []
    while day <= last:
        begin, end = (_instant_ms(day, hour, zone) for hour in (from_hour, to_hour))
        first = -(-begin // slot_ms) * slot_ms
        starts = range(first, end - slot_ms + 1, slot_ms)
        powers = [kw for start_ms in starts if (kw := known.get(start_ms)) is not None]
        if powers and len(powers) >= _LEAST_KNOWN * len(starts):
            found.append((day.toordinal(), min(powers)))
        day += dt.timedelta(days=1)
    return found


def trend(nights: Sequence[tuple[int, float]]) -> NightTrend | None:
    """Return the trend of nightly minima, or None with less than three weeks of nights.

    Each night is compared only with those of the same weekday (the seasonal Kendall test and slope of Hirsch, Slack and
    Smith, "Techniques of trend analysis for monthly water quality data", 1982): a plant that works some nights of the
    week has no trend by that, and no single night, or holiday week, moves the median of the slopes far.

    Args:
        nights: (day number, kW) in time order.
    """
    if len(nights) < _LEAST_NIGHTS:
        return None
    slopes, score, variance = [], 0, 0.0
    for weekday in range(_WEEK):
        season = [(day, kw) for day, kw in nights if day % _WEEK == weekday]
        for (day, kw), (later, then_kw) in itertools.combinations(season, 2):
            slopes.append((then_kw - kw) / (later - day))
            score += (then_kw > kw) - (then_kw < kw)
        count = len(season)
        variance += count * (count - 1) * (2 * count + 5) / 18
    if not slopes:
        return None
    days = nights[-1][0] - nights[0][0]
    moved_days = max(0, days + 1 - _WEEK)  # from the middle of the first week to that of the last
    early = [kw for day, kw in nights if day < nights[0][0] + 2 * _WEEK]
    certain = score - math.copysign(1, score) if score else 0.0
    return NightTrend(
        len(nights), float(np.median(early)), float(np.median(slopes)) * moved_days, certain / variance**0.5
    )


def _instant_ms(day: dt.date, hour: int, zone: dt.tzinfo) -> int:
    local = dt.datetime.combine(day, dt.time(), zone) + dt.timedelta(hours=hour)
    return round(local.timestamp() * 1000)
