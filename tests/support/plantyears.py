"""Plants of known coefficients: days of energy and variables, for baselines and savings."""

from __future__ import annotations

import datetime as dt

import numpy as np

from agent.planning.performance.days import DailyEnergy
from agent.planning.performance.observations import DAY, Observations, observe
from agent.planning.performance.variables import TEMPERATURE, Variables

FIRST = dt.date(2025, 1, 1)


def temperatures(days: int, seed: int = 0, first: dt.date = FIRST) -> np.ndarray:
    """Daily means of a temperate year: 10 C with 10 C of season, coldest in January."""
    day_of_year = np.arange(days) + (first - FIRST).days
    return 10 - 10 * np.cos(2 * np.pi * day_of_year / 365) + np.random.default_rng(seed).normal(0, 3, days)


def noise(days: int, sigma: float, rho: float, random: np.random.Generator) -> np.ndarray:
    """Noise of which each day keeps `rho` of the one before."""
    level = 0.0
    shocks = random.normal(0, sigma * np.sqrt(1 - rho**2), days + 50).tolist()  # the first fifty are forgotten
    return np.array([level := rho * level + shock for shock in shocks])[50:]


def working(days: int, first: dt.date = FIRST) -> np.ndarray:
    """1 from Monday to Friday."""
    return np.array([float((first + dt.timedelta(days=day)).weekday() < 5) for day in range(days)])


def observed(energy: np.ndarray, by: str = DAY, first: dt.date = FIRST, **variables: np.ndarray) -> Observations:
    """Observations of consecutive days."""
    table = Variables(first, variables, "test") if variables else None
    return observe(DailyEnergy(first, np.asarray(energy, float)), table, list(variables), by)


def heated(days: int, *, seed: int = 0, rho: float = 0.0, sigma: float = 30.0, first: dt.date = FIRST) -> Observations:
    """A plant with 500 kWh, 12 kWh a degree day below 14 C, and 200 kWh on working days."""
    temperature = temperatures(days, seed, first)
    energy = 500 + 12 * np.maximum(14 - temperature, 0) + 200 * working(days, first)
    energy += noise(days, sigma, rho, np.random.default_rng(seed + 1))
    return observed(energy, first=first, **{TEMPERATURE: temperature})


def part(whole: Observations, begin: int, end: int) -> Observations:
    """Some of the observations."""
    variables = {name: values[begin:end] for name, values in whole.variables.items()}
    return Observations(whole.by, whole.ordinals[begin:end], whole.energy_kwh[begin:end], variables, {})
