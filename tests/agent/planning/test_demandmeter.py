"""Readings into the running interval: the same worth as a slot's, however they are cut, and from where they are given."""

from __future__ import annotations

from zoneinfo import ZoneInfo

import numpy as np
import pytest

from agent.contract.channels import Channel, Kind, Reading
from agent.contract.slots import build_slot
from agent.planning.demandmeter import DemandMeter
from agent.planning.peakwatch import Measured, Terms
from tests.support.billing import at

BERLIN = ZoneInfo("Europe/Berlin")
MIN_MS, QUARTER = 60_000, 900_000
TERMS = Terms(900, BERLIN, target_kw=500, per_kw=10.0)
GAUGE = Channel("load", "kW")
COUNTER = Channel("load", "kWh", kind=Kind.COUNTER, rollover=1000.0)
WALK_MS = at(2026, 3, 10, 13, 50)


def walk(count, step_s):
    draw = np.random.default_rng(5).uniform(100, 600, count)
    return [Reading("load", WALK_MS + n * step_s * 1000, float(kw)) for n, kw in enumerate(draw)]


@pytest.mark.parametrize(("step_s", "interval_s"), [(1, 0), (10, 0), (90, 0), (60, 60), (300, 300)])
def test_the_meter_measures_what_a_slot_of_the_same_readings_is_worth(step_s, interval_s):
    channel = Channel("load", "kW", interval_s=interval_s)
    readings = [reading for reading in walk(3600 // step_s, step_s) if reading.time_ms < at(2026, 3, 10, 14, 15)]
    meter = DemandMeter(channel, TERMS)
    meter.saw(readings)
    slot = build_slot(at(2026, 3, 10, 14), 900, channel, meter_rounded(readings))
    found = meter.measured(at(2026, 3, 10, 14, 15) - 1)
    assert found.covered_ms == pytest.approx(slot.completeness * QUARTER, abs=1)
    assert found.energy_kwh * 3.6e6 / found.covered_ms == pytest.approx(slot.power_kw, rel=1e-5)


def meter_rounded(readings):
    return [reading._replace(value=round(reading.value, 3)) for reading in readings]


def test_a_counter_is_shared_out_by_time_and_rolls_over():
    start = at(2026, 3, 10, 14)
    meter = DemandMeter(COUNTER, TERMS)
    meter.saw([Reading("load", start + minute * MIN_MS, (990.0 + 2 * minute) % 1000) for minute in range(-2, 8, 2)])
    found = meter.measured(start + 7 * MIN_MS)
    assert (found.energy_kwh, found.covered_ms) == (pytest.approx(12.0), 6 * MIN_MS)
    assert found.recent_kw == pytest.approx(120.0)
    meter.saw([Reading("load", start + 8 * MIN_MS, 1.0)])  # replaced: it counted from zero
    assert meter.measured(start + 8 * MIN_MS).energy_kwh == pytest.approx(13.0)


@pytest.mark.parametrize("channel", [GAUGE, Channel("load", "kW", interval_s=1), COUNTER])
@pytest.mark.parametrize("minute", [1, 7, 14])
def test_readings_given_anew_from_where_they_are_needed_give_the_same_figures(channel, minute):
    readings = sorted(walk(1800, 1))
    if channel.kind is Kind.COUNTER:
        readings = [reading._replace(value=n * 0.1) for n, reading in enumerate(readings)]
    now_ms = at(2026, 3, 10, 14, minute) + 250
    passed = [reading for reading in readings if reading.time_ms <= now_ms]
    whole, again = DemandMeter(channel, TERMS), DemandMeter(channel, TERMS)
    for reading in passed:
        whole.saw([reading])
    since_ms = again.since_ms(now_ms)
    again.saw([reading for reading in passed if reading.time_ms >= since_ms])
    assert again.measured(now_ms) == whole.measured(now_ms)


def test_a_gap_is_not_measured_and_the_last_minutes_need_readings():
    start = at(2026, 3, 10, 14)
    meter = DemandMeter(GAUGE, TERMS)
    meter.saw([Reading("load", start + s * 1000, 300.0) for s in range(0, 120, 10)])
    meter.saw([Reading("other", start, 9e9), Reading("load", start, 9e9)])  # another's, and one of the past
    assert meter.measured(start + 2 * MIN_MS).recent_kw == pytest.approx(300)
    later = meter.measured(start + 12 * MIN_MS)
    assert (later.energy_kwh, later.covered_ms) == (pytest.approx(300 * 170 / 3600), 170_000)
    assert later.recent_kw is None
    assert meter.measured(start + QUARTER) == Measured(0.0, 0.0, None)


def test_what_is_remembered_does_not_grow_with_the_interval():
    meter = DemandMeter(GAUGE, Terms(3600, BERLIN))
    meter.saw(walk(7200, 1))
    assert len(meter._bins) <= 62
