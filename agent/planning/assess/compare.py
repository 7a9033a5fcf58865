"""The plant as it is against each measure: distributions of energy, cost and emissions, payback, and what drives them.

Decides what is compared: the first year, and the money over the life of the measure. Both plants live in the same
simulated years, so that a difference is the measure's and no chance.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from agent.contract.errors import ConfigError
from agent.planning.assess.case import Case, Measure, laws_of, streams_of
from agent.planning.assess.distributions import Distribution, Fixed, Floats
from agent.planning.assess.finance import discounted, net_value, payback_years
from agent.planning.assess.plant import Plant
from agent.planning.assess.process import Flows, simulate
from agent.planning.assess.sampling import Uniforms, rank_correlation

QUANTILES = (0.1, 0.5, 0.9)
MIN_RUNS, MAX_RUNS = 100, 100_000
_MAX_NUMBERS = 40_000_000  # held at once, in runs x years x arrays: above it they do not fit into a device
_ARRAYS = 8  # of runs x years, beside one for each parameter that is drawn each year
_LEAST_CORRELATION = 0.05  # below it a driver is no driver, or chance


@dataclass(frozen=True, slots=True, eq=False)
class Year:
    """The first year of a plant: each quantity [runs].

    `fuel_units` is in the fuel's unit; money in the currency of the case; `emissions_kg` is scope 1 and the average
    scope 2.
    """

    fuel_units: Floats
    fuel_kwh: Floats
    grid_kwh: Floats
    energy_kwh: Floats
    lost_kwh: Floats
    renewable_kwh: Floats
    cost: Floats
    scope1_kg: Floats
    scope2_average_kg: Floats
    scope2_marginal_kg: Floats
    emissions_kg: Floats

    def items(self) -> Mapping[str, Floats]:
        """The quantities by name."""
        return {name: getattr(self, name) for name in QUANTITIES}


QUANTITIES = tuple(each.name for each in dataclasses.fields(Year))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Comparison:
    """A measure against the plant as it is.

    Attributes:
        year: the first year with the measure.
        investment: [runs].
        payback_years, discounted_payback_years: [runs]; infinite where not within the life.
        value: cumulative present value after each year [runs, life + 1].
        drivers: parameters by their rank correlation with the net present value, the strongest first; those that
            are drawn each year by the mean of their years.
        emission_drivers: the same with the emissions saved in the first year.
    """

    measure: Measure
    year: Year
    investment: Floats
    payback_years: Floats
    discounted_payback_years: Floats
    value: Floats
    drivers: Mapping[str, float]
    emission_drivers: Mapping[str, float]

    @property
    def paid_back_share(self) -> float:
        """The probability that it pays back within its life, undiscounted."""
        return float(np.mean(np.isfinite(self.payback_years)))

    @property
    def worth_share(self) -> float:
        """The probability that its net present value is not negative."""
        return float(np.mean(self.value[:, -1] >= 0))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Outcome:
    """What an assessment found."""

    case: Case
    runs: int
    seed: int
    baseline: Year
    comparisons: tuple[Comparison, ...]


def assess(case: Case, *, runs: int = 5000, seed: int = 1) -> Outcome:
    """Simulate the plant as it is and with each measure.

    Args:
        case: from a file.
        runs: how often; the same seed and runs give the same result.
        seed: of the random numbers, at least 0.

    Raises:
        ConfigError: when runs or seed are out of range.
    """
    years = max(measure.head.life_years for measure in case.measures)
    yearly = max(
        sum(law.each_year for law in laws_of(case, plant).values())
        for plant in (case.plant, *(measure.plant for measure in case.measures))
    )
    most = min(MAX_RUNS, _MAX_NUMBERS // (years * (_ARRAYS + yearly)))
    if not MIN_RUNS <= runs <= most:
        raise ConfigError(f"{runs} is outside {MIN_RUNS}..{most} for {years} years", where="runs")
    if seed < 0:
        raise ConfigError(f"{seed} is negative", where="seed")
    uniforms = Uniforms(runs, years, seed, case.world.correlation)
    baseline = _live(case, case.plant, uniforms)
    return Outcome(
        case=case,
        runs=runs,
        seed=seed,
        baseline=baseline.first,
        comparisons=tuple(_compare(case, measure, baseline, uniforms) for measure in case.measures),
    )


def quantiles(values: Floats) -> tuple[float, ...]:
    """Return P10, P50 and P90 of [N]: each one of the values, so that an infinite payback does no harm."""
    return tuple(float(value) for value in np.quantile(values, QUANTILES, method="higher"))


@dataclass(frozen=True, slots=True, eq=False)
class _Life:
    """A plant's first year, and its cost in all years [runs, years]."""

    first: Year
    cost: Floats


def _live(case: Case, plant: Plant, uniforms: Uniforms) -> _Life:
    values = uniforms.values(laws_of(case, plant), streams_of(case, plant))

    def year(age: int) -> Flows:
        return simulate({name: each[:, min(age, each.shape[1] - 1)] for name, each in values.items()}, age)

    first = year(0)
    cost = np.empty((uniforms.runs, uniforms.years))
    cost[:, 0] = first.cost
    for age in range(1, uniforms.years):
        cost[:, age] = year(age).cost
    return _Life(_first_year(first, uniforms.runs), cost)


def _compare(case: Case, measure: Measure, baseline: _Life, uniforms: Uniforms) -> Comparison:
    years, runs = measure.head.life_years, uniforms.runs
    after = _live(case, measure.plant, uniforms)
    savings = (baseline.cost - after.cost)[:, :years]
    own: dict[str, Distribution] = {
        "measure.investment": measure.head.investment,
        "finance.discount_rate_percent": case.world.finance.discount_rate_percent,
    }
    drawn = uniforms.values(own)
    investment = np.broadcast_to(drawn["measure.investment"][:, 0], (runs,))
    present = discounted(savings, drawn["finance.discount_rate_percent"] / 100)
    value = net_value(investment, present)
    spread = _spread(own, {})
    for plant in (case.plant, measure.plant):
        spread |= _spread(laws_of(case, plant), streams_of(case, plant))
    return Comparison(
        measure=measure,
        year=after.first,
        investment=investment,
        payback_years=payback_years(investment, savings),
        discounted_payback_years=payback_years(investment, present),
        value=value,
        drivers=_drivers(uniforms, spread, value[:, -1], years),
        emission_drivers=_drivers(uniforms, spread, baseline.first.emissions_kg - after.first.emissions_kg, 1),
    )


def _spread(laws: Mapping[str, Distribution], streams: Mapping[str, str]) -> dict[str, bool]:
    """Streams of the parameters that are not fixed, and whether they are drawn each year."""
    return {streams.get(name, name): law.each_year for name, law in laws.items() if not isinstance(law, Fixed)}


def _drivers(uniforms: Uniforms, spread: Mapping[str, bool], target: Floats, years: int) -> dict[str, float]:
    found = {
        name: rank_correlation(uniforms.of(name, each_year=each_year)[:, :years].mean(axis=1), target)
        for name, each_year in spread.items()
    }
    strong = {name: value for name, value in found.items() if abs(value) >= _LEAST_CORRELATION}
    return dict(sorted(strong.items(), key=lambda item: -abs(item[1])))


def _first_year(flows: Flows, runs: int) -> Year:
    sources = {"fuel_kwh": flows.supplied["fuel"], "grid_kwh": flows.supplied["grid"]}
    sources |= {name: getattr(flows, name) for name in QUANTITIES if name not in sources}
    return Year(**{name: np.broadcast_to(values, (runs,)) for name, values in sources.items()})
