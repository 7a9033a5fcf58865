import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.contract.errors import ConfigError
from agent.planning.assess.compare import assess, quantiles
from agent.planning.assess.reading import load
from tests.support.assessments import ROOT, TEXT, case

SPREAD = {
    "heating_degree_days": '{ kind = "normal", mean = 100, sd = 10, low = 60, high = 140, each_year = true }',
    "price_per_unit": '{ kind = "lognormal", median = 100, factor = 1.3 }',
    "process_heat_kwh": '{ kind = "uniform", low = 500, high = 900 }',
}


def test_a_measure_by_hand():
    (made,) = assess(case(), runs=100).comparisons
    # Heat 1000 kWh; fired 1000 / 0.80 = 1250, and 1000 / 0.85 = 1176.47; of 5000 kWh/t at 100 a tonne.
    assert quantiles(made.year.fuel_kwh) == pytest.approx((1000 / 0.85,) * 3)
    saving = (1250 - 1000 / 0.85) / 5000 * 100
    assert quantiles(made.payback_years) == (np.inf,) * 3  # 1.47 a year of 10, in 5 years
    assert made.paid_back_share == 0.0
    assert made.value[0, -1] == pytest.approx(-10 + sum(saving / 1.1**year for year in range(1, 6)))
    assert made.drivers == {}


def test_the_same_seed_gives_the_same_result_and_another_another():
    first, again, other = (assess(case(**SPREAD), runs=200, seed=seed) for seed in (3, 3, 4))
    assert np.array_equal(first.comparisons[0].value, again.comparisons[0].value)
    assert not np.array_equal(first.comparisons[0].value, other.comparisons[0].value)


def test_a_measure_that_changes_nothing_changes_nothing_in_any_run():
    text = TEXT.partition("[measure.boiler]")[0]
    outcome = assess(case(text, **SPREAD), runs=300)
    (made,) = outcome.comparisons
    for name, before in outcome.baseline.items().items():
        assert np.array_equal(before, made.year.items()[name]), name
    assert np.all(made.value == -10)


def test_no_investment_pays_back_at_once():
    (made,) = assess(case(investment="0", **SPREAD), runs=100).comparisons
    assert quantiles(made.payback_years) == quantiles(made.discounted_payback_years) == (0, 0, 0)
    assert made.paid_back_share == 1.0


@settings(max_examples=25, deadline=None)
@given(
    low=st.floats(1, 20),
    width=st.floats(0.5, 15),
    better=st.floats(0, 0.9),
    seed=st.integers(0, 10_000),
)
def test_a_better_boiler_never_uses_more_fuel(low, width, better, seed):
    law = '{{ kind = "triangular", low = {:.6f}, mode = {:.6f}, high = {:.6f} }}'
    ends = np.array([low, low + width / 3, low + width])
    before, after = law.format(*ends), law.format(*(ends * (1 - better)))
    text = TEXT.replace("stack_loss_percent = 12", f"stack_loss_percent = {before}")
    text = text.replace("stack_loss_percent = 7", f"stack_loss_percent = {after}")
    outcome = assess(case(text, **SPREAD), runs=100, seed=seed)
    (made,) = outcome.comparisons
    assert np.all(made.year.fuel_units <= outcome.baseline.fuel_units * (1 + 1e-12))
    assert np.all(made.year.scope1_kg <= outcome.baseline.scope1_kg * (1 + 1e-12))
    assert np.all(np.diff(made.value, axis=1) >= -1e-9)


def test_what_drives_the_spread_is_found_with_its_sign():
    text = TEXT.replace("investment = 10", 'investment = { kind = "uniform", low = 5, high = 15 }')
    (made,) = assess(case(text, price_per_unit='{ kind = "uniform", low = 50, high = 500 }'), runs=1000).comparisons
    assert list(made.drivers) == ["fuel.price_per_unit", "measure.investment"]
    assert made.drivers["fuel.price_per_unit"] > 0.7
    assert -0.7 < made.drivers["measure.investment"] < -0.1
    assert made.emission_drivers == {}


def test_another_fuel_has_luck_of_its_own():
    fuel = """
[measure.fuel]
name = "{}"
unit = "t"
heat_of_combustion_kwh_per_unit = 5000
price_per_unit = {{ kind = "lognormal", median = 100, factor = 1.3 }}
emission_kg_per_kwh = 0.34
"""
    same, other = (
        assess(case(TEXT + fuel.format(name), **SPREAD), runs=500).comparisons[0] for name in ("coal", "coke")
    )
    assert "fuel.price_per_unit" in same.drivers
    assert {"fuel.price_per_unit", "coke.price_per_unit"} <= set(other.drivers)
    assert other.drivers["coke.price_per_unit"] < -0.4
    assert np.std(other.value[:, -1]) > 5 * np.std(same.value[:, -1])


def test_correlated_prices_widen_what_they_both_drive():
    joined = TEXT.replace(
        "[weather]",
        '[[correlation]]\nbetween = ["fuel.price_per_unit", "electricity.price_per_kwh"]\nrank = 0.95\n[weather]',
    )
    prices = {
        "price_per_unit": '{ kind = "uniform", low = 400, high = 1200 }',
        "price_per_kwh": '{ kind = "uniform", low = 0.1, high = 0.3 }',
    }
    apart, together = (np.std(assess(case(text, **prices), runs=1000).baseline.cost) for text in (TEXT, joined))
    assert together > 1.25 * apart


@pytest.mark.parametrize(("runs", "seed", "where"), [(10, 1, "runs"), (10**7, 1, "runs"), (100, -1, "seed")])
def test_runs_and_seeds_out_of_range_are_refused(runs, seed, where):
    with pytest.raises(ConfigError, match=f"^{where}: "):
        assess(case(), runs=runs, seed=seed)


def test_figures_hardly_depend_on_the_seed():
    given_case = load(ROOT / "firmware-configs" / "assess" / "gas-plant.toml")
    first, second = (assess(given_case, runs=2000, seed=seed) for seed in (1, 2))
    assert quantiles(first.baseline.cost) == pytest.approx(quantiles(second.baseline.cost), rel=0.03)
    for one, two in zip(first.comparisons, second.comparisons, strict=True):
        assert quantiles(one.payback_years)[1] == pytest.approx(quantiles(two.payback_years)[1], rel=0.03)


def test_more_parameters_that_are_drawn_each_year_allow_fewer_runs():
    yearly = '{ kind = "lognormal", median = 10, factor = 1.1, each_year = true }'
    few = case(TEXT.replace("life_years = 5", "life_years = 60"), **SPREAD)
    many = case(TEXT.replace("life_years = 5", "life_years = 60"), **{**SPREAD, "price_per_unit": yearly})
    most = []
    for given_case in (few, many):
        with pytest.raises(ConfigError, match=r"outside 100\.\.(\d+) for 60 years") as caught:
            assess(given_case, runs=100_000)
        most.append(int(str(caught.value).rpartition("..")[2].split(" ")[0]))
    assert most[1] < most[0] < 100_000
