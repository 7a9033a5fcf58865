"""The real clock: drives security, back-off and the plant clock; never slots or tariffs by itself."""

from __future__ import annotations

import time


def real_ms() -> int:
    """Return the real time in epoch milliseconds."""
    return time.time_ns() // 1_000_000
