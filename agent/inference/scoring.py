"""How a probabilistic forecast is judged: pinball loss, the one figure that models, naive and teachers share.

The daily peaks are judged apart: what a demand charge turns on is bias, not the mean loss over the slots.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from agent.contract.errors import ConfigError, UnavailableError
from agent.contract.features import Floats, daily_peak
from agent.contract.featurespec import QUANTILES, FeatureSpec


def pinball(power_kw: ArrayLike, truth: ArrayLike, quantiles: Sequence[float]) -> float:
    """Return the mean pinball loss in kW over all quantile levels and all finite truths.

    For level q and error e = truth - forecast the loss is max(q e, (q - 1) e) (Koenker and Bassett, 1978).

    Args:
        power_kw: [..., Q] forecast.
        truth: [...] what was measured; NaN where unknown.
        quantiles: Q levels.

    Raises:
        ConfigError: when the shapes do not fit.
        UnavailableError: when no truth is finite yet.
    """
    forecast, measured = np.asarray(power_kw, dtype=np.float64), np.asarray(truth, dtype=np.float64)
    if forecast.shape != (*measured.shape, len(quantiles)):
        raise ConfigError(
            f"a forecast of shape {forecast.shape} cannot be scored against truth of shape {measured.shape} "
            f"at {len(quantiles)} levels",
            todo="Give one more axis, the levels, than the truth has",
        )
    known = np.isfinite(measured)
    if not known.any():
        raise UnavailableError("there is no measured value to score against", todo="Wait until the slots are over")
    levels = np.asarray(quantiles, dtype=np.float64)
    error = measured[known][:, None] - forecast[known]
    return float(np.maximum(levels * error, (levels - 1.0) * error).mean())


def coverage(power_kw: ArrayLike, truth: ArrayLike) -> float:
    """Return the share of finite truths [...] inside the band from the lowest to the highest level of [..., Q]; of at
    least one truth.
    """
    forecast, measured = np.asarray(power_kw, dtype=np.float64), np.asarray(truth, dtype=np.float64)
    known = np.isfinite(measured)
    return float(((measured >= forecast[..., 0]) & (measured <= forecast[..., -1]))[known].mean())


@dataclass(frozen=True)
class PeakScore:
    """How the daily peaks were foretold.

    Attributes:
        days: days whose peak is known.
        bias: mean of forecast minus truth, as a share of the mean peak; the forecast is the median of the peak itself.
        path_bias: the same for the highest slot of the median path, for comparison: it falls short as a rule.
        coverage: share of peaks inside the band from the lowest to the highest level.
        pinball_kw: mean loss over the levels.
    """

    days: int
    bias: float
    path_bias: float
    coverage: float
    pinball_kw: float


def score_peaks(spec: FeatureSpec, slots_kw: Floats, peak_kw: Floats, truth_kw: Floats) -> PeakScore | None:
    """Judge the peaks of N forecasts; None where no day's peak is known, or the known ones are 0 on average.

    Args:
        spec: says what a day is.
        slots_kw: [N, H, 3] forecast.
        peak_kw: [N, D, 3] forecast of the daily peaks.
        truth_kw: [N, H] what was measured; NaN where unknown.
    """
    truth = daily_peak(spec, truth_kw)
    known = np.isfinite(truth)
    level_kw = abs(float(truth[known].mean())) if known.any() else 0.0
    if level_kw == 0.0:
        return None
    measured, forecast = truth[known], peak_kw[known]
    middle = QUANTILES.index(0.5)
    path = daily_peak(spec, slots_kw[..., middle])[known]
    return PeakScore(
        days=len(measured),
        bias=float((forecast[:, middle] - measured).mean()) / level_kw,
        path_bias=float((path - measured).mean()) / level_kw,
        coverage=float(((measured >= forecast[:, 0]) & (measured <= forecast[:, -1])).mean()),
        pinball_kw=pinball(forecast, measured, QUANTILES),
    )
