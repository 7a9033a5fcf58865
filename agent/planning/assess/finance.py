"""When a measure has paid for itself, and what it is worth. Pure functions over arrays [runs, years]."""

from __future__ import annotations

import numpy as np

from agent.planning.assess.distributions import Floats


def discounted(savings: Floats, rate: Floats) -> Floats:
    """Return the present value of each year's saving, which comes at the year's end.

    Args:
        savings: [runs, years].
        rate: of discount a year, as a part of 1; [runs, 1] or [1, 1], or a rate of its own for each year.
    """
    years = savings.shape[1]
    rates = rate[:, :years] if rate.shape[1] > 1 else np.broadcast_to(rate, (len(rate), years))
    return savings / np.cumprod(1 + rates, axis=1)


def payback_years(investment: Floats, savings: Floats) -> Floats:
    """Return the time after which savings have first covered the investment [runs]: infinite where they never do.

    Within a year savings come evenly. No investment is paid back at once.

    Args:
        investment: [runs], at least 0.
        savings: [runs, years], discounted or not.
    """
    ends = np.cumsum(savings, axis=1)
    covered = ends >= investment[:, np.newaxis]
    ever, year = covered.any(axis=1), np.argmax(covered, axis=1)
    rows = np.arange(len(ends))
    saving = savings[rows, year]
    missing = investment - (ends[rows, year] - saving)
    within = np.divide(missing, saving, out=np.zeros(len(ends)), where=ever & (saving > 0))
    paid = np.where(ever, year + within, np.inf)
    return np.where(investment <= 0, 0.0, paid)


def net_value(investment: Floats, present_savings: Floats) -> Floats:
    """Return the cumulative present value after each year [runs, years + 1], from minus the investment on."""
    start = -investment[:, np.newaxis]
    return np.concatenate([start, start + np.cumsum(present_savings, axis=1)], axis=1)
