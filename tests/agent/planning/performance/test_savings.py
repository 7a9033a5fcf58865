"""Measured against baseline: EnPI, CUSUM, savings with an interval that holds what it says."""

import datetime as dt

import numpy as np
import pytest

from agent.contract.errors import ConfigError, UnavailableError
from agent.planning.performance.baseline import Baseline, fit_baseline
from agent.planning.performance.form import Form
from agent.planning.performance.observations import WEEK
from agent.planning.performance.record import Adjustment
from agent.planning.performance.regression import Fit, Statistics, fit_form, student_quantile, summed_noise
from agent.planning.performance.savings import compare
from tests.support.plantyears import FIRST, heated, observed, part

YEAR = 365
NEXT = dt.date(2026, 1, 1)


def by_hand(*, rho=0.0, by="day", sigma=10.0):
    """100 kWh a day and 2 kWh a piece, known exactly; only days differ, by 10 kWh."""
    statistics = Statistics(0.9, 0.9, 0.1, 0.0, rho, 0.0)
    fit = Fit(Form("1P", (), ("pieces",)), np.array([100.0, 2.0]), np.zeros((2, 2)), sigma, 10_000, statistics)
    last = dt.date(2025, 12, 31)
    return Baseline("UTC", by, FIRST, last, fit, "bic", False, {}, {"pieces": (10.0, 50.0)}, "0" * 64, ("pieces",))


def test_cusum_enpi_and_savings_by_hand():
    pieces = np.array([10.0, 20.0, 30.0])
    found = compare(by_hand(), observed(np.array([110.0, 150.0, 100.0]), first=NEXT, pieces=pieces), confidence=0.9)
    # expected 120, 140, 160
    assert found.cusum_kwh.tolist() == [10, 0, 60]
    assert found.total.saved_kwh == 60
    assert found.total.ratio == pytest.approx(360 / 420)
    assert found.intensities() == {"pieces": (pytest.approx(6), pytest.approx(7))}
    # independent days: 10 kWh, and times the root of two and of three; 1.645 sigma hold 90 % on both sides
    assert found.band_kwh == pytest.approx(16.45 * np.sqrt([1, 2, 3]), rel=1e-3)
    assert found.interval_kwh == pytest.approx((60 - 28.49, 60 + 28.49), rel=1e-3)
    assert found.proven


def test_neighbouring_days_that_are_alike_widen_the_band():
    # Two days with correlation 0.5: variance 1 + 1 + 2 x 0.5; over a gap of a day 0.25 remain.
    assert summed_noise(np.array([1, 1]), 0.5).tolist() == [1, 3]
    assert summed_noise(np.array([1, 2]), 0.5).tolist() == [1, 2.5]
    # Three in a row: 3 + 2 x (0.5 + 0.5 + 0.25)
    assert summed_noise(np.array([1, 1, 1]), 0.5).tolist() == [1, 3, 5.5]


def test_what_is_not_proven_is_said():
    found = compare(by_hand(), observed(np.array([115.0]), first=NEXT, pieces=np.array([10.0])))
    assert found.total.saved_kwh == 5
    assert not found.proven


def test_months_add_up_to_the_whole():
    days = 90
    pieces = np.full(days, 20.0) + np.arange(days) % 3
    found = compare(by_hand(), observed(np.full(days, 130.0), first=NEXT, pieces=pieces))
    months = found.months()
    assert [(month.name, month.days) for month in months] == [("2026-01", 31), ("2026-02", 28), ("2026-03", 31)]
    assert sum(month.saved_kwh for month in months) == pytest.approx(found.total.saved_kwh)


def test_an_adjustment_moves_what_is_expected_on_its_days_alone():
    measured = observed(np.full(4, 130.0), first=NEXT, pieces=np.full(4, 20.0))
    entries = [
        Adjustment(dt.date(2026, 1, 2), dt.date(2026, 1, 3), 50.0, "trial of an oven"),
        Adjustment(dt.date(2026, 1, 4), None, -15.0, "a line was sold"),
        Adjustment(dt.date(2026, 1, 1), None, 0.0, "on record alone"),
    ]
    found = compare(by_hand(), measured, entries)
    assert found.adjusted_kwh.tolist() == [0, 50, 50, -15]
    assert found.expected_kwh.tolist() == [140, 190, 190, 125]


def test_an_adjustment_counts_the_days_of_a_week_on_which_it_holds():
    monday = dt.date(2026, 1, 5)
    measured = observed(np.full(14, 130.0), by=WEEK, first=monday, pieces=np.full(14, 20.0))
    entry = Adjustment(dt.date(2026, 1, 10), dt.date(2026, 1, 12), 10.0, "trial")
    assert compare(by_hand(by=WEEK), measured, [entry]).adjusted_kwh.tolist() == [20, 10]


def test_savings_of_an_exporting_plant_are_told_without_a_ratio():
    fit = Fit(Form("1P"), np.array([-500.0]), np.zeros((1, 1)), 10.0, 1000, Statistics(None, None, 0.1, 0.0, 0.0, 0.0))
    exporting = Baseline("UTC", "day", FIRST, dt.date(2025, 12, 31), fit, "bic", False, {}, {}, "0" * 64)
    found = compare(exporting, observed(np.full(10, -520.0), first=NEXT))
    assert found.total.saved_kwh == pytest.approx(200)  # more is exported than was
    assert found.total.ratio is None


def test_a_constant_plant_that_uses_less_has_saved_that_for_certain():
    steady = fit_baseline(observed(np.full(YEAR, 480.0)), zone="UTC", first=FIRST, last=dt.date(2025, 12, 31))
    found = compare(steady, observed(np.full(10, 470.0), first=NEXT))
    assert found.interval_kwh == pytest.approx((100, 100), abs=1e-6)
    assert found.proven


def test_days_beyond_what_the_baseline_has_seen_are_counted():
    pieces = np.array([10.0, 53.0, 55.0, 5.0])  # seen: 10 to 50, a tenth of that more is believed
    assert compare(by_hand(), observed(np.full(4, 150.0), first=NEXT, pieces=pieces)).extrapolated == 2


def test_a_period_without_a_whole_day_has_no_savings():
    with pytest.raises(UnavailableError, match="no whole day"):
        compare(by_hand(), observed(np.array([np.nan]), first=NEXT, pieces=np.array([10.0])))


def test_a_period_within_the_baselines_is_refused():
    with pytest.raises(ConfigError, match=r"begins on 2025-12-31, within the baseline's"):
        compare(by_hand(), observed(np.array([1.0, 1.0]), first=dt.date(2025, 12, 31), pieces=np.array([10.0, 11.0])))


@pytest.mark.parametrize(("rho", "days", "runs"), [(0.0, 90, 200), (0.5, 90, 400), (0.7, 365, 200)])
def test_the_90_percent_interval_holds_the_true_savings_in_85_to_95_of_100(rho, days, runs):
    """Nothing was saved; the chance of a year and a reporting period alone moves the figure."""
    held = 0
    form = Form("3PH", (14.0,), ("working_day",))
    for seed in range(runs):
        plant = heated(YEAR + days, seed=seed, rho=rho)
        past, present = part(plant, 0, YEAR), part(plant, YEAR, YEAR + days)
        fit, _ = fit_form(past, form, np.ones(YEAR))
        saved = float((fit.expected(present) - present.energy_kwh).sum())
        held += abs(saved) <= student_quantile(0.95, fit.freedom) * fit.sum_errors(present)[-1]
    assert 0.85 <= held / runs <= 0.95


def test_the_interval_holds_what_it_says_when_form_and_base_temperature_are_searched_too():
    runs, held = 120, 0
    for seed in range(runs):
        plant = heated(YEAR + 90, seed=seed, rho=0.4)
        past, present = part(plant, 0, YEAR), part(plant, YEAR, YEAR + 90)
        made = fit_baseline(past, zone="UTC", first=FIRST, last=dt.date(2025, 12, 31))
        low, high = compare(made, present).interval_kwh
        held += low <= 0 <= high
    assert 0.85 <= held / runs <= 0.95


@pytest.mark.parametrize("units", [1e-6, 1e6])
def test_the_interval_does_not_depend_on_the_units_of_a_variable(units):
    pieces = np.random.default_rng(0).uniform(50, 100, 150)
    energy = 500 + 2 * pieces + np.random.default_rng(1).normal(0, 20, 150)

    def interval(pieces):
        plant = observed(energy, pieces=pieces)
        made = fit_baseline(part(plant, 0, 100), zone="UTC", first=FIRST, last=FIRST + dt.timedelta(days=99))
        return compare(made, part(plant, 100, 150)).interval_kwh

    assert interval(pieces * units) == pytest.approx(interval(pieces), rel=1e-6)


def test_a_confidence_that_is_none_is_refused():
    with pytest.raises(ConfigError, match="nan is not between 0 and 1"):
        compare(by_hand(), observed(np.array([115.0]), first=NEXT, pieces=np.array([10.0])), confidence=float("nan"))
