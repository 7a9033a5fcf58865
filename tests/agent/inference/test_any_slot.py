"""Forecasts from any slot of the day, for slots of 5 to 60 minutes, over changes of the clocks and gaps.

The network is one whose answer is known: the load of the same local time a week ago. Everything about it is the
device's own code.
"""

from __future__ import annotations

import datetime as dt

import numpy as np
import pytest

from agent.contract.bundle import Bundle, Golden, Manifest, Training
from agent.contract.errors import UnavailableError
from agent.contract.features import Singles
from agent.contract.featurespec import DAY_S, FeatureSpec, Scaling
from agent.contract.rows import ForecastSource
from agent.contract.zones import parse_zone
from agent.inference.forecaster import MAX_REPAIRED_SHARE, Model
from agent.inference.ladder import Ladder

ZONE = "Australia/Melbourne"
DAYS = 22
WINTER_MS = 1_750_982_400_000  # 2025-06-27T00:00Z: no change of the clocks near
SPRING_MS = 1_757_894_400_000  # 2025-09-15T00:00Z: summer time begins on 5 October, between the targets and their lag


class WeekAgo:
    """A runtime that answers with the feature `lag_7d`, and with nearly no spread."""

    name = "week ago"
    int8 = True

    def __init__(self, spec: FeatureSpec) -> None:
        self._spec = spec
        self._column = spec.step_names.index("lag_7d")
        self.recent_shape = (1, spec.recent_size)
        self.steps_shape = (1, spec.horizon, len(spec.step_names))
        self.raw_shape = (1, spec.output_size, 3)

    def run(self, recent: Singles, steps: Singles) -> Singles:
        assert recent.shape == self.recent_shape
        raw = np.full(self.raw_shape, -20, np.float32)
        lag = steps[0, :, self._column]
        raw[0, : self._spec.horizon, 0] = lag
        raw[0, self._spec.horizon :, 0] = lag.max()
        return raw


def model(slot_s: int, *, horizon_days: float = 1) -> Model:
    spec = FeatureSpec(
        slot_s=slot_s,
        horizon=round(horizon_days * DAY_S / slot_s),
        zone=ZONE,
        scaling=Scaling.GLOBAL,
        center_kw=500,
        scale_kw=300,
    )
    golden = Golden(
        np.zeros((1, spec.recent_size), np.float32),
        np.zeros((1, spec.horizon, len(spec.step_names)), np.float32),
        np.zeros((1, spec.output_size, 3), np.float32),
        0.1,
    )
    scores = {"naive": 2.0, "teacher": 1.0, "student_float": 1.0, "student_int8": 1.0}
    manifest = Manifest("week-ago", 1, 0, spec, scores, Training("00" * 32, 0, {}), 0.1)
    return Model(Bundle(manifest, b"", golden, {}), WeekAgo(spec))


def weekly_kw(start_ms: int, count: int, slot_s: int) -> np.ndarray:
    """A load that repeats each week of local time exactly: so a week ago is the truth, summer time or not."""
    zone = parse_zone(ZONE)
    moments = [dt.datetime.fromtimestamp(start_ms / 1000 + step * slot_s, tz=zone) for step in range(count)]
    minutes = np.array([(at.weekday() * 24 + at.hour) * 60 + at.minute for at in moments])
    return 500 + 300 * np.sin(2 * np.pi * minutes / 1440) + minutes / 100


@pytest.mark.parametrize("begin_ms", [WINTER_MS, SPRING_MS])
@pytest.mark.parametrize("slot_s", [300, 900, 1800, 3600])
def test_a_forecast_from_any_slot_lies_on_its_own_targets(slot_s: int, begin_ms: int) -> None:
    per_day = DAY_S // slot_s
    power_kw = weekly_kw(begin_ms, (DAYS + 1) * per_day, slot_s)
    made = model(slot_s)
    for later in range(0, per_day, max(1, per_day // 12) + (per_day > 24)):
        now = (DAYS - 1) * per_day + later
        forecast = made.forecast(begin_ms, power_kw[:now])
        assert forecast.origin_ms == begin_ms + now * slot_s * 1000
        assert forecast.source is ForecastSource.ACTIVE
        assert np.allclose(forecast.level(0.5), power_kw[now : now + per_day], atol=0.01)
        assert forecast.peak_kw[0, 1] == pytest.approx(power_kw[now : now + per_day].max(), abs=0.01)


@pytest.mark.parametrize("horizon_days", [1 / 24, 1.5, 7])
def test_any_horizon_of_an_hour_to_a_week_begins_at_any_slot(horizon_days: float) -> None:
    power_kw = weekly_kw(WINTER_MS, 30 * 96, 900)
    made = model(900, horizon_days=horizon_days)
    for now in (20 * 96, 20 * 96 + 1, 20 * 96 + 55):
        forecast = made.forecast(WINTER_MS, power_kw[:now])
        assert np.allclose(forecast.level(0.5), power_kw[now : now + made.spec.horizon], atol=0.01)
        assert len(forecast.peak_kw) == made.spec.days


@pytest.mark.parametrize("slot_s", [900, 1800, 3600])
def test_a_gap_up_to_the_present_is_filled_from_the_week_before_and_told(slot_s: int) -> None:
    """Readings that are late: the newest hours are unknown, and the forecast is as good as the week before."""
    per_day = DAY_S // slot_s
    power_kw = weekly_kw(WINTER_MS, (DAYS + 1) * per_day, slot_s)
    now = DAYS * per_day - per_day // 3
    history = power_kw[:now].copy()
    history[-per_day // 4 :] = np.nan
    forecast = model(slot_s).forecast(WINTER_MS, history)
    assert forecast.origin_ms == WINTER_MS + now * slot_s * 1000
    assert forecast.repaired_share == pytest.approx(1 / 28)
    assert np.allclose(forecast.level(0.5), power_kw[now : now + per_day], atol=0.01)


@pytest.mark.parametrize("slot_s", [900, 1800, 3600])
def test_gaps_are_borne_up_to_the_stated_share_and_then_the_ladder_steps_down(slot_s: int) -> None:
    per_day = DAY_S // slot_s
    power_kw = weekly_kw(WINTER_MS, DAYS * per_day, slot_s)
    ladder = Ladder(slot_s, per_day)
    ladder.active = model(slot_s)
    most = int(MAX_REPAIRED_SHARE * 7 * per_day)
    history = power_kw.copy()
    history[-most:] = np.nan
    borne = ladder.forecast(WINTER_MS, history)
    assert (borne.source, borne.note) == (ForecastSource.ACTIVE, "")
    assert borne.repaired_share == pytest.approx(most / (7 * per_day))
    history[-most - 1] = np.nan
    with pytest.raises(UnavailableError, match="of the last 7 days are missing"):
        ladder.active.forecast(WINTER_MS, history)
    stepped = ladder.forecast(WINTER_MS, history)
    assert stepped.source is ForecastSource.NAIVE
    assert "where a model bears 20%" in stepped.note
    assert stepped.power_kw.shape == (per_day, 3)
