"""How amounts are told to people."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.contract.amounts import amount, in_kw


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (0.0, "0"),
        (0.01234, "0.0123"),
        (9.999, "10"),
        (99.96, "100"),
        (999.6, "1000"),
        (1083.2, "1083"),
        (-12345.6, "-12346"),
    ],
)
def test_an_amount_has_three_digits_or_all_before_the_point(value: float, told: str) -> None:
    assert amount(value) == told


@given(st.floats(min_value=1e-4, max_value=1e12), st.integers(3, 6))
def test_no_amount_has_a_power_of_ten_and_each_is_right_to_its_digits(value: float, digits: int) -> None:
    told = in_kw(value, digits)
    number, unit = told.split(" ")
    assert unit == "kW"
    assert "e" not in number
    assert float(number) == pytest.approx(value, rel=0.51 * 10.0 ** (1 - digits))
