"""Smart persistence of PV: the clear sky of the last days times what the clouds leave of it."""

import datetime as dt

import numpy as np
import pytest

from agent.contract.zones import local_day_bounds_ms, parse_zone
from agent.planning.pv import forecast_pv, is_dark

SLOT_S, DAY = 900, 96


def _clear(day_of_year: int = 172) -> np.ndarray:
    """kW of a clear day of 24 h from midnight on; days are longer and higher in summer."""
    season = np.cos(2 * np.pi * (day_of_year - 172) / 365)
    hours = (np.arange(DAY) + 0.5) / 4
    return (60 + 30 * season) * np.maximum(np.cos(np.pi * (hours - 12) / (12 + 4 * season)), 0) ** 1.3


def _ahead(pv_kw: np.ndarray, steps: int = DAY) -> np.ndarray:
    made = forecast_pv(pv_kw, SLOT_S, steps)
    assert made.note == ""
    return made.power_kw


def test_night_is_zero() -> None:
    cloudy = np.concatenate([_clear() * share for share in (1.0, 0.2, 0.7, 0.4, 0.9)])
    night = _clear() == 0
    assert night.sum() > 20
    assert (_ahead(cloudy)[night] == 0).all()
    assert (_ahead(cloudy)[~night] > 0).all()


def test_a_clear_day_after_clear_days_is_itself() -> None:
    clear = np.tile(_clear(), 5)
    for origin in (4 * DAY, 4 * DAY + 30, 4 * DAY + 50):
        np.testing.assert_allclose(_ahead(clear[:origin]), clear[origin - DAY : origin], atol=1e-9)


def test_a_cloudy_morning_lowers_the_next_hours_more_than_tomorrow() -> None:
    noon = DAY // 2
    history = np.concatenate([np.tile(_clear(), 6), 0.3 * _clear()[:noon]])
    share = _ahead(history, 2 * DAY)[: DAY + noon] / np.maximum(_clear()[(noon + np.arange(DAY + noon)) % DAY], 1e-9)
    assert share[1] == pytest.approx(0.3, abs=0.1)
    assert share[4] < share[16] < share[noon + DAY // 4 + 20]
    assert share[DAY + 4] > 0.9


def test_after_a_night_clouds_are_as_usual_on_the_last_days() -> None:
    shares = (1.0, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5)
    history = np.concatenate([_clear() * share for share in shares])
    np.testing.assert_allclose(_ahead(history), 0.5 * _clear(), atol=1e-9)


def test_summer_time_moves_nothing() -> None:
    """The sun goes by UTC: on a local day of 23 hours the curve goes on 24 hours after yesterday's."""
    begin, end = local_day_bounds_ms(dt.date(2026, 3, 29), parse_zone("Europe/Berlin"))
    assert end - begin == 23 * 3_600_000
    starts = np.arange(begin - 6 * 86_400_000, begin + 86_400_000, 900_000)
    clear = _clear()[starts // 900_000 % DAY]
    np.testing.assert_allclose(_ahead(clear[: 6 * DAY]), clear[6 * DAY :], atol=1e-9)


def test_holes_in_the_history_are_filled_by_other_days() -> None:
    clear = np.tile(_clear(), 5)
    clear[4 * DAY + 20 : 4 * DAY + 60] = np.nan
    np.testing.assert_allclose(_ahead(clear), _clear(), atol=1e-9)


def test_with_too_few_days_it_is_the_day_before_and_says_so() -> None:
    history = np.concatenate([_clear(), 0.5 * _clear()])
    made = forecast_pv(history, SLOT_S, 2 * DAY)
    np.testing.assert_allclose(made.power_kw, np.tile(0.5 * _clear(), 2))
    assert "only 2 of 3 days" in made.note


@pytest.mark.parametrize("history", [np.empty(0), np.full(300, np.nan)])
def test_without_history_it_is_zero_and_says_so(history: np.ndarray) -> None:
    made = forecast_pv(history, SLOT_S, 5)
    assert made.power_kw.tolist() == [0.0] * 5
    assert "taken as 0" in made.note


def test_panels_that_give_nothing_give_nothing() -> None:
    assert _ahead(np.zeros(10 * DAY), 5).tolist() == [0.0] * 5


@pytest.mark.parametrize("slot_s", [300, 600, 900, 1800, 3600])
def test_any_slot_length_and_horizon_will_do(slot_s: int) -> None:
    per_day = 86_400 // slot_s
    day = np.maximum(np.sin(2 * np.pi * np.arange(per_day) / per_day), 0)
    made = forecast_pv(np.tile(day, 4)[: 3 * per_day + 7], slot_s, 3 * per_day)
    np.testing.assert_allclose(made.power_kw, np.roll(np.tile(day, 3), -7), atol=1e-9)


def test_over_a_year_of_changing_weather_it_is_no_worse_than_the_same_time_yesterday() -> None:
    """Two days ahead from every sixth hour: mean absolute error, over a year with clear, broken and dull days."""
    random = np.random.default_rng(7)
    clear = np.concatenate([_clear(day) for day in range(365)])
    weather, clouds = np.zeros(365), np.zeros(len(clear))
    for day in range(1, 365):
        weather[day] = 0.6 * weather[day - 1] + random.normal(0, 0.8)
    for slot in range(1, len(clear)):
        clouds[slot] = 0.97 * clouds[slot - 1] + random.normal(0, 0.25)
    sky = 0.15 + 0.85 / (1 + np.exp(-2 * (np.repeat(weather, DAY) + 0.6 * clouds + 0.4)))
    pv_kw = clear * sky
    errors: dict[str, list[float]] = {"smart": [], "yesterday": []}
    for origin in range(20 * DAY, 363 * DAY, 24):
        truth = pv_kw[origin : origin + 2 * DAY]
        errors["smart"].append(np.abs(_ahead(pv_kw[:origin], 2 * DAY) - truth).mean())
        errors["yesterday"].append(np.abs(np.tile(pv_kw[origin - DAY : origin], 2) - truth).mean())
    assert np.mean(errors["smart"]) <= np.mean(errors["yesterday"])


def _silent_at_night(days: int, wakes_kw: float = 0.5, day_of_year: int = 172) -> np.ndarray:
    """Days of an inverter that says nothing where it gives less than that."""
    clear = np.tile(_clear(day_of_year), days)
    return np.where(clear < wakes_kw, np.nan, clear)


def _darkness(pv_kw: np.ndarray, at: int) -> bool:
    return is_dark(pv_kw[:at], SLOT_S)


def test_an_inverter_that_sleeps_every_night_sleeps_in_the_dark() -> None:
    silent = _silent_at_night(9)
    slots = range(8 * DAY, 9 * DAY)
    assert [_darkness(silent, at) for at in slots if np.isnan(silent[at])].count(False) == 0
    assert not any(_darkness(silent, at) for at in slots if silent[at] > 5)


@pytest.mark.parametrize(("at", "dark"), [(0, True), (48, False), (92, True)])
def test_an_outage_of_the_day_is_no_night_and_its_night_is_one(at: int, dark: bool) -> None:
    history = _silent_at_night(8)
    history = np.concatenate([history, np.full(DAY, np.nan)])
    assert _darkness(history, 8 * DAY + at) is dark


def test_a_gateway_that_is_mute_every_forenoon_hides_no_sun() -> None:
    mute = _silent_at_night(9).reshape(9, DAY)
    mute[:, 4 * 4 : 11 * 4] = np.nan
    assert not any(_darkness(mute.ravel(), 8 * DAY + at) for at in range(4 * 4, 11 * 4))
    mute[:, : 8 * 4] = mute[:, 19 * 4 :] = 0.0
    mute[:, 8 * 4 : 11 * 4] = np.nan
    assert not any(_darkness(mute.ravel(), 8 * DAY + at) for at in range(8 * 4, 11 * 4))


def test_nothing_is_dark_before_three_nights_are_over() -> None:
    assert not _darkness(_silent_at_night(9), 3 * DAY)  # the first began before the first reading
    assert _darkness(_silent_at_night(9), 4 * DAY)


def test_what_has_never_spoken_is_not_dark() -> None:
    assert not is_dark(np.full(9 * DAY, np.nan), SLOT_S)
    assert not is_dark(np.empty(0), SLOT_S)


def test_a_silence_longer_than_a_night_proves_nothing() -> None:
    history = _silent_at_night(8).reshape(8, DAY)
    history[4:6] = np.nan  # two whole days
    begin, night = 5 * DAY, history.ravel()
    assert [is_dark(night[: begin + days * DAY], SLOT_S) for days in (0, 1, 2)] == [True, True, True]
    history[2:] = np.nan
    assert not is_dark(history.ravel(), SLOT_S)
