"""The three published formulas of energy saving, exactly as they were published. Pure functions.

Their published units do not balance, as each docstring says. So their values are printed beside a bill and a
simulation, and decide nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from agent.contract.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """A renewable resource at hand: its density rho in kg/m3 and its volume V in m3."""

    name: str
    density_kg_per_m3: float
    volume_m3: float

    def __post_init__(self) -> None:
        """Refuse what is no density or no volume.

        Raises:
            ConfigError: when either is negative or not finite.
        """
        _check("density_kg_per_m3", self.density_kg_per_m3, low=0)
        _check("volume_m3", self.volume_m3, low=0)


def predicted_electricity_kwh(
    *,
    use_kwh: float,
    battery_capacity_kwh: float,
    insolation_kwh_per_m2_day: float,
    reduction_h_per_kwh: float,
) -> float:
    """Return the predicted electricity use: `E_pred = S/C * (1 - exp(-R_s(T))) * exp(-alpha * S)`.

    Units as published: E_pred in kWh. They do not balance: S/C is a pure number, so that the right side has no unit;
    the exponent R_s(T) carries kWh/(m2 day) and the exponent alpha * S carries h, where each should have none.

    Args:
        use_kwh: S, current total electricity use; at least 0.
        battery_capacity_kwh: C, above 0.
        insolation_kwh_per_m2_day: R_s(T), mean outdoor or indoor insolation coefficient at the time T; at least 0.
        reduction_h_per_kwh: alpha, reduction coefficient in h/kWh; at least 0.

    Raises:
        ConfigError: when an input is outside its domain or not finite, or the result is beyond reckoning.
    """
    _check("use_kwh", use_kwh, low=0)
    _check("battery_capacity_kwh", battery_capacity_kwh, above=0)
    _check("insolation_kwh_per_m2_day", insolation_kwh_per_m2_day, low=0)
    _check("reduction_h_per_kwh", reduction_h_per_kwh, low=0)
    gained = -math.expm1(-insolation_kwh_per_m2_day)
    return _finite(use_kwh / battery_capacity_kwh * gained * math.exp(-reduction_h_per_kwh * use_kwh))


def renewable_use_kwh(
    *, resources: Iterable[Resource], unused_share: float, predicted_kwh: float, non_renewable_kwh: float
) -> float:
    """Return the renewable use expected: `P_renewable = sum_i(rho_i * V_i / (1 - eta)) * E_pred + P_non_renewable`.

    Units as published: P_renewable in kWh. They do not balance: rho * V is a mass in kg, so that the first term is in
    kg kWh and the second, to which it is added, in kWh. It also grows with the share that is left unused.

    Args:
        resources: density and volume of each; without any the sum is 0.
        unused_share: eta, the share of the renewable resource left unused; at least 0 and below 1.
        predicted_kwh: E_pred, from `predicted_electricity_kwh`; at least 0.
        non_renewable_kwh: P_non_renewable, total of the non-renewable resource; at least 0.

    Raises:
        ConfigError: when an input is outside its domain or not finite, or the result is beyond reckoning.
    """
    _check("unused_share", unused_share, low=0, below=1)
    _check("predicted_kwh", predicted_kwh, low=0)
    _check("non_renewable_kwh", non_renewable_kwh, low=0)
    masses = (each.density_kg_per_m3 * each.volume_m3 / (1 - unused_share) for each in resources)
    return _finite(sum(masses) * predicted_kwh + non_renewable_kwh)


def energy_saving_cost_j_per_kwh(
    *,
    predicted_kwh: float,
    stop_time_h: float,
    grid_kwh: float,
    heat_pump_kw_per_year: float,
    heat_pump_years: float,
    other_j_per_kwh: float,
) -> float:
    """Return the energy-saving cost: `C_energy = E_pred/t_on + Q_grid + dP_HP * t_HP + C_other`.

    Units as published: C_energy in J/kWh. They do not balance: the four terms that are added are in kWh/h (a power),
    kWh, kW and J/kWh.

    Args:
        predicted_kwh: E_pred, from `predicted_electricity_kwh`; at least 0.
        stop_time_h: t_on, which is published as the plant's stop time; above 0.
        grid_kwh: Q_grid, energy carried by the grid; at least 0.
        heat_pump_kw_per_year: dP_HP, mean yearly change of power; negative where it falls.
        heat_pump_years: t_HP, air changes of the heat pump, in years; at least 0.
        other_j_per_kwh: C_other, any other cost; negative where it is a gain.

    Raises:
        ConfigError: when an input is outside its domain or not finite, or the result is beyond reckoning.
    """
    _check("predicted_kwh", predicted_kwh, low=0)
    _check("stop_time_h", stop_time_h, above=0)
    _check("grid_kwh", grid_kwh, low=0)
    _check("heat_pump_kw_per_year", heat_pump_kw_per_year)
    _check("heat_pump_years", heat_pump_years, low=0)
    _check("other_j_per_kwh", other_j_per_kwh)
    return _finite(predicted_kwh / stop_time_h + grid_kwh + heat_pump_kw_per_year * heat_pump_years + other_j_per_kwh)


def _check(
    name: str, value: float, *, low: float = -math.inf, above: float = -math.inf, below: float = math.inf
) -> None:
    if not math.isfinite(value):
        raise ConfigError(f"{value} is not a finite number", where=name)
    if value < low:
        raise ConfigError(f"{value:g} is below {low:g}", where=name)
    if value <= above and math.isfinite(above):
        raise ConfigError(f"{value:g} is not above {above:g}", where=name)
    if value >= below and math.isfinite(below):
        raise ConfigError(f"{value:g} is not below {below:g}", where=name)


def _finite(value: float) -> float:
    if not math.isfinite(value):
        raise ConfigError("the result is beyond reckoning", where="formula", todo="Check the size of its inputs")
    return value
