"""The slots in memory: order, gaps as NaN, and what is forgotten."""

from __future__ import annotations

import numpy as np

from agent.contract.slots import FLAG_EMPTY, Slot
from agent.daemon.history import KEEP_DAYS, History

T0 = 1_700_000_100_000
SLOT_MS = 900_000


def slot(index: int, power_kw: float | None = 1.0, completeness: float = 1.0) -> Slot:
    flags = (FLAG_EMPTY,) if power_kw is None else ()
    return Slot(T0 + index * SLOT_MS, 900, 0, power_kw, completeness, flags)


def test_power_has_nan_for_holes_empty_slots_and_slots_hardly_measured() -> None:
    history = History(900, [slot(0, 5.0), slot(1, None, 0.0), slot(3, 7.0), slot(4, 8.0, 0.4), slot(5, 9.0, 0.6)])
    start_ms, power_kw = history.power_kw(T0 + 7 * SLOT_MS)
    assert start_ms == T0
    np.testing.assert_array_equal(power_kw, [5, np.nan, np.nan, 7, np.nan, 9, np.nan])


def test_power_ends_where_it_is_asked_to() -> None:
    _, power_kw = History(900, [slot(0), slot(1), slot(2)]).power_kw(T0 + 2 * SLOT_MS)
    assert len(power_kw) == 2


def test_without_slots_there_is_nothing() -> None:
    history = History(900)
    assert history.power_kw(T0)[1].shape == (0,)
    assert history.completeness() is None
    assert history.end_ms is None


def test_a_slot_twice_or_of_another_length_is_left_out() -> None:
    history = History(900, [slot(0, 1.0), slot(0, 2.0), Slot(T0 + SLOT_MS, 1800, 0, 3.0, 1.0)])
    assert [each.power_kw for each in history.between(0, 2**50)] == [1.0]


def test_forgets_what_is_older_than_the_weeks_it_keeps() -> None:
    per_day = 96
    history = History(900, (slot(index) for index in range((KEEP_DAYS + 3) * per_day)))
    assert len(history.between(0, 2**50)) == KEEP_DAYS * per_day


def test_slots_that_come_back_stand_before_and_between_the_others_and_replace_none() -> None:
    history = History(900, [slot(5, 5.0), slot(8, 8.0)])
    history.restore([slot(6, 6.0), slot(3, 3.0), slot(8, 1.0), Slot(T0, 1800, 0, 3.0, 1.0)])
    assert [each.power_kw for each in history.between(0, 2**50)] == [3.0, 5.0, 6.0, 8.0]
    history.add(slot(7))
    assert history.last == slot(8, 8.0)


def test_completeness_counts_holes_as_nothing() -> None:
    history = History(900, [slot(0, 1.0), slot(3, 1.0)])
    assert history.completeness() == 0.5
