"""Seasonal naive: the forecast that needs no model, and the yardstick of every model.

The load of the same slot a week ago (a day ago where there is no week yet), with a band from its own recent errors
at that time of day; a day's peak is that of the day which is repeated, with a band likewise. Periods are counted in
UTC: in the week after a change of the clocks it is an hour off.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from agent.contract.errors import UnavailableError
from agent.contract.features import Floats
from agent.contract.featurespec import DAY_S, QUANTILES
from agent.contract.rows import Forecast, ForecastSource

LABEL = "seasonal-naive"
_WEEK = 7
_ERROR_DAYS = 28  # errors older than this say nothing of today's plant
_USED_DAYS = _ERROR_DAYS + _WEEK
_NEIGHBOUR_S = 3600  # errors within an hour of the same time of day count as of that time
_FEWEST_ERRORS = 12  # below this a time of day takes the errors of the whole day
_FEWEST_PEAKS = 7  # below this many known errors of a day's peak the slots' band says how sure it is


def forecast_naive(start_ms: int, power_kw: ArrayLike, slot_s: int, horizon: int, note: str = "") -> Forecast:
    """Forecast `horizon` slots that follow the history, flagged as naive.

    Args:
        start_ms: start of the first slot of the history.
        power_kw: [T] mean power of consecutive slots; NaN where unknown. The forecast begins at its end.
        slot_s: slot length; divides a day.
        horizon: slots ahead.
        note: why it is used.

    Raises:
        UnavailableError: when less than one day has passed since the first known slot, or none is known.
    """
    series = np.asarray(power_kw, dtype=np.float64)
    origin_ms = start_ms + len(series) * slot_s * 1000
    per_day = DAY_S // slot_s
    series = series[-_USED_DAYS * per_day :]  # first: backtests pass a year again and again
    series = np.where(np.isfinite(series), series, np.nan)
    known = np.flatnonzero(np.isfinite(series))
    if len(known) == 0 or len(series) - known[0] < per_day:
        hours = 0.0 if len(known) == 0 else (len(series) - int(known[0])) * slot_s / 3600
        raise UnavailableError(
            f"there are {hours:g} h of history where even a naive forecast needs 24 h",
            where="forecast",
            todo="Wait for more data, or check the meter",
        )
    series = series[known[0] :]
    point = _point(series, per_day, horizon)
    low, high = _band(series, per_day, horizon, slot_s)
    share = float(np.isnan(series[-_WEEK * per_day :]).mean())
    return Forecast(
        origin_ms=origin_ms,
        slot_s=slot_s,
        quantiles=QUANTILES,
        power_kw=np.stack([point + low, point, point + high], axis=-1),
        peak_kw=_peak(series, per_day, point, low, high),
        source=ForecastSource.NAIVE,
        model=LABEL,
        note=note,
        repaired_share=share,
    )


def _point(series: Floats, per_day: int, horizon: int) -> Floats:
    """The same slot a week before, else two, three, ... weeks, else one, two, ... days, else the usual load."""
    length = len(series)
    weeks = [_WEEK * back for back in range(1, _USED_DAYS // _WEEK + 1)]
    targets = length + np.arange(horizon)
    result: Floats = np.full(horizon, np.nan)
    for days in (*weeks, *range(1, _USED_DAYS + 1)):
        source = targets - days * per_day
        usable = np.isnan(result) & (source >= 0) & (source < length)
        result[usable] = series[source[usable]]
        if not np.isnan(result).any():
            return result
    return np.where(np.isnan(result), float(np.nanmedian(series)), result)


def _band(series: Floats, per_day: int, horizon: int, slot_s: int) -> tuple[Floats, Floats]:
    """Offsets [horizon] of the lower (at most 0) and upper quantile (at least 0) from naive's own recent errors."""
    period = _WEEK * per_day if len(series) >= (_WEEK + 1) * per_day else per_day
    errors = (series[period:] - series[:-period])[-_ERROR_DAYS * per_day :]
    if np.isfinite(errors).sum() < _FEWEST_ERRORS:
        # Less than two days: nothing was forecast yet, so the swing of the day itself is all there is to say.
        errors = series - np.nanmedian(series)
    days = -(-len(errors) // per_day)
    # Column c holds the errors at time-of-day c, counted from the origin; rows are days, the oldest padded.
    table = np.concatenate([np.full(days * per_day - len(errors), np.nan), errors]).reshape(days, per_day)
    reach = min(max(1, _NEIGHBOUR_S // slot_s), (per_day - 1) // 2)
    near = (np.arange(per_day)[:, None] + np.arange(-reach, reach + 1)) % per_day
    by_time = table[:, near].transpose(1, 0, 2).reshape(per_day, -1)
    whole = table.reshape(1, -1)
    enough = np.isfinite(by_time).sum(axis=1) >= _FEWEST_ERRORS
    column = np.arange(horizon) % per_day
    low = np.where(enough, _quantile(by_time, QUANTILES[0]), _quantile(whole, QUANTILES[0]))
    high = np.where(enough, _quantile(by_time, QUANTILES[-1]), _quantile(whole, QUANTILES[-1]))
    return np.minimum(low, 0.0)[column], np.maximum(high, 0.0)[column]


def _peak(series: Floats, per_day: int, point: Floats, low: Floats, high: Floats) -> Floats:
    """Quantiles [days, 3] of the peak of each 24 h of the path `point`; `low` and `high` are the slots' band.

    The median is the highest slot of the path: the peak of the day that is repeated. Its band is what this rule was
    off by on the last days, or, while there are few of them, the band of the highest slots.
    """
    starts = range(0, len(point), per_day)
    whole = len(series) // per_day
    past = series[len(series) - whole * per_day :].reshape(whole, per_day).max(axis=1)  # a day with a gap is unknown
    period = _WEEK if whole > _WEEK else 1
    errors = (past[period:] - past[:-period])[-_ERROR_DAYS:]
    middle = np.array([point[at : at + per_day].max() for at in starts])
    if np.isfinite(errors).sum() >= _FEWEST_PEAKS:
        below, above = (float(_quantile(errors[None], level)[0]) for level in (QUANTILES[0], QUANTILES[-1]))
        return np.stack([middle + min(below, 0.0), middle, middle + max(above, 0.0)], axis=-1)
    # The highest slot of each path; the middle one lies between them, since the band encloses each slot.
    bounds = [[(point + offset)[at : at + per_day].max() for at in starts] for offset in (low, high)]
    return np.stack([bounds[0], middle, bounds[1]], axis=-1)


def _quantile(rows: Floats, level: float) -> Floats:
    """Quantile of the finite values of each row, by linear interpolation; 0 for a row without any."""
    ordered = np.sort(rows, axis=1)  # NaN goes last
    count = np.isfinite(ordered).sum(axis=1)
    place = level * np.maximum(count - 1, 0)
    below = np.floor(place).astype(np.int64)
    above = np.minimum(below + 1, np.maximum(count - 1, 0))
    index = np.arange(len(rows))
    value = ordered[index, below] + (place - below) * (ordered[index, above] - ordered[index, below])
    return np.where(count > 0, value, 0.0)
