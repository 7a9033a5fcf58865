"""When a slot is closed: once all its readings have come, or have been waited for long enough.

What a slot is worth given its readings is `contract.slots.build_slot`'s decision. Readings come from the store, in the
first run as after a restart, so that both give the same slots.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from agent.config import Config
from agent.contract.channels import Channel, Kind, Reading
from agent.contract.slots import HOLD_S, Slot, build_slot, floor_slot

if TYPE_CHECKING:
    from agent.daemon.ownpower import OwnPower

MAX_SILENCE_MS = 62 * 86_400_000  # a longer one is a clock that was wrong, or a stored device: no empty slots for it
_MOST_AT_ONCE = 256  # slots of one turn of the loop, which must go on sampling while it catches up

ReadStored = Callable[[str, int, int], Sequence[Reading]]


class SlotCloser:
    """Closes the slots of the meter, in order, with what PV and battery gave where they are measured.

    Invariants:
        - from the first reading on every slot of the grid is given exactly once, in order, until `closed` takes it;
        - a slot without any reading is given as empty, once its time and the grace are over;
        - no slot is given for a time after the last reading of an exhausted source, nor within a silence of more than
          62 days.

    Attributes:
        next_ms: start of the next slot; None until there was a reading.
    """

    def __init__(
        self,
        channel: Channel,
        slot_s: int,
        *,
        grace_s: float,
        readings: ReadStored,
        own: OwnPower | None = None,
        last_slot_ms: int | None = None,
        first_reading_ms: int | None = None,
        last_reading_ms: int | None = None,
    ) -> None:
        """Begin where the store ends: see `begin`.

        Args:
            channel: the plant's load.
            slot_s: slot length.
            grace_s: how long after its end a slot waits for its readings.
            readings: the store's `readings(channel, start_ms, end_ms)`.
            own: PV and battery, whose readings a slot waits for, too.
            last_slot_ms: as in `begin`.
            first_reading_ms: likewise.
            last_reading_ms: likewise.
        """
        self._channel = channel
        self._slot_s = slot_s
        self._grace_ms = round(grace_s * 1000)
        self._readings = readings
        self._own = own
        # How far beyond a slot its readings may stand: what they stand for, or the neighbour of a counter.
        self._reach_ms = round(max(channel.interval_s, HOLD_S, slot_s if channel.kind is Kind.COUNTER else 0) * 1000)
        self.begin(last_slot_ms=last_slot_ms, first_reading_ms=first_reading_ms, last_reading_ms=last_reading_ms)

    def begin(self, *, last_slot_ms: int | None, first_reading_ms: int | None, last_reading_ms: int | None) -> None:
        """Go on where the store ends, also when its times were corrected.

        Args:
            last_slot_ms: start of the last slot stored.
            first_reading_ms: time of the oldest reading stored since then.
            last_reading_ms: time of the newest.
        """
        self._newest_ms = last_reading_ms
        self._used_ms: int | None = None
        if self._own is not None:
            self._own.begin()
        self.next_ms: int | None = None
        if last_slot_ms is not None:
            self.next_ms = last_slot_ms + self._slot_s * 1000
        if first_reading_ms is not None and (self.next_ms is None or first_reading_ms - self.next_ms > MAX_SILENCE_MS):
            self.next_ms = floor_slot(first_reading_ms, self._slot_s)

    @property
    def needed_ms(self) -> int | None:
        """Time of the oldest stored reading that a slot may still be built from; None before the first reading."""
        if self.next_ms is None or self._newest_ms is None:
            return None
        reach_ms = self._reach_ms if self._own is None else max(self._reach_ms, self._own.reach_ms)
        # A counter counts on from the reading that the last slot was built from, however long ago that was.
        times = [self.next_ms - reach_ms, self._newest_ms, self._used_ms]
        return min(time_ms for time_ms in times if time_ms is not None)

    def saw(self, readings: Sequence[Reading]) -> None:
        """Learn of readings that have been stored."""
        if self._own is not None:
            self._own.saw(readings)
        for reading in readings:
            if reading.channel != self._channel.name:
                continue
            jumped = self._newest_ms is not None and reading.time_ms - self._newest_ms > MAX_SILENCE_MS
            if self.next_ms is None or jumped:
                self.next_ms = floor_slot(reading.time_ms, self._slot_s)
            if self._newest_ms is None or reading.time_ms > self._newest_ms:
                self._newest_ms = reading.time_ms

    def due(self, now_ms: int, *, exhausted: bool = False) -> list[Slot]:
        """Return slots that can be closed now, oldest first, at most 256; the same again until `closed` takes them."""
        slots: list[Slot] = []
        start_ms = self.next_ms
        while start_ms is not None and len(slots) < _MOST_AT_ONCE and self._over(start_ms, now_ms, exhausted):
            slots.append(self._build(start_ms, slots))
            start_ms += self._slot_s * 1000
        return slots

    def is_behind(self, now_ms: int, *, exhausted: bool = False) -> bool:
        """Whether slots are left that can be closed now: more were due than of one turn."""
        return self.next_ms is not None and self._over(self.next_ms, now_ms, exhausted)

    def closed(self, slots: Sequence[Slot]) -> None:
        """Take note that these have been stored."""
        if slots:
            self.next_ms = slots[-1].end_ms

    def _over(self, start_ms: int, now_ms: int, exhausted: bool) -> bool:
        if self._newest_ms is None:
            return False
        end_ms = start_ms + self._slot_s * 1000
        covered_ms = self._newest_ms + self._channel.interval_s * 1000
        if covered_ms >= end_ms and (exhausted or self._own is None or self._own.covers(end_ms)):
            return True
        if exhausted:
            return start_ms < covered_ms or start_ms <= self._newest_ms
        return now_ms >= end_ms + self._grace_ms and end_ms <= self._newest_ms + MAX_SILENCE_MS

    def _build(self, start_ms: int, newest: Sequence[Slot]) -> Slot:
        end_ms = start_ms + self._slot_s * 1000
        found = list(self._readings(self._channel.name, start_ms - self._reach_ms, end_ms + self._reach_ms))
        if self._channel.kind is Kind.COUNTER:
            found = self._with_neighbours(found, start_ms, end_ms)
        found.sort(key=lambda reading: reading.time_ms)
        if found:
            self._used_ms = found[0].time_ms
        slot = build_slot(start_ms, self._slot_s, self._channel, found)
        return slot if self._own is None else self._own.beside(slot, newest)

    def _with_neighbours(self, found: list[Reading], start_ms: int, end_ms: int) -> list[Reading]:
        """Add the nearest readings outside: a counter counts on while nobody reads it."""
        if not any(reading.time_ms <= start_ms for reading in found):
            found += self._nearest(start_ms, -1)
        if not any(reading.time_ms >= end_ms for reading in found):
            found += self._nearest(end_ms, 1)
        return found

    def _nearest(self, edge_ms: int, direction: int) -> list[Reading]:
        # Ever wider steps: a long outage holds no readings, a backlog holds many, and neither is read whole.
        width, inner = self._reach_ms, 0
        while inner < MAX_SILENCE_MS and (direction < 0 or edge_ms + inner <= (self._newest_ms or 0)):
            low, high = sorted((edge_ms + direction * inner, edge_ms + direction * (inner + width)))
            found = sorted(self._readings(self._channel.name, low, high + 1), key=lambda reading: reading.time_ms)
            if found:
                return [found[0] if direction > 0 else found[-1]]
            inner, width = inner + width, width * 2
        return []


def make_closer(config: Config, readings: ReadStored, slots: Callable[[int, int], Sequence[Slot]]) -> SlotCloser:
    """Make the closer of a plant's slots, which go on after those that `slots` gives of a span.

    What PV and battery need is loaded only where they are measured.
    """
    own = None
    if config.is_gross:
        from agent.daemon.ownpower import OwnPower  # noqa: PLC0415 - see above

        own = OwnPower(*config.own_channels, readings, slots)
    meter = config.channels[config.plant.power_channel]
    return SlotCloser(meter, config.plant.slot_s, grace_s=config.plant.grace_s, readings=readings, own=own)
