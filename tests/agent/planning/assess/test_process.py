"""The plant's energy against a year worked by hand, and the balance for any plant."""

from pathlib import Path

import numpy as np
import pytest

from agent.planning.assess.case import laws_of
from agent.planning.assess.plant import HEAT_OF_EVAPORATION_KWH_PER_T
from agent.planning.assess.process import simulate, total
from agent.planning.assess.reading import load
from agent.planning.assess.sampling import Uniforms
from tests.support.assessments import ROOT, case

EXAMPLES = sorted((ROOT / "firmware-configs" / "assess").glob("*.toml"))
MORE = {
    "network.loss_percent": 20,
    "heat_pump.share_percent": 20,
    "heat_pump.performance": 2.5,
    "heat_pump.maintenance_per_year": 3,
    "pv.peak_kw": 0.5,
    "weather.insolation_kwh_per_m2_day": 4,
    "pv.performance_ratio_percent": 80,
    "pv.self_use_percent": 75,
    "pv.degradation_percent_per_year": 1,
    "pv.maintenance_per_year": 2,
    "boiler.auxiliary_kwh_per_kwh": 0.02,
    "boiler.maintenance_per_year": 5,
    "electricity.conversion_efficiency_percent": 90,
    "electricity.export_price_per_kwh": 0.05,
    "electricity.renewable_percent": 40,
    "fuel.renewable_percent": 10,
    "fuel.delivery_loss_percent": 4,
    "fuel.distance_km": 50,
    "fuel.freight_per_unit_km": 0.2,
    "fuel.handling_per_unit": 6,
    "finance.carbon_price_per_t": 30,
    "finance.fuel_escalation_percent_per_year": 10,
    "finance.electricity_escalation_percent_per_year": 5,
}


def values(**changes):
    small = case()
    given = {name: law.expected for name, law in laws_of(small, small.plant).items()} | MORE | changes
    return {name: np.array([float(value)]) for name, value in given.items()}


def numbers(parts):
    return {name: float(value[0]) for name, value in parts.items()}


def test_a_year_by_hand():
    flows = simulate(values(), 0)
    # Heat: 700 + 3 x 100 = 1000, sent 1000 / 0.8 = 1250. The heat pump gives 250 from 100 kWh; the boiler 1000.
    # Losses 12 + 3 + 4 + 1 = 20 %: fired 1250. Bought 1250 / 5000 / 0.96 = 0.260417 t, with 1302.083 kWh.
    # Electricity: 900 / 0.9 = 1000, + 0.02 x 1250 = 25, + 100: 1125. Sun: 0.5 x 4 x 365 x 0.8 = 584, own 438.
    assert numbers(flows.supplied) == pytest.approx(
        {"fuel": 1250 / 0.96, "grid": 1125 - 438, "sun": 584, "ambient": 150}, rel=1e-9
    )
    assert numbers(flows.used) == pytest.approx({"heat": 1000, "electricity": 900, "export": 146}, rel=1e-9)
    assert numbers(flows.lost) == pytest.approx(
        {
            "delivery": 1250 / 0.96 * 0.04,
            "stack": 150,
            "radiation": 37.5,
            "unburnt": 50,
            "blowdown": 12.5,
            "network": 250,
            "conversion": 100,
            "auxiliary": 25,
        },
        rel=1e-9,
    )
    tonnes = 0.25 / 0.96
    assert numbers(flows.costs) == pytest.approx(
        {
            "fuel": 100 * tonnes,
            "logistics": 16 * tonnes,
            "electricity": 687 * 0.2,
            "export": -146 * 0.05,
            "carbon": 1250 * 0.34 / 1000 * 30,
            "maintenance": 10,
        },
        rel=1e-9,
    )
    assert flows.scope1_kg[0] == pytest.approx(425)
    assert flows.scope2_average_kg[0] == pytest.approx(687 * 0.5)
    assert flows.scope2_marginal_kg[0] == pytest.approx(687 * 0.8)
    assert flows.emissions_kg[0] == pytest.approx(425 + 343.5)
    assert flows.renewable_kwh[0] == pytest.approx(125 + 687 * 0.4 + 438 + 150)


def test_later_years_have_grown_prices_and_aged_panels():
    first, third = simulate(values(), 0), simulate(values(), 2)
    assert third.costs["fuel"][0] == pytest.approx(first.costs["fuel"][0] * 1.1**2)
    assert third.supplied["sun"][0] == pytest.approx(584 * 0.99**2)
    own_kwh = 438 * 0.99**2
    assert third.costs["electricity"][0] == pytest.approx((1125 - own_kwh) * 0.2 * 1.05**2)
    assert third.costs["logistics"][0] == first.costs["logistics"][0]


def test_water_in_the_fuel_takes_its_heat_of_evaporation():
    dry, wet = simulate(values(), 0), simulate(values(**{"fuel.moisture_percent": 20}), 0)
    heat_per_t = 5000 * 0.8 - HEAT_OF_EVAPORATION_KWH_PER_T * 0.2
    assert wet.fuel_units[0] == pytest.approx(dry.fuel_units[0] * 5000 / heat_per_t)
    assert wet.supplied["fuel"][0] == pytest.approx(dry.supplied["fuel"][0])


def test_own_sun_is_never_more_than_the_plant_draws():
    flows = simulate(values(**{"pv.peak_kw": 100}), 0)
    assert flows.supplied["grid"][0] == 0
    assert flows.used["export"][0] == pytest.approx(584 * 200 - 1125)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_what_goes_in_is_used_or_lost(path: Path):
    given = load(path)
    uniforms = Uniforms(300, 3, 1, given.world.correlation)
    for plant in (given.plant, *(measure.plant for measure in given.measures)):
        drawn = uniforms.values(laws_of(given, plant))
        for age in range(3):
            flows = simulate({name: each[:, min(age, each.shape[1] - 1)] for name, each in drawn.items()}, age)
            supplied, used, lost = total(flows.supplied), total(flows.used), total(flows.lost)
            assert np.allclose(supplied, used + lost, rtol=1e-12)
            for part in (flows.supplied, flows.used, flows.lost):
                assert all(np.all(each >= 0) for each in part.values())


@pytest.mark.parametrize("name", sorted({*MORE, *laws_of(case(), case().plant)} - {"finance.discount_rate_percent"}))
def test_every_parameter_moves_something(name):
    def everything(flows):
        parts = (*flows.supplied.values(), *flows.used.values(), *flows.costs.values(), flows.fuel_units)
        rest = (flows.renewable_kwh, flows.scope1_kg, flows.scope2_average_kg, flows.scope2_marginal_kg)
        return np.array([float(each[0]) for each in (*parts, *rest)])

    before = values()
    after = {**before, name: before[name] * 1.1 + 0.1}
    assert not np.allclose(everything(simulate(before, 1)), everything(simulate(after, 1)), rtol=1e-12)
