"""How the load may come: errors of forecasts from the same hour, days past, and what stands in where they are few."""

import datetime as dt

import numpy as np
import pytest

from agent.planning.schedule.prospect import Aims, paths_kw, prospect
from tests.support.schedules import START_MS, TARIFF

STEP_S = 1800
PER_DAY = 48
DAYS = 36


def seen(median, past, before, start_ms=START_MS, aims=None):
    return prospect(TARIFF, start_ms, np.asarray(median), np.asarray(past), before, step_s=STEP_S, aims=aims)


def past_days(levels):
    """One level a day, the last day last."""
    return np.repeat(np.array(levels, dtype=float), PER_DAY)


def test_no_path_leads_beyond_what_the_plant_ever_drew():
    days = np.array([[100.0, 300.0]])
    assert paths_kw(np.array([250.0, 50.0]), np.array([[200.0, -200.0]]), days).tolist() == [[300.0, 50.0]]


def test_paths_are_the_median_with_the_errors_of_forecasts_from_the_same_hour():
    past = past_days(100 + np.arange(DAYS))  # the day `back` before drew 136 - back
    before = {back: np.full(PER_DAY, 131.0 - back) for back in range(1, 8)}
    found = seen(np.full(PER_DAY, 120.0), past, before)
    assert found.median_kw.tolist() == [120.0] * PER_DAY
    assert found.paths_kw.tolist() == [[125.0] * PER_DAY] * 7
    assert found.days_kw[:, 0].tolist() == [136.0 - back for back in range(1, 29)]


def test_with_too_few_forecasts_the_errors_are_those_of_a_week_before():
    past = past_days(100 + np.arange(DAYS))
    before = {back: np.zeros(PER_DAY) for back in range(1, 7)}
    found = seen(np.full(PER_DAY, 120.0), past, before)
    assert found.paths_kw.tolist() == [[127.0] * PER_DAY] * 28


def test_of_a_plan_of_two_days_only_forecasts_that_are_over_count():
    past = past_days(np.arange(DAYS))
    before = {back: np.zeros(2 * PER_DAY) for back in range(1, 29)}
    found = seen(np.zeros(2 * PER_DAY), past, before)
    assert found.days_kw.shape == (27, 2 * PER_DAY)
    assert found.days_kw[0, [0, -1]].tolist() == [34.0, 35.0]


def test_what_is_unknown_of_a_day_is_the_median_and_no_error_and_a_day_that_is_mostly_unknown_does_not_count():
    past = past_days(np.full(DAYS, 100.0))
    past[-1] = np.nan
    past[-3 * PER_DAY : -2 * PER_DAY - 20] = np.nan
    before = {back: np.full(PER_DAY, 90.0) for back in range(1, 29)}
    found = seen(np.full(PER_DAY, 95.0), past, before)
    assert found.days_kw.shape == (27, PER_DAY)
    assert found.days_kw[0, -2:].tolist() == [100.0, 95.0]
    assert found.paths_kw[0, -2:].tolist() == [100.0, 95.0]


@pytest.mark.parametrize(("days", "known"), [(6, False), (7, True)])
def test_before_a_week_of_load_is_known_no_peak_is_guarded(days, known):
    found = seen(np.full(PER_DAY, 95.0), past_days(np.full(days, 100.0)), {})
    assert (found is not None) is known
    assert found is None or found.paths_kw.tolist() == [[95.0] * PER_DAY]


def test_the_local_day_tells_whether_aims_are_due_and_they_are_gone_with_their_month():
    past, day_ms = past_days(np.full(DAYS, 100.0)), 86_400_000
    aims = Aims(peaks_kw={"peak": 90.0}, day="2026-01-15", month="2026-01")
    same, after, february = (
        seen(np.full(PER_DAY, 95.0), past, {}, START_MS + shift, aims)
        for shift in (day_ms - 1800_000, day_ms, 17 * day_ms)
    )
    assert [found.day for found in (same, after, february)] == ["2026-01-15", "2026-01-16", "2026-02-01"]
    assert [dict(found.standing.peaks_kw) for found in (same, after, february)] == [{"peak": 90.0}, {"peak": 90.0}, {}]
    assert dt.timedelta(days=after.days_left) == dt.timedelta(days=16)


def test_a_part_of_a_day_ahead_tells_no_peak_to_aim_at():
    past = past_days(np.arange(DAYS))
    assert seen(np.zeros(PER_DAY - 1), past, {}) is None
    assert seen(np.zeros(PER_DAY), past, {}) is not None
