"""Amounts in words: as many digits as people read, whatever their size."""

import pytest

from agent.planning.schedule.words import amount, peak_amount, price


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (1e-7, "0"), (0.5126, "0.513"), (6.25, "6.25"), (99.97, "100"), (1234.5, "1234"), (-0.0, "0")],
)
def test_energy_is_told_to_three_digits_and_never_as_a_power_of_ten(value: float, text: str) -> None:
    assert amount(value) == text


@pytest.mark.parametrize(("value", "text"), [(280.04, "280"), (999.97, "1000"), (12345.6, "12346"), (67.125, "67.12")])
def test_a_peak_is_told_to_four_digits_and_never_as_a_power_of_ten(value: float, text: str) -> None:
    assert peak_amount(value) == text


def test_a_price_of_nothing_has_no_sign() -> None:
    assert price(-1e-9) == "0.000"
