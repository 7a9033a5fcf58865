"""Forecasts made by hand, for tests of what is done with them."""

import numpy as np


def peaks_of(power_kw: np.ndarray, slot_s: int) -> np.ndarray:
    """The highest slot [days, levels] of each 24 h of a table [steps, levels], level by level."""
    per_day = 86_400 // slot_s
    return np.array([power_kw[at : at + per_day].max(axis=0) for at in range(0, len(power_kw), per_day)])
