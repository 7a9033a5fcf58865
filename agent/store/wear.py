"""How much is written to the disk in a day: flash wears by it."""

from __future__ import annotations

from collections.abc import Callable

from agent.store.tables import Counters

_DAY_MS = 86_400_000
_KEPT_DAYS = 8
_PREFIX = "written/"


class Wear:
    """Counts bytes by UTC day, in named counters of the store.

    Args:
        written: bytes that this process has caused to be written since it began.
        now_ms: plant clock.
    """

    def __init__(self, written: Callable[[], int], now_ms: Callable[[], int]) -> None:
        self._written, self._now_ms = written, now_ms
        self._noted = written()

    def note(self, counters: Counters) -> None:
        """Add what was written since the last time, in the caller's transaction."""
        today, total = self._now_ms() // _DAY_MS, self._written()
        counters.add(f"{_PREFIX}{today}", total - self._noted)
        self._noted = total
        for name in counters.names(_PREFIX):
            day = name.removeprefix(_PREFIX)
            if not day.isdecimal() or int(day) <= today - _KEPT_DAYS:  # a damaged name is of no day
                counters.drop(name)

    def day(self, counters: Counters, days_ago: int) -> int:
        """Return the bytes written on a day; today's up to now."""
        noted = counters.get(f"{_PREFIX}{self._now_ms() // _DAY_MS - days_ago}")
        return noted if days_ago else noted + self._written() - self._noted
