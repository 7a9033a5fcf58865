"""The shadow run: who wins, over which slots, and what is remembered."""

import json

import numpy as np
import pytest

from agent.contract.errors import ConfigError, RejectedError
from agent.contract.rows import Forecast, ForecastSource
from agent.update.trial import Shadow
from tests.support.forecasts import peaks_of

SLOT_S, HORIZON, LEVELS = 3600, 24, (0.1, 0.5, 0.9)
HOUR = 3_600_000
START = 1_700_000_400_000 // HOUR * HOUR


def pinball(power_kw, truth, quantiles) -> float:
    error = truth[:, None] - power_kw
    levels = np.asarray(quantiles)
    return float(np.maximum(levels * error, (levels - 1) * error).mean())


def forecast(origin_ms: int, kw: float, *, source=ForecastSource.CANDIDATE, horizon=HORIZON, slot_s=SLOT_S) -> Forecast:
    power_kw = np.full((horizon, 3), kw)
    return Forecast(origin_ms, slot_s, LEVELS, power_kw, peaks_of(power_kw, slot_s), source, "m@1")


def run(shadow: Shadow, hours: int, candidate: float, active: float | None, naive: float | None, truth=100.0, start=0):
    for hour in range(start, start + hours):
        now = START + hour * HOUR
        shadow.add_forecasts(
            forecast(now, candidate),
            None if active is None else forecast(now, active),
            None if naive is None else forecast(now, naive),
        )
        shadow.add_truth(now, truth(hour) if callable(truth) else truth)


def trial(**options) -> Shadow:
    return Shadow("m@2", **{"min_days": 1.0, "loss": pinball, **options})


def test_waits_for_the_whole_trial_then_accepts_what_is_better():
    shadow = trial()
    run(shadow, 23, 100, 110, 120)
    assert shadow.verdict() is None
    run(shadow, 1, 100, 110, 120, start=23)
    verdict = shadow.verdict()
    assert verdict.accepted
    assert verdict.loss_kw["active"][0] < verdict.loss_kw["active"][1]


@pytest.mark.parametrize(
    ("active", "naive", "rival"), [(105, 150, "active"), (150, 105, "naive"), (None, 105, "naive")]
)
def test_refuses_what_is_worse_than_either(active, naive, rival):
    shadow = trial()
    run(shadow, 24, 120, active, naive)
    verdict = shadow.verdict()
    assert not verdict.accepted
    assert rival in verdict.reason


def test_takes_a_small_difference_for_chance():
    shadow = trial()
    run(shadow, 24, 110.4, 110, 110)
    assert shadow.verdict().accepted
    strict = trial(margin=0.0)
    run(strict, 24, 110.4, 110, 110)
    assert not strict.verdict().accepted


def test_compares_over_the_same_slots_only():
    """The active model is missing in the hard hours: that must not make it look better."""
    shadow = trial()
    for hour in range(48):
        now = START + hour * HOUR
        hard = hour >= 24
        shadow.add_forecasts(
            forecast(now, 100, horizon=1),
            None if hard else forecast(now, 104, horizon=1),
            forecast(now, 100, horizon=1),
        )
        shadow.add_truth(now, 500 if hard else 100)
    assert shadow.verdict().accepted


def test_scores_nobody_where_the_truth_is_unknown_and_then_takes_longer():
    shadow = trial()
    run(shadow, 24, 100, 110, 120, truth=lambda hour: 100.0 if hour < 6 else None)
    assert shadow.verdict() is None
    run(shadow, 24, 100, 110, 120, start=24)
    assert shadow.verdict().accepted


def test_forecasts_of_another_shape_are_taken_as_missing():
    shadow = trial()
    shadow.add_forecasts(forecast(START, 1), forecast(START + HOUR, 2), forecast(START, 3, horizon=5))
    shadow.add_truth(START, 100.0)
    assert shadow.days == 0


def test_memory_is_bounded_by_the_horizon():
    shadow = trial(min_days=1000)
    run(shadow, 200, 100, 110, 120)
    assert len(shadow._rounds) <= HORIZON
    for minute in range(0, 600, 15):
        shadow.add_forecasts(
            forecast(START + 500 * HOUR + minute * 60_000, 1), None, forecast(START + 500 * HOUR + minute * 60_000, 1)
        )
    assert len(shadow._rounds) <= HORIZON + 10


def test_goes_on_after_a_restart():
    first = trial()
    run(first, 20, 120, 105, 150)
    kept = json.loads(json.dumps(first.to_json()))
    second = trial()
    second.resume(kept)
    assert second.days == first.days
    run(second, 4, 120, 105, 150, start=20)
    assert not second.verdict().accepted


@pytest.mark.parametrize(
    "change",
    [
        {"label": "other@1"},
        {"duels": {}},
        {"duels": {"active": [1, 2], "naive": [0, 0, 0]}},
        {"last_ms": "x"},
        {"slots": -1},
    ],
)
def test_a_kept_score_that_is_wrong_changes_nothing(change):
    first = trial()
    run(first, 20, 120, 105, 150)
    second = trial()
    before = second.to_json()
    with pytest.raises(RejectedError):
        second.resume({**first.to_json(), **change})
    assert second.to_json() == before


def test_without_days_there_is_no_trial():
    assert trial(min_days=0).verdict().accepted


@pytest.mark.parametrize("wrong", [{"min_days": -1}, {"margin": -0.1}])
def test_rejects_negative_numbers(wrong):
    with pytest.raises(ConfigError):
        trial(**wrong)
