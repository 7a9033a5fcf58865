import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.planning.assess.finance import discounted, net_value, payback_years

FORTY = np.full((1, 5), 40.0)


def one(investment, savings):
    return float(payback_years(np.array([float(investment)]), np.atleast_2d(np.asarray(savings, float)))[0])


def test_payback_by_hand():
    assert one(100, [40] * 5) == pytest.approx(2.5)
    assert one(100, [100, 1]) == 1.0
    assert one(100, [-20, 60, 60]) == pytest.approx(3.0)


def test_discounted_payback_by_hand():
    # 40 at 10 %: 36.364, 33.058, 30.053, 27.321: after three years 99.474, and 0.526 / 27.321 = 0.0192 of the fourth.
    present = discounted(FORTY, np.array([[0.1]]))
    assert present[0, :4] == pytest.approx([36.3636, 33.0579, 30.0526, 27.3205], abs=1e-4)
    assert one(100, present) == pytest.approx(3.0192, abs=1e-4)


def test_a_rate_of_each_year_discounts_by_all_years_up_to_it():
    # 40 / 1.1, then / 1.2: the rates of later years than the savings have are not asked for.
    present = discounted(FORTY[:, :2], np.array([[0.1, 0.2, 0.3]]))
    assert present[0] == pytest.approx([40 / 1.1, 40 / 1.32])


def test_what_never_pays_back_is_infinite():
    assert one(100, [10] * 5) == np.inf
    assert one(100, [-10] * 5) == np.inf


def test_no_investment_pays_back_at_once():
    assert one(0, [40] * 5) == 0.0
    assert one(0, [-40] * 5) == 0.0


def test_net_value_begins_with_the_investment_and_ends_with_the_sum():
    assert net_value(np.array([100.0]), FORTY).tolist() == [[-100, -60, -20, 20, 60, 100]]


@given(st.floats(0, 1e6), st.lists(st.floats(-1e5, 1e5), min_size=1, max_size=30), st.floats(0, 1e5))
def test_a_dearer_measure_never_pays_back_sooner(investment, savings, more):
    assert one(investment + more, savings) >= one(investment, savings) - 1e-6


@given(st.floats(1, 1e6), st.lists(st.floats(0, 1e5), min_size=1, max_size=30), st.floats(0, 0.5))
def test_discounting_never_brings_payback_nearer(investment, savings, rate):
    present = discounted(np.array([savings]), np.array([[rate]]))
    assert one(investment, present) >= one(investment, savings) - 1e-6
