"""Features: pinned values, no look-ahead, one code for one origin and for many, clocks and holidays."""

import dataclasses
import datetime as dt
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.contract import features
from agent.contract.errors import ConfigError, RejectedError
from agent.contract.features import assemble, compute, daily_peak, repair, split_peak, standardised_target
from agent.contract.featurespec import _RECENT_STEPS_S, Covariate, FeatureSpec, Scaling
from agent.contract.zones import parse_zone
from tests.support.nasty import mutations

MONDAY_MS = 1_767_571_200_000  # 2026-01-05T00:00Z
SPEC = FeatureSpec(slot_s=1800, horizon=48, zone="UTC")
TEMPERATURE = Covariate("temperature_c", 10.0, 5.0)
PER_DAY = SPEC.per_day


def history(days: int, seed: int = 1, slot_s: int = 1800) -> np.ndarray:
    count = days * 86_400 // slot_s
    angle = np.arange(count) * 2 * np.pi * slot_s / 86_400
    return 100 + 30 * np.sin(angle) + np.random.default_rng(seed).normal(0, 3, count)


def column(spec: FeatureSpec, inputs: features.Inputs, name: str) -> np.ndarray:
    return inputs.steps[..., spec.step_names.index(name)]


def in_kw(spec: FeatureSpec, inputs: features.Inputs, name: str) -> np.ndarray:
    return column(spec, inputs, name) * inputs.scale_kw[:, None] + inputs.center_kw[:, None]


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


class TestClocks:
    def local_hours(self, zone: str, start: str, days: int) -> tuple[int, np.ndarray]:
        """Power that equals the local hour of the day, so that a right lag has the hour of its target."""
        start_ms = round(dt.datetime.fromisoformat(start).timestamp() * 1000)
        info = parse_zone(zone)
        times = [dt.datetime.fromtimestamp(start_ms / 1000 + 1800 * slot, info) for slot in range(days * PER_DAY)]
        return start_ms, np.array([time.hour + time.minute / 60 for time in times])

    @pytest.mark.parametrize(
        ("zone", "start"),
        [
            ("Europe/Berlin", "2026-03-11T00:00+00:00"),  # forward on 29 March, the 19th day
            ("Europe/Berlin", "2026-10-07T00:00+00:00"),  # back on 25 October
            ("Australia/Melbourne", "2026-03-18T00:00+00:00"),
            ("Australia/Lord_Howe", "2026-03-18T00:00+00:00"),
        ],
    )
    def test_lags_show_the_same_local_time_across_a_change(self, zone, start):
        spec = FeatureSpec(slot_s=1800, horizon=48, zone=zone, scaling=Scaling.GLOBAL, center_kw=12, scale_kw=12)
        start_ms, power = self.local_hours(zone, start, 24)
        for origin in range(16 * PER_DAY, 23 * PER_DAY, 24):
            inputs = compute(spec, start_ms, power, np.array([origin]))
            truth = power[origin : origin + 48]
            for day in (2, 3, 7, 14):
                wrong = np.abs(in_kw(spec, inputs, f"lag_{day}d")[0] - truth) > 1e-3
                # The hour that a clock skips or repeats has no single counterpart on other days.
                assert wrong.sum() <= 2, (origin, day)

    def test_half_an_hour_is_no_step_of_hourly_slots(self):
        spec = FeatureSpec(slot_s=3600, horizon=24, zone="Australia/Lord_Howe", scaling=Scaling.GLOBAL, scale_kw=1000.0)
        start_ms = round(dt.datetime(2026, 3, 18, tzinfo=dt.UTC).timestamp() * 1000)
        for origin in (18 * 24, 20 * 24):
            inputs = compute(spec, start_ms, np.arange(24.0 * 24), np.array([origin]))
            assert in_kw(spec, inputs, "lag_7d")[0] == pytest.approx(origin + np.arange(24) - 7 * 24, abs=1e-3)

    def test_holidays_are_local_dates(self):
        spec = dataclasses.replace(SPEC, zone="Australia/Melbourne", holidays=("2026-01-26",))
        start_ms = round(dt.datetime(2026, 1, 10, 13, tzinfo=dt.UTC).timestamp() * 1000)  # 11 January, local midnight
        inputs = compute(spec, start_ms, history(15), np.array([15 * PER_DAY]))
        assert column(spec, inputs, "holiday")[0].tolist() == [1] * 48  # a Monday
        assert column(spec, inputs, "weekday_0")[0].tolist() == [0] * 48  # a holiday counts as a Sunday
        assert column(spec, inputs, "weekday_6")[0].tolist() == [1] * 48
        assert column(spec, inputs, "working")[0].tolist() == [0] * 48
        assert column(spec, inputs, "working_lag_1d")[0].tolist() == [0] * 48  # Sunday
        assert column(spec, inputs, "working_lag_7d")[0].tolist() == [1] * 48
        assert column(spec, inputs, "working_next_day")[0].tolist() == [1] * 48
        without = compute(dataclasses.replace(spec, holidays=()), start_ms, history(15), np.array([15 * PER_DAY]))
        assert column(spec, without, "working")[0].tolist() == [1] * 48
        assert column(spec, without, "weekday_0")[0].tolist() == [1] * 48

    @pytest.mark.parametrize(
        ("holiday", "ahead", "behind"),
        [("2026-01-26", 0, 0), ("2026-01-25", 0, 1), ("2026-01-19", 0, 7), ("2026-01-27", 1, 0)],
    )
    def test_holidays_around_the_target_are_told(self, holiday, ahead, behind):
        spec = dataclasses.replace(SPEC, holidays=(holiday,))
        start_ms = round(dt.datetime(2026, 1, 11, tzinfo=dt.UTC).timestamp() * 1000)
        inputs = compute(spec, start_ms, history(15), np.array([15 * PER_DAY]))  # of Monday, 26 January
        for name, wanted in (
            ("holiday", not ahead and not behind),
            ("holiday_next_day", ahead == 1),
            ("holiday_lag_1d", behind == 1),
            ("holiday_lag_7d", behind == 7),
        ):
            assert column(spec, inputs, name)[0].tolist() == [wanted] * 48, name


class TestSameKind:
    """`lag_same_kind` on load that is the number of its day; 2026-01-05 is a Monday, day 0."""

    def days_back(self, holidays: tuple[int, ...], day: int, *, slot: int = 0, horizon: int = 48) -> np.ndarray:
        dates = tuple(str(dt.date(2026, 1, 5) + dt.timedelta(days=holiday)) for holiday in holidays)
        spec = dataclasses.replace(
            SPEC, horizon=horizon, holidays=dates, scaling=Scaling.GLOBAL, center_kw=20.0, scale_kw=10.0
        )
        power = np.repeat(np.arange(60.0), PER_DAY)
        inputs = compute(spec, MONDAY_MS, power, np.array([day * PER_DAY + slot]))
        targets = (day * PER_DAY + slot + np.arange(horizon)) // PER_DAY
        back: np.ndarray = targets - in_kw(spec, inputs, "lag_same_kind")[0]
        return back

    def test_is_the_same_weekday_of_the_week_before(self):
        for day in range(28, 35):
            assert self.days_back((), day) == pytest.approx([7] * 48, abs=1e-3)

    def test_skips_a_holiday_of_that_weekday(self):
        assert self.days_back((21,), 28) == pytest.approx([14] * 48, abs=1e-3)
        assert self.days_back((21, 14), 28) == pytest.approx([21] * 48, abs=1e-3)

    def test_of_a_holiday_is_the_latest_sunday_or_holiday(self):
        assert self.days_back((30,), 30) == pytest.approx([3] * 48, abs=1e-3)  # a Wednesday
        assert self.days_back((29, 30), 30) == pytest.approx([1] * 48, abs=1e-3)
        assert self.days_back((33,), 34) == pytest.approx([1] * 48, abs=1e-3)  # a Sunday after a holiday

    def test_is_a_week_back_where_no_day_is_alike(self):
        assert self.days_back((0, 7, 14), 21) == pytest.approx([7] * 48, abs=1e-3)

    def test_looks_at_no_slot_that_is_not_over(self):
        back = self.days_back((30, 31), 30, slot=20, horizon=72)  # in the first of two holidays
        assert back[:28] == pytest.approx([3] * 28, abs=1e-3)
        assert back[28:48] == pytest.approx([1] * 20, abs=1e-3)  # as early in the second as is over of the first
        assert back[48:] == pytest.approx([4] * 24, abs=1e-3)


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


class TestCovariates:
    SPEC = dataclasses.replace(SPEC, covariates=(TEMPERATURE,))
    PARTS = ("", "_known", "_day_mean", "_change_1d")

    def told(self, values: np.ndarray, days: int = 16, **other: np.ndarray) -> list[np.ndarray]:
        given = {"temperature_c": values, **other}
        inputs = compute(self.SPEC, MONDAY_MS, history(days), np.array([days * PER_DAY]), given)
        return [column(self.SPEC, inputs, f"temperature_c{part}")[0] for part in self.PARTS]

    def test_values_of_a_ramp(self):
        """A tenth of a degree a slot, from 10 degrees at the origin on."""
        slot = np.arange(17 * PER_DAY) - 16 * PER_DAY
        value, known, mean, change = self.told(10 + 0.1 * slot)
        assert value == pytest.approx(0.02 * np.arange(48), abs=1e-6)
        assert known.tolist() == [1.0] * 48
        assert mean == pytest.approx(0.02 * (np.arange(48) - 23.5), abs=1e-6)
        assert change == pytest.approx([0.96] * 48, abs=1e-6)

    def test_what_is_unknown_is_zero_and_flagged(self):
        values = np.full(17 * PER_DAY, 20.0)
        values[16 * PER_DAY + 10 :] = np.nan
        for part in self.told(values):
            assert part[10:].tolist() == [0.0] * 38
        value, known, mean, change = (part[:10].tolist() for part in self.told(values))
        assert (value, known, mean, change) == ([2.0] * 10, [1.0] * 10, [2.0] * 10, [0.0] * 10)

    def test_the_mean_is_of_what_is_known_and_a_change_needs_both_days(self):
        values = np.full(17 * PER_DAY, 20.0)
        values[15 * PER_DAY : 16 * PER_DAY] = np.nan
        value, known, mean, change = self.told(values)
        assert (value[0], known[0], mean[0], change[0]) == (2.0, 1.0, 2.0, 0.0)

    @pytest.mark.parametrize("end", [0, 3, 15 * PER_DAY, 16 * PER_DAY, 16 * PER_DAY + 5, 30 * PER_DAY])
    def test_values_that_end_early_or_late_are_taken_as_far_as_they_go(self, end):
        known = max(0, min(48, end - 16 * PER_DAY))
        assert self.told(np.full(end, 20.0))[1].tolist() == [1.0] * known + [0.0] * (48 - known)

    def test_a_missing_covariate_is_as_one_of_which_nothing_is_known(self):
        without = compute(self.SPEC, MONDAY_MS, history(16), np.array([16 * PER_DAY]))
        unknown = {"temperature_c": np.full(17 * PER_DAY, np.nan)}
        given = compute(self.SPEC, MONDAY_MS, history(16), np.array([16 * PER_DAY]), unknown)
        assert np.array_equal(without.steps, given.steps)
        assert np.array_equal(without.steps[..., -4:], np.zeros((1, 48, 4)))
        assert np.array_equal(without.steps[..., :-4], compute(SPEC, MONDAY_MS, history(16), [16 * PER_DAY]).steps)

    def test_names_that_the_spec_does_not_have_are_left_alone(self):
        values = np.full(17 * PER_DAY, 20.0)
        assert np.array_equal(self.told(values), self.told(values, wind_ms=np.full(3, np.nan)))

    @pytest.mark.parametrize("wild", [1e300, -1e300, np.inf, -np.inf])
    def test_wild_values_stay_in_range_and_none_is_infinite(self, wild):
        values = np.full(17 * PER_DAY, 20.0)
        values[16 * PER_DAY + 3] = wild
        assert self.told(values)[1][3] == np.isfinite(wild)
        for part in self.told(values):
            assert np.isfinite(part).all()
            assert np.abs(part).max() <= features.CLIP_SIGMA

    @settings(max_examples=20)
    @given(st.integers(0, 47), st.integers(15, 20), st.sampled_from([0.0, -30.0, np.nan]))
    def test_a_value_changes_no_step_before_it(self, step, days, lie):
        values = np.random.default_rng(days).normal(10, 5, 21 * PER_DAY)
        lied = values.copy()
        lied[days * PER_DAY + step :] = lie
        for true, false in zip(self.told(values, days), self.told(lied, days), strict=True):
            assert np.array_equal(true[:step], false[:step])

    @settings(max_examples=10)
    @given(st.integers(0, 2**32), st.sampled_from(["UTC", "Europe/Berlin"]))
    def test_one_origin_equals_the_batch(self, seed, zone):
        random = np.random.default_rng(seed)
        spec = dataclasses.replace(self.SPEC, zone=zone, seasonal=True)
        power, origins = history(45), np.sort(random.integers(15 * PER_DAY, 45 * PER_DAY + 1, 9))
        values = random.normal(10, 5, 46 * PER_DAY)
        values[random.random(len(values)) < 0.2] = np.nan
        batch = compute(spec, MONDAY_MS, power, origins, {"temperature_c": values})
        for index, origin in enumerate(origins):
            begin = origin - min(origin, spec.max_history)
            ahead = {"temperature_c": values[begin : origin + 48]}
            alone = compute(spec, MONDAY_MS + begin * 1_800_000, power[begin:origin], np.array([origin - begin]), ahead)
            np.testing.assert_allclose(alone.steps[0], batch.steps[index], atol=2e-6)


class TestSpec:
    FULL = FeatureSpec(
        *(900, 96, "Europe/Berlin", ("2026-12-25",), Scaling.GLOBAL, 10.5, 2.5, 14, 7, 1800),
        seasonal=True,
        covariates=(TEMPERATURE, Covariate("sun_wm2", 120.25, 200.5)),
    )

    def test_round_trip(self):
        for spec in (SPEC, self.FULL):
            assert FeatureSpec.from_json(json.loads(json.dumps(spec.to_json()))) == spec

    def test_a_spec_from_before_daily_peaks_is_refused_in_words(self):
        old = {name: value for name, value in SPEC.to_json().items() if name != "daily_peaks"}
        with pytest.raises(RejectedError, match=r"daily_peaks: .*no daily peak; train and convert it again"):
            FeatureSpec.from_json(old)
        with pytest.raises(RejectedError, match="daily_peaks"):
            FeatureSpec.from_json({**SPEC.to_json(), "daily_peaks": 2})

    @pytest.mark.parametrize(
        ("wrong", "words"),
        [
            ({"seasonal": 1}, "seasonal"),
            ({"seasonal": None}, "seasonal"),
            ({"seasonal": True}, "step_features"),
            ({"covariates": {}}, "covariates"),
            ({"covariates": ["temperature_c"]}, "covariates"),
            ({"covariates": [{"name": "temperature_c"}]}, "center"),
            ({"covariates": [{"name": "Temperature", "center": 0, "scale": 1}]}, "no name of a covariate"),
            ({"covariates": [{"name": "x" * 33, "center": 0, "scale": 1}]}, "name"),
            ({"covariates": [{"name": "a", "center": 0, "scale": 0}]}, "out of range"),
            ({"covariates": [{"name": "a", "center": 0, "scale": -1}]}, "out of range"),
            ({"covariates": [{"name": "a", "center": 1e10, "scale": 1}]}, "out of range"),
            ({"covariates": [{"name": "a", "center": "0", "scale": 1}]}, "center"),
            ({"covariates": [{"name": "a", "center": 0, "scale": 1}] * 2}, "two features would have the name a"),
            ({"covariates": [{"name": f"a{n}", "center": 0, "scale": 1} for n in range(9)]}, "covariates"),
            ({"covariates": [{"name": "a", "center": 0, "scale": 1}]}, "step_features"),
        ],
    )
    def test_wrong_seasons_and_covariates_are_refused(self, wrong, words):
        with pytest.raises(RejectedError, match=words):
            FeatureSpec.from_json({**SPEC.to_json(), **wrong})

    def test_names_of_covariates_never_meet_those_of_other_features(self):
        for name in ("level", "last", "holiday", "weekday_1", "day_1_sin"):
            with pytest.raises(ConfigError, match="name"):
                dataclasses.replace(SPEC, covariates=(Covariate(name, 0.0, 1.0),))
        with pytest.raises(ConfigError, match="name"):
            dataclasses.replace(SPEC, covariates=(Covariate("sun", 0.0, 1.0), Covariate("sun_known", 0.0, 1.0)))

    def test_every_field_is_checked(self):
        for what, changed in mutations(self.FULL.to_json()):
            try:
                spec = FeatureSpec.from_json(changed)
            except RejectedError:
                continue
            inputs = compute(spec, MONDAY_MS, history(15, slot_s=spec.slot_s), np.array([spec.min_history]))
            assert inputs.recent.shape == (1, spec.recent_size), what

    @pytest.mark.parametrize(
        "wrong",
        [
            {"slot_s": 1000},
            {"horizon": 0},
            {"horizon": 7 * 96 + 1},
            {"zone": "Mars/Olympus"},
            {"holidays": ("25.12.2026",)},
            {"holidays": ("20261225",)},
            {"holidays": (20261225,)},
            {"holidays": ("2026-02-30",)},
            {"scale_kw": 0.0},
            {"scale_kw": -1.0},
            {"scale_kw": float("nan")},
            {"scale_kw": 1e300},
            {"center_kw": float("inf")},
            {"recent_step_s": 2100},
            {"recent_step_s": 50_400},
            {"recent_days": 15},
            {"trailing_days": 0},
        ],
    )
    def test_wrong_settings_are_refused(self, wrong):
        with pytest.raises(ConfigError):
            dataclasses.replace(self.FULL, **wrong)

    @pytest.mark.parametrize("step_s", _RECENT_STEPS_S)
    def test_every_allowed_resolution_works(self, step_s):
        for recent_days in (1, 5, 14):
            spec = (
                FeatureSpec(slot_s=900, horizon=4, zone="UTC", recent_step_s=step_s, recent_days=recent_days)
                if step_s % 900 == 0
                else FeatureSpec(slot_s=1800, horizon=4, zone="UTC", recent_step_s=step_s, recent_days=recent_days)
            )
            inputs = compute(spec, MONDAY_MS, history(15, slot_s=spec.slot_s), np.array([spec.min_history]))
            assert inputs.recent.shape == (1, spec.recent_size)


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
