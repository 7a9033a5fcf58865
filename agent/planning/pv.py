"""What PV will give: smart persistence, from what it gave on the days before; without weather and without a network.

Decides, besides, when it is dark, so that an inverter which sleeps gives nothing. Pure; knows no clock and no place:
days are spans of 24 h that end where the forecast begins, so that a change of the clocks moves nothing.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from agent.contract.features import Floats
from agent.contract.featurespec import DAY_S

ENVELOPE_DAYS = 14  # long enough for a clear hour at every time of day, short against the seasons
RATIO_DAYS = 7
LEAST_DAYS = 3
RECENT_S = 3 * 3600
DECAY_H = 4.0
_LEAST_LIGHT = 0.05  # of the envelope's height: below it the last hours tell nothing of clouds
DARK_DAYS = 7  # in which sunset moves by a quarter of an hour
_LEAST_DARK_DAYS = 3
LONGEST_NIGHT_S = 20 * 3600
_TWILIGHT = 0.2  # of the most: a slot of an hour in which an inverter wakes or goes to sleep


class PvAhead(NamedTuple):
    """PV power ahead.

    Attributes:
        power_kw: [steps] mean power of each slot, at least 0.
        note: why it is less than it could be, for people; empty where it is not.
    """

    power_kw: Floats
    note: str = ""


def forecast_pv(pv_kw: Floats, slot_s: int, steps: int) -> PvAhead:
    """Forecast what follows a history of PV power.

    Persistence of the clear-sky ratio (as in Pedro and Coimbra, "Assessment of forecasting techniques for solar power
    production with no exogenous inputs", Solar Energy 86, 2012, there "smart persistence"):

        P(h) = E(h) * (m + (r - m) * exp(-h / 4))

    E(h), in kW, is the envelope: the most of the last 14 days at that time of day, which stands for a clear sky over
    these panels. r is the ratio of production to the envelope over the last 3 h, m that over the last 7 days; h is the
    lead time in hours. Where the last 3 h were dark, r is m. With fewer than 3 days the forecast is the day before.

    Args:
        pv_kw: [T] mean power of consecutive slots, at least 0; NaN where unknown. The forecast begins at its end.
        slot_s: slot length, a divisor of a day.
        steps: how many slots to forecast.
    """
    per_day = DAY_S // slot_s
    table: Floats = np.full(ENVELOPE_DAYS * per_day, np.nan)
    recent = pv_kw[-len(table) :]
    table[len(table) - len(recent) :] = recent
    table = table.reshape(ENVELOPE_DAYS, per_day)  # column 0 is the time of day at which the forecast begins
    of_day = np.arange(steps) % per_day
    known = np.isfinite(table)
    days = int((known.mean(axis=1) >= 0.5).sum())
    if not known.any():
        return PvAhead(np.zeros(steps), "nothing is known yet of what PV gives: it is taken as 0")
    if days < LEAST_DAYS:
        return PvAhead(
            _last_known(table)[of_day], f"PV is taken as on the day before: only {days} of {LEAST_DAYS} days are known"
        )
    envelope_kw = np.nan_to_num(np.fmax.reduce(table, axis=0))
    usual = _ratio(table[-RATIO_DAYS:], envelope_kw)
    last = table[-1, per_day - RECENT_S // slot_s :]
    light_kw = np.where(np.isfinite(last), envelope_kw[-len(last) :], 0.0)
    is_dark = light_kw.mean() < _LEAST_LIGHT * envelope_kw.max()
    now = usual if is_dark else _ratio(last, envelope_kw[-len(last) :])
    lead_h = (np.arange(steps) + 0.5) * slot_s / 3600
    return PvAhead(envelope_kw[of_day] * (usual + (now - usual) * np.exp(-lead_h / DECAY_H)))


def is_dark(pv_kw: Floats, slot_s: int) -> bool:
    """Return whether PV gives nothing in the slot after a history of what was measured: no guess of a silent inverter.

    It is dark where at this time of day PV gave less than a twentieth of its most on every day of the last 7 on which
    that is known, and on at least 3. A silence is known to have been a night where PV gave less than a fifth before and
    after it, and it lasted at most 20 h: one that goes on into the day ends with more.

    Args:
        pv_kw: [T] mean power of consecutive slots; NaN where it was not measured. The slot begins at its end.
        slot_s: slot length, a divisor of a day.
    """
    per_day = DAY_S // slot_s
    recent = pv_kw[-(DARK_DAYS + 1) * per_day :]
    known = np.flatnonzero(np.isfinite(recent))
    most_kw = recent[known].max(initial=0.0)
    days = 0
    for at in range(len(recent) - per_day, max(len(recent) - DARK_DAYS * per_day, 0) - 1, -per_day):
        if np.isfinite(recent[at]):
            if recent[at] > _LEAST_LIGHT * most_kw:
                return False
            days += 1
            continue
        before, after = known[known < at][-1:], known[known > at][:1]
        if not len(before) or not len(after) or (after[0] - before[0]) * slot_s > LONGEST_NIGHT_S:
            continue
        days += bool(max(recent[before[0]], recent[after[0]]) <= _TWILIGHT * most_kw)
    return days >= _LEAST_DARK_DAYS


def _ratio(given_kw: Floats, envelope_kw: Floats) -> float:
    """Return the energy given as a share of the envelope's, where both are known; 0 where it is always dark."""
    known = np.isfinite(given_kw)
    possible = float(np.where(known, envelope_kw, 0.0).sum())
    return float(np.where(known, given_kw, 0.0).sum()) / possible if possible > 0 else 0.0


def _last_known(table: Floats) -> Floats:
    """Return for each time of day what was known last; 0 where it never was."""
    found = np.zeros(table.shape[1])
    for day in table:
        found = np.where(np.isfinite(day), day, found)
    return found
