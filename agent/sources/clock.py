"""The plant clock: drives slots, tariffs, forecasts and shadow runs. In production it is the real time.

In a replay it runs at a rate from an anchor: a fixed pair of a plant time and a real time that outlives restarts, so
that a killed agent comes back to where the plant is now. Security (TLS, TUF, tokens, back-off) never asks this clock.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol

from agent.contract.errors import ConfigError

MAX_RATE = 1_000_000.0


class Clock(Protocol):
    """Something that tells plant time."""

    def now_ms(self) -> int:
        """Return the plant's time in UTC epoch milliseconds."""


class SystemPlantClock:
    """The real time."""

    def __init__(self, real_ms: Callable[[], int]) -> None:
        self._real_ms = real_ms

    def now_ms(self) -> int:
        """Return the real time in UTC epoch milliseconds."""
        return self._real_ms()


class PlantClock:
    """A clock that was at `start_ms` when the real time was `anchor_real_ms`, and runs `rate` times as fast.

    It never goes back, even where the real clock is set back: a slot that was closed stays closed.

    Args:
        start_ms: plant time at the anchor.
        anchor_real_ms: real time at the anchor.
        rate: plant seconds in one real second, above 0.
        real_ms: the real time in epoch milliseconds.

    Raises:
        ConfigError: when the rate is not a number above 0 and up to a million.
    """

    def __init__(self, start_ms: int, anchor_real_ms: int, rate: float, *, real_ms: Callable[[], int]) -> None:
        if not (math.isfinite(rate) and 0 < rate <= MAX_RATE):
            raise ConfigError(f"clock rate {rate} is not a number above 0 and up to {MAX_RATE:.0f}")
        self._start_ms, self._anchor_ms, self._rate, self._real_ms = start_ms, anchor_real_ms, rate, real_ms
        self._latest = start_ms

    def now_ms(self) -> int:
        """Return the plant's time in UTC epoch milliseconds; before the anchor it stands at `start_ms`."""
        passed = (self._real_ms() - self._anchor_ms) * self._rate
        self._latest = max(self._latest, self._start_ms + math.floor(passed))
        return self._latest
