"""Slots are closed once, in order, as soon as their readings are there, and as empty when none comes."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.contract.channels import Channel, Kind, Reading
from agent.contract.slots import FLAG_EMPTY, FLAG_PARTIAL, Slot
from agent.daemon.slots import MAX_SILENCE_MS, SlotCloser

SLOT_S = 900
SLOT_MS = SLOT_S * 1000
T0 = 1_700_000_100_000  # on the grid of 900 s
MEAN = Channel("power", "kW", interval_s=900)
SAMPLE = Channel("power", "kW")
COUNTER = Channel("energy", "kWh", kind=Kind.COUNTER)


class Meter:
    """Stands for the store: holds readings."""

    def __init__(self, channel: Channel, **start: int) -> None:
        self.channel = channel
        self.readings: list[Reading] = []
        self.closer = SlotCloser(channel, SLOT_S, grace_s=60, readings=self.between, **start)

    def between(self, channel: str, start_ms: int, end_ms: int) -> Sequence[Reading]:
        return [r for r in self.readings if r.channel == channel and start_ms <= r.time_ms < end_ms]

    def read(self, *pairs: tuple[int, float]) -> None:
        new = [Reading(self.channel.name, time_ms, value) for time_ms, value in pairs]
        self.readings += new
        self.closer.saw(new)

    def close(self, now_ms: int, **more: bool) -> list[Slot]:
        slots = self.closer.due(now_ms, **more)
        self.closer.closed(slots)
        return slots


def test_without_readings_there_are_no_slots() -> None:
    assert Meter(MEAN).close(T0 + 100 * SLOT_MS) == []


def test_a_mean_over_the_slot_closes_it_at_its_end() -> None:
    meter = Meter(MEAN)
    meter.read((T0, 12.0))
    (slot,) = meter.close(T0 + SLOT_MS)
    assert (slot.start_ms, slot.power_kw, slot.energy_wh, slot.flags) == (T0, 12.0, 3000, ())
    assert meter.close(T0 + SLOT_MS) == []


def test_samples_close_a_slot_when_the_next_slot_has_begun() -> None:
    meter = Meter(SAMPLE)
    meter.read(*((T0 + second * 1000, 6.0) for second in range(0, SLOT_S, 10)))
    assert meter.close(T0 + SLOT_MS) == []
    meter.read((T0 + SLOT_MS + 2000, 6.0))
    (slot,) = meter.close(T0 + SLOT_MS + 2000)
    assert slot.completeness == 1.0
    assert slot.energy_wh == 1500


def test_a_slot_waits_its_grace_for_readings_and_then_closes_as_it_is() -> None:
    meter = Meter(SAMPLE)
    meter.read((T0 + 1000, 6.0))
    assert meter.close(T0 + SLOT_MS + 59_999) == []
    (slot,) = meter.close(T0 + SLOT_MS + 60_000)
    assert slot.flags == (FLAG_PARTIAL,)


def test_silence_gives_empty_slots_until_readings_are_back() -> None:
    meter = Meter(MEAN)
    meter.read((T0, 1.0))
    slots = meter.close(T0 + 4 * SLOT_MS)
    assert [slot.flags for slot in slots] == [(), (FLAG_EMPTY,), (FLAG_EMPTY,)]
    meter.read((T0 + 4 * SLOT_MS, 5.0))
    slots = meter.close(T0 + 5 * SLOT_MS)
    assert [slot.power_kw for slot in slots] == [None, 5.0]


def test_no_empty_slots_after_the_end_of_an_exhausted_source() -> None:
    meter = Meter(MEAN)
    meter.read((T0, 1.0), (T0 + SLOT_MS, 2.0))
    slots = meter.close(T0 + 50 * SLOT_MS, exhausted=True)
    assert [slot.power_kw for slot in slots] == [1.0, 2.0]
    assert meter.close(T0 + 90 * SLOT_MS, exhausted=True) == []


def test_the_last_partial_slot_of_an_exhausted_source_is_closed() -> None:
    meter = Meter(SAMPLE)
    meter.read((T0, 1.0), (T0 + SLOT_MS, 2.0))
    slots = meter.close(T0 + SLOT_MS + 1, exhausted=True)
    assert [slot.start_ms for slot in slots] == [T0, T0 + SLOT_MS]


def test_a_clock_that_was_years_behind_makes_no_years_of_empty_slots() -> None:
    meter = Meter(MEAN)
    meter.read((0, 1.0))
    assert len(meter.close(SLOT_MS)) == 1
    meter.read((T0, 3.0))
    assert [slot.start_ms for slot in meter.close(T0 + SLOT_MS)] == [T0]


def test_a_meter_that_never_comes_back_stops_making_empty_slots() -> None:
    meter = Meter(MEAN)
    meter.read((T0, 1.0))
    count = 0
    while slots := meter.close(T0 + 10 * MAX_SILENCE_MS):
        count += len(slots)
    assert count == MAX_SILENCE_MS // SLOT_MS


def test_slots_that_were_not_stored_are_given_again() -> None:
    meter = Meter(MEAN)
    meter.read((T0, 1.0))
    assert meter.closer.due(T0 + SLOT_MS) == meter.closer.due(T0 + SLOT_MS)
    assert meter.closer.next_ms == T0


def test_after_a_restart_goes_on_after_the_last_stored_slot() -> None:
    before = Meter(MEAN)
    before.read(*((T0 + index * SLOT_MS, float(index)) for index in range(4)))
    after = Meter(MEAN, last_slot_ms=T0, last_reading_ms=T0 + 3 * SLOT_MS)
    after.readings = before.readings
    assert [slot.power_kw for slot in after.close(T0 + 4 * SLOT_MS)] == [1.0, 2.0, 3.0]


def test_after_a_restart_before_any_slot_begins_with_the_first_reading() -> None:
    after = Meter(MEAN, first_reading_ms=T0 + 5000, last_reading_ms=T0 + SLOT_MS)
    after.readings = [Reading("power", T0, 1.0), Reading("power", T0 + SLOT_MS, 2.0)]
    assert [slot.start_ms for slot in after.close(T0 + 2 * SLOT_MS)] == [T0, T0 + SLOT_MS]


def test_a_counter_bridges_the_time_in_which_nobody_read_it() -> None:
    meter = Meter(COUNTER)
    meter.read((T0, 100.0), (T0 + SLOT_MS, 101.0))
    meter.close(T0 + SLOT_MS)
    meter.read((T0 + 9 * SLOT_MS, 109.0))
    slots = meter.close(T0 + 9 * SLOT_MS)
    assert [slot.energy_wh for slot in slots] == [1000] * 8
    assert all(slot.completeness == 1.0 for slot in slots)


@pytest.mark.parametrize("channel", [MEAN, SAMPLE, COUNTER])
@given(data=st.data())
def test_every_slot_once_and_in_order_whatever_the_turns_and_restarts(channel: Channel, data: st.DataObject) -> None:
    rng = random.Random(data.draw(st.integers(0, 2**16)))
    step_ms = SLOT_MS if channel is MEAN else 300_000
    times = [T0 + index * step_ms for index in range(120) if rng.random() > 0.2]
    meter = Meter(channel)
    stored: list[Slot] = []
    now_ms, fed = T0, 0
    while now_ms < T0 + 130 * step_ms:
        now_ms += rng.randrange(1, 5 * step_ms)
        upto = sum(time_ms + channel.interval_s * 1000 <= now_ms for time_ms in times)
        meter.read(*((time_ms, float(index)) for index, time_ms in enumerate(times) if fed <= index < upto))
        fed = upto
        stored += meter.close(now_ms)
        if rng.random() < 0.2 and meter.readings:
            again = Meter(
                channel,
                first_reading_ms=meter.readings[0].time_ms,
                last_reading_ms=meter.readings[-1].time_ms,
                **({"last_slot_ms": stored[-1].start_ms} if stored else {}),
            )
            again.readings = meter.readings
            meter = again
    starts = [slot.start_ms for slot in stored]
    assert starts == [starts[0] + index * SLOT_MS for index in range(len(starts))]
    assert starts[0] == times[0] - times[0] % SLOT_MS
    for slot in stored:
        inside = [t for t in times if slot.start_ms <= t < slot.end_ms]
        assert (slot.power_kw is not None) or not inside or channel is COUNTER


def test_readings_are_needed_until_their_slots_are_closed() -> None:
    meter = Meter(MEAN)
    assert meter.closer.needed_ms is None
    meter.read(*((T0 + at * SLOT_MS, 1.0) for at in range(600)))  # a file that is replayed: all of it is old
    assert meter.closer.needed_ms is not None
    assert meter.closer.needed_ms <= T0
    closed = meter.close(T0 + 10**12)
    assert T0 < meter.closer.needed_ms <= closed[-1].end_ms


def test_a_counter_needs_the_reading_before_a_silence_until_the_silence_is_closed() -> None:
    meter = Meter(COUNTER)
    meter.read((T0, 0.0), (T0 + 400 * SLOT_MS, 400.0))  # more slots than one turn closes
    assert len(meter.close(T0 + 401 * SLOT_MS)) < 400
    assert meter.closer.needed_ms == T0
    slots = meter.close(T0 + 401 * SLOT_MS)
    assert {slot.energy_wh for slot in slots} == {1000}
