"""On-line calibration: coverage follows the plant, and nothing but truth moves a band."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.contract.errors import ConfigError, RejectedError
from agent.contract.features import Floats
from agent.contract.featurespec import DAY_S
from agent.inference.calibration import Calibration, replay, states

HOUR_S = 3600
LEVELS = np.array([-1.2816, 0.0, 1.2816])  # of the normal distribution


def plant(days: int, *, spread: float, seed: int = 0, bias: float = 0.0, slots: int = 24) -> tuple[Floats, Floats]:
    """Forecasts [D, H, 3] that believe in errors of 10 kW, and truths [D, H] whose errors are `spread` times that."""
    draw = np.random.default_rng(seed)
    level = 100 + 40 * np.sin(2 * np.pi * np.arange(slots) / slots)
    forecasts = level[:, None] + 10 * LEVELS * np.ones((days, slots, 1))
    return forecasts, level + bias + draw.normal(0, 10 * spread, (days, slots))


def coverage(quantiles: Floats, truth: Floats) -> float:
    return float(((truth >= quantiles[..., 0]) & (truth <= quantiles[..., 2])).mean())


def ordered(quantiles: Floats) -> bool:
    return bool((np.diff(quantiles, axis=-1) >= 0).all())


@pytest.mark.parametrize("spread", [0.3, 1.0, 3.0])
def test_band_of_any_wrong_width_comes_to_hold_four_of_five(spread: float) -> None:
    forecasts, truth = plant(120, spread=spread)
    calibrated, _ = replay(forecasts, truth, HOUR_S)
    assert 0.75 <= coverage(calibrated[28:], truth[28:]) <= 0.85


def test_coverage_returns_after_the_plant_has_changed() -> None:
    forecasts, truth = plant(120, spread=1.0)
    truth[60:] = plant(60, spread=3.0, seed=1)[1]
    calibrated, _ = replay(forecasts, truth, HOUR_S)
    assert coverage(forecasts[60:], truth[60:]) < 0.5
    assert 0.75 <= coverage(calibrated[74:], truth[74:]) <= 0.85


def test_a_lasting_bias_of_the_median_is_corrected_slowly() -> None:
    forecasts, truth = plant(150, spread=1.0, bias=8.0)
    calibrated, _ = replay(forecasts, truth, HOUR_S)
    moved = calibrated[..., 1] - forecasts[..., 1]
    assert 0 < moved[5].mean() < 2
    assert 3 < moved[-1].mean() < 12


def test_band_widens_only_at_the_hours_that_need_it() -> None:
    forecasts, truth = plant(90, spread=1.0)
    truth[:, 12:16] = forecasts[0, 12:16, 1] + 4 * (truth[:, 12:16] - forecasts[0, 12:16, 1])
    calibrated, _ = replay(forecasts, truth, HOUR_S)
    width = (calibrated[-1, :, 2] - calibrated[-1, :, 0]).round(3)
    assert width[13:15].min() > 2 * width[0:8].max()


def test_a_model_that_errs_most_where_its_band_is_wide_is_widened_most_there() -> None:
    """Wide and narrow slots at any hour alike: only in proportion to the width can this be learnt."""
    draw = np.random.default_rng(3)
    half = np.where(draw.random((120, 24)) < 0.5, 5.0, 20.0)
    forecasts = 100 + half[..., None] * np.array([-1.0, 0.0, 1.0])
    truth = 100 + np.where(half > 10, 3.0, 1.0) * half / 1.2816 * draw.normal(size=half.shape)
    calibrated, _ = replay(forecasts, truth, HOUR_S)
    added = np.diff(calibrated[60:, :, [0, 2]])[..., 0] / 2 - half[60:]
    assert added[half[60:] > 10].mean() > 1.2 * added[half[60:] < 10].mean() > 0


def test_a_fresh_state_changes_no_forecast() -> None:
    forecasts, _ = plant(1, spread=1.0)
    assert np.array_equal(Calibration.fresh(HOUR_S).apply(forecasts[0], HOUR_S), forecasts[0])


def test_unknown_truth_teaches_nothing() -> None:
    forecasts, truth = plant(10, spread=2.0)
    state = Calibration.from_scores(forecasts, truth, HOUR_S)
    assert state.update(forecasts[0], forecasts[0], np.full(24, np.nan), HOUR_S) is state


def test_nothing_of_the_future_reaches_a_forecast() -> None:
    forecasts, truth = plant(30, spread=2.0)
    before, _ = replay(forecasts, truth, HOUR_S)
    changed = truth.copy()
    changed[20:] += 500
    after, _ = replay(forecasts, changed, HOUR_S)
    assert np.array_equal(before[:21], after[:21])
    assert not np.array_equal(before[21], after[21])


@pytest.mark.parametrize("cut", [1, 7, 23])
def test_learning_in_parts_gives_the_same_as_at_once(cut: int) -> None:
    forecasts, truth = plant(6, spread=2.0)
    state = Calibration.from_scores(forecasts[:5], truth[:5], HOUR_S)
    issued = state.apply(forecasts[5], HOUR_S)
    whole = state.update(forecasts[5], issued, truth[5], HOUR_S)
    first = state.update(forecasts[5], issued, truth[5, :cut], HOUR_S)
    parts = first.update(forecasts[5], issued, truth[5, cut:], HOUR_S, first=cut)
    assert np.allclose(whole.offsets, parts.offsets, rtol=1e-9, atol=1e-12)
    assert parts.error_kw == pytest.approx(whole.error_kw)
    assert parts.days == pytest.approx(whole.days)


def test_offsets_are_free_of_units() -> None:
    forecasts, truth = plant(40, spread=2.0)
    small, _ = replay(forecasts, truth, HOUR_S)
    large, _ = replay(forecasts * 1000, truth * 1000, HOUR_S)
    assert np.allclose(large, small * 1000, rtol=1e-9)


def test_one_wild_value_moves_a_band_no_further_than_any_other_miss() -> None:
    forecasts, truth = plant(40, spread=1.0)
    state = Calibration.from_scores(forecasts, truth, HOUR_S)
    miss, wild = truth[0].copy(), truth[0].copy()
    miss[5], wild[5] = 200, 1e9
    by_miss = state.update(forecasts[0], forecasts[0], miss, HOUR_S).apply(forecasts[0], HOUR_S)
    by_wild = state.update(forecasts[0], forecasts[0], wild, HOUR_S).apply(forecasts[0], HOUR_S)
    assert np.allclose(by_miss, by_wild, rtol=0.01)


def test_a_band_without_width_is_opened() -> None:
    forecasts, truth = plant(60, spread=1.0)
    flat = np.repeat(forecasts[..., 1:2], 3, axis=-1)
    calibrated, _ = replay(flat, truth, HOUR_S)
    assert coverage(flat, truth) == 0
    assert 0.7 <= coverage(calibrated[28:], truth[28:]) <= 0.9


@given(
    seed=st.integers(0, 2**32 - 1),
    size=st.sampled_from([1e-6, 1.0, 1e6]),
    slot_s=st.sampled_from([300, 900, 1800, 3600]),
)
@settings(max_examples=30, deadline=None)
def test_quantiles_stay_ordered_and_finite_whatever_comes(seed: int, size: float, slot_s: int) -> None:
    draw = np.random.default_rng(seed)
    shape = (6, DAY_S // slot_s)
    forecasts = np.sort(draw.standard_cauchy((*shape, 3)), axis=-1) * size
    truth = draw.standard_cauchy(shape) * size
    truth[draw.random(shape) < 0.3] = np.nan
    calibrated, state = replay(forecasts, truth, slot_s, start_ms=int(draw.integers(0, 2**40)))
    assert np.isfinite(calibrated).all()
    assert ordered(calibrated)
    assert Calibration.from_json(json.loads(json.dumps(state.to_json())), slot_s).days == round(state.days, 4)


def test_daily_peaks_are_calibrated_with_the_same_code() -> None:
    draw = np.random.default_rng(3)
    peaks = np.full((200, 1, 3), 100.0) + 5 * LEVELS
    truth = 108 + draw.normal(0, 10, (200, 1))
    calibrated, _ = replay(peaks, truth, DAY_S)
    assert coverage(peaks[60:], truth[60:]) < 0.5
    assert 0.72 <= coverage(calibrated[60:], truth[60:]) <= 0.88


def test_states_with_truth_before_the_field_are_calibrated_from_the_first_day() -> None:
    forecasts, truth = plant(90, spread=2.5)
    begin = Calibration.from_scores(forecasts[:60], truth[:60], HOUR_S)
    warm, _ = replay(forecasts[60:], truth[60:], HOUR_S, begin=begin)
    assert coverage(forecasts[60:64], truth[60:64]) < 0.6
    assert coverage(warm[:4], truth[60:64]) > 0.7


def test_a_bundle_without_calibration_begins_fresh() -> None:
    slots, peaks = states({}, 900)
    assert slots.days == peaks.days == 0
    assert (slots.offsets.shape, peaks.offsets.shape) == ((3, 14), (3, 3))


def test_a_bundle_gives_its_initial_states() -> None:
    forecasts, truth = plant(20, spread=2.0)
    state = Calibration.from_scores(forecasts, truth, HOUR_S)
    slots, peaks = states({"slots": state.to_json()}, HOUR_S)
    assert np.allclose(slots.offsets, state.offsets, atol=1e-6)
    assert peaks.days == 0


@pytest.mark.parametrize("size", [1.0, 1e3])
@pytest.mark.parametrize("times", [0.5, 1.3, 2.0, 3.0])
def test_a_bundle_mends_a_band_of_the_wrong_width_on_the_first_day(times: float, size: float) -> None:
    """At a plant of any size; the same band and error, in its own kilowatts."""
    random = np.random.default_rng(1)
    half = 1.2816 * 5 * times
    raw = np.tile(np.array([100 - half, 100.0, 100 + half]), (28, 96, 1))
    held_out = Calibration.from_scores(raw, 100 + 5 * random.normal(size=(28, 96)), 900)
    first, _ = states({"slots": held_out.to_json()}, 900)
    truth = 100 + 5 * random.normal(size=(200, 96))
    told = np.tile(first.apply(size * raw[0], 900), (200, 1, 1)) / size
    assert 0.7 <= coverage(told, truth) <= 0.9
    assert not 0.7 <= coverage(np.tile(raw[0], (200, 1, 1)), truth) <= 0.9


@pytest.mark.parametrize(
    "damage",
    [
        {"schema": 2},
        {"offsets": [[0.0] * 14] * 2},
        {"offsets": [[0.0] * 13] * 3},
        {"offsets": [[float("inf")] * 14] * 3},
        {"offsets": [["1"] * 14] * 3},
        {"error_kw": -1.0},
        {"days": None},
        {"error_bands": -0.1},
    ],
)
def test_refuses_a_damaged_state(damage: dict[str, object]) -> None:
    good = Calibration.fresh(HOUR_S).to_json()
    with pytest.raises(RejectedError, match="calibration"):
        Calibration.from_json({**good, **damage}, HOUR_S)
    with pytest.raises(RejectedError, match=r"bundle\.slots"):
        states({"slots": {**good, **damage}}, HOUR_S, "bundle")


def test_refuses_shapes_that_do_not_fit() -> None:
    forecasts, truth = plant(3, spread=1.0)
    state = Calibration.fresh(HOUR_S)
    with pytest.raises(ConfigError, match=r"\[D, H, 3\]"):
        replay(forecasts, truth[:, :5], HOUR_S)
    with pytest.raises(ConfigError, match=r"\[H, 3\]"):
        state.apply(forecasts[0, :, :2], HOUR_S)
    with pytest.raises(ConfigError, match="do not fit"):
        state.update(forecasts[0], forecasts[0], truth[0], HOUR_S, first=1)
    assert state.days == 0


def test_a_bundle_of_a_far_larger_plant_does_not_blow_up_the_band() -> None:
    large, truth = plant(20, spread=2.0)
    state = Calibration.from_scores(1e4 * large, 1e4 * truth, HOUR_S)
    slots, _ = states({"slots": state.to_json()}, HOUR_S)
    same, _ = states({"slots": Calibration.from_scores(large, truth, HOUR_S).to_json()}, HOUR_S)
    assert np.allclose(slots.apply(large[0], HOUR_S), same.apply(large[0], HOUR_S), rtol=1e-4)


def test_each_day_is_learnt_at_its_own_time_of_day() -> None:
    """Days of winter and of summer time: the same hours of the plant begin an hour apart."""
    forecasts, truth = plant(40, spread=3.0)
    hour_ms = 3_600_000
    _, one = replay(forecasts, truth, HOUR_S, start_ms=[6 * hour_ms] * 40)
    assert np.allclose(one.offsets, replay(forecasts, truth, HOUR_S, start_ms=6 * hour_ms)[1].offsets)
    starts = [6 * hour_ms] * 20 + [5 * hour_ms] * 20
    _, both = replay(forecasts, truth, HOUR_S, start_ms=starts)
    assert not np.allclose(both.offsets, one.offsets)
    _, first = replay(forecasts[:20], truth[:20], HOUR_S, start_ms=6 * hour_ms)
    _, second = replay(forecasts[20:], truth[20:], HOUR_S, start_ms=5 * hour_ms, begin=first)
    assert np.allclose(both.offsets, second.offsets)
