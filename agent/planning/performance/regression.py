"""A fitted form: coefficients, how well it holds, and how uncertain sums of its predictions are. Pure, numpy alone.

Residuals of neighbouring days are alike. So the variance of a sum of m of them is not m times that of one: it is
taken with the first-order autocorrelation of the residuals, in the coefficients' covariance, too. A base temperature
is a parameter like the others, linearised where it was found.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from agent.contract.features import Floats, Ints
from agent.planning.performance.form import Form
from agent.planning.performance.observations import Observations
from agent.planning.performance.search import best_form

HUBER = 1.345  # residuals beyond so many sigma lose weight; 95 % efficient where all are normal
_ROUNDS = 20
_MAX_AUTOCORRELATION = 0.95
_LEAST_FREEDOM = 4.0
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Statistics:
    """How a baseline holds on its own period; None where the load is such that a figure has no meaning.

    Attributes:
        r2, adjusted_r2: share of the variance explained.
        cv_rmse: standard error of the residuals over the mean energy.
        nmbe: mean bias over the mean energy; 0 for least squares, not for a robust fit.
        autocorrelation: of residuals of neighbouring observations, 0 to 0.95, corrected for small samples.
        bic: Bayesian information criterion, up to a constant.
    """

    r2: float | None
    adjusted_r2: float | None
    cv_rmse: float | None
    nmbe: float | None
    autocorrelation: float
    bic: float | None


@dataclass(frozen=True, slots=True, eq=False)
class Fit:
    """A form with its parameters.

    Attributes:
        form: its terms.
        coefficients: [terms].
        covariance: [parameters, parameters] of coefficients, then base temperatures.
        sigma_kwh: standard deviation of one observation about the fit.
        count: observations that it rests on.
        statistics: how it holds.
    """

    form: Form
    coefficients: Floats
    covariance: Floats
    sigma_kwh: float
    count: int
    statistics: Statistics

    @property
    def standard_errors(self) -> Floats:
        """[terms]."""
        return np.asarray(np.sqrt(np.maximum(np.diag(self.covariance)[: len(self.coefficients)], 0.0)))

    @property
    def freedom(self) -> float:
        """Degrees of freedom: of as many observations as these are worth, given their autocorrelation."""
        rho = self.statistics.autocorrelation
        return max(_LEAST_FREEDOM, self.count * (1 - rho) / (1 + rho) - self.form.parameters)

    def expected(self, observations: Observations) -> Floats:
        """[N] energy in kWh."""
        return np.asarray(self._design(observations) @ self.coefficients)

    def sum_errors(self, observations: Observations) -> Floats:
        """[N] standard error of (expected - measured), summed from the first observation to each."""
        slopes = np.cumsum(_jacobian(self.form, self.coefficients, observations), axis=0)
        of_fit = np.einsum("ij,jk,ik->i", slopes, self.covariance, slopes)
        of_noise = self.sigma_kwh**2 * summed_noise(observations.gaps, self.statistics.autocorrelation)
        return np.asarray(np.sqrt(np.maximum(of_fit + of_noise, 0.0)))

    def _design(self, observations: Observations) -> Floats:
        return self.form.design(observations.variables, (len(observations), observations.length))


def fit(observations: Observations, linear: tuple[str, ...], criterion: str, *, robust: bool = False) -> Fit:
    """Choose a form and fit it by least squares; robust: outliers lose weight (Huber).

    Args:
        observations: more than the form has parameters.
        linear: variables that may enter as they are.
        criterion: see `search`.
        robust: for data with single days that are no normal ones.
    """
    weights = np.ones(len(observations))
    for _ in range(_ROUNDS if robust else 1):
        form = best_form(observations, linear, criterion, weights)
        result, residuals = fit_form(observations, form, weights)
        scale = float(np.median(np.abs(residuals - np.median(residuals)))) / 0.6745
        distance = np.abs(residuals) / (HUBER * scale) if scale > 0 else np.zeros(len(residuals))
        before, weights = weights, 1.0 / np.maximum(distance, 1.0)
        if np.allclose(before, weights, atol=1e-4):
            break
    return result


def fit_form(observations: Observations, form: Form, weights: Floats) -> tuple[Fit, Floats]:
    """Fit one form; return it and the residuals [N] in kWh."""
    energy, count = observations.energy_kwh, len(observations)
    design = form.design(observations.variables, (count, observations.length))
    root = np.sqrt(weights)
    units = _units(design)  # of the variables: tonnes or grams must not matter
    solved = np.linalg.lstsq(design / units * root[:, None], energy * root, rcond=None)[0]
    coefficients: Floats = (solved / units).astype(np.float64)
    residuals = energy - design @ coefficients
    jacobian = _jacobian(form, coefficients, observations)
    units = _units(jacobian)
    jacobian /= units
    weighted = jacobian * weights[:, None]
    rho = autocorrelation(residuals, observations.gaps, form.parameters)
    inverse = np.linalg.pinv(jacobian * root[:, None])
    bread = inverse @ inverse.T
    lagged = _decayed_sum(weighted, observations.gaps, rho)
    meat = weighted.T @ weighted + weighted.T @ lagged + lagged.T @ weighted
    freedom = max(1.0, count - float(np.trace(bread @ meat)))
    squares = float(residuals @ residuals)
    variance = squares / freedom
    statistics = _statistics(energy, residuals, form.parameters, rho)
    covariance = variance * bread @ meat @ bread / np.outer(units, units)
    return Fit(form, coefficients, covariance, math.sqrt(variance), count, statistics), residuals


def autocorrelation(residuals: Floats, gaps: Ints, parameters: int) -> float:
    """First-order autocorrelation from neighbours only; what is below zero counts as none.

    An estimate from a short series is too low: (1 + 3 rho) / n by Kendall, and about 1 / n for each parameter.
    """
    after = np.flatnonzero(gaps[1:] == 1) + 1
    squares = float(residuals @ residuals)
    if len(after) < 3 or squares <= 0.0:
        return 0.0
    count = len(residuals)
    raw = float(residuals[after] @ residuals[after - 1]) / squares * count / (len(after) + 1)
    return min(_MAX_AUTOCORRELATION, max(0.0, raw + (max(0.0, 3 * raw) + parameters) / count))


def summed_noise(gaps: Ints, rho: float) -> Floats:
    """[N] variance of the sum of the first 1, 2, ... of unit noises with autocorrelation rho ** gap."""
    before = _decayed_sum(np.ones((len(gaps), 1)), gaps, rho)[:, 0]
    return np.asarray(np.cumsum(1 + 2 * before))


def student_quantile(share: float, freedom: float) -> float:
    """Return the quantile of Student's t, by the expansion of Cornish and Fisher; freedom of 4 or more.

    Off by less than 1 % up to the 97.5 % quantile.
    """
    z = NormalDist().inv_cdf(share)
    return (
        z
        + (z**3 + z) / (4 * freedom)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * freedom**3)
    )


def _decayed_sum(columns: Floats, gaps: Ints, rho: float) -> Floats:
    """[N, P] for each row the sum of those before it, each weighted by rho ** distance."""
    decay = (rho ** gaps.astype(np.float64))[:, None]
    # Each round joins stretches of twice the length: log2(N) steps instead of N.
    upto, reach, step = columns, decay, 1
    while step < len(columns):
        upto = np.concatenate([upto[:step], upto[step:] + reach[step:] * upto[:-step]])
        reach = np.concatenate([reach[:step], reach[step:] * reach[:-step]])
        step *= 2
    return np.concatenate([np.zeros_like(columns[:1]), decay[1:] * upto[:-1]])


def _jacobian(form: Form, coefficients: Floats, observations: Observations) -> Floats:
    """[N, parameters] change of an expected value with each parameter."""
    design = form.design(observations.variables, (len(observations), observations.length))
    if not form.bases_c:
        return design
    return np.concatenate([design, form.base_slopes(coefficients, observations.variables)], axis=1)


def _units(columns: Floats) -> Floats:
    """[P] the size of each column; 1 for one that is zero throughout."""
    size = np.abs(columns).max(axis=0)
    return np.where(size > 0, size, 1.0)


def _statistics(energy: Floats, residuals: Floats, parameters: int, rho: float) -> Statistics:
    count, mean = len(energy), float(energy.mean())
    squares, total = float(residuals @ residuals), float(((energy - mean) ** 2).sum())
    size = float(np.abs(energy).max())
    free = max(1, count - parameters)
    varies = total > count * (_ROUNDING * size) ** 2
    has_level = abs(mean) > _ROUNDING * size
    return Statistics(
        r2=1 - squares / total if varies else None,
        adjusted_r2=1 - (squares / free) / (total / (count - 1)) if varies else None,
        cv_rmse=math.sqrt(squares / free) / abs(mean) if has_level else None,
        nmbe=float(residuals.sum()) / (free * abs(mean)) if has_level else None,
        autocorrelation=rho,
        bic=count * math.log(squares / count) + parameters * math.log(count) if squares > 0 else None,
    )
