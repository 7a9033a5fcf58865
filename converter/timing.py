"""How long one call takes."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

_RUNS = 200


def median_ms(call: Callable[[], object]) -> float:
    """Return the median of 200 calls in milliseconds, after a few to warm up."""
    for _ in range(10):
        call()
    times = []
    for _ in range(_RUNS):
        begun = time.perf_counter()
        call()
        times.append(time.perf_counter() - begun)
    return statistics.median(times) * 1000
