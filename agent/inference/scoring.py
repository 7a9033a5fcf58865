"""How a probabilistic forecast is judged: pinball loss, the one figure that models, naive and teachers share."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from agent.contract.errors import ConfigError, UnavailableError


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
