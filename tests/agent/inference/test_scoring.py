from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.contract.errors import ConfigError, UnavailableError
from agent.inference.scoring import pinball


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
