"""The slots of the last weeks, in memory: what forecasts and bills are made from."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable

import numpy as np

from agent.contract.features import Floats
from agent.contract.slots import Slot

KEEP_DAYS = 36  # the longest month, and the five weeks that seasonal naive looks back


class History:
    """Slots in time order; older than 36 days before the newest are forgotten."""

    def __init__(self, slot_s: int, slots: Iterable[Slot] = ()) -> None:
        self.slot_s = slot_s
        self._slot_ms = slot_s * 1000
        self._slots: deque[Slot] = deque()
        for slot in slots:
            self.add(slot)

    def add(self, slot: Slot) -> None:
        """Add a slot that is newer than all others; one that is not, or of another length, is left out."""
        if slot.length_s * 1000 != self._slot_ms or (self._slots and slot.start_ms <= self._slots[-1].start_ms):
            return
        self._slots.append(slot)
        while self._slots[0].start_ms < slot.end_ms - KEEP_DAYS * 86_400_000:
            self._slots.popleft()

    def replace(self, slots: Iterable[Slot]) -> None:
        """Hold these alone."""
        self._slots.clear()
        for slot in slots:
            self.add(slot)

    def restore(self, slots: Iterable[Slot]) -> None:
        """Put slots that have come back from a damaged store before and between the others."""
        known = {slot.start_ms: slot for slot in (*slots, *self._slots)}
        self._slots.clear()
        for start_ms in sorted(known):
            self.add(known[start_ms])

    @property
    def end_ms(self) -> int | None:
        """End of the newest slot."""
        return self._slots[-1].end_ms if self._slots else None

    @property
    def last(self) -> Slot | None:
        """The newest slot."""
        return self._slots[-1] if self._slots else None

    def between(self, start_ms: int, end_ms: int) -> list[Slot]:
        """Slots that start in [start_ms, end_ms)."""
        return [slot for slot in self._slots if start_ms <= slot.start_ms < end_ms]

    def power_kw(self, until_ms: int) -> tuple[int, Floats]:
        """Return the start of the first slot and mean gross load [T] of every slot up to `until_ms`; NaN where unknown.

        A slot of which less than half was measured counts as unknown.
        """
        return self._series(until_ms, lambda slot: slot.known_gross_kw)

    def net_kw(self, until_ms: int) -> Floats:
        """Return gross load less PV [T] of every slot up to `until_ms`: what a battery meets; NaN where unknown."""
        return self._series(until_ms, lambda slot: slot.known_net_kw)[1]

    def pv_kw(self, until_ms: int) -> Floats:
        """Return what PV gave [T] in every slot up to `until_ms`; NaN where unknown."""
        return self._series(until_ms, lambda slot: slot.pv_kw)[1]

    def _series(self, until_ms: int, of: Callable[[Slot], float | None]) -> tuple[int, Floats]:
        if not self._slots:
            return until_ms, np.empty(0)
        start_ms = self._slots[0].start_ms
        power_kw: Floats = np.full(max(0, (until_ms - start_ms) // self._slot_ms), np.nan)
        for slot in self._slots:
            index = (slot.start_ms - start_ms) // self._slot_ms
            if index < len(power_kw) and (kw := of(slot)) is not None:
                power_kw[index] = kw
        return start_ms, power_kw

    def completeness(self, hours: int = 24) -> float | None:
        """Share of the last `hours` before the newest slot's end that readings cover; None without any slot."""
        if not self._slots:
            return None
        end_ms = self._slots[-1].end_ms
        wanted = min(hours * 3_600_000, end_ms - self._slots[0].start_ms) // self._slot_ms
        recent = self.between(end_ms - wanted * self._slot_ms, end_ms)
        return sum(slot.completeness for slot in recent) / wanted
