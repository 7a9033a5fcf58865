"""What an assessment file says beside the plant: weather, finance, measures, and the load to bill."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from agent.configform import Limits
from agent.contract.errors import ConfigError
from agent.planning.assess.distributions import Distribution
from agent.planning.assess.formulas import Resource
from agent.planning.assess.plant import (
    ZERO,
    Amount,
    ChangePercent,
    Plant,
    Section,
    parameters_of,
    plant_parameters,
    spread,
)

_MAX_KW = 1e9


@dataclass(frozen=True, slots=True, kw_only=True)
class Weather(Section):
    """`[weather]`: the site's year; the same before and after a measure."""

    heating_degree_days: Amount = ZERO
    insolation_kwh_per_m2_day: Amount = ZERO


@dataclass(frozen=True, slots=True, kw_only=True)
class Finance(Section):
    """`[finance]`: what money is worth, and where prices go; the same before and after a measure."""

    discount_rate_percent: Annotated[Distribution, spread(0, 50)]
    fuel_escalation_percent_per_year: ChangePercent = ZERO
    electricity_escalation_percent_per_year: ChangePercent = ZERO
    carbon_price_per_t: Amount = ZERO


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasureHead(Section):
    """`[[measure]]` but for the sections of the plant that it changes."""

    name: Annotated[str, Limits(pattern=".{1,40}")]
    investment: Amount
    life_years: Annotated[int, Limits(low=1, high=60)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """What is done, what it costs at the start, how long it lasts, and the plant as it is afterwards."""

    head: MeasureHead
    plant: Plant


@dataclass(frozen=True, slots=True, kw_only=True)
class Correlation:
    """`[[correlation]]`: two parameters whose ranks go together (1) or against one another (-1)."""

    between: tuple[str, ...]
    rank: Annotated[float, Limits(low=-0.99, high=0.99)]

    def __post_init__(self) -> None:
        """Refuse any number of parameters but two.

        Raises:
            ConfigError: when they are not two, or one twice.
        """
        if len(self.between) != 2 or self.between[0] == self.between[1]:
            raise ConfigError('between is not two parameters such as ["fuel.price_per_unit", "pv.peak_kw"]')


@dataclass(frozen=True, slots=True, kw_only=True)
class BilledLoad:
    """`[bill]`: the plant's own tariff, and the mean day of its load by which a year is billed.

    Attributes:
        year: the calendar year to bill, in the tariff's zone.
        workday_kw, weekend_kw: 24 hourly means from local midnight; a weekend is as a workday without its own.
        power_factor: of the load, for tariffs that bill reactive energy; unknown where it is left out.
    """

    tariff: Annotated[Path, Limits(exists=True)]
    year: Annotated[int, Limits(low=1971, high=2199)]
    workday_kw: Annotated[tuple[float, ...], Limits(low=0, high=_MAX_KW)]
    weekend_kw: Annotated[tuple[float, ...], Limits(low=0, high=_MAX_KW)] | None = None
    power_factor: Annotated[float, Limits(low=0.1, high=1)] | None = None

    def __post_init__(self) -> None:
        """Refuse a day that has not 24 hours.

        Raises:
            ConfigError: when it has not.
        """
        for name, hours in (("workday_kw", self.workday_kw), ("weekend_kw", self.weekend_kw or self.workday_kw)):
            if len(hours) != 24:
                raise ConfigError(f"{name} has {len(hours)} numbers, not 24")


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """`[published]`: what the three published formulas want beside the year that is billed; see `formulas`."""

    battery_capacity_kwh: float
    insolation_kwh_per_m2_day: float
    reduction_h_per_kwh: float
    unused_share: float
    non_renewable_kwh: float
    stop_time_h: float
    heat_pump_kw_per_year: float = 0.0
    heat_pump_years: float = 0.0
    other_j_per_kwh: float = 0.0
    resource: tuple[Resource, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """An assessment file but for plant and measures: what no measure changes."""

    name: Annotated[str, Limits(pattern=".{1,80}")]
    currency: Annotated[str, Limits(pattern="[A-Z]{3}")]
    weather: Weather
    finance: Finance
    correlation: tuple[Correlation, ...] = ()
    bill: BilledLoad | None = None
    published: Published | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One assessment: the plant as it is, and one measure or more."""

    world: World
    plant: Plant
    measures: tuple[Measure, ...]


def world_parameters(world: World) -> dict[str, Distribution]:
    """Return the parameters that no measure changes, by name."""
    return parameters_of(("weather", world.weather), ("finance", world.finance))


def laws_of(case: Case, plant: Plant) -> dict[str, Distribution]:
    """Return all parameters of a plant of the case, and of its world, by name."""
    return {**world_parameters(case.world), **plant_parameters(plant)}


def streams_of(case: Case, plant: Plant) -> dict[str, str]:
    """Return by parameter the stream of random numbers that it has: its own name, as a rule.

    A fuel that the plant does not burn today has luck of its own: that coal is dear does not make gas dear. Its
    streams are called by the fuel's name, such as `natural gas.price_per_unit`.
    """
    other = plant.fuel.name != case.plant.fuel.name
    return {
        name: f"{plant.fuel.name}.{name.removeprefix('fuel.')}" if other and name.startswith("fuel.") else name
        for name in laws_of(case, plant)
    }
