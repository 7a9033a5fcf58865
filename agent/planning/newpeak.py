"""How likely the forecast sets a new peak of the billing month, and what that would cost.

Decides which distribution a day's peak has; what counts as demand is `peakwatch.py`'s, what a kW costs the caller's.
Pure functions: no state, so a restart changes nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from agent.contract.errors import ConfigError
from agent.contract.features import Floats
from agent.contract.featurespec import DAY_S
from agent.contract.rows import Forecast
from agent.planning.peakwatch import Terms

_Q90 = 1.2815515655446004  # standard normal quantile of 0.9
_FIT_LEVELS = (0.1, 0.5, 0.9)


class NewPeak(NamedTuple):
    """What a forecast says of a new peak of the month.

    Attributes:
        probability: that some billed interval until `until_ms` is above what is paid for already.
        at_ms: when it is likeliest.
        kw: the peak that is to be expected if it comes, on the likeliest day; None at probability 0.
        cost_if_set: what that would cost this month; None without a price.
        cost_expected: probability and height together, over all days.
    """

    probability: float
    until_ms: int
    at_ms: int
    kw: float | None
    cost_if_set: float | None
    cost_expected: float | None


def new_peak(terms: Terms, now_ms: int, peak_kw: float | None, forecast: Forecast) -> NewPeak | None:
    """Return how likely the forecast sets a new peak within this month; None where nothing of it is ahead.

    The peak of each 24 h of the forecast has quantiles of its own. Between and beyond the 10, 50 and 90 % levels its
    distribution is that of two half normals that meet in the median: straight lines on normal probability paper. Days
    are taken as independent of each other. Where a day's highest slots are over, or not billed, what is left of it is
    judged by its highest slot; where the interval is of several slots, a day's peak is lowered by what averaging takes
    off the highest slot of its path.

    Raises:
        ConfigError: when the forecast lacks one of the three levels.
    """
    if not set(_FIT_LEVELS) <= set(forecast.quantiles):
        raise ConfigError("the forecast has no levels 0.1, 0.5 and 0.9 to judge a peak by", where="forecast")
    paid_kw = max(terms.free_kw, peak_kw or 0.0)
    days = [day for day in _days_ahead(terms, now_ms, forecast) if day is not None]
    if not days:
        return None
    found = [(_exceedance(levels, paid_kw), at_ms, end_ms) for levels, at_ms, end_ms in days]
    probability = 1.0 - math.prod(1.0 - chance for (chance, _), _, _ in found)
    (chance, excess_kw), at_ms, _ = max(found, key=lambda day: day[0])
    kw = paid_kw + excess_kw / chance if chance > 0 else None
    priced = terms.per_kw is not None
    return NewPeak(
        probability=probability,
        until_ms=max(end_ms for _, _, end_ms in found),
        at_ms=at_ms,
        kw=kw,
        cost_if_set=(kw - paid_kw) * (terms.per_kw or 0.0) if priced and kw is not None else None,
        cost_expected=sum(excess for (_, excess), _, _ in found) * (terms.per_kw or 0.0) if priced else None,
    )


def _days_ahead(terms: Terms, now_ms: int, forecast: Forecast) -> Iterable[tuple[Floats, int, int] | None]:
    """Yield of each 24 h of the forecast the levels [3] of the peak that is left, when it is likeliest, and its end."""
    slot_ms, per_day = forecast.slot_s * 1000, DAY_S // forecast.slot_s
    columns = [forecast.quantiles.index(level) for level in _FIT_LEVELS]
    path, peaks = forecast.power_kw[:, columns], forecast.peak_kw[:, columns]
    starts = np.array(forecast.starts_ms())
    intervals = np.array([terms.interval(int(at))[0] for at in starts])
    smooth = np.stack([_interval_means(path[:, level], intervals) for level in range(len(columns))], axis=1)
    _, month_end_ms = terms.month(now_ms)
    counted = np.array(
        [
            at + slot_ms > now_ms and at < month_end_ms and terms.counts(int(of))
            for at, of in zip(starts, intervals, strict=True)
        ]
    )
    for day in range(len(peaks)):
        part = slice(day * per_day, min((day + 1) * per_day, len(path)))
        left = np.flatnonzero(counted[part])
        if not len(left):
            yield None
            continue
        likeliest = int(left[np.argmax(smooth[part][left, 1])])
        if smooth[part][likeliest, 1] == smooth[part][:, 1].max():
            levels = peaks[day] - (path[part].max(axis=0) - smooth[part].max(axis=0))
        else:
            levels = smooth[part][left].max(axis=0)
        yield levels, int(starts[part][likeliest]), int(starts[part][left[-1]]) + slot_ms


def _interval_means(values: Floats, intervals: np.ndarray[tuple[int], np.dtype[np.int64]]) -> Floats:
    """Give each slot the mean of the slots of its interval."""
    index = np.cumsum(np.diff(intervals, prepend=intervals[:1]) != 0)  # np.unique would load numpy.ma, a megabyte
    means: Floats = (np.bincount(index, weights=values) / np.bincount(index))[index]
    return means


def _exceedance(levels: Floats, limit_kw: float) -> tuple[float, float]:
    """Return P(X > limit) and E[(X - limit)+] of the two half normals through the levels 0.1, 0.5 and 0.9."""
    low, middle, high = (float(level) for level in levels)
    below, above = max(0.0, middle - low) / _Q90, max(0.0, high - middle) / _Q90
    if limit_kw >= middle:
        if above == 0.0:
            return 0.0, 0.0
        z = (limit_kw - middle) / above
        return _upper(z), above * (_density(z) - z * _upper(z))
    tail_kw = above * _density(0.0)  # E[(X - median)+]
    if below == 0.0:
        return 1.0, tail_kw + middle - limit_kw
    z = (middle - limit_kw) / below
    return 1.0 - _upper(z), tail_kw + below * (z * (1.0 - _upper(z)) + _density(z) - _density(0.0))


def _upper(z: float) -> float:
    return 0.5 * math.erfc(z / math.sqrt(2.0))


def _density(z: float) -> float:
    return math.exp(-0.5 * z * z) / math.sqrt(2.0 * math.pi)
