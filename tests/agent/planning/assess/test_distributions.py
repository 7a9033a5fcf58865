import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.contract.errors import ConfigError
from agent.planning.assess.distributions import (
    LAWS,
    Discrete,
    Fixed,
    Lognormal,
    Normal,
    Triangular,
    Uniform,
    normal_at,
    normal_share,
)

EVEN = (np.arange(20_000) + 0.5) / 20_000
EXAMPLES = [
    (Fixed(value=4), 4.0),
    (Uniform(low=2, high=8), 5.0),
    (Triangular(low=1, mode=2, high=6), 3.0),
    (Triangular(low=1, mode=1, high=4), 2.0),
    (Normal(mean=10, sd=2, low=4, high=16), 10.0),
    # Half a normal law: mean + sd x sqrt(2 / pi).
    (Normal(mean=10, sd=2, low=10, high=30), 10 + 2 * math.sqrt(2 / math.pi)),
    (Lognormal(median=100, factor=1.2), 100 * math.exp(math.log(1.2) ** 2 / 2)),
    (Discrete(values=(1, 5), weights=(3, 1)), 2.0),
    (Discrete(values=(3, 1, 2)), 2.0),
]


@pytest.mark.parametrize(("law", "mean"), EXAMPLES)
def test_the_mean_of_a_sample_is_the_stated_one(law, mean):
    assert law.expected == pytest.approx(mean, rel=1e-9)
    assert law.at(EVEN).mean() == pytest.approx(mean, rel=1e-3)


@pytest.mark.parametrize(("law", "mean"), EXAMPLES)
def test_values_stay_in_their_support_and_rise_with_luck(law, mean):
    values = law.at(np.array([0.0, 1e-12, 0.1, 0.5, 0.9, 1 - 1e-12, 1.0]))
    low, high = law.support
    assert np.all(np.isfinite(values))
    assert np.all((low <= values) & (values <= high))
    assert np.all(np.diff(values) >= 0)


def test_every_law_has_an_example():
    assert {type(law) for law, _ in EXAMPLES} == set(LAWS)


def test_two_thirds_of_a_lognormal_lie_within_its_factor():
    values = Lognormal(median=100, factor=1.3).at(EVEN)
    assert np.mean((values > 100 / 1.3) & (values < 130)) == pytest.approx(0.6827, abs=1e-3)


def test_a_triangular_law_has_its_densities():
    # Below the mode of (0, 2, 10) lie (2 - 0) / (10 - 0) of all values.
    assert np.mean(Triangular(low=0, mode=2, high=10).at(EVEN) < 2) == pytest.approx(0.2, abs=1e-3)


def test_values_without_weight_never_come():
    assert set(Discrete(values=(3, 1, 2), weights=(1, 1, 0)).at(np.linspace(0, 1, 101))) == {1.0, 3.0}


@given(st.floats(1e-9, 1 - 1e-9))
def test_normal_shares_and_values_are_inverse(share):
    assert normal_share(normal_at(np.array([share])))[0] == pytest.approx(share, rel=1e-9)


@pytest.mark.parametrize(
    ("law", "values", "says"),
    [
        (Uniform, {"low": 2, "high": 2}, "not below"),
        (Triangular, {"low": 3, "mode": 2, "high": 1}, "not below"),
        (Triangular, {"low": 1, "mode": 5, "high": 4}, "mode 5"),
        (Normal, {"mean": 1, "sd": 0, "low": 0, "high": 2}, "sd 0"),
        (Normal, {"mean": 1, "sd": 0.1, "low": 5, "high": 6}, "too far from the mean"),
        (Lognormal, {"median": -3, "factor": 1.2}, "median -3"),
        (Lognormal, {"median": 3, "factor": 0.9}, "factor 0.9"),
        (Discrete, {"values": (1, 2), "weights": (1,)}, "1 weights for 2 values"),
        (Discrete, {"values": (1, 2), "weights": (1, -1)}, "negative"),
        (Discrete, {"values": (1, 2), "weights": (0, 0)}, "all are 0"),
        (Discrete, {"values": (1, 2), "weights": (1e308, 1e308)}, "beyond reckoning"),
    ],
)
def test_a_law_that_is_none_is_refused(law, values, says):
    with pytest.raises(ConfigError, match=says):
        law(**values)
