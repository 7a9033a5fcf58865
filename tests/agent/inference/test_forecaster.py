from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.contract import features
from agent.contract.bundle import Bundle
from agent.contract.errors import ConfigError, RejectedError, UnavailableError
from agent.contract.featurespec import Scaling
from agent.contract.rows import Forecast, ForecastSource
from agent.inference.forecaster import Model

CASES = Path(__file__).parent / "cases"


def assert_sound(forecast, spec, origin_ms):
    assert forecast.origin_ms == origin_ms
    assert forecast.power_kw.shape == (spec.horizon, len(spec.quantiles))
    assert np.isfinite(forecast.power_kw).all()
    assert (np.diff(forecast.power_kw, axis=1) >= 0).all()
    assert forecast.peak_kw.shape == (spec.days, len(spec.quantiles))
    assert np.isfinite(forecast.peak_kw).all()
    assert (np.diff(forecast.peak_kw, axis=1) >= 0).all()
    assert Forecast.from_row(forecast.to_row(origin_ms)).model == forecast.model


def test_golden_outputs_are_reproduced_on_this_runtime(model):
    assert 0 <= model.check_golden() <= model.manifest.tolerance


def test_forecast_begins_where_history_ends(model, start_ms, history):
    forecast = model.forecast(start_ms, history)
    assert_sound(forecast, model.spec, start_ms + len(history) * model.spec.slot_s * 1000)
    assert forecast.source is ForecastSource.ACTIVE
    assert forecast.model == f"{model.manifest.name}@{model.manifest.version}"
    assert forecast.repaired_share == 0


def test_load_bytes_and_load_bundle_are_the_same(bundle, start_ms, history):
    first = Model.load(bundle).forecast(start_ms, history)
    second = Model.load(bundle.to_bytes()).forecast(start_ms, history)
    assert np.array_equal(first.power_kw, second.power_kw)


def test_history_beyond_what_features_use_changes_nothing(model, start_ms, history):
    spec = model.spec
    longer = np.concatenate([np.full(20 * spec.per_day, 7e3), history])
    earlier = start_ms - 20 * spec.per_day * spec.slot_s * 1000
    assert np.allclose(
        model.forecast(start_ms, history).power_kw, model.forecast(earlier, longer).power_kw, rtol=1e-6, atol=1e-6
    )


def test_small_gaps_are_repaired_and_reported(model, start_ms, history):
    per_day = model.spec.per_day
    history[-2 * per_day : -2 * per_day + per_day // 2] = np.nan
    history[-3] = np.inf
    forecast = model.forecast(start_ms, history)
    assert_sound(forecast, model.spec, start_ms + len(history) * model.spec.slot_s * 1000)
    assert forecast.repaired_share == pytest.approx((per_day // 2 + 1) / (7 * per_day))


def test_history_is_not_changed_by_repair(model, start_ms, history):
    history[5] = np.nan
    before = history.copy()
    model.forecast(start_ms, history)
    assert np.array_equal(before, history, equal_nan=True)


@pytest.mark.parametrize("level", [0.0, 150.0, -15.0])
def test_constant_load_gives_a_sound_forecast(model, start_ms, history, level):
    forecast = model.forecast(start_ms, np.full_like(history, level))
    assert_sound(forecast, model.spec, start_ms + len(history) * model.spec.slot_s * 1000)


def test_export_is_forecast_as_export_or_found_outside_the_training_range(model, start_ms, history):
    if model.spec.scaling is Scaling.GLOBAL:
        with pytest.raises(UnavailableError, match="100% of the last 7 days lie outside the range"):
            model.forecast(start_ms, history - 1000)
    else:
        assert (model.forecast(start_ms, history - 1000).power_kw < 0).all()


def test_refuses_history_that_is_too_short(model, start_ms, history):
    short = history[: model.spec.min_history - 1]
    with pytest.raises(UnavailableError, match="days of history where the model needs 15"):
        model.forecast(start_ms, short)


def test_slots_before_the_first_known_one_are_no_history(model, start_ms, history):
    history[: -model.spec.min_history + 1] = np.nan
    with pytest.raises(UnavailableError, match="days of history"):
        model.forecast(start_ms, history)


def test_refuses_history_without_a_single_value(model, start_ms, history):
    with pytest.raises(UnavailableError, match=r"0\.0 days"):
        model.forecast(start_ms, np.full_like(history, np.nan))
    with pytest.raises(UnavailableError, match=r"0\.0 days"):
        model.forecast(start_ms, np.array([]))


def test_refuses_a_last_week_that_is_mostly_missing(model, start_ms, history):
    history[-2 * model.spec.per_day :] = np.nan
    with pytest.raises(UnavailableError, match="29% of the last 7 days are missing"):
        model.forecast(start_ms, history)


def test_refuses_history_that_is_mostly_missing_before_the_last_week(model, start_ms, history):
    history[model.spec.per_day : -7 * model.spec.per_day] = np.nan
    with pytest.raises(UnavailableError, match=r"of the last .* days are missing"):
        model.forecast(start_ms, history[model.spec.per_day // 2 :])


def test_refuses_a_start_off_the_grid_of_minutes(model, start_ms, history):
    with pytest.raises(ConfigError, match="grid"):
        model.forecast(start_ms + 1, history)


def test_forecasts_from_slots_that_begin_at_half_past_as_files_of_some_zones_do(model, start_ms, history):
    shift_ms = 10 * 60_000
    forecast = model.forecast(start_ms + shift_ms, history)
    assert forecast.origin_ms == model.forecast(start_ms, history).origin_ms + shift_ms


@settings(max_examples=60, deadline=None)
@given(
    days=st.floats(14.5, 32),
    level=st.floats(-1e5, 1e5),
    noise=st.floats(0, 1e4),
    gaps=st.floats(0, 0.4),
    seed=st.integers(0, 2**32 - 1),
)
def test_any_history_gives_ordered_finite_quantiles_or_a_reason(model, days, level, noise, gaps, seed):
    rng, slot_ms = np.random.default_rng(seed), model.spec.slot_s * 1000
    series = level + noise * rng.standard_t(2, int(days * model.spec.per_day))
    series[rng.random(len(series)) < gaps] = np.nan
    try:
        forecast = model.forecast(slot_ms, series)
    except UnavailableError:
        return
    assert_sound(forecast, model.spec, slot_ms * (1 + len(series)))


def test_rejects_a_bundle_whose_model_does_not_fit_its_feature_spec(bundle):
    spec = dataclasses.replace(bundle.manifest.feature_spec, horizon=bundle.manifest.feature_spec.horizon // 2)
    other = dataclasses.replace(bundle, manifest=dataclasses.replace(bundle.manifest, feature_spec=spec))
    with pytest.raises(RejectedError, match=r"tensors .* where its feature spec says"):
        Model.load(other)


def test_rejects_a_model_without_daily_peaks():
    bundle = Bundle.from_bytes((CASES / "quarter-hours.ewb").read_bytes())
    old = dataclasses.replace(bundle, model=(CASES / "without-peaks.tflite").read_bytes())
    with pytest.raises(RejectedError, match=r"\(1, 96, 3\)\) where its feature spec says .*\(1, 97, 3\)"):
        Model.load(old)


def test_the_peak_is_told_apart_from_the_slots(model, start_ms, history):
    """The peak of the forecast is the model's own last rows, in kW."""
    spec = model.spec
    forecast = model.forecast(start_ms, history)
    inputs = features.compute(spec, start_ms, history, np.array([len(history)]))
    raw = model._runtime.run(inputs.recent, inputs.steps)[0]
    median_kw = raw[:, 0].astype(np.float64) * inputs.scale_kw + inputs.center_kw
    assert forecast.peak_kw[:, 1] == pytest.approx(median_kw[spec.horizon :])
    assert forecast.level(0.5) == pytest.approx(median_kw[: spec.horizon])


def test_rejects_a_tampered_bundle(bundle):
    data = bytearray(bundle.to_bytes())
    data[len(data) // 2] ^= 1
    with pytest.raises(RejectedError):
        Model.load(bytes(data))


@pytest.mark.parametrize("raw", [5.0, np.nan])
def test_rejects_a_model_whose_output_is_not_its_golden_output(bundle, raw):
    golden = dataclasses.replace(bundle.golden, raw=bundle.golden.raw + np.float32(raw))
    with pytest.raises(RejectedError, match="differs"):
        Model.load(dataclasses.replace(bundle, golden=golden)).check_golden()


def test_latency_is_the_median_run_and_above_the_limit_rejects(bundle):
    ticks = itertools.accumulate(itertools.chain([0.0], itertools.cycle([0.030, 0.001])))
    model = Model(bundle, Model.load(bundle)._runtime, clock=lambda: next(ticks))
    assert model.latency_ms() == pytest.approx(30.0)
    slow = dataclasses.replace(bundle, manifest=dataclasses.replace(bundle.manifest, max_latency_ms=29.0))
    model = Model(slow, Model.load(slow)._runtime, clock=lambda: next(ticks))
    with pytest.raises(RejectedError, match="where its bundle allows 29 ms"):
        model.check_latency()
    assert Model.load(bundle).check_latency() > 0
