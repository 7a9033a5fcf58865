"""The plant's energy from fuel and grid to use and loss, what it costs and emits: one function over arrays.

Decides the physics and the accounts; it draws nothing. Heat comes from a heat pump for its share and from the boiler
for the rest; electricity from the plant's own PV as far as it is used at once, and from the grid for the rest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from agent.planning.assess.distributions import Floats
from agent.planning.assess.plant import HEAT_OF_EVAPORATION_KWH_PER_T

_DAYS_A_YEAR = 365


@dataclass(frozen=True, slots=True, eq=False)
class Flows:
    """What a plant takes, gives and pays in one year: arrays [runs], or [1] where all runs are alike.

    Attributes:
        supplied: kWh by source: `fuel` (net heat of what is bought), `grid`, `sun`, `ambient` (by the heat pump).
        used: kWh by use: `heat`, `electricity`, `export`.
        lost: kWh by place.
        fuel_units: bought, in the fuel's unit.
        renewable_kwh: used at the plant: of fuel, grid and ambient heat, and its own sun but for what is exported.
        scope1_kg, scope2_average_kg, scope2_marginal_kg: CO2 equivalent. Export takes nothing off them.
        costs: money by cause; `export` is negative.

    Invariants:
        supplied = used + lost, in each run.
    """

    supplied: Mapping[str, Floats]
    used: Mapping[str, Floats]
    lost: Mapping[str, Floats]
    fuel_units: Floats
    renewable_kwh: Floats
    scope1_kg: Floats
    scope2_average_kg: Floats
    scope2_marginal_kg: Floats
    costs: Mapping[str, Floats]

    @property
    def energy_kwh(self) -> Floats:
        """What is bought: fuel and grid."""
        return self.supplied["fuel"] + self.supplied["grid"]

    @property
    def lost_kwh(self) -> Floats:
        """All losses."""
        return total(self.lost)

    @property
    def cost(self) -> Floats:
        """All costs, without investment."""
        return total(self.costs)

    @property
    def emissions_kg(self) -> Floats:
        """Scope 1, and scope 2 by average factors."""
        return self.scope1_kg + self.scope2_average_kg


def total(parts: Mapping[str, Floats]) -> Floats:
    """Return the sum of arrays [runs] or [1]."""
    found, *rest = parts.values()
    for each in rest:
        found = found + each
    return found


def simulate(values: Mapping[str, Floats], age: int) -> Flows:
    """Follow a plant's energy through one year.

    Args:
        values: every parameter of plant and world by name, [runs] or [1].
        age: whole years since the first; by it prices have grown and PV has aged.
    """

    def part(name: str) -> Floats:
        return values[name] / 100

    def grown(name: str) -> Floats:
        grown_by: Floats = (1 + part(name)) ** age
        return grown_by

    # Heat, from its use back to the fuel.
    activity = part("demand.activity_percent")
    heat = (
        values["demand.process_heat_kwh"] * activity
        + values["demand.space_heat_kwh_per_degree_day"] * values["weather.heating_degree_days"]
    )
    sent = heat / (1 - part("network.loss_percent"))
    pumped = sent * part("heat_pump.share_percent")
    pump_kwh = pumped / values["heat_pump.performance"]
    losses = {name: part(f"boiler.{name}_loss_percent") for name in ("stack", "radiation", "unburnt", "blowdown")}
    fired = (sent - pumped) / (1 - total(losses))
    moisture = part("fuel.moisture_percent")
    heat_per_unit = (
        values["fuel.heat_of_combustion_kwh_per_unit"] * (1 - moisture) - HEAT_OF_EVAPORATION_KWH_PER_T * moisture
    )
    bought = fired / heat_per_unit / (1 - part("fuel.delivery_loss_percent"))

    # Electricity, from its use back to grid and sun.
    electricity = values["demand.electricity_kwh"] * activity
    converted = electricity / part("electricity.conversion_efficiency_percent")
    auxiliary = fired * values["boiler.auxiliary_kwh_per_kwh"]
    drawn = converted + auxiliary + pump_kwh
    sun = (
        values["pv.peak_kw"]
        * values["weather.insolation_kwh_per_m2_day"]
        * _DAYS_A_YEAR
        * part("pv.performance_ratio_percent")
        * (1 - part("pv.degradation_percent_per_year")) ** age
    )
    own = np.minimum(sun * part("pv.self_use_percent"), drawn)
    export, grid = sun - own, drawn - own
    ambient = pumped - pump_kwh

    scope1_kg = fired * values["fuel.emission_kg_per_kwh"]
    fuel_growth = grown("finance.fuel_escalation_percent_per_year")
    power_growth = grown("finance.electricity_escalation_percent_per_year")
    freight = values["fuel.distance_km"] * values["fuel.freight_per_unit_km"] + values["fuel.handling_per_unit"]
    return Flows(
        supplied={"fuel": bought * heat_per_unit, "grid": grid, "sun": sun, "ambient": ambient},
        used={"heat": heat, "electricity": electricity, "export": export},
        lost={
            "delivery": bought * heat_per_unit * part("fuel.delivery_loss_percent"),
            **{name: fired * share for name, share in losses.items()},
            "network": sent * part("network.loss_percent"),
            "conversion": converted * (1 - part("electricity.conversion_efficiency_percent")),
            "auxiliary": auxiliary,
        },
        fuel_units=bought,
        renewable_kwh=fired * part("fuel.renewable_percent")
        + grid * part("electricity.renewable_percent")
        + own
        + ambient,
        scope1_kg=scope1_kg,
        scope2_average_kg=grid * values["electricity.average_kg_per_kwh"],
        scope2_marginal_kg=grid * values["electricity.marginal_kg_per_kwh"],
        costs={
            "fuel": bought * values["fuel.price_per_unit"] * fuel_growth,
            "logistics": bought * freight,
            "electricity": grid * values["electricity.price_per_kwh"] * power_growth,
            "export": -export * values["electricity.export_price_per_kwh"] * power_growth,
            "carbon": scope1_kg / 1000 * values["finance.carbon_price_per_t"],
            "maintenance": values["boiler.maintenance_per_year"]
            + values["heat_pump.maintenance_per_year"]
            + values["pv.maintenance_per_year"],
        },
    )
