"""Forecasts made by hand, for tests of what is done with them."""

from collections.abc import Sequence

import numpy as np

from agent.contract.rows import Forecast, ForecastSource


def peaks_of(power_kw: np.ndarray, slot_s: int) -> np.ndarray:
    """The highest slot [days, levels] of each 24 h of a table [steps, levels], level by level."""
    per_day = 86_400 // slot_s
    return np.array([power_kw[at : at + per_day].max(axis=0) for at in range(0, len(power_kw), per_day)])


def banded(
    middle: Sequence[float],
    *,
    start_ms: int,
    spread: float = 50.0,
    slot_s: int = 900,
    peaks: Sequence[Sequence[float]] | None = None,
) -> Forecast:
    """A forecast of the median `middle`, its band `spread` to either side; daily `peaks` are its own, or its highest slots."""
    median = np.asarray(middle, float)
    table = np.stack([median - spread, median, median + spread], axis=1)
    peak_kw = peaks_of(table, slot_s) if peaks is None else np.asarray(peaks, float)
    return Forecast(start_ms, slot_s, (0.1, 0.5, 0.9), table, peak_kw, ForecastSource.ACTIVE, "m@1")
