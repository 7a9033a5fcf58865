"""Amounts in words: as many digits as people read, whatever their size."""

import numpy as np
import pytest

from agent.planning.schedule.words import amount, peak_amount, price, span, spans
from tests.support.schedules import problem


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


@pytest.mark.parametrize(
    ("steps", "text", "longer"),
    [
        ((8, 16), "02:00-04:00", "from 02:00 to 04:00"),
        ((88, 96), "22:00-24:00", "from 22:00 to 00:00 on Fri 02 Jan"),
        ((88, 100), "22:00 to 01:00 on Fri 02 Jan", "from 22:00 to 01:00 on Fri 02 Jan"),
        ((100, 104), "01:00-02:00 on Fri 02 Jan", "from 01:00 to 02:00 on Fri 02 Jan"),
    ],
)
def test_times_tell_a_day_once_and_never_that_of_the_end_for_the_begin(
    steps: tuple[int, int], text: str, longer: str
) -> None:
    given = problem(np.zeros(120))
    assert span(given, *steps) == text
    place = np.arange(120)
    assert spans(given, (place >= steps[0]) & (place < steps[1])) == longer
