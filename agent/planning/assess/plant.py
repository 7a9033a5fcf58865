"""A plant's parameters: which there are, their units, and what each may be. How they act together is `process`.

Each section is a table of the assessment file, and each parameter has a distribution. Percents are of 100.
"""

from __future__ import annotations

import dataclasses
import enum
import math
import typing
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Annotated

from agent.configform import Limits
from agent.contract.errors import ConfigError
from agent.planning.assess.distributions import KINDS, LAWS, Distribution, Fixed

HEAT_OF_EVAPORATION_KWH_PER_T = 678.6  # of water at 25 degrees: 2.443 MJ/kg
_MOST = 1e12  # of any parameter: no plant has more, and nothing overflows


def spread(low: float, high: float = math.inf) -> Limits:
    """Limits of a parameter, of all that its distribution can reach."""
    return Limits(low=low, high=high, kinds=KINDS, plain="fixed")


Price = Annotated[Distribution, spread(-math.inf)]
Amount = Annotated[Distribution, spread(0)]
Percent = Annotated[Distribution, spread(0, 100)]
PartPercent = Annotated[Distribution, spread(0, 99)]  # a loss that leaves something
ChangePercent = Annotated[Distribution, spread(-50, 50)]
ZERO = Fixed(value=0.0)


class FuelUnit(enum.StrEnum):
    """In what a fuel is bought: tonnes or cubic metres."""

    TONNE = "t"
    CUBIC_METRE = "m3"


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """One table of parameters; each field that is a distribution keeps to the limits in its annotation."""

    def __post_init__(self) -> None:
        """Refuse a distribution that can leave its parameter's limits.

        Raises:
            ConfigError: naming each parameter that can, and its limits.
        """
        hints = typing.get_type_hints(type(self), include_extras=True)
        problems = []
        for name, law in self.parameters():
            limits: Limits = typing.get_args(hints[name])[1]
            outside = [reach for reach in law.support if not limits.low <= reach <= limits.high]
            if outside:
                problems.append(f"{name} can be {outside[0]:g}, and must be {_wanted(limits)}")
            elif any(abs(size) > _MOST for size in (law.expected, *filter(math.isfinite, law.support))):
                problems.append(f"{name} is beyond {_MOST:g}")
        if problems:
            raise ConfigError("; ".join(problems))

    def parameters(self) -> Iterator[tuple[str, Distribution]]:
        """Yield the name and the distribution of each parameter."""
        for each in dataclasses.fields(self):
            value = getattr(self, each.name)
            if isinstance(value, LAWS):
                yield each.name, value


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand(Section):
    """`[demand]`: useful heat and electricity in a year of normal production; `activity_percent` scales both."""

    process_heat_kwh: Amount = ZERO
    space_heat_kwh_per_degree_day: Amount = ZERO
    electricity_kwh: Amount = ZERO
    activity_percent: Annotated[Distribution, spread(0, 300)] = field(default_factory=lambda: Fixed(value=100.0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Fuel(Section):
    """`[fuel]`: what the boiler burns; a measure that changes it gives it whole.

    Attributes:
        heat_of_combustion_kwh_per_unit: net, dry.
        moisture_percent: water in the fuel as bought; its evaporation is taken from the heat of combustion.
        price_per_unit: at the supplier's gate.
        delivery_loss_percent: mass lost on the way and in the store, of what is bought.
        freight_per_unit_km, distance_km, handling_per_unit: logistics, in money.
        emission_kg_per_kwh: CO2 equivalent, of the fuel's net heat as fired: scope 1.
    """

    name: str
    unit: FuelUnit
    heat_of_combustion_kwh_per_unit: Annotated[Distribution, spread(0.001)]
    moisture_percent: Annotated[Distribution, spread(0, 70)] = ZERO
    price_per_unit: Amount
    delivery_loss_percent: PartPercent = ZERO
    distance_km: Amount = ZERO
    freight_per_unit_km: Amount = ZERO
    handling_per_unit: Amount = ZERO
    emission_kg_per_kwh: Amount
    renewable_percent: Percent = ZERO

    def __post_init__(self) -> None:
        """Refuse a fuel whose water takes more heat than it has.

        Raises:
            ConfigError: when that can be, or a gas is given moisture.
        """
        Section.__post_init__(self)
        wettest = self.moisture_percent.support[1] / 100
        if self.unit is FuelUnit.CUBIC_METRE and wettest > 0:
            raise ConfigError("moisture_percent is for fuels by the tonne; give the heat of a gas as it is delivered")
        driest_heat = self.heat_of_combustion_kwh_per_unit.support[0]
        if driest_heat * (1 - wettest) <= HEAT_OF_EVAPORATION_KWH_PER_T * wettest:
            raise ConfigError(
                f"heat_of_combustion_kwh_per_unit can be {driest_heat:g}, which does not evaporate the water of"
                f" {100 * wettest:g} % moisture"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Boiler(Section):
    """`[boiler]`: losses in percent of the heat fired; what they leave is the efficiency.

    Attributes:
        auxiliary_kwh_per_kwh: electricity of fans, pumps and mills for each kWh fired.
    """

    stack_loss_percent: PartPercent
    radiation_loss_percent: PartPercent
    unburnt_loss_percent: PartPercent = ZERO
    blowdown_loss_percent: PartPercent = ZERO
    auxiliary_kwh_per_kwh: Annotated[Distribution, spread(0, 1)] = ZERO
    maintenance_per_year: Amount = ZERO

    def __post_init__(self) -> None:
        """Refuse losses that can leave no heat.

        Raises:
            ConfigError: when their greatest values add up to 100 % or more.
        """
        Section.__post_init__(self)
        most = sum(law.support[1] for name, law in self.parameters() if name.endswith("_loss_percent"))
        if most >= 100:
            raise ConfigError(f"the losses can add up to {most:g} %, and must stay below 100 %")


@dataclass(frozen=True, slots=True, kw_only=True)
class Network(Section):
    """`[network]`: pipes between the heat's source and its use; the loss is of the heat sent."""

    loss_percent: PartPercent


@dataclass(frozen=True, slots=True, kw_only=True)
class HeatPump(Section):
    """`[heat_pump]`: its share of the heat sent, and its seasonal performance (heat by electricity)."""

    share_percent: Percent
    performance: Annotated[Distribution, spread(1, 20)]
    maintenance_per_year: Amount = ZERO


@dataclass(frozen=True, slots=True, kw_only=True)
class Pv(Section):
    """`[pv]`: peak power in kW, so that a kWh/m2 of insolation gives 1 kWh a kW before the performance ratio."""

    peak_kw: Amount
    performance_ratio_percent: Percent
    self_use_percent: Percent
    degradation_percent_per_year: Annotated[Distribution, spread(0, 10)]
    maintenance_per_year: Amount = ZERO


@dataclass(frozen=True, slots=True, kw_only=True)
class Electricity(Section):
    """`[electricity]`: the supply, and how much of it becomes useful (motors, drives, transformers).

    Attributes:
        average_kg_per_kwh, marginal_kg_per_kwh: CO2 equivalent of the grid's mix, and of the plant that follows load.
        renewable_percent: of the grid's mix.
    """

    price_per_kwh: Price
    export_price_per_kwh: Price = ZERO
    conversion_efficiency_percent: Annotated[Distribution, spread(1, 100)] = field(
        default_factory=lambda: Fixed(value=100.0)
    )
    average_kg_per_kwh: Amount
    marginal_kg_per_kwh: Amount
    renewable_percent: Percent = ZERO


def _no_heat_pump() -> HeatPump:
    return HeatPump(share_percent=ZERO, performance=Fixed(value=1.0))


def _no_pv() -> Pv:
    return Pv(peak_kw=ZERO, performance_ratio_percent=ZERO, self_use_percent=ZERO, degradation_percent_per_year=ZERO)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plant:
    """All that a measure may change."""

    demand: Demand
    fuel: Fuel
    boiler: Boiler
    network: Network = field(default_factory=lambda: Network(loss_percent=ZERO))
    heat_pump: HeatPump = field(default_factory=_no_heat_pump)
    pv: Pv = field(default_factory=_no_pv)
    electricity: Electricity


def parameters_of(*sections: tuple[str, Section]) -> dict[str, Distribution]:
    """Return the distributions by name, such as `boiler.stack_loss_percent`."""
    return {f"{place}.{name}": law for place, section in sections for name, law in section.parameters()}


def plant_parameters(plant: Plant) -> dict[str, Distribution]:
    """Return all parameters of a plant by name."""
    return parameters_of(*((each.name, getattr(plant, each.name)) for each in dataclasses.fields(plant)))


def _wanted(limits: Limits) -> str:
    return f"at least {limits.low:g}" if math.isinf(limits.high) else f"within {limits.low:g}..{limits.high:g}"
