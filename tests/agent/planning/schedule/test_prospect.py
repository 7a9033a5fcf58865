"""How the load may come: errors of forecasts from the same hour, days past, and what stands in where they are few."""

import datetime as dt

import numpy as np
import pytest

from agent.contract.tariff.tariff import Tariff
from agent.planning.schedule.prospect import Aims, paths_kw, prospect
from tests.support.schedules import START_MS, TARIFF, TARIFF_TEXT

STEP_S = 1800
PER_DAY = 48
BERLIN = Tariff.from_toml(TARIFF_TEXT.replace("UTC", "Europe/Berlin"))
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


def berlin_ms(*date):
    return round(dt.datetime(*date, tzinfo=BERLIN.zone).timestamp() * 1000)


def local_hours(start_ms, count):
    """The hour of the local clock in each of `count` steps before a time."""
    at = [dt.datetime.fromtimestamp(start_ms / 1000 - STEP_S * back, BERLIN.zone) for back in range(count, 0, -1)]
    return np.array([one.hour + one.minute / 60 for one in at])


def test_days_past_are_those_of_the_local_clock_after_the_clocks_were_put_forward():
    start_ms = berlin_ms(2026, 3, 30)
    past = local_hours(start_ms, DAYS * PER_DAY)
    median = np.full(PER_DAY, 50.0)
    found = prospect(BERLIN, start_ms, median, past, {}, step_s=STEP_S, aims=None)
    assert found.days_kw[1:].tolist() == [(np.arange(PER_DAY) / 2).tolist()] * 27
    skipped = found.days_kw[0, 4:6]  # 02:00 to 03:00 on the day before
    assert skipped.tolist() == [50.0, 50.0]
    assert np.delete(found.days_kw[0], [4, 5]).tolist() == np.delete(found.days_kw[1], [4, 5]).tolist()


def test_of_an_hour_that_came_twice_the_first_counts():
    start_ms = berlin_ms(2026, 10, 26)
    past = local_hours(start_ms, DAYS * PER_DAY)
    past[-PER_DAY + 4 : -PER_DAY + 6] = 99.0  # 02:00 to 03:00 for the second time: the day had 25 hours
    found = prospect(BERLIN, start_ms, np.zeros(PER_DAY), past, {}, step_s=STEP_S, aims=None)
    assert found.days_kw.tolist() == [(np.arange(PER_DAY) / 2).tolist()] * 28


def test_errors_are_those_of_forecasts_from_the_same_local_time_step_by_step():
    start_ms = berlin_ms(2026, 3, 30, 6)
    random = np.random.default_rng(3)
    past = 100 + random.uniform(0, 50, DAYS * PER_DAY)
    before = {}
    for back in range(2, 20):
        begin = (berlin_ms(2026, 3, 30, 6) - berlin_ms(*day_before(back), 6)) // (STEP_S * 1000)
        before[back] = past[len(past) - begin :][:PER_DAY] - 7.0
    found = prospect(BERLIN, start_ms, np.full(PER_DAY, 120.0), past, before, step_s=STEP_S, aims=None)
    assert found.paths_kw == pytest.approx(np.full((18, PER_DAY), 127.0))


def day_before(back):
    """The date so many days before 30 March 2026."""
    date = dt.date(2026, 3, 30) - dt.timedelta(days=back)
    return date.year, date.month, date.day


def test_the_window_of_a_charge_is_that_of_the_week_s_days_at_the_plan_s_local_times():
    text = TARIFF_TEXT.replace("UTC", "Europe/Berlin") + 'weekdays = ["mon", "tue"]\nfrom = "16:00"\nto = "21:00"\n'
    start_ms = berlin_ms(2026, 1, 18, 17)  # Sunday: until Monday 17:00
    past = np.full(DAYS * PER_DAY, 100.0)
    found = prospect(Tariff.from_toml(text), start_ms, np.zeros(PER_DAY), past, {}, step_s=STEP_S, aims=None)
    assert np.flatnonzero(found.windows["peak"]).tolist() == [*range(8), 46, 47]
    always = prospect(BERLIN, start_ms, np.zeros(PER_DAY), past, {}, step_s=STEP_S, aims=None)
    assert always.windows["peak"].all()
