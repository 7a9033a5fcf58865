from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.contract.errors import ConfigError, UnavailableError
from agent.contract.featurespec import FeatureSpec
from agent.inference.scoring import pinball, score_peaks


def test_matches_the_definition_by_hand():
    # 0.1: truth above by 2 -> 0.2; 0.5: above by 1 -> 0.5; 0.9: below by 1 -> 0.1
    assert pinball([[8.0, 9.0, 11.0]], [10.0], (0.1, 0.5, 0.9)) == pytest.approx((0.2 + 0.5 + 0.1) / 3)


def test_at_the_median_it_is_half_the_absolute_error():
    assert pinball([[1.0], [5.0]], [3.0, 1.0], (0.5,)) == pytest.approx(0.5 * np.mean([2, 4]))


def test_unknown_truth_does_not_count():
    assert pinball([[1.0], [5.0]], [3.0, np.nan], (0.5,)) == pytest.approx(1.0)


def test_no_truth_at_all_is_no_score():
    with pytest.raises(UnavailableError):
        pinball([[1.0]], [np.nan], (0.5,))


def test_rejects_shapes_that_do_not_fit():
    with pytest.raises(ConfigError, match="shape"):
        pinball(np.zeros((4, 3)), np.zeros((5,)), (0.1, 0.5, 0.9))


@given(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=20), st.floats(-1e3, 1e3))
def test_is_never_negative_and_zero_for_a_perfect_forecast(truth, shift):
    values = np.array(truth)
    assert pinball(np.stack([values] * 3, axis=-1), values, (0.1, 0.5, 0.9)) == 0
    assert pinball(np.stack([values + shift] * 3, axis=-1), values, (0.1, 0.5, 0.9)) >= 0


SPEC = FeatureSpec(slot_s=3600, horizon=48, zone="UTC")


def days(peaks):
    """[N, 48] kW: flat at 10 but for one slot of each day."""
    power = np.full((len(peaks), 48), 10.0)
    power[:, [7, 30]] = peaks
    return power


def test_bias_of_the_peak_is_a_share_of_the_mean_peak():
    truth = days([[20.0, 30.0], [40.0, 30.0]])
    slots = np.repeat(np.full((2, 48, 1), 15.0), 3, axis=-1)
    peaks = np.array([[[20, 21, 22], [20, 27, 29]], [[30, 42, 44], [30, 30, 30]]], float)
    score = score_peaks(SPEC, slots, peaks, truth)
    assert score.days == 4
    assert score.bias == pytest.approx((21 + 27 + 42 + 30 - 120) / 120)
    assert score.path_bias == pytest.approx((4 * 15 - 120) / 120)
    assert score.coverage == 0.75
    assert score.pinball_kw == pytest.approx(pinball(peaks, [[20.0, 30.0], [40.0, 30.0]], (0.1, 0.5, 0.9)))


def test_a_day_that_is_not_known_whole_has_no_peak_to_judge_by():
    truth = days([[20.0, 30.0]])
    truth[0, 3] = np.nan
    forecast = np.full((1, 2, 3), 30.0)
    score = score_peaks(SPEC, np.full((1, 48, 3), 30.0), forecast, truth)
    assert (score.days, score.bias, score.coverage) == (1, 0.0, 1.0)
    truth[0, 40] = np.nan
    assert score_peaks(SPEC, np.full((1, 48, 3), 30.0), forecast, truth) is None


def test_peaks_that_are_zero_on_average_give_no_share():
    assert score_peaks(SPEC, np.zeros((1, 48, 3)), np.zeros((1, 2, 3)), np.zeros((1, 48))) is None
