from __future__ import annotations

import dataclasses
import logging

import numpy as np
import pytest

from agent.contract.bundle import Bundle
from agent.contract.errors import UnavailableError
from agent.contract.rows import Forecast, ForecastSource
from agent.inference.forecaster import Model
from agent.inference.ladder import Ladder


class Broken:
    """A runtime that is there and does not work, as tflite-runtime beside TensorFlow."""

    name = "broken 1.0"
    int8 = True

    def __init__(self, good, error):
        self.recent_shape, self.steps_shape, self.raw_shape = good.recent_shape, good.steps_shape, good.raw_shape
        self.error = error

    def run(self, recent, steps):
        if isinstance(self.error, Exception):
            raise self.error
        return np.full(self.raw_shape, self.error, np.float32)


def versioned(bundle: Bundle, version: int) -> Bundle:
    return dataclasses.replace(bundle, manifest=dataclasses.replace(bundle.manifest, version=version))


@pytest.fixture
def ladder(bundle):
    spec = bundle.manifest.feature_spec
    return Ladder(spec.slot_s, spec.horizon)


def broken(bundle, error=None, version=9):
    good = Model.load(bundle)._runtime
    return Model(versioned(bundle, version), Broken(good, error or UnavailableError("vector::reserve")))


def test_active_model_is_used_and_carries_no_note(ladder, bundle, model, start_ms, history):
    ladder.active = model
    forecast = ladder.forecast(start_ms, history)
    assert (forecast.source, forecast.note, forecast.model) == (ForecastSource.ACTIVE, "", model.label)


def test_without_a_model_naive_steps_in_and_says_so(ladder, start_ms, history):
    forecast = ladder.forecast(start_ms, history)
    assert forecast.source is ForecastSource.NAIVE
    assert forecast.note == "no model is installed"


def test_previous_steps_in_for_a_failing_active_and_says_why(ladder, bundle, model, start_ms, history):
    ladder.active, ladder.previous = broken(bundle), model
    forecast = ladder.forecast(start_ms, history)
    assert (forecast.source, forecast.model) == (ForecastSource.PREVIOUS, model.label)
    assert "@9: vector::reserve" in forecast.note


@pytest.mark.parametrize(
    "error", [UnavailableError("gone"), ZeroDivisionError("a defect"), MemoryError(), np.nan, np.inf]
)
def test_naive_steps_in_whatever_both_models_do(ladder, bundle, start_ms, history, error):
    ladder.active, ladder.previous = broken(bundle, error, 9), broken(bundle, error, 8)
    forecast = ladder.forecast(start_ms, history)
    assert forecast.source is ForecastSource.NAIVE
    assert "@9: " in forecast.note
    assert "@8: " in forecast.note
    assert np.isfinite(forecast.power_kw).all()


def test_naive_steps_in_while_history_is_short(ladder, model, start_ms, history):
    ladder.active = model
    forecast = ladder.forecast(start_ms, history[: 2 * model.spec.per_day])
    assert forecast.source is ForecastSource.NAIVE
    assert "2.0 days of history where the model needs 15" in forecast.note


def test_naive_steps_in_when_the_last_week_is_mostly_missing(ladder, model, start_ms, history):
    ladder.active = model
    history[-3 * model.spec.per_day :] = np.nan
    forecast = ladder.forecast(start_ms, history)
    assert forecast.source is ForecastSource.NAIVE
    assert "missing" in forecast.note


def test_a_plant_that_turned_to_export_still_gets_a_forecast(ladder, model, start_ms, history):
    ladder.active = model
    assert (ladder.forecast(start_ms, history - 1000).power_kw < 0).all()


def test_active_is_used_again_as_soon_as_it_can_be(ladder, model, start_ms, history):
    ladder.active = model
    assert ladder.forecast(start_ms, history[: model.spec.per_day]).source is ForecastSource.NAIVE
    assert ladder.forecast(start_ms, history).source is ForecastSource.ACTIVE


def test_a_model_for_another_slot_length_or_horizon_is_passed_over(model, start_ms, history):
    ladder = Ladder(model.spec.slot_s, model.spec.horizon + 1)
    ladder.active = model
    forecast = ladder.forecast(start_ms, history)
    assert forecast.source is ForecastSource.NAIVE
    assert len(forecast.power_kw) == model.spec.horizon + 1
    assert "where the plant asks for" in forecast.note


def test_a_day_of_any_history_gives_a_forecast(ladder, bundle, model, start_ms):
    ladder.active, ladder.previous = model, broken(bundle)
    rng = np.random.default_rng(5)
    per_day = model.spec.per_day
    for days in range(1, 40):
        series = rng.normal(-10, 300, days * per_day)
        series[1:][rng.random(days * per_day - 1) < rng.random()] = np.nan
        series[-min(days, 28) * per_day] = 1.0
        power_kw = ladder.forecast(start_ms, series).power_kw
        assert np.isfinite(power_kw).all()
        assert (np.diff(power_kw, axis=1) >= 0).all()


def test_below_a_day_of_history_there_is_none(ladder, model, start_ms, history):
    ladder.active = model
    with pytest.raises(UnavailableError, match="24 h"):
        ladder.forecast(start_ms, history[: model.spec.per_day - 1])


def test_a_long_reason_still_fits_a_row(ladder, bundle, start_ms, history):
    ladder.active = broken(bundle, RuntimeError("x" * 2000))
    row = ladder.forecast(start_ms, history).to_row(0)
    assert Forecast.from_row(row).note.startswith(ladder.active.label)


def test_logs_once_a_change_of_rung(ladder, bundle, model, start_ms, history, caplog):
    caplog.set_level(logging.INFO)
    ladder.active = broken(bundle)
    for _ in range(3):
        ladder.forecast(start_ms, history)
    ladder.active = model
    for _ in range(3):
        ladder.forecast(start_ms, history)
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
