import numpy as np
import pytest

from agent.planning.assess.case import Correlation
from agent.planning.assess.distributions import Fixed, Lognormal, Triangular, Uniform
from agent.planning.assess.sampling import Uniforms, check_correlations, rank_correlation

WIDE = Uniform(low=0, high=1)
YEARLY = Uniform(low=0, high=1, each_year=True)


def pair(first: str, second: str, rank: float) -> Correlation:
    return Correlation(between=(first, second), rank=rank)


def test_the_same_seed_gives_the_same_numbers_and_another_others():
    first, again, other = (Uniforms(500, 3, seed).of("a") for seed in (7, 7, 8))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_a_parameter_that_is_added_moves_no_other():
    alone = Uniforms(500, 3, 1).values({"a": WIDE})
    beside = Uniforms(500, 3, 1).values({"b": YEARLY, "a": WIDE})
    assert np.array_equal(alone["a"], beside["a"])
    assert abs(rank_correlation(beside["a"][:, 0], beside["b"][:, 0])) < 0.15


def test_each_run_lies_in_a_stratum_of_its_own():
    drawn = Uniforms(1000, 1, 1).of("a")[:, 0]
    assert sorted((drawn * 1000).astype(int)) == list(range(1000))


def test_what_is_drawn_each_year_differs_between_years_and_begins_as_if_it_were_not():
    uniforms = Uniforms(400, 4, 1)
    yearly, once = uniforms.of("a", each_year=True), uniforms.of("a")
    assert yearly.shape == (400, 4)
    assert once.shape == (400, 1)
    assert np.array_equal(yearly[:, :1], once)
    assert abs(rank_correlation(yearly[:, 0], yearly[:, 1])) < 0.2


def test_fixed_parameters_take_no_room():
    assert Uniforms(400, 4, 1).values({"a": Fixed(value=3)})["a"].shape == (1, 1)


@pytest.mark.parametrize("rank", [-0.8, 0.5, 0.9])
def test_correlated_parameters_have_the_wanted_ranks_and_keep_their_laws(rank):
    laws = {"a": Triangular(low=0, mode=0, high=3), "b": Lognormal(median=1, factor=2), "c": WIDE}
    drawn = Uniforms(5000, 1, 1, [pair("a", "b", rank)]).values(laws)
    assert rank_correlation(drawn["a"][:, 0], drawn["b"][:, 0]) == pytest.approx(rank, abs=0.03)
    assert abs(rank_correlation(drawn["a"][:, 0], drawn["c"][:, 0])) < 0.05
    assert drawn["a"].mean() == pytest.approx(1.0, rel=0.03)


@pytest.mark.parametrize(
    ("correlations", "says"),
    [
        ([pair("a", "nobody", 0.5)], "nobody is no parameter"),
        ([pair("a", "fixed", 0.5)], "fixed is fixed"),
        ([pair("a", "yearly", 0.5)], "yearly is drawn each year"),
        ([pair("a", "b", 0.5), pair("b", "a", 0.4)], "twice"),
        ([pair("a", "b", 0.9), pair("a", "c", 0.9), pair("b", "c", -0.9)], "cannot hold together"),
    ],
)
def test_correlations_that_cannot_be_are_named(correlations, says):
    laws = {"a": WIDE, "b": WIDE, "c": WIDE, "fixed": Fixed(value=1), "yearly": YEARLY}
    assert any(says in what for what in check_correlations(correlations, [laws]))


def test_rank_correlation_by_hand():
    # Ranks 0 1 2 3 and 0 2 1 3: 1 - 6 x (0 + 1 + 1 + 0) / (4 x 15) = 0.8
    assert rank_correlation(np.array([1.0, 2, 3, 4]), np.array([10.0, 30, 20, 400])) == pytest.approx(0.8)
    assert rank_correlation(np.array([1.0, 2, 3]), np.ones(3)) == 0.0
