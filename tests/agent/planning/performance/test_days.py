"""Slots to days: only whole days, whatever their length."""

import dataclasses
import datetime as dt

import numpy as np
import pytest

from agent.contract.slots import FLAG_EMPTY, Slot
from agent.contract.zones import local_day_bounds_ms, parse_zone
from agent.planning.performance.days import daily_energy, span_ms

BERLIN = "Europe/Berlin"


def slots_of(first, last, zone=BERLIN, length_s=900, energy_wh=250):
    start_ms, end_ms = span_ms(first, last, zone)
    step_ms = length_s * 1000
    start_ms -= start_ms % step_ms  # slots lie on the UTC grid
    return [Slot(at, length_s, energy_wh, energy_wh * 3.6 / length_s, 1.0) for at in range(start_ms, end_ms, step_ms)]


@pytest.mark.parametrize(("day", "slots"), [((2026, 3, 29), 92), ((2026, 3, 30), 96), ((2026, 10, 25), 100)])
def test_a_day_of_23_or_25_hours_is_whole_and_has_all_its_energy(day, slots):
    date = dt.date(*day)
    found = daily_energy(slots_of(date - dt.timedelta(1), date + dt.timedelta(1)), BERLIN, date, date)
    assert found.energy_kwh.tolist() == [pytest.approx(slots * 0.25)]


def test_a_day_with_a_missing_empty_or_half_read_slot_is_unknown():
    first, last = dt.date(2026, 3, 2), dt.date(2026, 3, 6)
    slots = slots_of(first, last)
    del slots[10]
    slots[96 + 10] = dataclasses.replace(slots[96 + 10], power_kw=None, completeness=0.0, flags=(FLAG_EMPTY,))
    slots[2 * 96 + 10] = dataclasses.replace(slots[2 * 96 + 10], completeness=0.49)
    slots[3 * 96 + 10] = dataclasses.replace(slots[3 * 96 + 10], completeness=0.5)
    known = np.isfinite(daily_energy(slots, BERLIN, first, last).energy_kwh)
    assert known.tolist() == [False, False, False, True, True]


def test_days_before_the_first_slot_and_after_the_last_are_unknown():
    slots = slots_of(dt.date(2026, 3, 2), dt.date(2026, 3, 3))
    found = daily_energy(slots, BERLIN, dt.date(2026, 3, 1), dt.date(2026, 3, 4))
    assert np.isfinite(found.energy_kwh).tolist() == [False, True, True, False]
    assert (found.first, found.last) == (dt.date(2026, 3, 1), dt.date(2026, 3, 4))
    assert np.isnan(daily_energy([], BERLIN, dt.date(2026, 3, 1), dt.date(2026, 3, 1)).energy_kwh).all()


def test_a_slot_over_midnight_is_shared_by_time():
    zone, day = "Asia/Kathmandu", dt.date(2026, 3, 2)  # midnight is 18:15 UTC
    slots = slots_of(day, day, zone, 3600, 1000)
    slots[0] = dataclasses.replace(slots[0], energy_wh=4000)
    slots[-1] = dataclasses.replace(slots[-1], energy_wh=8000)
    assert len(slots) == 25
    found = daily_energy(slots, zone, day, day)
    assert found.energy_kwh.tolist() == [pytest.approx(4 * 0.75 + 23 + 8 * 0.25)]


def test_exported_energy_counts_against_imported():
    day = dt.date(2026, 3, 2)
    slots = slots_of(day, day)
    slots = [dataclasses.replace(slot, energy_wh=-750) if place < 48 else slot for place, slot in enumerate(slots)]
    assert daily_energy(slots, BERLIN, day, day).energy_kwh.tolist() == [pytest.approx(48 * (0.25 - 0.75))]


def test_the_day_on_which_the_slot_length_was_changed_is_whole_where_slots_fit_and_unknown_where_they_overlap():
    day = dt.date(2026, 3, 2)
    noon_ms = local_day_bounds_ms(day, parse_zone(BERLIN))[0] + 12 * 3_600_000
    fine = [slot for slot in slots_of(day, day) if slot.start_ms < noon_ms]
    coarse = [slot for slot in slots_of(day, day, length_s=3600, energy_wh=1000) if slot.start_ms >= noon_ms]
    assert daily_energy([*fine, *coarse], BERLIN, day, day).energy_kwh.tolist() == [pytest.approx(24)]
    overlapping = [Slot(noon_ms - 1_800_000, 3600, 1000, 1.0, 1.0), *coarse]
    assert np.isnan(daily_energy([*fine, *overlapping], BERLIN, day, day).energy_kwh).all()
