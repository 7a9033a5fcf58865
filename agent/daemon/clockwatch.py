"""Whether the machine's clock is to be believed, and what is done when it was set.

Judges once a turn; what a corrected time means for stored rows is the store's decision. Slots, forecasts and costs wait
while the time is not known. A replay has a plant clock of its own, which nobody sets: there is nothing to judge there.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from dataclasses import dataclass

from agent.contract import jsonform
from agent.contract.corrections import EXACT_MS
from agent.contract.errors import RejectedError, StorageError
from agent.contract.jsonform import MAX_TIME_MS, Fields
from agent.contract.slots import floor_slot
from agent.contract.zones import utc_iso
from agent.daemon.calibrating import Notes
from agent.daemon.forecasting import Forecasting
from agent.daemon.history import KEEP_DAYS, History
from agent.daemon.slots import SlotCloser
from agent.daemon.views import stored_slots
from agent.sources.base import Source
from agent.sources.clock import SteadyClock
from agent.store.store import Store

EARLIEST_MS = 1_735_689_600_000  # 2025: older than this program is no time that it runs in
_PAUSE_MS = 600_000  # after two steps that are no exception any more the next one waits: each takes an event that stays
_EACH_MS = 60_000  # and longer, for each epoch that the event names: what it all takes grows with the time, no faster
_OFTEN = 6  # two steps within so many pauses are no exception
_HOLDS_MS = 30 * 86_400_000  # in so long a clock that nobody sets may go wrong by a minute
_KEEP_EVERY_MS = 86_400_000  # a note is a transaction of its own
_NOTE = "clock"
_NOTE_BYTES = 1024

Heard = tuple[int, int]  # the real clock at the last acknowledgement, and how far it was ahead of the centre's


class Confirmed:
    """When the centre last agreed with the plant clock, by that clock, as a note in the store: an update ends a run.

    Args:
        notes: where.
        machine: names the start of the machine, with which it ends: the plant clock is another one then.
    """

    def __init__(self, notes: Notes, machine: str) -> None:
        self._notes, self._machine = notes, machine
        self._written_ms: int | None = None

    def read(self) -> int | None:
        """Return when, to a day; None where that is not known."""
        with contextlib.suppress(RejectedError, StorageError):
            data = self._notes.note(_NOTE)
            fields = Fields(jsonform.loads(data or b"{}", where=_NOTE, max_bytes=_NOTE_BYTES), _NOTE)
            if data is not None and fields.text("machine") == self._machine:
                self._written_ms = fields.integer("confirmed_ms", 0, MAX_TIME_MS) or None
        return self._written_ms

    def write(self, at_ms: int | None) -> None:
        """Keep it, once a day and where it changes from or to None."""
        before_ms = self._written_ms
        if at_ms == before_ms or (at_ms and before_ms and 0 <= at_ms - before_ms < _KEEP_EVERY_MS):
            return
        self._written_ms = at_ms
        self._notes.keep(_NOTE, jsonform.dumps({"machine": self._machine, "confirmed_ms": at_ms or 0}))


class ClockWatch:
    """What is known of the time.

    Args:
        clock: the plant clock; None in a replay.
        floor_ms: the least that the time can be: when the centre last signed something for this device.
        heard: the last acknowledgement of this run; None before the first.
        kept: what the centre confirmed, in this run and those before it in one start of the machine.
        epochs: how many a step would have to correct.
    """

    def __init__(
        self,
        clock: SteadyClock | None,
        *,
        floor_ms: Callable[[], int],
        heard: Callable[[], Heard | None],
        kept: Confirmed | None = None,
        epochs: Callable[[], int] = lambda: 1,
    ) -> None:
        self._clock, self._floor_ms, self._heard, self._kept, self._epochs = clock, floor_ms, heard, kept, epochs
        self._confirmed_ms = kept.read() if kept is not None else None
        self._last: Heard | None = None
        self._stepped_ms = -math.inf, -math.inf  # when the last two steps were made, in time since the machine's start

    @property
    def is_known(self) -> bool:
        """Whether the plant clock may be right."""
        return self._clock is None or self._clock.now_ms() >= self._least_ms

    @property
    def quality(self) -> str:
        """`bounded` where the centre agrees to a minute, else `unknown`; `unset` where it cannot be right."""
        if not self.is_known:
            return "unset"
        heard = self._heard()
        return "bounded" if heard is not None and abs(heard[1]) <= EXACT_MS else "unknown"

    @property
    def ahead_ms(self) -> int | None:
        """How far the real clock was ahead of the centre's when it was heard last."""
        heard = self._heard()
        return None if heard is None else heard[1]

    def step_ms(self) -> int:
        """Return by how much the plant clock is to be set; 0 where it is not.

        What the centre has confirmed holds for thirty days, whatever the real clock says, until the centre agrees with
        that: a time that was mistyped must not move a year of readings. A clock that is set again and again, as by two
        services at odds, is followed every ten minutes, and more seldom the longer it goes on.
        """
        if self._clock is None:
            return 0
        drift_ms = self._clock.drift_ms()
        now_ms = self._clock.now_ms()
        self._listen(now_ms, drift_ms)
        if abs(drift_ms) <= EXACT_MS or now_ms + drift_ms < self._least_ms or self._holds(now_ms):
            return 0
        return 0 if self._waits(now_ms - self._clock.offset_ms) else drift_ms

    def stepped(self) -> None:
        """Note that the plant clock was set."""
        if self._clock is not None:
            if abs(self._clock.drift_ms()) <= EXACT_MS:  # what was confirmed was another clock
                self._confirm(None)
            self._stepped_ms = self._stepped_ms[1], self._clock.now_ms() - self._clock.offset_ms

    def goes_back(self, aside_ms: int) -> bool:
        """Whether this clock is less to be believed than one that it is `aside_ms` ahead of."""
        return self._clock is not None and (not self.is_known or self._holds(self._clock.now_ms() - aside_ms))

    def complaint(self) -> str:
        """Say what is wrong with the clock; nothing where all is well."""
        if self._clock is None:
            return ""
        now_ms, drift_ms = self._clock.now_ms(), self._clock.drift_ms()
        if now_ms < self._least_ms:
            return "the time by the clock cannot be: slots and forecasts wait. Set the clock"
        if abs(drift_ms) > EXACT_MS:
            return (
                f"the clock was set {_span(drift_ms)}, but readings go on by the time before: the centre says "
                "otherwise, it is too early to be true, it is set too often, or the disk is full. Set the clock right"
            )
        return ""

    @property
    def _least_ms(self) -> int:
        # The centre's word is as good as its clock, to a minute: a device a second behind it is not wrong.
        return max(EARLIEST_MS, self._floor_ms() - EXACT_MS)

    def _holds(self, now_ms: int) -> bool:
        return self._confirmed_ms is not None and now_ms - self._confirmed_ms <= _HOLDS_MS

    def _waits(self, since_start_ms: int) -> bool:
        before_ms, last_ms = self._stepped_ms
        pause_ms = max(_PAUSE_MS, self._epochs() * _EACH_MS)
        return since_start_ms - before_ms <= _OFTEN * pause_ms and since_start_ms - last_ms < pause_ms

    def _listen(self, now_ms: int, drift_ms: int) -> None:
        heard = self._heard()
        if heard is None or heard == self._last:
            return
        self._last = heard
        if abs(heard[1]) <= EXACT_MS:
            self._confirm(now_ms if abs(drift_ms) <= EXACT_MS else None)

    def _confirm(self, at_ms: int | None) -> None:
        self._confirmed_ms = at_ms
        if self._kept is not None:
            self._kept.write(at_ms)


@dataclass(frozen=True)
class Plant:
    """What the time of the readings matters to."""

    store: Store
    sources: list[Source]
    closer: SlotCloser
    history: History
    forecasting: Forecasting
    channel: str  # of which slots are made
    is_steady: bool  # whether its clock is one that can be set

    @property
    def own_times(self) -> list[str]:
        """The channels that are not stamped by the clock."""
        return [channel.name for source in self.sources if source.has_own_times for channel in source.channels]

    def first_slot_ms(self) -> int:
        """Return the start of the first slot that readings are still here for; 0 without any."""
        return floor_slot(self.store.first_time_ms(self.channel) or 0, self.history.slot_s)

    def rewind(self) -> None:
        """Take up the slots that count, and forget what was forecast from others."""
        self.history.replace(stored_slots(self.store, KEEP_DAYS))
        self.place()
        self.forecasting.forget()

    def place(self) -> None:
        """Let slots begin after the last one that counts, or with the first reading, as the store has them."""
        last = self.history.last
        # What another start of the machine stamped without a time is never corrected, and makes no slots.
        earliest_ms = EARLIEST_MS if self.is_steady and self.channel not in self.own_times else 0
        self.closer.begin(
            last_slot_ms=None if last is None else last.start_ms,
            first_reading_ms=self.store.first_time_ms(self.channel, earliest_ms if last is None else last.end_ms),
            last_reading_ms=self.store.last_time_ms("readings", self.channel),
        )


class ClockRoom:
    """Sets the plant clock, and lets everything that remembers times go on by it.

    Invariants: nothing is sampled between a step and its correction; where that cannot be made durable all goes on by
    the clock until now, and the step is made at a later turn. Once it is made, slots and forecasts wait until they go
    on by it.
    """

    def __init__(self, clock: SteadyClock | None, watch: ClockWatch, plant: Plant) -> None:
        self.watch = watch
        self._clock, self._plant = clock, plant
        self._knew = watch.is_known
        self._owes = False  # a rewind

    @property
    def is_settled(self) -> bool:
        """Whether the plant clock may be right, and all that is made of times goes by it."""
        return self.watch.is_known and not self._owes

    def turn(self) -> int | None:
        """Adopt a step where there is one; return by how much the plant clock was set, None where no time changed.

        By 0 where the clock was set before this run, and the store was opened too late to go on as before it.
        """
        step_ms, aside_ms = self.watch.step_ms(), self._plant.store.aside_ms
        if aside_ms and not step_ms and self.watch.goes_back(aside_ms):
            step_ms = -aside_ms
        changed = bool(step_ms or aside_ms) and self._step(step_ms)
        known = self.watch.is_known
        self._owes |= changed or (known and not self._knew)
        self._knew = known
        return step_ms if changed else None

    def settle(self, also: Callable[[], None]) -> None:
        """Let slots and forecasts, and what `also` tells of it, go on by a clock that was set or is right by now.

        Raises:
            StorageError: when the store cannot be read; it is owed then until the next call.
        """
        if self._owes:
            self._plant.rewind()
            also()
            self._owes = False

    def place(self) -> None:
        """Let slots go on as the store has them, where old ones have come back."""
        self._plant.place()

    def _step(self, step_ms: int) -> bool:
        clock, plant = self._clock, self._plant
        if clock is None:
            return False
        aside_ms = plant.store.aside_ms
        now_ms, offset_ms = clock.now_ms() + step_ms, clock.offset_ms + step_ms
        before_ms = now_ms - (step_ms or aside_ms)
        text = f"the clock was set from {utc_iso(before_ms)} to {utc_iso(now_ms)}: earlier times are corrected by that"
        own_times = plant.own_times
        first_ms = None if plant.channel in own_times else plant.first_slot_ms() + aside_ms
        if not plant.store.begin_epoch(offset_ms, now_ms, text, own_times=own_times, slots_first_ms=first_ms):
            return False
        clock.adopt(offset_ms)
        self.watch.stepped()
        for source in plant.sources:
            source.stepped(step_ms)
        return True


def _span(step_ms: int) -> str:
    """Say how far a clock was set; in whole minutes, so that the same step is told in the same words."""
    minutes = round(abs(step_ms) / 60_000)
    days, hours, minutes = minutes // 1440, minutes // 60 % 24, minutes % 60
    way = "ahead" if step_ms > 0 else "back"
    return f"{way} by {days} days {hours} h {minutes} min" if days else f"{way} by {hours} h {minutes} min"
