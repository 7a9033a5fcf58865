"""PV and battery beside the slots of the meter: what each gave over a slot, from the same readings as the slot itself.

Decides when their readings have come, and what counts as known: an inverter that sleeps at night gives nothing. A
plant without their channels does not load this.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from agent.contract.channels import Channel, Reading
from agent.contract.slots import FLAG_GROSS_UNKNOWN, FLAG_PV_DARK, HOLD_S, Slot, build_slot
from agent.planning.pv import DARK_DAYS, is_dark

_DAY_MS = 86_400_000


class OwnPower:
    """The channels that measure what the plant gives itself; at least one of them.

    Attributes:
        reach_ms: how long before a slot a reading may lie that still tells of it.
    """

    def __init__(
        self,
        pv: Channel | None,
        battery: Channel | None,
        readings: Callable[[str, int, int], Sequence[Reading]],
        slots: Callable[[int, int], Sequence[Slot]],
    ) -> None:
        """Begin with no reading seen: slots that are due then wait their grace, and are built from what is stored.

        Args:
            pv: a gauge in kW, produced; None where there is none.
            battery: a gauge in kW, above 0 where it gives; likewise.
            readings: the store's `readings(channel, start_ms, end_ms)`.
            slots: those of before that start in [start_ms, end_ms), in order.
        """
        self._pv, self._battery, self._readings, self._slots = pv, battery, readings, slots
        self._channels = {channel.name: channel for channel in (pv, battery) if channel is not None}
        self._through_ms = dict.fromkeys(self._channels, 0)
        self.reach_ms = round(max(max(channel.interval_s, HOLD_S) for channel in self._channels.values()) * 1000)

    def begin(self) -> None:
        """Forget which readings have come: their times were corrected."""
        self._through_ms = dict.fromkeys(self._channels, 0)

    def saw(self, readings: Sequence[Reading]) -> None:
        """Learn of readings that have been stored."""
        for reading in readings:
            channel = self._channels.get(reading.channel)
            if channel is not None:
                through_ms = reading.time_ms + channel.interval_s * 1000
                self._through_ms[channel.name] = max(self._through_ms[channel.name], through_ms)

    def covers(self, end_ms: int) -> bool:
        """Whether every channel has spoken of all until a time."""
        return min(self._through_ms.values()) >= end_ms

    def beside(self, slot: Slot, newest: Sequence[Slot] = ()) -> Slot:
        """Return the slot with what PV and battery gave; flagged where one of them did not tell at least half of it.

        Args:
            slot: of the meter.
            newest: the slots just before it that `slots` does not give yet.
        """
        pv_kw, battery_kw = self._mean_kw(self._pv, slot), self._mean_kw(self._battery, slot)
        flags = {*slot.flags}
        if self._pv is not None and pv_kw is None and self._is_dark(slot, newest):
            pv_kw = 0.0
            flags.add(FLAG_PV_DARK)
        if (self._pv is not None and pv_kw is None) or (self._battery is not None and battery_kw is None):
            flags.add(FLAG_GROSS_UNKNOWN)
        return dataclasses.replace(
            slot,
            pv_kw=None if pv_kw is None else max(pv_kw, 0.0),  # at night an inverter is a small load
            battery_kw=battery_kw,
            flags=tuple(sorted(flags)),
        )

    def _is_dark(self, slot: Slot, newest: Sequence[Slot]) -> bool:
        """Go by what was measured alone: what was taken as dark is no proof that it is."""
        slot_ms, per_day = slot.length_s * 1000, _DAY_MS // (slot.length_s * 1000)
        first_ms = slot.start_ms - (DARK_DAYS + 1) * _DAY_MS
        pv_kw = np.full((DARK_DAYS + 1) * per_day, np.nan)
        for before in (*self._slots(first_ms, slot.start_ms), *newest):
            if before.pv_kw is not None and before.start_ms >= first_ms and FLAG_PV_DARK not in before.flags:
                pv_kw[(before.start_ms - first_ms) // slot_ms] = before.pv_kw
        return is_dark(pv_kw, slot.length_s)

    def _mean_kw(self, channel: Channel | None, slot: Slot) -> float | None:
        if channel is None:
            return None
        found = self._readings(channel.name, slot.start_ms - self.reach_ms, slot.end_ms)
        by_time = sorted(found, key=lambda reading: reading.time_ms)
        return build_slot(slot.start_ms, slot.length_s, channel, by_time).known_kw
