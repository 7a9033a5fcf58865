"""Readings of other meters as slots: what lies between two readings, and what is unknown."""

from __future__ import annotations

import math

import numpy as np
import pytest

from agent.contract.errors import ConfigError
from agent.contract.loadcsv import Columns
from agent.planning.billing.metered import metered
from tests.support.billing import at

HOUR_MS = 3_600_000
OCTOBER = at(2026, 10, 1), at(2026, 11, 1)  # 745 hours


def columns(times_ms: list[int], values: list[float], kind: str = "reading") -> Columns:
    lines = np.arange(2, 2 + len(times_ms))
    return Columns(np.array(times_ms, dtype=np.int64), lines, {kind: np.array(values, dtype=np.float64)})


def used(found, start_ms: int, end_ms: int) -> int:
    return sum(slot.energy_wh for slot in found.slots if start_ms <= slot.start_ms < end_ms)


def test_what_lies_between_two_readings_is_spread_by_time_and_nothing_is_lost():
    found = metered(columns(list(OCTOBER), [1000.0, 1100.007]), OCTOBER, 900, "gas.csv")
    assert used(found, *OCTOBER) == 100_007
    assert len(found.slots) == 745 * 4
    assert {slot.energy_wh for slot in found.slots} == {33, 34}
    assert found.widest_ms == 745 * HOUR_MS


def test_readings_before_and_after_the_month_tell_of_all_of_it():
    times = [OCTOBER[0] - 31 * 24 * HOUR_MS, OCTOBER[0] + 10 * HOUR_MS, OCTOBER[1] + 20 * HOUR_MS]
    found = metered(columns(times, [0.0, 754.0, 754.0 + 755.0]), OCTOBER, 3600, "gas.csv")
    assert used(found, *OCTOBER) == 745_000
    assert (found.slots[0].start_ms, found.slots[-1].end_ms) == OCTOBER


def test_an_amount_is_used_from_its_time_to_the_next_and_the_last_as_long_as_the_one_before():
    times = [OCTOBER[0], OCTOBER[0] + HOUR_MS, OCTOBER[0] + 2 * HOUR_MS]
    found = metered(columns(times, [1.0, 2.0, 4.0], "amount"), OCTOBER, 1800, "gas.csv")
    assert [slot.energy_wh for slot in found.slots] == [500, 500, 1000, 1000, 2000, 2000]


def test_what_no_row_tells_is_missing():
    times = [OCTOBER[0] + hour * HOUR_MS for hour in range(4)]
    found = metered(columns(times, [1.0, math.nan, 1.0, 1.0], "amount"), OCTOBER, 3600, "gas.csv")
    assert [slot.start_ms for slot in found.slots] == [times[0], times[2], times[3]]
    by_register = metered(columns(times, [1.0, math.nan, 3.0, 4.0]), OCTOBER, 3600, "gas.csv")
    assert [slot.energy_wh for slot in by_register.slots] == [1000, 1000, 1000]  # an empty reading is none
    assert metered(columns(times, [1.0] * 4), at_a_year_before(), 3600, "gas.csv").slots == []


def at_a_year_before() -> tuple[int, int]:
    return at(2025, 10, 1), at(2025, 11, 1)


def test_a_first_reading_between_two_slots_begins_with_the_next():
    times = [OCTOBER[0] + 10 * 60_000, OCTOBER[0] + 130 * 60_000]
    found = metered(columns(times, [0.0, 12.0]), OCTOBER, 1800, "gas.csv")
    assert [(slot.start_ms - OCTOBER[0]) // 60_000 for slot in found.slots] == [30, 60, 90]
    assert [slot.energy_wh for slot in found.slots] == [3000, 3000, 3000]


def test_slots_reach_back_to_where_the_bill_does_and_how_far_readings_lie_apart_is_told_of_the_bill():
    times = [at(2026, 1, 1), *range(OCTOBER[0], OCTOBER[1] + HOUR_MS, HOUR_MS)]
    readings = columns(times, [0.0, *np.linspace(9000.0, 10_000.0, len(times) - 1)])
    found = metered(readings, OCTOBER, 3600, "gas.csv", since_ms=at(2026, 1, 1))
    assert found.slots[0].start_ms == at(2026, 1, 1)
    assert (used(found, at(2026, 1, 1), OCTOBER[0]), used(found, *OCTOBER)) == (9_000_000, 1_000_000)
    assert found.widest_ms == HOUR_MS


@pytest.mark.parametrize(
    ("values", "kind", "message"),
    [
        ([5.0, 4.0], "reading", "line 3: the register shows less than before.*exchanged"),
        ([5.0, -4.0], "amount", "line 3: an amount is below 0"),
        ([5.0, math.nan], "reading", "fewer than two rows"),
        ([5.0, 1e308], "reading", "line 3: reading 1e\\+308 is too large"),
        ([1e308, 1e308], "amount", "line 2: amount 1e\\+308 is too large"),
        ([9e11, 9e11], "amount", "amounts come to more than any meter shows"),
    ],
)
def test_rejects_what_no_meter_shows_and_says_the_line(values, kind, message):
    with pytest.raises(ConfigError, match=message):
        metered(columns(list(OCTOBER), values, kind), OCTOBER, 900, "gas.csv")
