"""Which truth scores which forecast: once, in order, whatever comes between."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.contract.errors import RejectedError
from agent.contract.features import Floats
from agent.contract.featurespec import DAY_S, QUANTILES
from agent.contract.rows import Forecast, ForecastSource
from agent.inference.calibration import Calibration, replay
from agent.inference.tracking import Tracker
from tests.support.nasty import mutations

HOUR_S, HOUR_MS, DAY_MS = 3600, 3_600_000, 86_400_000
T0 = 20_000 * DAY_MS


def raw(origin_ms: int, hours: int = 24, spread_kw: float = 5.0) -> Forecast:
    hour = (origin_ms // HOUR_MS + np.arange(hours)) % 24
    middle = 100 + 40 * np.sin(2 * np.pi * hour / 24)
    power_kw = middle[:, None] + spread_kw * np.array([-1.0, 0.0, 1.0])
    peaks = [power_kw[at : at + 24].max(axis=0) for at in range(0, hours, 24)]
    return Forecast(origin_ms, HOUR_S, QUANTILES, power_kw, np.array(peaks), ForecastSource.ACTIVE, "plant@1")


def truth(start_ms: int, seed: int = 1) -> float:
    middle = 100 + 40 * np.sin(2 * np.pi * (start_ms // HOUR_MS % 24) / 24)
    return float(middle + np.random.default_rng([seed, start_ms // HOUR_MS]).normal(0, 20))


def live(tracker: Tracker, hours: range, *, every: int = 1, horizon: int = 24) -> list[Forecast]:
    """Each hour: the slot before is learnt, then, each `every` hours, a forecast is issued."""
    issued = []
    for hour in hours:
        now_ms = T0 + hour * HOUR_MS
        if hour > 0:
            tracker.learn(now_ms - HOUR_MS, truth(now_ms - HOUR_MS))
        if hour % every == 0:
            issued.append(tracker.issue(raw(now_ms, horizon))[0])
    return issued


def same(one: Tracker, two: Tracker) -> bool:
    return one.to_json() == two.to_json()


def test_one_forecast_a_day_is_calibrated_as_the_replay_of_a_backtest_says() -> None:
    days = 30
    issued = live(Tracker(HOUR_S), range(days * 24), every=24)
    forecasts = np.stack([raw(T0 + day * DAY_MS).power_kw for day in range(days)])
    came = np.array([[truth(T0 + (day * 24 + hour) * HOUR_MS) for hour in range(24)] for day in range(days)])
    calibrated, _ = replay(forecasts, came, HOUR_S, start_ms=T0)
    assert np.allclose(np.stack([forecast.power_kw for forecast in issued]), calibrated, rtol=1e-3)


def test_daily_peaks_are_calibrated_as_the_replay_of_their_own_truth_says() -> None:
    days = 30
    issued = live(Tracker(HOUR_S), range(days * 24), every=24)
    forecasts = np.stack([raw(T0 + day * DAY_MS).peak_kw for day in range(days)])
    came = [[max(truth(T0 + (day * 24 + hour) * HOUR_MS) for hour in range(24))] for day in range(days)]
    calibrated, _ = replay(forecasts, np.array(came), DAY_S, start_ms=T0)
    assert np.allclose(np.stack([forecast.peak_kw for forecast in issued]), calibrated, rtol=1e-3)
    assert not np.allclose(calibrated[-1], forecasts[-1], rtol=0.05)


@pytest.mark.parametrize("every", [1, 5, 24])
def test_each_slot_is_learnt_once_however_often_forecasts_are_made(every: int) -> None:
    tracker = Tracker(HOUR_S)
    live(tracker, range(10 * 24 + 1), every=every)
    assert 9 <= tracker.slots.days <= 10
    assert tracker.peaks.days >= 8


@pytest.mark.parametrize(("hours", "days"), [(6, 1), (24, 1), (48, 2), (168, 7)])
def test_any_horizon_up_to_a_week_is_calibrated_and_scored_for_a_day_at_most(hours: int, days: int) -> None:
    tracker = Tracker(HOUR_S)
    issued = live(tracker, range(20 * 24), horizon=hours)
    last = issued[-1]
    assert last.power_kw.shape == (hours, 3)
    assert last.peak_kw.shape == (days, 3)
    assert (np.diff(last.power_kw, axis=1) >= 0).all()
    assert (last.power_kw[:, 2] - last.power_kw[:, 0]).min() > 20  # it said 10 of a true 51
    assert 18.5 <= tracker.slots.days <= 20


@pytest.mark.parametrize("slot_s", [300, 900, 1800, 3600])
def test_every_slot_length_and_origin_is_followed_to_its_end(slot_s: int) -> None:
    per_day, slot_ms = 86_400 // slot_s, slot_s * 1000
    tracker = Tracker(slot_s)
    origin_ms = T0 + 7 * slot_ms  # not midnight
    made = dataclasses.replace(raw(origin_ms), slot_s=slot_s, power_kw=np.tile([90.0, 100.0, 110.0], (per_day, 1)))
    assert tracker.issue(made)[1]
    for step in range(per_day):
        assert not tracker.issue(dataclasses.replace(made, origin_ms=origin_ms + step * slot_ms))[1]
        tracker.learn(origin_ms + step * slot_ms, 150.0)
    assert tracker.issue(dataclasses.replace(made, origin_ms=origin_ms + DAY_MS))[1]
    assert tracker.slots.days == pytest.approx(1)
    assert tracker.peaks.days == 1


def test_a_fresh_model_is_flagged_as_not_calibrated_until_truth_has_come() -> None:
    issued = live(Tracker(HOUR_S), range(3))
    assert [forecast.calibrated for forecast in issued] == [False, True, True]
    assert np.array_equal(issued[0].power_kw, raw(T0).power_kw)


def test_a_slot_given_again_or_too_late_changes_nothing() -> None:
    tracker = Tracker(HOUR_S)
    live(tracker, range(30))
    before = tracker.to_json()
    for hour in (0, 10, 28):
        tracker.learn(T0 + hour * HOUR_MS, 1e6)
    assert tracker.to_json() == before


def test_unknown_slots_are_not_counted_and_hide_the_peak() -> None:
    tracker = Tracker(HOUR_S)
    tracker.issue(raw(T0))
    for hour in range(24):
        tracker.learn(T0 + hour * HOUR_MS, None if hour in {3, 4} else truth(T0 + hour * HOUR_MS))
    assert tracker.slots.days == pytest.approx(22 / 24)
    assert tracker.coverage(T0 + DAY_MS)[1] == 22
    assert tracker.peaks.days == 0


def test_a_jump_of_the_clock_ends_the_forecast_that_was_followed() -> None:
    tracker = Tracker(HOUR_S)
    live(tracker, range(5))
    learnt = tracker.slots
    tracker.learn(T0 + 90 * HOUR_MS, 500.0)
    assert tracker.slots is learnt
    assert tracker.issue(raw(T0 + 91 * HOUR_MS))[1]
    tracker.learn(T0 + 91 * HOUR_MS, 500.0)
    assert tracker.slots.days == pytest.approx(5 / 24)


def test_a_record_of_a_day_whose_hours_came_twice_is_read_again() -> None:
    tracker = Tracker(HOUR_S)
    live(tracker, range(40))
    tracker.forget_after(T0 + 26 * HOUR_MS)
    live(tracker, range(27, 60))
    record = tracker.to_json()
    assert record["counts"][1][:2] == [T0 // DAY_MS + 1, 24]
    assert same(Tracker.from_json(json.loads(json.dumps(record)), HOUR_S), tracker)


def test_after_a_pause_the_next_forecast_is_followed() -> None:
    tracker = Tracker(HOUR_S)
    live(tracker, range(5))
    assert tracker.issue(raw(T0 + 70 * HOUR_MS))[1]
    tracker.learn(T0 + 30 * HOUR_MS, 500.0)  # from the pause, before what is followed
    assert tracker.slots.days == pytest.approx(4 / 24)


def test_coverage_counts_published_forecasts_of_the_last_28_days() -> None:
    tracker = Tracker(HOUR_S)
    live(tracker, range(40 * 24 + 1))
    share, slots = tracker.coverage(T0 + 40 * DAY_MS)
    assert slots == 27 * 24 or slots == 28 * 24
    assert share is not None
    assert 0.7 <= share <= 0.9
    assert tracker.coverage(T0 + 200 * DAY_MS) == (None, 0)
    assert Tracker(HOUR_S).coverage(T0) == (None, 0)


def test_a_shadow_run_teaches_but_is_no_coverage() -> None:
    tracker = Tracker(HOUR_S)
    tracker.issue(raw(T0), published=False)
    tracker.learn(T0, 500.0)
    assert tracker.slots.days == pytest.approx(1 / 24)
    assert tracker.coverage(T0 + DAY_MS) == (None, 0)


@given(stops=st.lists(st.integers(0, 24 * 6), max_size=6), every=st.sampled_from([1, 6, 24]))
@settings(max_examples=8, deadline=None)
def test_restarts_at_any_hour_change_nothing(stops: list[int], every: int) -> None:
    straight, stopped = Tracker(HOUR_S), Tracker(HOUR_S)
    for hour in range(24 * 6):
        if hour in stops:
            stopped = Tracker.from_json(json.loads(json.dumps(stopped.to_json())), HOUR_S)
        one = live(straight, range(hour, hour + 1), every=every)
        two = live(stopped, range(hour, hour + 1), every=every)
        for a, b in zip(one, two, strict=True):
            assert np.allclose(a.power_kw, b.power_kw, rtol=1e-4)
            assert np.allclose(a.peak_kw, b.peak_kw, rtol=1e-4)
    assert straight.slots.days == pytest.approx(stopped.slots.days, abs=1e-3)
    assert straight.coverage(T0 + 6 * DAY_MS) == stopped.coverage(T0 + 6 * DAY_MS)


def test_an_old_record_and_the_slots_since_give_what_was_lost() -> None:
    tracker = Tracker(HOUR_S)
    kept = {}
    for hour in range(24 * 5 + 13):
        now_ms = T0 + hour * HOUR_MS
        if hour:
            tracker.learn(now_ms - HOUR_MS, truth(now_ms - HOUR_MS))
        if tracker.issue(raw(now_ms))[1]:
            kept = json.loads(json.dumps(tracker.to_json()))
    again = Tracker.from_json(kept, HOUR_S)
    for hour in range(24 * 5 + 12):  # all the slots that the store has: those before the record are left out
        again.learn(T0 + hour * HOUR_MS, truth(T0 + hour * HOUR_MS))
    assert np.allclose(again.slots.offsets, tracker.slots.offsets, atol=1e-5)
    assert again.coverage(T0 + 6 * DAY_MS) == tracker.coverage(T0 + 6 * DAY_MS)


def test_a_record_is_a_few_kilobytes() -> None:
    tracker = Tracker(900)
    draw = np.random.default_rng(0).normal(100, 30, (96, 3))
    made = dataclasses.replace(raw(T0), slot_s=900, power_kw=np.sort(draw, axis=1))
    tracker.issue(made)
    for step in range(95):
        tracker.learn(T0 + step * 900_000, 100.0)
    assert len(json.dumps(tracker.to_json())) < 8_000


def test_every_field_of_a_record_is_checked() -> None:
    tracker = Tracker(HOUR_S)
    live(tracker, range(30), horizon=3)
    tracker.issue(raw(T0 + 40 * HOUR_MS, 2))
    record = json.loads(json.dumps(tracker.to_json()))
    for what, changed in mutations(record):
        try:
            read = Tracker.from_json(changed, HOUR_S)
        except RejectedError:
            continue
        issued = read.issue(raw(T0 + 100 * HOUR_MS))[0]
        assert np.isfinite(issued.power_kw).all(), what
        assert (np.diff(issued.power_kw, axis=1) >= 0).all(), what
        read.learn(T0 + 100 * HOUR_MS, 1.0)
        read.coverage(T0 + 101 * HOUR_MS)
        assert same(Tracker.from_json(json.loads(json.dumps(read.to_json())), HOUR_S), read), what


def test_begins_with_what_the_bundle_brings_and_refuses_what_is_malformed() -> None:
    forecasts: Floats = np.tile(raw(T0).power_kw, (20, 1, 1))
    learnt = Calibration.from_scores(forecasts, forecasts[..., 1] + 30, HOUR_S)
    issued, _ = Tracker(HOUR_S, {"slots": learnt.to_json()}).issue(raw(T0))
    assert issued.calibrated
    assert (issued.power_kw[:, 2] > raw(T0).power_kw[:, 2] + 5).all()
    with pytest.raises(RejectedError, match="calibration"):
        Tracker(HOUR_S, {"slots": {"schema": 1}})
