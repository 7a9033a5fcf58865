"""How likely a new peak of the month is by the forecast, when, how high, and what it would cost."""

from __future__ import annotations

import math
from functools import partial
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.contract.errors import ConfigError
from agent.contract.rows import Forecast
from agent.planning.newpeak import new_peak
from agent.planning.peakwatch import Terms
from tests.support.billing import at
from tests.support.forecasts import banded

BERLIN = ZoneInfo("Europe/Berlin")
MIN_MS, HOUR_MS = 60_000, 3_600_000
QUARTER = 900_000
NOW = at(2026, 3, 10, 14, 5)
TERMS = Terms(900, BERLIN, target_kw=500, per_kw=10.0)
forecast = partial(banded, start_ms=NOW - 5 * MIN_MS)


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
