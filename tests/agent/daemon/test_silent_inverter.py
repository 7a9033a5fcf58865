"""An inverter that says nothing at night: it gives nothing then, and its silence by day stays unknown."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Sequence

import numpy as np
import pytest

from agent.contract.channels import Channel, Reading
from agent.contract.slots import FLAG_GROSS_UNKNOWN, FLAG_PV_DARK, Slot
from agent.contract.zones import parse_zone, to_local
from agent.daemon.history import History
from agent.daemon.ownpower import OwnPower
from agent.daemon.slots import SlotCloser

SLOT_MS, DAY = 900_000, 96
METER = Channel("power", "kW", interval_s=900)
PV = Channel("pv", "kW", interval_s=900)
BERLIN = parse_zone("Europe/Berlin")
CHANGES = [dt.datetime(2026, 3, 29, tzinfo=dt.UTC), dt.datetime(2026, 10, 25, tzinfo=dt.UTC)]


def sun_kw(start_ms: int) -> float:
    """A clear day by UTC, whose hours of light grow or shrink by 4 minutes a day."""
    hour = start_ms % 86_400_000 / 3_600_000 + 0.125
    day = start_ms // 86_400_000 - CHANGES[0].timestamp() / 86_400
    half = 6 + 0.033 * day if day < 100 else 6 - 0.033 * (day - 210)
    return 60.0 * np.cos(np.pi * (hour - 11) / (2 * half)) ** 1.3 if abs(hour - 11) < half else 0.0


class Plant:
    """Days that end where they are told to; the inverter speaks while it gives at least 0.3 kW."""

    def __init__(self, end_ms: int, days: int, *, mute: tuple[int, int] = (0, 0)) -> None:
        self.first_ms, self.end_ms = end_ms - days * DAY * SLOT_MS, end_ms
        self.history = History(900)
        times = range(self.first_ms, end_ms, SLOT_MS)
        self.readings = {
            "power": [Reading("power", time_ms, 100.0 - sun_kw(time_ms)) for time_ms in times],
            "pv": [
                Reading("pv", time_ms, round(sun_kw(time_ms), 3))
                for time_ms in times
                if sun_kw(time_ms) >= 0.3 and not mute[0] <= time_ms < mute[1]
            ],
        }
        self.live()

    def between(self, channel: str, start_ms: int, end_ms: int) -> Sequence[Reading]:
        first_ms = self.readings[channel][0].time_ms
        at, until = ((time_ms - first_ms) // SLOT_MS for time_ms in (start_ms, end_ms))
        if channel == "power":
            return self.readings[channel][max(at, 0) : max(until, 0)]
        return [reading for reading in self.readings[channel] if start_ms <= reading.time_ms < end_ms]

    def live(self, last_slot_ms: int | None = None) -> None:
        own = OwnPower(PV, None, self.between, self.history.between)
        closer = SlotCloser(
            METER,
            900,
            grace_s=60,
            readings=self.between,
            own=own,
            last_slot_ms=last_slot_ms,
            first_reading_ms=self.first_ms,
            last_reading_ms=self.end_ms - SLOT_MS,
        )
        while slots := closer.due(self.end_ms + 60_000):
            closer.closed(slots)
            for slot in slots:
                self.history.add(slot)

    @property
    def slots(self) -> list[Slot]:
        return self.history.between(0, self.end_ms)


def _ms(day: dt.datetime) -> int:
    return round(day.timestamp() * 1000)


@pytest.mark.parametrize("change", CHANGES)
def test_nights_are_known_from_the_fourth_on_also_where_the_clock_changes(change: dt.datetime) -> None:
    plant = Plant(_ms(change) + 4 * DAY * SLOT_MS, 12)
    known = [slot for slot in plant.slots if slot.start_ms >= plant.first_ms + 4 * DAY * SLOT_MS]
    assert {to_local(slot.start_ms, BERLIN).utcoffset() for slot in known} == {dt.timedelta(hours=h) for h in (1, 2)}
    dark = [slot for slot in known if FLAG_PV_DARK in slot.flags]
    assert len(dark) > 7 * 40
    assert max(sun_kw(slot.start_ms) for slot in dark) < 0.3
    assert {slot.pv_kw for slot in dark} == {0.0}
    assert not any(FLAG_GROSS_UNKNOWN in slot.flags for slot in known)
    np.testing.assert_allclose([slot.gross_kw for slot in known], 100.0, atol=0.31)


@pytest.mark.parametrize("change", CHANGES)
def test_an_inverter_that_falls_silent_by_day_is_unknown_until_it_is_dark(change: dt.datetime) -> None:
    noon_ms = _ms(change) + 11 * 3_600_000
    plant = Plant(noon_ms + DAY * SLOT_MS, 10, mute=(noon_ms, noon_ms + DAY * SLOT_MS))
    after = [slot for slot in plant.slots if slot.start_ms >= noon_ms]
    for slot in after:
        light_kw = sun_kw(slot.start_ms)
        assert light_kw < 4.0 if FLAG_PV_DARK in slot.flags else slot.pv_kw is None  # of 60
        assert light_kw > 0.0 or FLAG_PV_DARK in slot.flags


def test_a_restart_in_the_night_gives_the_same_slots() -> None:
    plant = Plant(_ms(CHANGES[0]) + 2 * SLOT_MS, 9)
    before = plant.slots
    assert FLAG_PV_DARK in before[-1].flags
    plant.history.replace(before[:-5])
    plant.live(last_slot_ms=before[-6].start_ms)
    assert plant.slots == before


def test_a_battery_that_is_silent_is_unknown_whatever_the_sun_does() -> None:
    plant = Plant(_ms(CHANGES[0]), 9)
    own = OwnPower(PV, Channel("battery", "kW"), lambda *_: [], plant.history.between)
    dark = dataclasses.replace(plant.slots[-1], start_ms=plant.end_ms, flags=(), pv_kw=None)
    assert own.beside(dark).flags == (FLAG_GROSS_UNKNOWN, FLAG_PV_DARK)


def test_slots_of_one_batch_know_those_before_them() -> None:
    plant = Plant(_ms(CHANGES[0]), 9)
    rest = plant.slots
    plant.history.replace(rest[:100])
    own = OwnPower(PV, None, lambda *_: [], plant.history.between)
    night = dataclasses.replace(rest[-1], start_ms=plant.end_ms, flags=(), pv_kw=None)
    assert own.beside(night).pv_kw is None
    assert own.beside(night, rest[100:]).pv_kw == 0.0
