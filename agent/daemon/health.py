"""The agent's own pulse: memory, lag, backlog, as rows of the `health` stream."""

from __future__ import annotations

import os
import resource
from pathlib import Path

_MIB = 2**20


def rss_mib(statm: Path = Path("/proc/self/statm")) -> float:
    """Return the resident memory of this process, now."""
    return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / _MIB


def peak_rss_mib() -> float:
    """Return the greatest resident memory since the start."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def disk_written_bytes(io: Path = Path("/proc/self/io")) -> int:
    """Return the bytes that this process has caused to be written to disks; 0 where the kernel does not count them."""
    try:
        lines = io.read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.partition(":")[2]) for line in lines if line.startswith("write_bytes:")), 0)


class Pulse:
    """When a health row is due, and how late the loop was since the last one.

    Attributes:
        lag_ms: longest turn of the loop, beyond its tick, since the last row.
    """

    def __init__(self, every_s: float, tick_s: float) -> None:
        self._every_s = every_s
        self._tick_s = tick_s
        self._last_s: float | None = None
        self._turn_s: float | None = None
        self.lag_ms = 0.0

    def turn(self, now_s: float) -> None:
        """Note the begin of a turn (monotonic seconds)."""
        if self._turn_s is not None:
            self.lag_ms = max(self.lag_ms, (now_s - self._turn_s - self._tick_s) * 1000)
        self._turn_s = now_s

    def due(self, now_s: float) -> bool:
        """Whether a row is due; when it is, the next one is due `every_s` later."""
        if self._last_s is not None and now_s - self._last_s < self._every_s:
            return False
        self._last_s = now_s
        return True

    def beaten(self) -> None:
        """A row has been written: begin to measure the lag anew."""
        self.lag_ms = 0.0
