"""The demand that is billed: intervals and months by the local clock, the month's peak, what is allowed, what is ahead."""

from __future__ import annotations

import datetime as dt
import math
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.contract.channels import Channel, Kind, Reading
from agent.contract.errors import ConfigError
from agent.contract.rows import Forecast, ForecastSource
from agent.contract.slots import Slot, build_slot
from agent.planning.demandmeter import DemandMeter
from agent.planning.peakwatch import Measured, Terms, month_peak, new_peak, outlook
from tests.support.forecasts import peaks_of

BERLIN = ZoneInfo("Europe/Berlin")
MIN_MS, HOUR_MS = 60_000, 3_600_000
QUARTER = 900_000


def at(*when, zone=BERLIN, fold=0):
    return round(dt.datetime(*when, tzinfo=zone, fold=fold).timestamp() * 1000)


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
    zone = ZoneInfo(zone)
    begin = at(*start, zone=zone)
    assert Terms(minutes * 60, zone).interval(at(*when, zone=zone)) == (begin, begin + minutes * MIN_MS)


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
    made = forecast([300.0] * 4, start_ms=at(2026, 3, 10, 14))
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


# -- a new peak ----------------------------------------------------------------------------------------------------


def forecast(middle, *, spread=50.0, start_ms=NOW - 5 * MIN_MS, slot_s=900, peaks=None):
    middle = np.asarray(middle, float)
    table = np.stack([middle - spread, middle, middle + spread], axis=1)
    peak_kw = peaks_of(table, slot_s) if peaks is None else np.asarray(peaks, float)
    return Forecast(start_ms, slot_s, (0.1, 0.5, 0.9), table, peak_kw, ForecastSource.ACTIVE, "m@1")


@pytest.mark.parametrize(("peak", "chance"), [(450, 0.5), (500, 0.1), (430, 0.9), (1000, 0.0), (0, 1.0)])
def test_the_chance_of_a_new_peak_is_that_of_the_days_own_quantiles(peak, chance):
    made = forecast([400.0] * 96, peaks=[[430, 450, 500]])
    assert new_peak(TERMS, NOW, peak, made).probability == pytest.approx(chance, abs=1e-9)


@pytest.mark.parametrize("limit", [380.0, 430.0, 450.0, 470.0, 560.0])
def test_chance_height_and_cost_are_the_integrals_over_two_half_normals(limit):
    made = forecast([400.0] * 96, peaks=[[430, 450, 500]])
    found = new_peak(TERMS, NOW, limit, made)
    normal = np.linspace(-8, 8, 200_001)
    weights = np.exp(-0.5 * normal**2)
    kw = 450 + np.where(normal < 0, 20, 50) / 1.2815515655446004 * normal
    chance, excess = (np.average(part, weights=weights) for part in (kw > limit, np.maximum(0.0, kw - limit)))
    assert found.probability == pytest.approx(chance, abs=1e-4)
    assert found.cost_expected == pytest.approx(10 * excess, rel=1e-3)
    assert found.kw == pytest.approx(limit + excess / chance, rel=1e-3)
    assert found.cost_if_set == pytest.approx(10 * (found.kw - limit))


def test_a_band_without_width_is_certain():
    made = forecast([400.0] * 96, spread=0.0)
    assert (new_peak(TERMS, NOW, 399, made).probability, new_peak(TERMS, NOW, 399, made).kw) == (1.0, 400)
    assert (new_peak(TERMS, NOW, 400, made).probability, new_peak(TERMS, NOW, 400, made).kw) == (0.0, None)


def test_days_are_independent_and_the_likeliest_is_named():
    middle = [300.0] * 192
    middle[40] = middle[140] = 400.0
    made = forecast(middle, peaks=[[430, 450, 500], [400, 420, 450]])
    found = new_peak(TERMS, NOW, 450, made)
    second = new_peak(TERMS, NOW, 450, forecast([300.0] * 96, peaks=[[400, 420, 450]])).probability
    assert second == pytest.approx(0.1)
    assert found.probability == pytest.approx(1 - 0.5 * 0.9)
    assert found.at_ms == NOW - 5 * MIN_MS + 40 * QUARTER


def test_hours_that_are_over_another_month_and_other_hours_do_not_count():
    start = at(2026, 3, 31, 22)
    middle = [900.0] * 2 + [300.0] * 6 + [900.0] * 88  # an hour and a half of March is left
    made = forecast(middle, start_ms=start)
    assert new_peak(TERMS, start, 600, made).probability == pytest.approx(1.0)
    assert new_peak(TERMS, start + 2 * QUARTER, 600, made).probability == pytest.approx(0.0, abs=1e-9)
    assert new_peak(TERMS, start + 2 * QUARTER, 600, made).until_ms == at(2026, 4, 1)
    assert new_peak(TERMS, start, 600, forecast(middle, start_ms=at(2026, 4, 1) - 97 * QUARTER)).probability > 0.9
    night = Terms(900, BERLIN, counts=lambda start_ms: start_ms >= start + 2 * QUARTER)
    assert new_peak(night, start, 600, made).probability == pytest.approx(0.0, abs=1e-9)


def test_nothing_ahead_is_no_answer():
    made = forecast([400.0] * 4, start_ms=NOW - 2 * HOUR_MS)
    assert new_peak(TERMS, NOW, 400, made) is None
    never = Terms(900, BERLIN, counts=lambda _: False)
    assert new_peak(never, NOW, 400, forecast([400.0] * 96)) is None


def test_the_peak_of_a_longer_interval_is_lower_by_what_averaging_takes_off_the_path():
    middle = [300.0] * 96
    middle[40:42] = [500.0, 400.0]
    made = forecast(middle, start_ms=at(2026, 3, 10, 14), peaks=[[480, 520, 580]])
    half_hours = Terms(1800, BERLIN)
    assert new_peak(half_hours, NOW, 470, made).probability == pytest.approx(0.5)  # 520 - (500 - 450)
    assert new_peak(TERMS, NOW, 520, made).probability == pytest.approx(0.5)


def test_what_is_paid_for_anyway_costs_nothing_more():
    made = forecast([400.0] * 96, peaks=[[430, 450, 500]])
    assert new_peak(Terms(900, BERLIN, free_kw=500), NOW, 100, made).probability == pytest.approx(0.1)
    assert new_peak(Terms(900, BERLIN), NOW, 450, made).cost_if_set is None


@given(st.floats(0, 900), st.floats(0, 100), st.floats(0, 100))
def test_a_higher_peak_so_far_is_never_likelier_to_be_passed(peak, below, above):
    made = forecast([400.0] * 96, peaks=[[450 - below, 450, 450 + above]])
    lower, higher = new_peak(TERMS, NOW, peak, made), new_peak(TERMS, NOW, peak + 7, made)
    assert 0 <= higher.probability <= lower.probability <= 1
    assert 0 <= higher.cost_expected <= lower.cost_expected + 1e-9
    assert lower.kw is None or (math.isfinite(lower.kw) and lower.kw >= peak - 1e-9)


def test_rejects_a_forecast_without_the_levels_it_needs():
    made = forecast([400.0] * 4)
    with pytest.raises(ConfigError, match=r"levels 0\.1, 0\.5 and 0\.9"):
        new_peak(TERMS, NOW, 1, Forecast(**{**vars(made), "quantiles": (0.2, 0.5, 0.8)}))


# -- measuring -----------------------------------------------------------------------------------------------------

GAUGE = Channel("load", "kW")
COUNTER = Channel("load", "kWh", kind=Kind.COUNTER, rollover=1000.0)


WALK_MS = at(2026, 3, 10, 13, 50)


def walk(count, step_s):
    draw = np.random.default_rng(5).uniform(100, 600, count)
    return [Reading("load", WALK_MS + n * step_s * 1000, float(kw)) for n, kw in enumerate(draw)]


@pytest.mark.parametrize(("step_s", "interval_s"), [(1, 0), (10, 0), (90, 0), (60, 60), (300, 300)])
def test_the_meter_measures_what_a_slot_of_the_same_readings_is_worth(step_s, interval_s):
    channel = Channel("load", "kW", interval_s=interval_s)
    readings = [reading for reading in walk(3600 // step_s, step_s) if reading.time_ms < at(2026, 3, 10, 14, 15)]
    meter = DemandMeter(channel, TERMS)
    meter.saw(readings)
    slot = build_slot(at(2026, 3, 10, 14), 900, channel, meter_rounded(readings))
    found = meter.measured(at(2026, 3, 10, 14, 15) - 1)
    assert found.covered_ms == pytest.approx(slot.completeness * QUARTER, abs=1)
    assert found.energy_kwh * 3.6e6 / found.covered_ms == pytest.approx(slot.power_kw, rel=1e-5)


def meter_rounded(readings):
    return [reading._replace(value=round(reading.value, 3)) for reading in readings]


def test_a_counter_is_shared_out_by_time_and_rolls_over():
    start = at(2026, 3, 10, 14)
    meter = DemandMeter(COUNTER, TERMS)
    meter.saw([Reading("load", start + minute * MIN_MS, (990.0 + 2 * minute) % 1000) for minute in range(-2, 8, 2)])
    found = meter.measured(start + 7 * MIN_MS)
    assert (found.energy_kwh, found.covered_ms) == (pytest.approx(12.0), 6 * MIN_MS)
    assert found.recent_kw == pytest.approx(120.0)
    meter.saw([Reading("load", start + 8 * MIN_MS, 1.0)])  # replaced: it counted from zero
    assert meter.measured(start + 8 * MIN_MS).energy_kwh == pytest.approx(13.0)


@pytest.mark.parametrize("channel", [GAUGE, Channel("load", "kW", interval_s=1), COUNTER])
@pytest.mark.parametrize("minute", [1, 7, 14])
def test_readings_given_anew_from_where_they_are_needed_give_the_same_figures(channel, minute):
    readings = sorted(walk(1800, 1))
    if channel.kind is Kind.COUNTER:
        readings = [reading._replace(value=n * 0.1) for n, reading in enumerate(readings)]
    now_ms = at(2026, 3, 10, 14, minute) + 250
    passed = [reading for reading in readings if reading.time_ms <= now_ms]
    whole, again = DemandMeter(channel, TERMS), DemandMeter(channel, TERMS)
    for reading in passed:
        whole.saw([reading])
    since_ms = again.since_ms(now_ms)
    again.saw([reading for reading in passed if reading.time_ms >= since_ms])
    assert again.measured(now_ms) == whole.measured(now_ms)


def test_a_gap_is_not_measured_and_the_last_minutes_need_readings():
    start = at(2026, 3, 10, 14)
    meter = DemandMeter(GAUGE, TERMS)
    meter.saw([Reading("load", start + s * 1000, 300.0) for s in range(0, 120, 10)])
    meter.saw([Reading("other", start, 9e9), Reading("load", start, 9e9)])  # another's, and one of the past
    assert meter.measured(start + 2 * MIN_MS).recent_kw == pytest.approx(300)
    later = meter.measured(start + 12 * MIN_MS)
    assert (later.energy_kwh, later.covered_ms) == (pytest.approx(300 * 170 / 3600), 170_000)
    assert later.recent_kw is None
    assert meter.measured(start + QUARTER) == Measured(0.0, 0.0, None)


def test_what_is_remembered_does_not_grow_with_the_interval():
    meter = DemandMeter(GAUGE, Terms(3600, BERLIN))
    meter.saw(walk(7200, 1))
    assert len(meter._bins) <= 62
