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
from agent.contract.featurespec import FeatureSpec, Scaling
from tests.support.nasty import mutations

MONDAY_MS = 1_767_571_200_000  # 2026-01-05T00:00Z
SPEC = FeatureSpec(slot_s=1800, horizon=48, zone="UTC")
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
            *("mean_same_weekday", "mean_7d", "last", "last_day_mean", "last_day_max", "last_day_min"),
            *("day_sin", "day_cos", "half_day_sin", "half_day_cos", "position"),
            *("weekday_0", "weekday_1", "weekday_2", "weekday_3", "weekday_4", "weekday_5", "weekday_6"),
            *("holiday", "working", "working_lag_1d", "working_lag_7d", "working_next_day"),
        )

    def test_values(self):
        """A ramp of 1 kW a slot: every lag can be worked out by hand."""
        spec = dataclasses.replace(SPEC, scaling=Scaling.GLOBAL, center_kw=1500.0, scale_kw=1000.0)
        origin = 30 * PER_DAY
        inputs = compute(spec, MONDAY_MS, np.arange(float(origin)), np.array([origin]))
        assert (inputs.recent.shape, inputs.steps.shape) == ((1, 336), (1, 48, 31))
        assert inputs.recent.dtype == inputs.steps.dtype == np.float32
        target = origin + np.arange(48)
        for day in (1, 2, 3, 4, 5, 6, 7, 14):
            assert in_kw(spec, inputs, f"lag_{day}d")[0] == pytest.approx(target - 48 * day, abs=1e-3)
        assert in_kw(spec, inputs, "mean_same_weekday")[0] == pytest.approx(target - 48 * 17.5, abs=1e-3)
        assert in_kw(spec, inputs, "mean_7d")[0] == pytest.approx(target - 48 * 4, abs=1e-3)
        for name, value in {"last": 1439, "last_day_mean": 1415.5, "last_day_max": 1439, "last_day_min": 1392}.items():
            assert in_kw(spec, inputs, name)[0] == pytest.approx([value] * 48, abs=1e-3)
        assert inputs.recent[0] * 1000 + 1500 == pytest.approx(np.arange(1440 - 336, 1440), abs=1e-3)
        assert column(spec, inputs, "position")[0, [0, 47]].tolist() == [-1, 1]
        assert column(spec, inputs, "day_sin")[0, 12] == pytest.approx(1)
        assert column(spec, inputs, "half_day_cos")[0, 12] == pytest.approx(-1)
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
        assert inputs.steps.shape == (2, spec.per_day, 31)
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
        info = features.parse_zone(zone)
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
        assert column(spec, inputs, "weekday_0")[0].tolist() == [1] * 48
        assert column(spec, inputs, "working")[0].tolist() == [0] * 48
        assert column(spec, inputs, "working_lag_1d")[0].tolist() == [0] * 48  # Sunday
        assert column(spec, inputs, "working_lag_7d")[0].tolist() == [1] * 48
        assert column(spec, inputs, "working_next_day")[0].tolist() == [1] * 48
        without = compute(dataclasses.replace(spec, holidays=()), start_ms, history(15), np.array([15 * PER_DAY]))
        assert column(spec, without, "working")[0].tolist() == [1] * 48


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


class TestSpec:
    FULL = FeatureSpec(900, 96, "Europe/Berlin", ("2026-12-25",), Scaling.GLOBAL, 10.5, 2.5, 14, 7, 1800)

    def test_round_trip(self):
        for spec in (SPEC, self.FULL):
            assert FeatureSpec.from_json(json.loads(json.dumps(spec.to_json()))) == spec

    def test_a_spec_from_before_daily_peaks_is_refused_in_words(self):
        old = {name: value for name, value in SPEC.to_json().items() if name != "daily_peaks"}
        with pytest.raises(RejectedError, match=r"daily_peaks: .*no daily peak; train and convert it again"):
            FeatureSpec.from_json(old)
        with pytest.raises(RejectedError, match="daily_peaks"):
            FeatureSpec.from_json({**SPEC.to_json(), "daily_peaks": 2})

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

    @pytest.mark.parametrize("step_s", features._RECENT_STEPS_S)
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
