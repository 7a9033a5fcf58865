"""The real clock: drives security, back-off and the plant clock; never slots or tariffs by itself."""

from __future__ import annotations

import secrets
import time
from pathlib import Path

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def real_ms() -> int:
    """Return the real time in epoch milliseconds."""
    return time.time_ns() // 1_000_000


def boottime_ms() -> int:
    """Return the milliseconds since the machine was started, asleep or not; nobody sets this clock."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000


def machine_start() -> str:
    """Return a name of this start of the machine, to which `boottime_ms` belongs; drawn where the system has none."""
    try:
        return _BOOT_ID.read_text().strip()[:64] or secrets.token_hex(16)
    except OSError:
        return secrets.token_hex(16)
