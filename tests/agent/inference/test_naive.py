from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from agent.contract.errors import UnavailableError
from agent.contract.rows import Forecast, ForecastSource
from agent.inference.naive import LABEL, forecast_naive

HOUR = 3600
DAY = 24  # slots


def test_repeats_the_same_slot_of_the_week_before():
    series = np.arange(21 * DAY, dtype=float)
    forecast = forecast_naive(0, series, HOUR, 48)
    assert np.array_equal(forecast.level(0.5), series[-7 * DAY : -5 * DAY])
    assert forecast.origin_ms == 21 * DAY * HOUR * 1000


def test_is_flagged_as_fallback_and_says_why():
    forecast = forecast_naive(0, np.ones(3 * DAY), HOUR, 24, note="no model is installed")
    assert (forecast.source, forecast.model, forecast.note) == (ForecastSource.NAIVE, LABEL, "no model is installed")


def test_repeats_the_day_before_while_there_is_no_week():
    series = np.arange(3 * DAY, dtype=float)
    forecast = forecast_naive(0, series, HOUR, 48)
    assert np.array_equal(forecast.level(0.5), np.tile(series[-DAY:], 2))


def test_a_horizon_longer_than_the_history_takes_the_same_weekday_where_it_is_known():
    series = np.arange(2 * DAY, dtype=float)
    forecast = forecast_naive(0, series, HOUR, 7 * DAY)
    assert np.array_equal(forecast.level(0.5), np.concatenate([np.tile(series[-DAY:], 5), series]))


def test_one_day_is_enough_and_less_is_not():
    assert len(forecast_naive(0, np.arange(DAY, dtype=float), HOUR, 24).power_kw) == 24
    with pytest.raises(UnavailableError, match="23 h of history"):
        forecast_naive(0, np.arange(DAY - 1, dtype=float), HOUR, 24)


def test_slots_before_the_first_known_one_are_no_history():
    series = np.concatenate([np.full(10 * DAY, np.nan), np.ones(DAY - 1)])
    with pytest.raises(UnavailableError):
        forecast_naive(0, series, HOUR, 24)


@pytest.mark.parametrize("series", [np.array([]), np.full(9 * DAY, np.nan), np.full(9 * DAY, np.inf)])
def test_without_a_single_value_there_is_no_forecast(series):
    with pytest.raises(UnavailableError, match="0 h of history"):
        forecast_naive(0, series, HOUR, 24)


def test_a_gap_a_week_ago_takes_the_week_before():
    series = np.arange(21 * DAY, dtype=float)
    expected = series[-7 * DAY : -6 * DAY].copy()
    series[-7 * DAY + 3] = np.nan
    expected[3] = series[-14 * DAY + 3]
    assert np.array_equal(forecast_naive(0, series, HOUR, 24).level(0.5), expected)


def test_a_long_silence_is_bridged_by_what_was_known_before():
    series = np.concatenate([np.arange(3 * DAY, dtype=float), np.full(10 * DAY, np.nan)])
    forecast = forecast_naive(0, series, HOUR, 24)
    assert np.isfinite(forecast.power_kw).all()
    assert forecast.repaired_share == 1.0


def test_a_time_of_day_never_seen_takes_the_usual_load():
    series = np.tile(np.where(np.arange(DAY) == 5, np.nan, 40.0), 9)
    assert np.array_equal(forecast_naive(0, series, HOUR, 24).level(0.5), np.full(24, 40.0))


def test_constant_load_has_no_spread():
    forecast = forecast_naive(0, np.full(20 * DAY, 12.5), HOUR, 24)
    assert np.array_equal(forecast.power_kw, np.full((24, 3), 12.5))


def test_band_is_wide_where_the_plant_is_unsteady():
    rng = np.random.default_rng(1)
    noise = np.where(np.arange(35 * DAY) % DAY < 12, 0.5, 20.0) * rng.normal(size=35 * DAY)
    width = np.ptp(forecast_naive(0, 100 + noise, HOUR, 24).power_kw, axis=1)
    assert width[1:11].max() < width[13:23].min() / 5


def test_band_covers_about_four_fifths():
    rng = np.random.default_rng(2)
    series = 100 + 10 * rng.normal(size=120 * DAY)
    inside = []
    for end in range(60 * DAY, 119 * DAY, DAY):
        power = forecast_naive(0, series[:end], HOUR, 24).power_kw
        truth = series[end : end + 24]
        inside.append((truth >= power[:, 0]) & (truth <= power[:, 2]))
    assert 0.7 < np.mean(inside) < 0.9


def test_export_stays_negative():
    series = -50 + 3 * np.random.default_rng(4).normal(size=20 * DAY)
    assert (forecast_naive(0, series, HOUR, 24).power_kw < 0).all()


def bumpy(days, seed=6):
    """A day's bell whose height changes from day to day: slots are unsure, and so is the peak."""
    rng = np.random.default_rng(seed)
    height = np.repeat(rng.normal(60, 10, days), DAY)
    return 50 + height * np.tile(np.exp(-((np.arange(DAY) - 13) ** 2) / 8), days) + rng.normal(0, 1, days * DAY)


def test_the_days_peak_is_that_of_the_day_a_week_before():
    series = bumpy(21)
    forecast = forecast_naive(0, series, HOUR, 48)
    weekday = series[-7 * DAY :].reshape(7, DAY).max(axis=1)
    assert forecast.peak_kw[:, 1].tolist() == weekday[:2].tolist()
    assert forecast.peak_kw.shape == (2, 3)


def test_the_peaks_band_covers_about_four_fifths_of_days():
    series, inside = bumpy(200), []
    for end in range(60 * DAY, 199 * DAY, DAY):
        low, _, high = forecast_naive(0, series[:end], HOUR, DAY).peak_kw[0]
        inside.append(low <= series[end : end + DAY].max() <= high)
    assert 0.7 < np.mean(inside) < 0.9


def test_without_a_week_of_peaks_the_band_of_the_highest_slots_says_how_sure_the_peak_is():
    forecast = forecast_naive(0, bumpy(4), HOUR, DAY)
    assert forecast.peak_kw[0].tolist() == forecast.power_kw.max(axis=0).tolist()


def test_a_day_with_a_gap_does_not_tell_its_peak():
    series = bumpy(30)
    whole = forecast_naive(0, series, HOUR, DAY).peak_kw
    series[-10 * DAY + 13] = np.nan  # the highest hour of a day that is neither repeated nor whole
    assert np.isfinite(forecast_naive(0, series, HOUR, DAY).peak_kw).all()
    assert forecast_naive(0, series, HOUR, DAY).peak_kw[0, 1] == whole[0, 1]


@settings(max_examples=150)
@given(
    series=hnp.arrays(
        np.float64,
        st.integers(DAY, 40 * DAY),
        elements=st.one_of(st.floats(-1e6, 1e6), st.just(np.nan), st.just(-np.inf)),
    ),
    horizon=st.integers(1, 7 * DAY),
    first=st.floats(-1e6, 1e6),
)
def test_any_history_of_a_day_gives_ordered_finite_quantiles(series, horizon, first):
    series[0] = first
    if len(series) > 35 * DAY:
        series[-35 * DAY] = first
    forecast = forecast_naive(0, series, HOUR, horizon)
    assert forecast.power_kw.shape == (horizon, 3)
    assert np.isfinite(forecast.power_kw).all()
    assert (np.diff(forecast.power_kw, axis=1) >= 0).all()
    assert forecast.peak_kw.shape == (-(-horizon // DAY), 3)
    assert np.isfinite(forecast.peak_kw).all()
    assert (np.diff(forecast.peak_kw, axis=1) >= 0).all()
    assert Forecast.from_row(forecast.to_row(0)).source is ForecastSource.NAIVE
