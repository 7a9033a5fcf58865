"""Price series: what a file says, what it may not say, and what happens when it changes."""

from __future__ import annotations

import os
from decimal import Decimal

import numpy as np
import pytest

from agent.contract.errors import ConfigError
from agent.contract.tariff.series import PRICE_FORM, PriceSeries, price_file

TEXT = "start,price\n2026-03-01T00:00:00+01:00,84.51\n2026-03-01T00:00:00Z,-3\n\n2026-03-01T02:00:00Z,0.5\n"
FIRST = 1_772_319_600_000  # 23:00 UTC of the day before
HOUR = 3_600_000


def _parse(text):
    return PriceSeries(*PRICE_FORM.parse(text, "day-ahead.csv", 3600), 3600)


def test_each_price_holds_for_its_step_and_gaps_have_none():
    series = _parse(TEXT)
    prices, known = series.at(FIRST + np.array([-1, 0, HOUR - 1, HOUR, 2 * HOUR, 3 * HOUR, 4 * HOUR]))
    assert list(known) == [False, True, True, True, False, True, False]
    assert list(prices[known] / 10**8) == [84.51, 84.51, -3.0, 0.5]
    assert series.limits == (Decimal(-3), Decimal("84.51"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "does not begin with the header"),
        ("time,price\n", "does not begin with the header"),
        ("start,price\n2026-03-01T00:00:00,1\n", "line 2: .* does not say its offset"),
        ("start,price\nyesterday,1\n", "line 2: is not a start and a price"),
        ("start,price\n2026-03-01T00:00:00Z,cheap\n", "line 2: is not a start and a price"),
        ("start,price\n2026-03-01T00:00:00Z,nan\n", "line 2: nan is not a price"),
        ("start,price\n2026-03-01T00:00:00Z,1e4000000\n", "line 2: "),
        ("start,price\n2026-03-01T00:15:00Z,1\n", "line 2: .* is not the start of 60 minutes"),
        ("start,price\n0026-03-01T00:00:00Z,1\n", "line 2: .* is not between 1970 and 2199"),
        ("start,price\n2026-03-01T00:00:00Z,1\n2026-03-01T01:00:00+01:00,2\n", "line 3: .* stands further up, too"),
    ],
)
def test_a_line_that_is_wrong_is_named(text, message):
    with pytest.raises(ConfigError, match=message):
        _parse(text)


@pytest.mark.parametrize("before", ["", "start,price\n"])
def test_a_quote_that_is_never_closed_is_one_clear_error_and_leaves_the_last_in_force(tmp_path, before):
    path = tmp_path / "day-ahead.csv"
    path.write_text(TEXT)
    file = price_file("day-ahead.csv", path, 3600)
    assert len(file.latest().prices) == 3
    path.write_text(before + '"' + "2026-03-01T03:00:00Z,7\n" * 8000)
    assert len(file.latest().prices) == 3
    with pytest.raises(ConfigError, match=r"line .* is not CSV"):
        file.read()


def test_a_file_that_grew_is_read_again_and_one_that_broke_leaves_the_last_in_force(tmp_path):
    path = tmp_path / "day-ahead.csv"
    path.write_text(TEXT)
    file = price_file("day-ahead.csv", path, 3600)
    assert len(file.latest().prices) == 3
    path.write_text(TEXT + "2026-03-01T03:00:00Z,7\n")
    os.utime(path, ns=(1, 1))
    assert len(file.latest().prices) == 4
    path.write_text("nonsense")
    assert len(file.latest().prices) == 4
    with pytest.raises(ConfigError, match="header"):
        file.read()


def test_what_is_not_known_yet_is_likely_to_be_as_on_the_days_before():
    starts = FIRST + np.arange(48, dtype=np.int64) * HOUR
    series = PriceSeries(starts, np.arange(48, dtype=np.int64), 3600)
    ahead = FIRST + np.array([47, 48, 49, 72, 24 * 9]) * HOUR
    prices, known = series.likely(ahead)
    assert list(known) == [True, False, False, False, False]
    assert list(prices) == [47, 24, 25, 24, 23]  # the last: nothing within a week, the mean
    longer = series.until(FIRST + 96 * HOUR)
    assert list(longer.prices) == [*range(48), *range(24, 48), *range(24, 48)]
    empty = PriceSeries(starts[:0], starts[:0], 3600)
    assert list(empty.likely(ahead)[0]) == [0] * 5
    assert empty.until(FIRST) is empty
