"""Prices that change from one market interval to the next, and what they may be where the market has not told them.

Mark-ups are `model.Dynamic`'s.
"""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from agent.contract.series import DECIMALS, Form, Ints, Series, SeriesFile

PRICE_FORM = Form("price", "a price", Decimal(-1_000_000), Decimal(1_000_000), "2026-01-31T13:00:00Z,84.51")
_DAY_MS = 86_400_000
_LOOK_BACK_DAYS = 7


class PriceSeries(Series):
    """Prices of intervals of one length."""

    @property
    def prices(self) -> Ints:
        """[N] in steps of 10^-8."""
        return self.values

    def likely(self, times_ms: Ints) -> tuple[Ints, NDArray[np.bool_]]:
        """Return the price at each instant, and whether it is known.

        One that is not is that of the same time on the latest of the seven days before that has one, or else the mean.
        """
        prices, known = self.at(times_ms)
        if known.all():
            return prices, known
        found = np.full(len(times_ms), int(self.prices.mean()) if len(self.prices) else 0, dtype=np.int64)
        for back in range(_LOOK_BACK_DAYS, 0, -1):
            older, there = self.at(times_ms - back * _DAY_MS)
            found[there] = older[there]
        return np.where(known, prices, found), known

    def until(self, end_ms: int) -> PriceSeries:
        """Return the series with likely prices up to an instant, for what lies ahead of the market."""
        if not len(self.starts_ms):
            return self
        starts_ms = np.arange(int(self.starts_ms[0]), end_ms, self.length_ms, dtype=np.int64)
        prices, known = self.likely(starts_ms)
        # Each day ahead is like the one before it, the first like the last that is known.
        for index in np.flatnonzero(~known):
            day = index - _DAY_MS // self.length_ms
            if day >= 0:
                prices[index] = prices[day]
        return PriceSeries(starts_ms, prices, self.length_ms // 1000)

    @property
    def limits(self) -> tuple[Decimal, Decimal] | None:
        """The least and the greatest price; None of an empty series."""
        if not len(self.prices):
            return None
        return _decimal(int(self.prices.min())), _decimal(int(self.prices.max()))


def price_file(name: str, path: Path | None, length_s: int) -> SeriesFile[PriceSeries]:
    """Return the series of a dynamic charge; without a path it is empty until the caller of a bill gives it."""
    return SeriesFile(name, path, length_s, PRICE_FORM, PriceSeries)


def _decimal(steps: int) -> Decimal:
    return Decimal(steps).scaleb(-DECIMALS)
