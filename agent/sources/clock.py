"""The plant clock: drives slots, tariffs, forecasts and shadow runs. In production it is the real time, without steps.

The steady clock counts on from where it was set: a real clock that is set by hand, or that has no time before the
network is there, moves it only by `adopt`. When that is right is decided in `agent/daemon/clockwatch.py`.

In a replay it runs at a rate from an anchor: a fixed pair of a plant time and a real time that outlives restarts, so
that a killed agent comes back to where the plant is now. Security (TLS, TUF, tokens, back-off) never asks this clock.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol

from agent.contract.corrections import EXACT_MS
from agent.contract.errors import ConfigError

MAX_RATE = 1_000_000.0
_SLEW = 10


class Clock(Protocol):
    """Something that tells plant time."""

    def now_ms(self) -> int:
        """Return the plant's time in UTC epoch milliseconds."""


class SteadyClock:
    """The real time as it was at the start, counted on by a clock that nobody sets.

    Invariants:
        - it moves with `boottime_ms`, but for `adopt`: never back, never by a step;
        - while the real clock differs by at most `EXACT_MS`, it goes a tenth faster or slower until it does not.

    Args:
        real_ms: the real clock in epoch milliseconds, which may be set at any time.
        boottime_ms: milliseconds since the machine was started, asleep or not.
    """

    def __init__(self, real_ms: Callable[[], int], boottime_ms: Callable[[], int]) -> None:
        self._real_ms, self._boottime_ms = real_ms, boottime_ms
        self._slewed_at_ms = boottime_ms()
        self.offset_ms = real_ms() - self._slewed_at_ms

    def now_ms(self) -> int:
        """Return the time in UTC epoch milliseconds."""
        now_ms = self._boottime_ms()
        drift_ms = self._real_ms() - now_ms - self.offset_ms
        most_ms = (now_ms - self._slewed_at_ms) // _SLEW
        if drift_ms == 0 or abs(drift_ms) > EXACT_MS:
            self._slewed_at_ms = now_ms
        elif most_ms > 0:
            self.offset_ms += max(-most_ms, min(most_ms, drift_ms))
            self._slewed_at_ms = now_ms
        return now_ms + self.offset_ms

    def drift_ms(self) -> int:
        """Return how far the real clock is ahead of this one."""
        return self._real_ms() - self.now_ms()

    def adopt(self, offset_ms: int) -> None:
        """Be at so much beyond the time since the machine was started."""
        self.offset_ms = offset_ms
        self._slewed_at_ms = self._boottime_ms()


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
