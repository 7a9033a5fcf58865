"""The published formulas against values worked by hand, and what they refuse."""

import math

import pytest

from agent.contract.errors import ConfigError
from agent.planning.assess.formulas import (
    Resource,
    energy_saving_cost_j_per_kwh,
    predicted_electricity_kwh,
    renewable_use_kwh,
)

USE = {
    "use_kwh": 10.0,
    "battery_capacity_kwh": 5.0,
    "insolation_kwh_per_m2_day": 1.0,
    "reduction_h_per_kwh": 0.1,
}
RENEWABLE = {
    "resources": [
        Resource(name="wood", density_kg_per_m3=800, volume_m3=2),
        Resource(name="straw", density_kg_per_m3=250, volume_m3=4),
    ],
    "unused_share": 0.2,
    "predicted_kwh": 0.25,
    "non_renewable_kwh": 100.0,
}
SAVING = {
    "predicted_kwh": 0.25,
    "stop_time_h": 0.5,
    "grid_kwh": 1000.0,
    "heat_pump_kw_per_year": -3.0,
    "heat_pump_years": 20.0,
    "other_j_per_kwh": 7.0,
}


def test_predicted_electricity_by_hand():
    # 10/5 = 2; 1 - exp(-1) = 0.632121; exp(-0.1 x 10) = 0.367879; 2 x 0.632121 x 0.367879 = 0.465088
    assert predicted_electricity_kwh(**USE) == pytest.approx(0.465088, abs=1e-6)


def test_predicted_electricity_without_reduction_by_hand():
    # 300/1000 = 0.3; 1 - exp(-ln 2) = 0.5; exp(0) = 1
    value = predicted_electricity_kwh(
        use_kwh=300, battery_capacity_kwh=1000, insolation_kwh_per_m2_day=math.log(2), reduction_h_per_kwh=0
    )
    assert value == pytest.approx(0.15, rel=1e-12)


def test_predicted_electricity_of_a_plant_by_hand():
    # 2 500 000/500 = 5000; 1 - exp(-4) = 0.981684; exp(-2e-7 x 2.5e6) = exp(-0.5) = 0.606531
    value = predicted_electricity_kwh(
        use_kwh=2_500_000, battery_capacity_kwh=500, insolation_kwh_per_m2_day=4, reduction_h_per_kwh=2e-7
    )
    assert value == pytest.approx(2977.11, abs=0.01)


def test_renewable_use_by_hand():
    # (800 x 2 + 250 x 4) / 0.8 = 3250; x 0.25 = 812.5; + 100
    assert renewable_use_kwh(**RENEWABLE) == pytest.approx(912.5, rel=1e-12)


def test_without_a_resource_renewable_use_is_the_non_renewable():
    assert renewable_use_kwh(**{**RENEWABLE, "resources": []}) == 100.0


def test_saving_cost_by_hand():
    # 0.25/0.5 = 0.5; + 1000; - 3 x 20 = -60; + 7
    assert energy_saving_cost_j_per_kwh(**SAVING) == pytest.approx(947.5, rel=1e-12)


@pytest.mark.parametrize(
    ("formula", "good", "name", "bad"),
    [
        (predicted_electricity_kwh, USE, "use_kwh", -1),
        (predicted_electricity_kwh, USE, "battery_capacity_kwh", 0),
        (predicted_electricity_kwh, USE, "battery_capacity_kwh", -5),
        (predicted_electricity_kwh, USE, "insolation_kwh_per_m2_day", -0.1),
        (predicted_electricity_kwh, USE, "reduction_h_per_kwh", -0.1),
        (renewable_use_kwh, RENEWABLE, "unused_share", 1),
        (renewable_use_kwh, RENEWABLE, "unused_share", -0.01),
        (renewable_use_kwh, RENEWABLE, "predicted_kwh", -1),
        (renewable_use_kwh, RENEWABLE, "non_renewable_kwh", -1),
        (energy_saving_cost_j_per_kwh, SAVING, "predicted_kwh", -1),
        (energy_saving_cost_j_per_kwh, SAVING, "stop_time_h", 0),
        (energy_saving_cost_j_per_kwh, SAVING, "grid_kwh", -1),
        (energy_saving_cost_j_per_kwh, SAVING, "heat_pump_years", -1),
    ],
)
def test_what_is_outside_a_domain_is_refused_by_name(formula, good, name, bad):
    formula(**good)
    with pytest.raises(ConfigError, match=f"^{name}: "):
        formula(**{**good, name: bad})


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize(
    ("formula", "good"),
    [(predicted_electricity_kwh, USE), (renewable_use_kwh, RENEWABLE), (energy_saving_cost_j_per_kwh, SAVING)],
)
def test_what_is_not_finite_is_refused_by_name(formula, good, bad):
    for name in good:
        if name != "resources":
            with pytest.raises(ConfigError, match=f"^{name}: "):
                formula(**{**good, name: bad})


@pytest.mark.parametrize("name", ["density_kg_per_m3", "volume_m3"])
@pytest.mark.parametrize("bad", [-1.0, math.nan])
def test_a_resource_of_no_density_or_volume_is_refused(name, bad):
    with pytest.raises(ConfigError, match=f"^{name}: "):
        Resource(**{"name": "wood", "density_kg_per_m3": 1.0, "volume_m3": 1.0, name: bad})


def test_a_result_beyond_reckoning_is_refused():
    with pytest.raises(ConfigError, match="beyond reckoning"):
        predicted_electricity_kwh(**{**USE, "use_kwh": 1e300, "battery_capacity_kwh": 1e-300, "reduction_h_per_kwh": 0})


@pytest.mark.parametrize("formula", [predicted_electricity_kwh, renewable_use_kwh, energy_saving_cost_j_per_kwh])
def test_each_docstring_says_that_its_units_do_not_balance(formula):
    assert "do not balance" in formula.__doc__
