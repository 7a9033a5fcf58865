"""Features: pinned values, no look-ahead, one code for one origin and for many, levels and the season, gaps repaired."""

import dataclasses
import datetime as dt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.contract import features
from agent.contract.errors import ConfigError, RejectedError
from agent.contract.features import assemble, compute, daily_peak, repair, split_peak, standardised_target
from agent.contract.featurespec import Covariate, FeatureSpec, Scaling
from tests.support.featuredata import MONDAY_MS, PER_DAY, SPEC, TEMPERATURE, column, history, in_kw


class TestPinned:
    def test_names_and_order(self):
        assert SPEC.step_names == (
            *("lag_1d", "lag_2d", "lag_3d", "lag_4d", "lag_5d", "lag_6d", "lag_7d", "lag_14d"),
            *("lag_same_kind", "mean_same_weekday", "mean_7d", "last", "last_day_mean", "last_day_max", "last_day_min"),
            *("level", "spread"),
            *("day_1_sin", "day_1_cos", "day_2_sin", "day_2_cos", "day_3_sin", "day_3_cos"),
            *("day_4_sin", "day_4_cos", "day_5_sin", "day_5_cos", "day_6_sin", "day_6_cos", "position"),
            *("weekday_0", "weekday_1", "weekday_2", "weekday_3", "weekday_4", "weekday_5", "weekday_6"),
            *("holiday", "working", "working_lag_1d", "working_lag_7d", "working_next_day"),
            *("holiday_lag_1d", "holiday_lag_7d", "holiday_next_day"),
        )
        assert SPEC.step_names[: SPEC.load_columns][-1] == "last_day_min"
        more = dataclasses.replace(SPEC, seasonal=True, covariates=(TEMPERATURE, Covariate("sun", 0.0, 1.0)))
        assert more.step_names[len(SPEC.step_names) :] == (
            *("year_sin", "year_cos"),
            *("temperature_c", "temperature_c_known", "temperature_c_day_mean", "temperature_c_change_1d"),
            *("sun", "sun_known", "sun_day_mean", "sun_change_1d"),
        )

    def test_values(self):
        """A ramp of 1 kW a slot: every lag can be worked out by hand."""
        spec = dataclasses.replace(SPEC, scaling=Scaling.GLOBAL, center_kw=1500.0, scale_kw=1000.0)
        origin = 30 * PER_DAY
        inputs = compute(spec, MONDAY_MS, np.arange(float(origin)), np.array([origin]))
        assert (inputs.recent.shape, inputs.steps.shape) == ((1, 336), (1, 48, 45))
        assert inputs.recent.dtype == inputs.steps.dtype == np.float32
        target = origin + np.arange(48)
        for day in (1, 2, 3, 4, 5, 6, 7, 14):
            assert in_kw(spec, inputs, f"lag_{day}d")[0] == pytest.approx(target - 48 * day, abs=1e-3)
        assert in_kw(spec, inputs, "lag_same_kind")[0] == pytest.approx(target - 48 * 7, abs=1e-3)
        assert in_kw(spec, inputs, "mean_same_weekday")[0] == pytest.approx(target - 48 * 17.5, abs=1e-3)
        assert in_kw(spec, inputs, "mean_7d")[0] == pytest.approx(target - 48 * 4, abs=1e-3)
        for name, value in {"last": 1439, "last_day_mean": 1415.5, "last_day_max": 1439, "last_day_min": 1392}.items():
            assert in_kw(spec, inputs, name)[0] == pytest.approx([value] * 48, abs=1e-3)
        assert inputs.recent[0] * 1000 + 1500 == pytest.approx(np.arange(1440 - 336, 1440), abs=1e-3)
        assert column(spec, inputs, "position")[0, [0, 47]].tolist() == [-1, 1]
        for number in range(1, 7):
            angle = number * 2 * np.pi * np.arange(48) / 48
            assert column(spec, inputs, f"day_{number}_sin")[0] == pytest.approx(np.sin(angle), abs=1e-6)
            assert column(spec, inputs, f"day_{number}_cos")[0] == pytest.approx(np.cos(angle), abs=1e-6)
        trailing = np.arange(origin - 28 * PER_DAY, origin)
        assert column(spec, inputs, "level")[0] == pytest.approx([(trailing.mean() - 1500) / 1000] * 48, abs=1e-6)
        spread = max(2 * np.log(trailing.std() / 1000), -features.LEVEL_CLIP)
        assert column(spec, inputs, "spread")[0] == pytest.approx([spread] * 48, abs=1e-6)
        # 2026-02-04, 30 days after a Monday, is a Wednesday.
        assert [column(spec, inputs, f"weekday_{day}")[0].tolist() for day in (2, 3)] == [[1] * 48, [0] * 48]

    def test_recent_is_a_mean_where_slots_are_shorter(self):
        spec = FeatureSpec(slot_s=900, horizon=96, zone="UTC", scaling=Scaling.GLOBAL, center_kw=0, scale_kw=1000)
        origin = 20 * 96
        inputs = compute(spec, MONDAY_MS, np.arange(float(origin)), np.array([origin]))
        assert spec.recent_size == 336
        assert inputs.recent[0] * 1000 == pytest.approx(np.arange(origin - 672, origin, 2) + 0.5, abs=1e-3)

    @pytest.mark.parametrize("slot_s", [300, 600, 900, 1800, 3600])
    def test_every_slot_length_has_its_sizes(self, slot_s):
        spec = FeatureSpec(slot_s=slot_s, horizon=86_400 // slot_s, zone="Europe/Berlin")
        inputs = compute(spec, MONDAY_MS, history(16, slot_s=slot_s), np.array([spec.min_history, 16 * spec.per_day]))
        assert inputs.recent.shape == (2, spec.recent_size)
        assert inputs.steps.shape == (2, spec.per_day, 45)
        assert np.isfinite(inputs.steps).all()
        assert np.abs(inputs.steps).max() <= features.CLIP_SIGMA

    def test_quantiles_never_cross(self):
        raw = np.random.default_rng(3).normal(0, 50, (4, 8, 3))
        low, middle, high = np.moveaxis(assemble(raw, np.full(4, 10.0), np.full(4, 2.0)), -1, 0)
        assert np.all((low <= middle) & (middle <= high))
        exact = assemble(np.array([[[1.0, 0.0, 0.0]]]), np.array([10.0]), np.array([2.0]))
        assert exact[0, 0] == pytest.approx([12 - 2 * np.log(2), 12, 12 + 2 * np.log(2)])


class TestLookAhead:
    @settings(max_examples=20)
    @given(
        st.integers(15, 32),
        st.sampled_from(["UTC", "Europe/Berlin", "Australia/Melbourne", "Australia/Lord_Howe"]),
        st.sampled_from([1, 48, 7 * 48]),
        st.sampled_from(list(Scaling)),
        st.sampled_from([0.0, 1e9, -5.0]),
    )
    def test_power_from_the_origin_on_never_changes_inputs(self, days, zone, horizon, scaling, lie):
        spec = FeatureSpec(slot_s=1800, horizon=horizon, zone=zone, scaling=scaling, center_kw=100, scale_kw=30)
        # Late March and early April, when clocks change in both hemispheres.
        start = 1_773_014_400_000 - days * 0
        power = history(40)
        origins = np.array([days * PER_DAY + 3, 40 * PER_DAY])
        lied = power.copy()
        lied[origins[0] :] = lie
        true, false = compute(spec, start, power, origins), compute(spec, start, lied, origins)
        assert np.array_equal(true.steps[0], false.steps[0])
        assert np.array_equal(true.recent[0], false.recent[0])
        assert (true.center_kw[0], true.scale_kw[0]) == (false.center_kw[0], false.scale_kw[0])

    def test_the_target_is_the_power_from_the_origin_on(self):
        power = history(16)
        origins = np.array([15 * PER_DAY, 16 * PER_DAY - 8])
        inputs = compute(SPEC, MONDAY_MS, power, origins)
        target = standardised_target(SPEC, power, origins, inputs)
        truth = [*power[15 * PER_DAY :], power[15 * PER_DAY :].max()]
        assert target[0] * inputs.scale_kw[0] + inputs.center_kw[0] == pytest.approx(truth, abs=1e-3)
        assert np.isnan(target[1]).tolist() == [False] * 8 + [True] * 41


class TestOneOrigin:
    @pytest.mark.parametrize("scaling", list(Scaling))
    @pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin"])
    def test_equals_the_batch(self, scaling, zone):
        spec = dataclasses.replace(SPEC, scaling=scaling, zone=zone, center_kw=100.0, scale_kw=30.0)
        start = 1_773_014_400_000  # the batch runs over the change of the clocks
        power = history(45)
        origins = np.arange(15 * PER_DAY, 45 * PER_DAY, 37)
        batch = compute(spec, start, power, origins)
        for index, origin in enumerate(origins):
            alone = compute(spec, start, power[:origin], np.array([origin]))
            np.testing.assert_allclose(alone.steps[0], batch.steps[index], atol=2e-6)
            np.testing.assert_allclose(alone.recent[0], batch.recent[index], atol=2e-6)

    def test_history_beyond_the_longest_changes_nothing(self):
        power, origin = history(60), 60 * PER_DAY
        whole = compute(SPEC, MONDAY_MS, power, np.array([origin]))
        cut = origin - SPEC.max_history
        part = compute(SPEC, MONDAY_MS + cut * 1_800_000, power[cut:], np.array([SPEC.max_history]))
        assert np.array_equal(whole.steps, part.steps)
        assert np.array_equal(whole.recent, part.recent)

    @pytest.mark.parametrize("origins", [[], [15 * PER_DAY - 1], [16 * PER_DAY + 1]])
    def test_too_little_history_is_refused(self, origins):
        with pytest.raises(ConfigError, match="15 days"):
            compute(SPEC, MONDAY_MS, history(16), np.array(origins, dtype=np.int64))

    @pytest.mark.parametrize("hole", [np.nan, np.inf])
    def test_gaps_must_be_repaired_first(self, hole):
        power = history(16)
        power[100] = hole
        with pytest.raises(ConfigError, match="Repair"):
            compute(SPEC, MONDAY_MS, power, np.array([16 * PER_DAY]))


class TestPeaks:
    @pytest.mark.parametrize(
        ("slot_s", "horizon", "days"),
        [(900, 96, 1), (900, 97, 2), (900, 1, 1), (3600, 168, 7), (300, 2016, 7), (1800, 60, 2)],
    )
    def test_each_day_begun_has_a_row_after_the_slots(self, slot_s, horizon, days):
        spec = FeatureSpec(slot_s, horizon, "UTC")
        assert (spec.days, spec.output_size) == (days, horizon + days)
        power = np.random.default_rng(1).normal(size=(5, horizon))
        peaks = daily_peak(spec, power)
        assert peaks.shape == (5, days)
        for day in range(days):
            assert np.array_equal(peaks[:, day], power[:, day * spec.per_day : (day + 1) * spec.per_day].max(axis=1))

    def test_a_day_with_an_unknown_slot_has_an_unknown_peak(self):
        spec = dataclasses.replace(SPEC, horizon=60)
        power = np.arange(60.0)
        power[50] = np.nan
        assert daily_peak(spec, power)[0] == 47.0
        assert np.isnan(daily_peak(spec, power)[1])
        power[59] = np.nan  # the slot that fills up the last day
        assert np.isnan(daily_peak(spec, power)).tolist() == [False, True]

    def test_output_is_split_into_slots_and_peaks(self):
        raw = np.random.default_rng(3).normal(size=(4, SPEC.output_size, 3))
        slots, peaks = split_peak(SPEC, assemble(raw, np.zeros(4), np.ones(4)))
        assert (slots.shape, peaks.shape) == ((4, 48, 3), (4, 1, 3))
        assert peaks[:, 0, 1].tolist() == raw[:, 48, 0].tolist()

    @pytest.mark.parametrize("rows", [48, 50])
    def test_output_of_another_size_is_refused(self, rows):
        with pytest.raises(RejectedError, match="48 slots and 1 daily peaks"):
            split_peak(SPEC, np.zeros((4, rows, 3)))


class TestLevel:
    def test_a_flat_plant_has_a_scale(self):
        for level in (0.0, 50.0, 1e6):
            inputs = compute(SPEC, MONDAY_MS, np.full(15 * PER_DAY, level), np.array([15 * PER_DAY]))
            assert inputs.center_kw[0] == pytest.approx(level)
            assert inputs.scale_kw[0] == pytest.approx(max(1e-3, 0.01 * level))
            assert np.isfinite(inputs.steps).all()

    def test_large_loads_lose_no_digits(self):
        small, large = history(20), history(20) + 1e7
        one = compute(SPEC, MONDAY_MS, small, np.array([20 * PER_DAY]))
        two = compute(SPEC, MONDAY_MS, large, np.array([20 * PER_DAY]))
        assert two.center_kw[0] - 1e7 == pytest.approx(one.center_kw[0], abs=1e-6)

    def test_inputs_are_clipped(self):
        power = history(20)
        power[-1] = 1e9
        inputs = compute(
            dataclasses.replace(SPEC, scaling=Scaling.GLOBAL, center_kw=100, scale_kw=30),
            MONDAY_MS,
            power,
            np.array([20 * PER_DAY]),
        )
        assert inputs.recent.max() == inputs.steps.max() == features.CLIP_SIGMA

    @pytest.mark.parametrize("scaling", list(Scaling))
    def test_level_and_spread_tell_what_the_trailing_level_takes_away(self, scaling):
        spec = dataclasses.replace(SPEC, scaling=scaling, center_kw=100.0, scale_kw=20.0)
        power = history(30)
        for factor, shift in ((1.0, 0.0), (0.5, 30.0), (1.5, -20.0)):
            load = factor * power + shift
            inputs = compute(spec, MONDAY_MS, load, np.array([30 * PER_DAY]))
            level, spread = (column(spec, inputs, name)[0] for name in ("level", "spread"))
            trailing = load[-28 * PER_DAY :]
            assert level == pytest.approx([(trailing.mean() - 100) / 20] * 48, abs=1e-6)
            assert spread == pytest.approx([2 * np.log(trailing.std() / 20)] * 48, abs=1e-6)

    def test_a_level_far_from_that_of_training_is_clipped(self):
        most = features.LEVEL_CLIP
        for center, scale, ends in ((-1e6, 1e-3, (most, most)), (1e6, 1e9, (-0.001, -most))):
            spec = dataclasses.replace(SPEC, center_kw=center, scale_kw=scale)
            inputs = compute(spec, MONDAY_MS, history(15), np.array([15 * PER_DAY]))
            assert [column(spec, inputs, name)[0, 0] for name in ("level", "spread")] == pytest.approx(ends, abs=1e-5)


class TestSeason:
    def test_the_time_of_the_year_is_told_where_it_is_asked_for(self):
        spec = dataclasses.replace(SPEC, seasonal=True)
        waves = []
        for start in ("2026-03-01", "2026-08-31", "2027-03-01"):
            start_ms = round(dt.datetime.fromisoformat(f"{start}T00:00+00:00").timestamp() * 1000)
            inputs = compute(spec, start_ms, history(15), np.array([15 * PER_DAY]))
            waves.append([column(spec, inputs, f"year_{wave}")[0, 0] for wave in ("sin", "cos")])
        assert np.hypot(*np.transpose(waves)) == pytest.approx([1, 1, 1])
        assert waves[1] == pytest.approx([-value for value in waves[0]], abs=0.02)  # half a year apart
        assert waves[2] == pytest.approx(waves[0], abs=0.02)
        assert "year_sin" not in SPEC.step_names


class TestRepair:
    def test_short_gaps_are_bridged(self):
        power = history(8)
        power[100:104] = np.nan
        fixed, share = repair(power, PER_DAY)
        assert fixed[100:104] == pytest.approx(np.interp(range(100, 104), [99, 104], power[[99, 104]]))
        assert share == pytest.approx(4 / (7 * PER_DAY))
        assert np.isnan(power[100])  # the argument is not touched

    def test_long_gaps_take_the_week_before_else_the_day_before_else_the_nearest(self):
        power = history(12)
        power[10 * PER_DAY : 11 * PER_DAY] = np.nan
        fixed, _ = repair(power, PER_DAY)
        assert np.array_equal(fixed[10 * PER_DAY : 11 * PER_DAY], power[3 * PER_DAY : 4 * PER_DAY])
        power = history(4)
        power[2 * PER_DAY : 3 * PER_DAY] = np.nan
        assert np.array_equal(repair(power, PER_DAY)[0][2 * PER_DAY : 3 * PER_DAY], power[PER_DAY : 2 * PER_DAY])
        power = history(2)
        power[:20] = np.nan
        assert repair(power, PER_DAY)[0][:20].tolist() == [power[20]] * 20

    def test_a_gap_at_the_end_uses_only_what_came_before(self):
        power = history(8)
        power[-3:] = np.nan
        assert np.array_equal(repair(power, PER_DAY)[0][-3:], power[-3 - 7 * PER_DAY : -7 * PER_DAY])

    def test_nothing_known_stays_unknown(self):
        fixed, share = repair(np.full(10, np.nan), PER_DAY)
        assert np.isnan(fixed).all()
        assert share == 1.0
        assert repair(np.array([]), PER_DAY)[1] == 1.0

    @given(st.lists(st.booleans(), min_size=1, max_size=3 * PER_DAY))
    def test_fills_everything_and_changes_nothing_known(self, missing):
        power = np.where(missing, np.nan, np.arange(float(len(missing))))
        fixed, share = repair(power, PER_DAY)
        assert share == pytest.approx(np.mean(missing))
        if not all(missing):
            assert np.isfinite(fixed).all()
            assert np.array_equal(fixed[~np.array(missing)], power[~np.array(missing)])
