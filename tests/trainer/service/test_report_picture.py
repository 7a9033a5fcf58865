"""What rows mean: arrivals, alerts, costs and texts, without a database."""

import dataclasses
import datetime as dt
import random
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.contract.rows import ForecastSource, alert_row, cost_row, event_row
from agent.contract.zones import local_day_bounds_ms, parse_zone
from agent.inference.scoring import pinball
from tests.support import fleetdata
from trainer.service import costs, judged, picture

ZONE = parse_zone("Australia/Melbourne")
HOUR = 3_600_000


def arrival(at_ms, rows=10, new=10):
    return picture.Arrival(at_ms, 500, rows, new)


@given(st.lists(st.integers(0, 10**9), min_size=1, max_size=50))
def test_bins_hold_every_envelope_once(times):
    bins = picture.bin_arrivals([arrival(time) for time in times])
    assert sum(bins.envelopes) == len(times)
    assert sum(bins.rows) == 10 * len(times)
    assert bins.starts_ms[0] <= min(times) < bins.starts_ms[0] + bins.width_s * 1000
    assert all(end - start >= 5000 for start, end in bins.gaps_ms)


def test_bins_of_a_fortnight_are_hours():
    bins = picture.bin_arrivals([arrival(minute * 60_000) for minute in range(14 * 1440)])
    assert bins.width_s == 3600
    assert bins.rows[0] == 600
    assert bins.gaps_ms == []


def test_no_arrivals_have_no_bins():
    assert picture.bin_arrivals([]) is None


def test_an_alert_raised_again_after_clearing_is_another():
    rows = [
        alert_row(HOUR, "peak", "raised", "warning", "first", id="a"),
        alert_row(2 * HOUR, "peak", "cleared", "warning", "", id="a"),
        alert_row(3 * HOUR, "peak", "raised", "warning", "second", id="a"),
        alert_row(4 * HOUR, "peak", "acknowledged", "warning", "", id="a"),
    ]
    lines, bad = picture.read_alerts(rows)
    assert bad == 0
    assert [(line.text, line.open, line.acknowledged_ms) for line in lines] == [
        ("second", True, 4 * HOUR),
        ("first", False, None),
    ]


def test_a_shelf_changes_nothing_of_an_alert_and_brings_none_back_that_is_over():
    rows = [
        alert_row(HOUR, "peak", "raised", "warning", "t", id="a"),
        alert_row(2 * HOUR, "peak", "shelved", "warning", "t", id="a", until_ms=9 * HOUR),
    ]
    (line,), _ = picture.read_alerts(rows)
    assert (line.raised_ms, line.acknowledged_ms, line.open) == (HOUR, None, True)
    rows += [
        alert_row(3 * HOUR, "peak", "cleared", "warning", "", id="a"),
        alert_row(4 * HOUR, "peak", "unshelved", "warning", "t", id="a"),
    ]
    (line,), _ = picture.read_alerts(rows)
    assert not line.open


def test_an_alert_whose_raising_was_lost_keeps_its_time():
    (line,), _ = picture.read_alerts(
        [alert_row(9 * HOUR, "peak", "acknowledged", "warning", "t", id="a", raised_ms=HOUR)]
    )
    assert (line.raised_ms, line.acknowledged_ms, line.open) == (HOUR, 9 * HOUR, True)


def test_updates_that_never_became_a_model_are_part_of_the_history():
    rows = [
        event_row(1, "update", "the bundle is not the assigned one", item="model", path="models/a.ewb"),
        event_row(2, "model", "", action="refused", model="unknown", version=0, reason="is not a readable bundle"),
        event_row(3, "boot", "agent started"),
    ]
    changes = [(change.action, change.model, change.reason) for change in picture.read_model_changes(rows)]
    assert changes == [
        ("refused", "unknown", "is not a readable bundle"),
        ("update", "models/a.ewb", "the bundle is not the assigned one"),
    ]


@pytest.mark.parametrize("date", [dt.date(2014, 10, 5), dt.date(2015, 4, 5), dt.date(2014, 11, 10)])
def test_a_day_is_whole_only_from_local_midnight_to_midnight_also_when_clocks_change(date):
    start, end = local_day_bounds_ms(date, ZONE)
    row = cost_row(end - HOUR, "today", "AUD", "24.00", "24.00", "24.00", start_ms=start)
    for first, last, whole in (
        (start, end, True),
        (start + 1, end, False),
        (start, end - 1, False),
        (None, None, False),
    ):
        (day,), _, _ = costs.read_costs([row], ZONE, first, last)
        assert (day.date, day.whole) == (date, whole)


def test_mean_cost_leaves_out_days_in_part():
    def day(number, amount, *, whole):
        date, money = dt.date(2014, 11, number), Decimal(amount)
        return costs.DayCost(date, "AUD", money, money, money, whole=whole)

    days = [day(1, "5", whole=False), day(2, "10", whole=True), day(3, "20", whole=True), day(4, "1", whole=False)]
    assert costs.mean_cost_a_day(days) == (Decimal(15), "AUD", 2)
    assert costs.mean_cost_a_day(days[:1]) is None
    assert costs.mean_cost_a_day([]) is None


@given(st.text())
def test_short_text_is_printable_and_bounded(text):
    result = picture.short(text, 20)
    assert len(result) <= 20
    assert all(char.isprintable() for char in result)


def test_forecast_is_cut_at_the_next_days_and_scored_on_what_was_measured():
    rng = random.Random(3)
    made = [fleetdata.forecast(fleetdata.START_MS + day * 24 * HOUR, 1.0, rng, ForecastSource.ACTIVE) for day in (8, 9)]
    late = fleetdata.forecast(fleetdata.START_MS + 8 * 24 * HOUR + HOUR, 1.0, rng, ForecastSource.ACTIVE)
    slots = [fleetdata.slot(fleetdata.START_MS + step * fleetdata.SLOT_MS, 1.0) for step in range(9 * 48 + 24)]
    days, bad = judged.read_day_aheads([item.to_row(item.origin_ms) for item in (made[0], late, made[1])], slots, ZONE)
    assert bad == 0
    assert [day.known for day in days] == [48, 24]
    truth = np.array([slot.power_kw for slot in slots[8 * 48 : 9 * 48]])
    assert days[0].pinball_kw == pytest.approx(pinball(made[0].power_kw, truth, (0.1, 0.5, 0.9)), rel=1e-4)
    assert days[0].naive_pinball_kw > days[0].pinball_kw
    own, naive, scored = judged.mean_losses(days)
    assert scored == 72
    assert own == pytest.approx((days[0].pinball_kw * 48 + days[1].pinball_kw * 24) / 72)
    assert naive > own


def test_shadow_runs_of_candidates_are_not_shown():
    made = fleetdata.forecast(fleetdata.START_MS, 1.0, random.Random(1), ForecastSource.CANDIDATE)
    assert judged.read_day_aheads([made.to_row(made.origin_ms)], [], ZONE) == ([], 0)


def test_without_history_there_is_no_naive_loss():
    made = fleetdata.forecast(fleetdata.START_MS, 1.0, random.Random(1), ForecastSource.ACTIVE)
    slots = [fleetdata.slot(fleetdata.START_MS + step * fleetdata.SLOT_MS, 1.0) for step in range(48)]
    days, _ = judged.read_day_aheads([made.to_row(made.origin_ms)], slots, ZONE)
    own, naive, scored = judged.mean_losses(days)
    assert own is not None
    assert (naive, scored) == (None, 48)


def test_a_forecast_is_judged_by_the_gross_load_where_pv_or_battery_is_measured():
    made = fleetdata.forecast(fleetdata.START_MS, 1.0, random.Random(1), ForecastSource.ACTIVE)
    slots = [fleetdata.slot(fleetdata.START_MS + step * fleetdata.SLOT_MS, 1.0) for step in range(48)]
    behind = [dataclasses.replace(slot, power_kw=slot.power_kw - 20.0, pv_kw=25.0, battery_kw=-5.0) for slot in slots]
    (plain,), _ = judged.read_day_aheads([made.to_row(made.origin_ms)], slots, ZONE)
    (gross,), _ = judged.read_day_aheads([made.to_row(made.origin_ms)], behind, ZONE)
    assert gross.pinball_kw == pytest.approx(plain.pinball_kw)
    assert (gross.inside, gross.known) == (plain.inside, 48)


@pytest.mark.parametrize(
    "change",
    [
        {"power_kw": [[1e300, 1e301, 1e302]]},
        {"power_kw": []},
        {"quantiles": [0.1, 0.5, 1e300]},
        {"quantiles": [], "power_kw": [[]]},
        {"slot_s": 1},
        {"origin_ms": 2**52},
        {"source": "oracle"},
    ],
)
def test_forecasts_that_cannot_be_drawn_are_counted_and_left_out(change):
    good = fleetdata.forecast(fleetdata.START_MS, 1.0, random.Random(1), ForecastSource.ACTIVE)
    rows = [{**good.to_row(good.origin_ms), **change}, good.to_row(good.origin_ms)]
    days, bad = judged.read_day_aheads(rows, [], ZONE)
    assert bad == 1
    assert [day.forecast.origin_ms for day in days] == [fleetdata.START_MS]


def test_slots_beyond_any_plant_or_calendar_are_left_out():
    good = fleetdata.slot(fleetdata.START_MS, 1.0)
    rows = [
        good.to_row(),
        {**good.to_row(), "power_kw": 1e300},
        {**good.to_row(), "pv_kw": 1e300},
        {**good.to_row(), "time_ms": 2**52},
    ]
    assert picture.read_slots(rows) == ([good], 3)


def test_a_flood_of_days_is_cut_to_the_newest():
    rng = random.Random(1)
    made = [
        fleetdata.forecast(fleetdata.START_MS + day * 24 * HOUR, 1.0, rng, ForecastSource.ACTIVE) for day in range(9)
    ]
    days, _ = judged.read_day_aheads([item.to_row(item.origin_ms) for item in made], [], ZONE, 3)
    assert [day.forecast.origin_ms for day in days] == [item.origin_ms for item in made[-3:]]
