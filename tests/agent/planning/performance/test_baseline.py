"""A baseline: known coefficients come back, and what cannot carry one is refused or told."""

import datetime as dt
import json

import numpy as np
import pytest

from agent.contract.errors import ConfigError, RejectedError
from agent.contract.jsonform import Fields
from agent.planning.performance.baseline import Baseline, fit_baseline
from agent.planning.performance.form import COOLING, HEATING
from agent.planning.performance.observations import WEEK
from agent.planning.performance.regression import student_quantile
from agent.planning.performance.search import ADJUSTED_R2, BIC
from agent.planning.performance.variables import TEMPERATURE, WORKING_DAY
from tests.support.plantyears import FIRST, heated, observed, temperatures, working

DAYS = 365


def baseline(observations, **options):
    days = len(observations) * observations.length
    return fit_baseline(observations, zone="UTC", first=FIRST, last=FIRST + dt.timedelta(days - 1), **options)


def terms(made):
    return dict(zip(made.fit.form.terms, made.fit.coefficients.tolist(), strict=True))


def noise(days=DAYS, sigma=20.0, seed=5):
    return np.random.default_rng(seed).normal(0, sigma, days)


T_C = temperatures(DAYS)
WORK = working(DAYS)


@pytest.mark.parametrize(
    ("kind", "bases_c", "load"),
    [
        ("2P", (), 900 - 15 * T_C),
        ("3PH", (13.0,), 500 + 18 * np.maximum(13 - T_C, 0)),
        ("3PC", (17.0,), 500 + 25 * np.maximum(T_C - 17, 0)),
        ("5P", (8.0, 16.0), 500 + 18 * np.maximum(8 - T_C, 0) + 25 * np.maximum(T_C - 16, 0)),
    ],
)
def test_each_change_point_form_is_found_with_its_base_temperatures(kind, bases_c, load):
    made = baseline(observed(load + noise(), temperature=T_C))
    assert made.fit.form.kind == kind
    assert made.fit.form.bases_c == pytest.approx(bases_c, abs=1.0)
    assert made.fit.statistics.r2 > 0.8


def test_adjusted_r2_takes_more_terms_where_that_explains_a_little_more():
    load = observed(500 + 18 * np.maximum(13 - T_C, 0) + noise(), temperature=T_C, idle=noise(seed=6))
    strict, free = (baseline(load, criterion=criterion).fit for criterion in (BIC, ADJUSTED_R2))
    assert free.form.parameters > strict.form.parameters
    assert free.statistics.adjusted_r2 > strict.statistics.adjusted_r2
    assert free.statistics.bic > strict.statistics.bic


def test_two_sided_form_with_one_base_temperature_is_found():
    load = 500 + 30 * np.maximum(11 - T_C, 0) + 30 * np.maximum(T_C - 11, 0)
    made = baseline(observed(load + noise(), temperature=T_C))
    assert made.fit.form.kind == "4P"
    assert made.fit.form.bases_c == (pytest.approx(11, abs=0.5),)
    assert [terms(made)[name] for name in (HEATING, COOLING)] == pytest.approx([30, 30], abs=1.5)


def test_known_coefficients_come_back_within_their_errors():
    pieces = np.random.default_rng(2).uniform(50, 150, DAYS) * WORK
    load = 500 + 12 * np.maximum(14 - T_C, 0) + 200 * WORK + 3 * pieces + noise()
    made = baseline(observed(load, temperature=T_C, pieces=pieces))
    assert made.fit.form.terms == ("constant", WORKING_DAY, "pieces", HEATING)
    wanted = np.array([500, 200, 3, 12])
    assert (np.abs(made.fit.coefficients - wanted) < 3 * made.fit.standard_errors).all()
    assert made.fit.sigma_kwh == pytest.approx(20, rel=0.1)
    assert made.fit.statistics.cv_rmse == pytest.approx(20 / load.mean(), rel=0.1)
    assert made.fit.statistics.nmbe == pytest.approx(0, abs=1e-9)
    assert made.doubts() == []


def test_a_straight_line_by_hand():
    # 28 days, energy 100 + 2 x pieces, and residuals of +3 and -3 in turns that are at right angles to all terms.
    pieces = np.tile([10.0, 10.0, 30.0, 30.0], 7)
    residual = np.tile([3.0, -3.0], 14)
    made = baseline(observed(100 + 2 * pieces + residual, pieces=pieces))
    assert terms(made) == {"constant": pytest.approx(100), "pieces": pytest.approx(2)}
    # Mean 140; squares: 28 x 9 left of 28 x (400 + 9) about the mean; two parameters; neighbours are opposite: none.
    statistics = made.fit.statistics
    assert statistics.r2 == pytest.approx(1 - 9 / 409)
    assert statistics.adjusted_r2 == pytest.approx(1 - (28 * 9 / 26) / (28 * 409 / 27))
    assert statistics.cv_rmse == pytest.approx(np.sqrt(28 * 9 / 26) / 140)
    assert statistics.autocorrelation == 0
    # The error of a slope: sigma / sqrt(28 x 100), sigma^2 = 252 / 26.
    assert made.fit.standard_errors[1] == pytest.approx(np.sqrt(252 / 26 / 2800))


def test_a_variable_without_influence_does_not_enter():
    idle = np.random.default_rng(8).uniform(0, 100, DAYS)
    made = baseline(observed(500 + 200 * WORK + noise(), idle=idle))
    assert made.fit.form.linear == (WORKING_DAY,)


def test_weeks_are_sums_of_their_days():
    load = 500 + 12 * np.maximum(14 - T_C, 0) + 200 * WORK + noise()
    made = baseline(observed(load, by=WEEK, temperature=T_C))
    assert made.fit.count == 51  # 2025 begins on a Wednesday and ends on one
    assert made.left_out == {"broken week": 8}
    found = terms(made)
    assert WORKING_DAY not in found  # five in every week
    assert found["constant"] == pytest.approx(500 + 200 * 5 / 7, rel=0.03)
    assert found[HEATING] == pytest.approx(12, rel=0.1)


def test_a_week_with_an_unknown_day_is_left_out():
    load = 500 + noise()
    load[20] = np.nan
    made = baseline(observed(load, by=WEEK))
    assert made.fit.count == 50
    assert made.left_out == {"energy": 1, "broken week": 14}


def test_unknown_days_are_left_out_and_counted_by_what_is_missing():
    load, temperature = 500 - 5 * T_C + noise(), T_C.copy()
    load[[3, 50]] = np.nan
    temperature[[3, 99, 100]] = np.nan
    made = baseline(observed(load, temperature=temperature))
    assert (made.fit.count, made.left_out) == (361, {"energy": 2, "temperature": 2})
    assert terms(made)[TEMPERATURE] == pytest.approx(-5, rel=0.1)


def test_too_few_days_are_refused_with_what_is_missing():
    load = 500 + noise(60)
    load[:40] = np.nan
    with pytest.raises(ConfigError, match=r"20 whole days where a baseline needs 28.*40 for energy"):
        baseline(observed(load))
    with pytest.raises(ConfigError, match="whole weeks where a baseline needs 12"):
        baseline(observed(500 + noise(60), by=WEEK))


def test_variables_that_move_together_are_refused_by_name():
    pieces = np.random.default_rng(2).uniform(50, 150, DAYS)
    with pytest.raises(ConfigError, match=r"'pieces' moves together with 'tonnes'.*Leave one of them out"):
        baseline(observed(500 + 3 * pieces + noise(), pieces=pieces, tonnes=pieces * 0.012 + 5))
    third = pieces + temperatures(DAYS) * 2
    with pytest.raises(ConfigError, match="moves together with"):
        baseline(observed(500 + 3 * pieces + noise(), pieces=pieces, temperature=T_C, third=third))


def test_a_variable_that_never_varies_is_refused():
    with pytest.raises(ConfigError, match=r"'pieces' is the same all the time"):
        baseline(observed(500 + noise(), pieces=np.full(DAYS, 7.0)))


def test_production_on_all_working_days_alike_takes_the_place_of_the_calendar():
    made = baseline(observed(500 + 200 * WORK + noise(), pieces=WORK * 100))
    assert made.fit.form.linear == ("pieces",)


def test_a_constant_load_has_its_mean_as_baseline_and_says_so():
    made = baseline(observed(np.full(DAYS, 480.0), temperature=T_C))
    assert terms(made) == {"constant": pytest.approx(480)}
    assert (made.fit.statistics.r2, made.fit.statistics.adjusted_r2) == (None, None)
    assert made.fit.statistics.cv_rmse == pytest.approx(0, abs=1e-9)
    assert any("did not vary" in doubt for doubt in made.doubts())
    json.dumps(made.to_json(), allow_nan=False)


def test_a_plant_that_exports_has_a_baseline_below_zero():
    sun = np.random.default_rng(3).uniform(0, 8, DAYS)
    made = baseline(observed(100 - 150 * sun + noise(), sun=sun))
    assert terms(made)["sun"] == pytest.approx(-150, rel=0.02)
    assert made.fit.statistics.cv_rmse == pytest.approx(20 / abs((100 - 150 * sun).mean()), rel=0.1)


def test_a_load_about_zero_has_no_relative_figures():
    made = baseline(observed(np.tile([10.0, -10.0], 182)))
    assert (made.fit.statistics.cv_rmse, made.fit.statistics.nmbe) == (None, None)
    assert any("nearly zero" in doubt for doubt in made.doubts())


def test_a_robust_fit_is_not_drawn_by_single_days():
    load = 500 + 12 * np.maximum(14 - T_C, 0) + noise()
    load[::15] += 2000  # each of them a quarter above the rest
    plain, robust = (baseline(observed(load, temperature=T_C), robust=robust) for robust in (False, True))
    assert terms(plain)["constant"] > 600
    assert terms(robust)["constant"] == pytest.approx(505, abs=10)
    assert robust.fit.statistics.nmbe > 0.1  # told, not hidden
    assert robust.robust


def test_doubts_name_what_is_weak():
    short = heated(60, sigma=900)
    doubts = " ".join(baseline(short).doubts())
    assert "R2 is" in doubts
    assert "CV(RMSE) is" in doubts
    assert "covers 60 days" in doubts


def test_the_same_data_have_the_same_hash_and_the_same_baseline():
    first, second = baseline(heated(DAYS)), baseline(heated(DAYS))
    assert first.to_json() == second.to_json()
    changed = heated(DAYS)
    changed.energy_kwh[100] += 0.001
    assert changed.sha256() != first.data_sha256


def test_a_baseline_comes_back_from_its_file_form():
    made = baseline(heated(DAYS), given=["temperature"], variables_file="/data/plant.csv")
    again = Baseline.from_json(Fields(json.loads(json.dumps(made.to_json())), "baseline"))
    assert again.to_json() == made.to_json()
    year = heated(DAYS, first=dt.date(2026, 1, 1))
    assert again.fit.expected(year).tolist() == made.fit.expected(year).tolist()
    assert again.wanted == ("temperature",)


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": "6P"},
        {"by": "month"},
        {"coefficients": [1.0]},
        {"covariance": [[1.0]]},
        {"bases_c": ["warm"]},
        {"first": "2025-02-30"},
        {"sigma_kwh": -1},
    ],
)
def test_a_damaged_form_is_refused(wrong):
    with pytest.raises(RejectedError):
        Baseline.from_json(Fields({**baseline(heated(DAYS)).to_json(), **wrong}, "baseline"))


@pytest.mark.parametrize(
    ("share", "freedom", "quantile"),  # from a printed table of Student's distribution
    [(0.95, 4, 2.132), (0.95, 10, 1.812), (0.95, 60, 1.671), (0.975, 5, 2.571), (0.975, 30, 2.042), (0.9, 20, 1.325)],
)
def test_students_quantiles_are_those_of_the_table(share, freedom, quantile):
    assert student_quantile(share, freedom) == pytest.approx(quantile, rel=0.005)
