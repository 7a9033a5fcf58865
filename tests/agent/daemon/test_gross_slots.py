"""Slots of a plant with PV and a battery: each waits for their readings, and gross load is what forecasts are made of."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import pytest

from agent.contract.channels import Channel, Reading
from agent.contract.slots import FLAG_GROSS_UNKNOWN, Slot
from agent.daemon.history import History
from agent.daemon.ownpower import OwnPower
from agent.daemon.slots import SlotCloser

SLOT_MS = 900_000
T0 = 1_700_000_100_000  # on the grid of 900 s
METER = Channel("power", "kW", interval_s=900)
PV = Channel("pv", "kW")
BATTERY = Channel("battery", "kW", interval_s=300)


class Plant:
    """Stands for the store: holds readings."""

    def __init__(self, pv: Channel | None = PV, battery: Channel | None = BATTERY) -> None:
        self.pv, self.battery = pv, battery
        self.readings: list[Reading] = []
        self.start()

    def start(self, last_slot_ms: int | None = None) -> None:
        times = [reading.time_ms for reading in self.readings if reading.channel == METER.name]
        self.closer = SlotCloser(
            METER,
            900,
            grace_s=60,
            readings=self.between,
            own=OwnPower(self.pv, self.battery, self.between, lambda *_: []),
            last_slot_ms=last_slot_ms,
            last_reading_ms=max(times, default=None),
        )

    def between(self, channel: str, start_ms: int, end_ms: int) -> Sequence[Reading]:
        return [r for r in self.readings if r.channel == channel and start_ms <= r.time_ms < end_ms]

    def read(self, channel: Channel, *pairs: tuple[int, float]) -> None:
        new = [Reading(channel.name, T0 + at_s * 1000, value) for at_s, value in pairs]
        self.readings += new
        self.closer.saw(new)

    def close(self, at_s: int, **more: bool) -> list[Slot]:
        slots = self.closer.due(T0 + at_s * 1000, **more)
        self.closer.closed(slots)
        return slots


def quarter(plant: Plant, begin_s: int = 0, pv_kw: float = 12.0, battery_kw: float = -4.0) -> None:
    plant.read(METER, (begin_s, 20.0))
    plant.read(PV, *((begin_s + at_s, pv_kw) for at_s in range(0, 960, 60)))
    plant.read(BATTERY, *((begin_s + at_s, battery_kw) for at_s in range(0, 900, 300)))


def test_a_slot_holds_what_the_meter_bills_and_what_pv_and_battery_gave() -> None:
    plant = Plant()
    quarter(plant)
    (slot,) = plant.close(900)
    assert (slot.energy_wh, slot.power_kw, slot.flags) == (5000, 20.0, ())
    assert (slot.pv_kw, slot.battery_kw, slot.gross_kw) == pytest.approx((12.0, -4.0, 28.0))


def test_a_plant_with_pv_alone_has_no_battery_in_its_slots() -> None:
    plant = Plant(battery=None)
    quarter(plant)
    (slot,) = plant.close(900)
    assert (slot.pv_kw, slot.gross_kw) == pytest.approx((12.0, 32.0))
    assert slot.battery_kw is None
    assert "battery_kw" not in slot.to_row()


def test_what_an_inverter_takes_at_night_is_load() -> None:
    plant = Plant()
    quarter(plant, pv_kw=-0.2, battery_kw=0.0)
    (slot,) = plant.close(900)
    assert (slot.pv_kw, slot.gross_kw) == (0.0, 20.0)


def test_a_slot_waits_for_the_readings_of_pv_and_battery() -> None:
    plant = Plant()
    plant.read(METER, (0, 20.0))
    assert plant.close(900) == []
    plant.read(PV, *((at_s, 12.0) for at_s in range(0, 960, 60)))
    assert plant.close(910) == []
    plant.read(BATTERY, (0, 0.0), (300, 0.0), (600, 0.0))
    (slot,) = plant.close(910)
    assert slot.gross_kw == pytest.approx(32.0)


def test_without_them_it_is_closed_after_its_grace_and_its_gross_load_is_unknown() -> None:
    plant = Plant()
    plant.read(METER, (0, 20.0))
    plant.read(BATTERY, (0, 5.0), (300, 5.0), (600, 5.0))
    plant.read(PV, (0, 12.0), (60, 12.0))  # less than half
    assert plant.close(959) == []
    (slot,) = plant.close(960)
    assert (slot.energy_wh, slot.pv_kw, slot.battery_kw) == (5000, None, 5.0)
    assert slot.flags == (FLAG_GROSS_UNKNOWN,)
    assert slot.gross_kw is None


def test_at_the_end_of_a_replay_a_slot_waits_for_nothing() -> None:
    plant = Plant()
    plant.read(METER, (0, 20.0))
    assert [slot.flags for slot in plant.close(900, exhausted=True)] == [(FLAG_GROSS_UNKNOWN,)]


def test_a_restart_gives_the_same_slots() -> None:
    plant = Plant()
    quarter(plant)
    quarter(plant, 900, pv_kw=6.0)
    before = plant.close(1800)
    assert [slot.gross_kw for slot in before] == pytest.approx([28.0, 22.0])
    plant.start(last_slot_ms=before[0].start_ms)
    assert plant.close(1859) == []  # nobody has told yet whether more comes
    assert plant.close(1860) == before[1:]


def test_readings_that_a_slot_still_needs_are_named_for_every_channel() -> None:
    plant = Plant(battery=dataclasses.replace(BATTERY, interval_s=3600))
    quarter(plant)
    plant.close(900)
    assert plant.closer.needed_ms is not None
    assert plant.closer.needed_ms <= T0 + SLOT_MS - 3_600_000


def test_a_forecast_is_made_of_the_gross_load() -> None:
    slots = [
        Slot(T0, 900, 5000, 20.0, 1.0, pv_kw=12.0, battery_kw=-4.0),
        Slot(T0 + SLOT_MS, 900, 5000, 20.0, 1.0, (FLAG_GROSS_UNKNOWN,), pv_kw=12.0),
        Slot(T0 + 2 * SLOT_MS, 900, 5000, 20.0, 1.0),
    ]
    start_ms, power_kw = History(900, slots).power_kw(T0 + 3 * SLOT_MS)
    assert start_ms == T0
    np.testing.assert_array_equal(power_kw, [28.0, np.nan, 20.0])
