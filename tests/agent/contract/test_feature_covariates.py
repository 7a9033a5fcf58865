"""Features of what is known beside the load: unknown and wild values, no look-ahead, one origin as the batch."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.contract import features
from agent.contract.features import compute
from tests.support.featuredata import MONDAY_MS, PER_DAY, SPEC, TEMPERATURE, column, history


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
