"""The demand that is billed: intervals and months by the local clock, the month's peak, what the load may be."""

from __future__ import annotations

import datetime as dt
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.contract.errors import ConfigError
from agent.contract.slots import Slot
from agent.planning.peakwatch import Measured, Terms, month_peak, outlook
from tests.support.billing import at
from tests.support.forecasts import banded

BERLIN = ZoneInfo("Europe/Berlin")
MIN_MS, HOUR_MS = 60_000, 3_600_000
QUARTER = 900_000
NOW = at(2026, 3, 10, 14, 5)
TERMS = Terms(900, BERLIN, target_kw=500, per_kw=10.0)


def slots(start_ms, *powers, length_s=900):
    return [
        Slot(start_ms + n * length_s * 1000, length_s, 0, kw, 0.0 if kw is None else 1.0) for n, kw in enumerate(powers)
    ]


# -- intervals and months ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("zone", "minutes", "when", "start"),
    [
        ("Europe/Berlin", 15, (2026, 3, 10, 14, 29), (2026, 3, 10, 14, 15)),
        ("Europe/Berlin", 60, (2026, 3, 10, 14, 59), (2026, 3, 10, 14, 0)),
        ("Asia/Kathmandu", 60, (2026, 3, 10, 14, 59), (2026, 3, 10, 14, 0)),  # 5:45 from UTC
        ("Asia/Kolkata", 60, (2026, 3, 10, 14, 1), (2026, 3, 10, 14, 0)),
        ("Australia/Adelaide", 30, (2026, 4, 5, 2, 40), (2026, 4, 5, 2, 30)),
    ],
)
def test_an_interval_begins_with_the_hour_of_the_local_clock(zone, minutes, when, start):
    begin = at(*start, zone=zone)
    assert Terms(minutes * 60, ZoneInfo(zone)).interval(at(*when, zone=zone)) == (begin, begin + minutes * MIN_MS)


@pytest.mark.parametrize(
    ("day", "quarters"), [((2026, 3, 29), 92), ((2026, 3, 10), 96), ((2026, 10, 25), 100)], ids=["23h", "24h", "25h"]
)
def test_a_day_of_the_clocks_change_has_its_own_number_of_intervals(day, quarters):
    begin, end = at(*day), at(*day) + quarters * QUARTER
    assert at(*(dt.date(*day) + dt.timedelta(days=1)).timetuple()[:3]) == end
    starts = {TERMS.interval(time_ms)[0] for time_ms in range(begin, end, 5 * MIN_MS)}
    assert starts == set(range(begin, end, QUARTER))


@pytest.mark.parametrize(
    ("when", "billing_day", "bounds"),
    [
        ((2026, 3, 10), 1, ((2026, 3, 1), (2026, 4, 1))),
        ((2026, 12, 31, 23, 59), 1, ((2026, 12, 1), (2027, 1, 1))),
        ((2026, 3, 10), 15, ((2026, 2, 15), (2026, 3, 15))),
        ((2026, 1, 3), 15, ((2025, 12, 15), (2026, 1, 15))),
        ((2026, 3, 15), 15, ((2026, 3, 15), (2026, 4, 15))),
    ],
)
def test_a_billing_month_is_a_local_one_from_its_day_on(when, billing_day, bounds):
    terms = Terms(900, BERLIN, billing_day=billing_day)
    assert terms.month(at(*when)) == (at(*bounds[0]), at(*bounds[1]))


def test_a_month_with_a_change_of_the_clocks_has_an_hour_less():
    begin, end = TERMS.month(NOW)
    assert (end - begin) // HOUR_MS == 31 * 24 - 1


def test_rejects_an_interval_that_nobody_bills():
    with pytest.raises(ConfigError, match="demand over 5 min"):
        Terms(300, BERLIN)


# -- the month's peak ----------------------------------------------------------------------------------------------


def test_the_months_peak_is_the_highest_mean_of_an_interval_not_of_a_slot():
    start = at(2026, 3, 2)
    found = month_peak(Terms(900, BERLIN), slots(start, 100, 110, 120, 90, 300, 30, length_s=300), NOW)
    assert (found.kw, found.start_ms, found.known) == (pytest.approx(140), start + QUARTER, 2)


def test_of_two_equal_peaks_the_first_counts_and_other_months_do_not():
    start = at(2026, 3, 2)
    found = month_peak(TERMS, [*slots(at(2026, 2, 28), 900), *slots(start, 100, 200, 200, 50)], NOW)
    assert (found.kw, found.start_ms) == (200, start + QUARTER)


def test_an_interval_of_which_something_is_missing_is_unknown_and_one_that_runs_does_not_count():
    start = at(2026, 3, 10, 14)
    terms = Terms(1800, BERLIN)
    found = month_peak(terms, [*slots(start - HOUR_MS, 50, 60, None, 400), *slots(start, 900)], start + QUARTER)
    assert (found.kw, found.known, found.unknown) == (55, 1, 1)
    assert month_peak(terms, [], NOW).kw is None


def test_only_intervals_of_the_window_count():
    day = at(2026, 3, 9)
    terms = Terms(
        900, BERLIN, counts=lambda start_ms: 8 <= dt.datetime.fromtimestamp(start_ms / 1000, BERLIN).hour < 20
    )
    powers = [500 if hour < 8 else 300 if hour == 12 else 100 for hour in range(24) for _ in range(4)]
    found = month_peak(terms, slots(day, *powers), NOW)
    assert (found.kw, found.start_ms, found.known) == (300, day + 12 * HOUR_MS, 48)


@given(st.lists(st.integers(0, 400), min_size=36, max_size=36))
def test_the_months_peak_does_not_depend_on_how_intervals_are_cut_into_slots(powers):
    start = at(2026, 3, 9)
    fine = slots(start, *powers, length_s=300)
    coarse = slots(start, *(sum(powers[n : n + 3]) / 3 for n in range(0, 36, 3)))
    terms = Terms(1800, BERLIN)
    found, again = month_peak(terms, fine, NOW), month_peak(terms, coarse, NOW)
    assert found.kw == pytest.approx(again.kw)
    assert found.known == again.known == 6


# -- the running interval ------------------------------------------------------------------------------------------


def test_what_an_interval_is_heading_for_and_what_the_load_may_be_by_hand():
    # 5 of 15 minutes at 600 kW: 50 kWh. 500 kW over 15 min are 125 kWh: 75 kWh for 10 min are 450 kW.
    found = outlook(TERMS, NOW, Measured(50.0, 5 * MIN_MS, 560.0), None, None)
    assert found.predicted_kw == pytest.approx(4 * (50 + 560 / 6))
    assert found.allowable_kw == pytest.approx(450)
    assert (found.rest_by, found.covered, found.target_kw) == ("last minutes", 1.0, 500)


def test_holding_the_allowable_load_ends_the_interval_at_its_target():
    found = outlook(TERMS, NOW, Measured(50.0, 5 * MIN_MS, 560.0), None, None)
    again = outlook(TERMS, NOW, Measured(50.0, 5 * MIN_MS, found.allowable_kw), None, None)
    assert again.predicted_kw == pytest.approx(500)


@pytest.mark.parametrize(
    ("target", "free", "peak", "expected"),
    [(500, 0, 480, 500), (500, 0, 530, 530), (None, 0, 530, 530), (None, 550, 530, 550), (None, 0, None, None)],
)
def test_the_limit_is_what_is_paid_for_anyway(target, free, peak, expected):
    terms = Terms(900, BERLIN, target_kw=target, free_kw=free)
    assert outlook(terms, NOW, Measured(50.0, 5 * MIN_MS, 560.0), peak, None).target_kw == expected


def test_what_was_not_measured_is_taken_at_the_rest_of_the_interval():
    whole = outlook(TERMS, NOW, Measured(50.0, 5 * MIN_MS, 600.0), None, None)
    gap = outlook(TERMS, NOW, Measured(20.0, 2 * MIN_MS, 600.0), None, None)
    assert gap.predicted_kw == pytest.approx(whole.predicted_kw)
    assert gap.allowable_kw == pytest.approx(whole.allowable_kw)
    assert gap.covered == pytest.approx(0.4)


def test_without_last_minutes_the_forecast_and_then_the_mean_so_far_stand_for_the_rest():
    made = banded([300.0] * 4, start_ms=at(2026, 3, 10, 14))
    assert outlook(TERMS, NOW, Measured(50.0, 5 * MIN_MS, None), None, made).rest_kw == 300
    assert outlook(TERMS, NOW, Measured(50.0, 5 * MIN_MS, None), None, None).rest_kw == pytest.approx(600)
    nothing = outlook(TERMS, NOW, Measured(0.0, 0.0, None), None, None)
    assert (nothing.predicted_kw, nothing.allowable_kw, nothing.rest_by) == (None, None, "")


def test_too_late_is_an_allowable_load_below_zero_and_no_window_has_no_limit():
    assert outlook(TERMS, NOW, Measured(130.0, 5 * MIN_MS, 1500.0), None, None).allowable_kw < 0
    never = Terms(900, BERLIN, target_kw=500, counts=lambda _: False)
    found = outlook(never, NOW, Measured(50.0, 5 * MIN_MS, 600.0), None, None)
    assert (found.counts, found.target_kw, found.allowable_kw) == (False, None, None)
    assert found.predicted_kw == pytest.approx(600)
