"""What is taken as the meter's error, and what industrial load may do without being taken for one."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tests.support.bundles import START_MS, plant_history
from trainer.dataset.cleaning import clean, clean_snapshot, runs
from trainer.dataset.flags import Flag
from trainer.dataset.snapshot import Snapshot

DAY = 48


def load(days=60):
    return plant_history(days)


def found(power, flag, per_day=DAY):
    """Slots with a flag; whatever has one, and nothing else, is unknown afterwards."""
    cleaned = clean(power, per_day)
    marked = np.any(list(cleaned.flags.values()), axis=0)
    assert np.array_equal(np.isnan(cleaned.power_kw), marked)
    assert np.array_equal(cleaned.power_kw[~marked], power[~marked])
    return np.flatnonzero(cleaned.flags[flag]).tolist()


def nothing(power, per_day=DAY):
    cleaned = clean(power, per_day)
    return cleaned.removed == 0 and np.array_equal(cleaned.power_kw, power, equal_nan=True)


def test_a_clean_load_stays_as_it_is():
    assert nothing(load())


def test_gaps_are_flagged_and_stay_gaps():
    power = load()
    power[100:110] = np.nan
    assert found(power, Flag.GAP) == list(range(100, 110))


def test_a_brief_value_beyond_all_load_is_a_spike():
    power = load()
    power[700], power[900:902] = 3000, -2500
    assert found(power, Flag.SPIKE) == [700, 900, 901]


@pytest.mark.parametrize("number", [-9999, 65535, 999.9, 3276.7, 4294967295])
def test_the_numbers_that_devices_send_for_no_value_are_spikes_however_long(number):
    power = np.abs(load()) / 10 if abs(number) < 5000 else load()
    power[500:560] = number
    assert found(power, Flag.SPIKE) == list(range(500, 560))


def test_the_energy_of_a_gap_booked_on_the_slot_after_it_is_a_spike():
    power = load()
    total = power[1000:1006].sum()
    power[1000:1005], power[1005] = np.nan, total
    assert found(power, Flag.SPIKE) == [1005]


def test_zero_for_a_moment_is_a_dropout_in_a_plant_that_never_idles():
    power = load()
    power[300:303] = 0
    assert found(power, Flag.DROPOUT) == [300, 301, 302]


def test_a_meter_that_repeats_itself_in_the_middle_of_load_is_frozen():
    power = load()
    power[DAY * 12 + 24 : DAY * 14] = power[DAY * 12 + 24]
    assert found(power, Flag.FROZEN) == list(range(DAY * 12 + 25, DAY * 14))


def test_a_day_copied_from_the_day_or_the_week_before_is_a_copy():
    power = load()
    power[DAY * 20 : DAY * 21] = power[DAY * 19 : DAY * 20]
    power[DAY * 40 : DAY * 42] = power[DAY * 33 : DAY * 35]
    assert found(power, Flag.COPY) == [*range(DAY * 20, DAY * 21), *range(DAY * 40, DAY * 42)]


def standstill_over_christmas(power):
    power[DAY * 20 : DAY * 30] = 61.2


def zero_at_night_and_on_sundays(power):
    power[(np.arange(len(power)) % DAY < 12) | (np.arange(len(power)) // DAY % 7 == 3)] = 0


def a_new_line(power):
    power[DAY * 30 :] += 400


def a_rare_peak(power):
    power[1234:1237] *= 3


def feed_in_at_noon(power):
    power[np.arange(len(power)) % DAY == 24] = -150


def a_strike_at_zero(power):
    power[DAY * 20 : DAY * 22] = 0


def a_furnace_that_runs_now_and_then(power):
    power[[400, 801, 1203, 1604, 2005, 2407]] = [2000, 2110, 1930, 2050, 1990, 2080]


def a_coarse_meter(power):
    power[:] = np.round(power / 50) * 50


def a_profile_that_repeats_each_week(power):
    power[:] = np.tile(power[: DAY * 7], 9)[: len(power)]


@pytest.mark.parametrize(
    "change",
    [
        standstill_over_christmas,
        zero_at_night_and_on_sundays,
        a_new_line,
        a_rare_peak,
        feed_in_at_noon,
        a_strike_at_zero,
        a_furnace_that_runs_now_and_then,
        a_coarse_meter,
        a_profile_that_repeats_each_week,
    ],
)
def test_industrial_load_is_spared(change):
    power = load()
    change(power)
    assert nothing(power)


@pytest.mark.parametrize("power", [np.full(DAY * 30, 5.0), np.zeros(DAY * 30), np.full(DAY * 30, np.nan), load(1)])
def test_constant_empty_and_too_short_load_is_not_judged(power):
    assert nothing(power)


def test_a_snapshot_is_cleaned_with_all_else_kept_and_another_hash():
    power = load()
    power[700] = 3000
    raw = Snapshot("works", "UTC", 1800, ("2014-01-15",), START_MS, power, {"temperature_c": load() / 10})
    snapshot, cleaned = clean_snapshot(raw)
    assert np.isnan(snapshot.power_kw[700])
    assert (snapshot.start_ms, snapshot.holidays, list(snapshot.covariates)) == (
        raw.start_ms,
        raw.holidays,
        ["temperature_c"],
    )
    assert snapshot.sha256 != raw.sha256
    assert raw.power_kw[700] == 3000
    assert cleaned.summary() == "1 of 2880 slots are the meter's errors and left out: spike 1"


@settings(max_examples=150, deadline=None)
@given(
    arrays(
        np.float64,
        st.integers(0, 300),
        elements=st.one_of(
            st.sampled_from([0.0, np.nan, 1.0, 2.5, 100.0, -9999.0]), st.floats(-1e9, 1e9, allow_nan=False)
        ),
    )
)
def test_any_load_is_cleaned_without_inventing_a_value(power):
    cleaned = clean(power, 24)
    kept = np.isfinite(cleaned.power_kw)
    assert np.array_equal(cleaned.power_kw[kept], power[kept])
    assert cleaned.removed == np.isfinite(power).sum() - kept.sum()


def test_runs_are_begins_and_ends():
    assert runs(np.array([1, 0, 1, 1, 0, 0, 1], dtype=bool)).tolist() == [[0, 1], [2, 4], [6, 7]]
    assert runs(np.zeros(0, dtype=bool)).tolist() == []
