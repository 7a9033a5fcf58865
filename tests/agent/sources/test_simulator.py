"""The simulated plant: patterns, determinism, faults."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pytest

from agent.contract.channels import Channel, Kind
from agent.contract.errors import ConfigError
from agent.contract.zones import parse_zone
from agent.sources.load_pattern import LoadPattern, Shift, normal, uniform
from agent.sources.simulator import Fault, FaultKind, PlantSimulator

ZONE = "Europe/Berlin"
LOAD = Channel("load_kw", "kW", decimals=1)
ENERGY = Channel("energy_kwh", "kWh", decimals=2, kind=Kind.COUNTER)
T0 = round(dt.datetime(2026, 3, 2, 9, tzinfo=dt.UTC).timestamp() * 1000)  # a Monday
HOUR = 3_600_000


def plant(*channels: Channel, **more) -> PlantSimulator:
    return PlantSimulator(channels or (LOAD,), seed=7, zone=ZONE, **more)


def test_the_same_seed_and_time_give_the_same_reading_however_polled():
    every, seldom = plant(LOAD, ENERGY), plant(LOAD, ENERGY)
    every.poll(T0)
    seldom.poll(T0)
    one = [row for second in range(1, 121) for row in every.poll(T0 + second * 1000)]
    assert sorted(one) == sorted(seldom.poll(T0 + 120_000))
    assert len(one) == 240


def test_another_seed_gives_other_readings():
    other = PlantSimulator((LOAD,), seed=8, zone=ZONE)
    assert plant().poll(T0)[0].time_ms == other.poll(T0)[0].time_ms
    assert plant().poll(T0) != other.poll(T0)


def test_begins_with_the_present_and_gives_nothing_twice():
    source = plant()
    source.resume({"load_kw": T0})
    assert source.poll(T0) == []
    assert [row.time_ms for row in source.poll(T0 + 2500)] == [T0 + 1000, T0 + 2000]
    assert source.poll(T0 + 1000) == []
    assert not source.exhausted


@pytest.mark.parametrize(("ahead_s", "first_s"), [(5, 6), (3600, 2)])
def test_a_clock_that_is_a_little_behind_what_is_stored_gives_nothing_twice(ahead_s, first_s):
    source = plant()
    source.resume({"load_kw": T0 + ahead_s * 1000})
    given = [row for second in range(1, 9) for row in source.poll(T0 + second * 1000)]
    assert given[0].time_ms == T0 + first_s * 1000


def test_catches_up_with_a_day_at_most():
    source = plant(sample_s=600)
    source.poll(T0)
    assert len(source.poll(T0 + 10 * 24 * HOUR)) == 145


def test_a_mean_is_given_when_its_interval_is_over():
    mean = Channel("load_kw", "kW", interval_s=900)
    source = plant(mean)
    assert [row.time_ms for row in source.poll(T0 + 7 * 60_000)] == [T0 - 900_000]
    assert [row.time_ms for row in source.poll(T0 + 20 * 60_000)] == [T0]
    assert source.poll(T0 + 29 * 60_000) == []


def test_working_days_nights_weekends_and_shifts_differ():
    pattern, zone = LoadPattern(shifts=(Shift(6, 14, 60.0),)), parse_zone(ZONE)
    noon, night, saturday = (pattern.expected_kw(T0 + hours * HOUR, zone) for hours in (3, -8, 5 * 24 + 3))
    assert noon > saturday > night > 100
    before, after = (
        pattern.expected_kw(T0 + round(hours * HOUR), zone) for hours in (3.99, 4.01)
    )  # the shift ends at 14:00
    assert before - after == pytest.approx(60, abs=10)


def test_work_begins_at_the_same_local_hour_after_clocks_change():
    pattern, zone = LoadPattern(season_share=0), parse_zone(ZONE)
    winter = dt.datetime(2026, 3, 27, 6, 30, tzinfo=zone)
    summer = dt.datetime(2026, 3, 30, 6, 30, tzinfo=zone)
    loads = [pattern.expected_kw(round(moment.timestamp() * 1000), zone) for moment in (winter, summer)]
    assert loads[0] == pytest.approx(loads[1])


def test_chance_is_uniform_and_normal():
    even = np.array([uniform(1, "a", index) for index in range(5000)])
    bell = np.array([normal(1, "a", index) for index in range(5000)])
    assert abs(even.mean() - 0.5) < 0.02
    assert even.min() >= 0
    assert even.max() < 1
    assert abs(bell.mean()) < 0.05
    assert abs(bell.std() - 1) < 0.05
    assert abs(np.corrcoef(even[1:], even[:-1])[0, 1]) < 0.05


def test_a_counter_rises_with_the_load_and_wraps():
    source = plant(ENERGY, sample_s=900)
    source.poll(T0)
    rows = source.poll(T0 + 24 * HOUR)
    steps = np.diff([row.value for row in rows])
    assert (steps > 0).all()
    expected = [LoadPattern().expected_kw(row.time_ms + 450_000, parse_zone(ZONE)) / 4 for row in rows[:-1]]
    assert steps == pytest.approx(expected, abs=0.02)
    wrapping = Channel("energy_kwh", "kWh", kind=Kind.COUNTER, rollover=1000.0)
    assert 0 <= plant(wrapping).poll(T0)[0].value < 1000


def test_faults_drop_freeze_spike_and_reset():
    def faults(kind):
        return (Fault(kind, T0 + 10_000, T0 + 20_000),)

    healthy = {row.time_ms: row.value for row in run(plant())}
    dropped = run(plant(faults=faults(FaultKind.DROPOUT)))
    assert len(dropped) == 20
    frozen = {row.time_ms: row.value for row in run(plant(faults=faults(FaultKind.FROZEN)))}
    assert {frozen[T0 + second * 1000] for second in range(10, 20)} == {healthy[T0 + 10_000]}
    assert frozen[T0 + 20_000] == healthy[T0 + 20_000]
    spiked = {row.time_ms: row.value for row in run(plant(faults=faults(FaultKind.SPIKE)))}
    assert spiked[T0 + 15_000] == pytest.approx(10 * healthy[T0 + 15_000], abs=1)
    reset = [row.value for row in run(plant(ENERGY, faults=faults(FaultKind.RESET)))]
    assert reset[9] < 1 < reset[8]


def run(source: PlantSimulator):
    source.poll(T0)
    return source.poll(T0 + 30_000)


def test_chance_adds_faults_and_counts_drop_outs():
    source = plant(sample_s=60, fault_rate=0.5)
    source.poll(T0)
    rows = source.poll(T0 + 24 * HOUR)
    assert source.stats().skipped > 0
    assert len(rows) + source.stats().skipped == 24 * 60
    assert max(row.value for row in rows) > 1000


@pytest.mark.parametrize(
    "channel", [Channel("x", "bar"), Channel("x", "kWh"), Channel("x", "kW", kind=Kind.COUNTER)], ids=str
)
def test_refuses_what_it_cannot_simulate(channel):
    with pytest.raises(ConfigError, match="not simulated"):
        plant(channel)


def test_every_unit_gives_plausible_values():
    units = {"kW": (50, 900), "V": (220, 240), "A": (50, 1500), "Hz": (49.8, 50.2), "1": (0.5, 1), "degC": (-30, 60)}
    channels = [Channel(f"c{index}", unit) for index, unit in enumerate(units)]
    for row in plant(*channels).poll(T0):
        low, high = list(units.values())[int(row.channel[1:])]
        assert low <= row.value <= high


@pytest.mark.parametrize("numbers", [{"sample_s": 0}, {"fault_rate": 2}])
def test_refuses_numbers_out_of_range(numbers):
    with pytest.raises(ConfigError):
        plant(**numbers)


def test_refuses_a_shift_over_midnight():
    with pytest.raises(ConfigError, match="Split a night shift"):
        Shift(22, 6, 10)


@pytest.mark.parametrize("step_ms", [-365 * 86_400_000, -3_600_000, 3_600_000, 365 * 86_400_000])
def test_sampling_goes_on_at_its_interval_when_the_clock_was_set(step_ms):
    plant = PlantSimulator([Channel("power", "kW")], seed=1, zone="UTC", sample_s=60)
    at_ms = 1_780_315_200_000
    plant.poll(at_ms)
    plant.stepped(step_ms)
    times = [[reading.time_ms for reading in plant.poll(at_ms + step_ms + minutes * 60_000)] for minutes in range(4)]
    assert times == [[], *([at_ms + step_ms + minutes * 60_000] for minutes in (1, 2, 3))]


def test_a_plant_that_was_stored_by_a_clock_years_ahead_is_read_all_the_same():
    plant = PlantSimulator([Channel("power", "kW")], seed=1, zone="UTC", sample_s=60)
    at_ms = 1_780_315_200_000
    plant.resume({"power": at_ms + 10 * 365 * 86_400_000})
    plant.poll(at_ms)
    assert [reading.time_ms for reading in plant.poll(at_ms + 60_000)] == [at_ms + 60_000]
