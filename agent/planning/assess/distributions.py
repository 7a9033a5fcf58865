"""How sure a number is: fixed, or spread by one of five laws. Each turns uniform numbers into its values.

Every law is sampled by its inverse, so that one uniform number means the same luck in whatever law a parameter has: a
low one before a measure is a low one after it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from agent.contract.errors import ConfigError

Floats = NDArray[np.float64]
_NORMAL = NormalDist()
_LEAST_MASS = 1e-6  # of a normal law between its bounds: less is a mistake in one of them


class Distribution(Protocol):
    """A law of one number.

    Attributes:
        each_year: whether it is drawn anew for each year, as weather is, or once for the whole life, as a loss is.
    """

    @property
    def each_year(self) -> bool: ...  # noqa: D102 - see above

    @property
    def support(self) -> tuple[float, float]:
        """The least and the greatest value."""

    @property
    def expected(self) -> float:
        """The mean."""

    def at(self, uniform: Floats) -> Floats:
        """Return the values, of the same shape, whose share of all values below them is `uniform` (0 to 1)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fixed:
    """A number that is known."""

    value: float

    @property
    def each_year(self) -> bool:
        """It is the same in all of them."""
        return False

    @property
    def support(self) -> tuple[float, float]:
        """The value, twice."""
        return self.value, self.value

    @property
    def expected(self) -> float:
        """The value."""
        return self.value

    def at(self, uniform: Floats) -> Floats:
        """Return the value everywhere."""
        return np.full(uniform.shape, self.value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Uniform:
    """Anything from `low` to `high`, equally likely."""

    low: float
    high: float
    each_year: bool = False

    def __post_init__(self) -> None:
        """Refuse an empty range."""
        _ascending("low", self.low, "high", self.high)

    @property
    def support(self) -> tuple[float, float]:
        """The range."""
        return self.low, self.high

    @property
    def expected(self) -> float:
        """The middle."""
        return (self.low + self.high) / 2

    def at(self, uniform: Floats) -> Floats:
        """Return the values at shares."""
        return self.low + (self.high - self.low) * uniform


@dataclass(frozen=True, slots=True, kw_only=True)
class Triangular:
    """From `low` to `high`, `mode` the likeliest: what experts can be asked for."""

    low: float
    mode: float
    high: float
    each_year: bool = False

    def __post_init__(self) -> None:
        """Refuse an empty range, or a mode outside it."""
        _ascending("low", self.low, "high", self.high)
        if not self.low <= self.mode <= self.high:
            raise ConfigError(f"mode {self.mode:g} is outside {self.low:g}..{self.high:g}")

    @property
    def support(self) -> tuple[float, float]:
        """The range."""
        return self.low, self.high

    @property
    def expected(self) -> float:
        """The mean of its three numbers."""
        return (self.low + self.mode + self.high) / 3

    def at(self, uniform: Floats) -> Floats:
        """Return the values at shares."""
        width, rise, fall = self.high - self.low, self.mode - self.low, self.high - self.mode
        left = self.low + np.sqrt(uniform * width * rise)
        right = self.high - np.sqrt((1 - uniform) * width * fall)
        return np.where(uniform * width < rise, left, right)


@dataclass(frozen=True, slots=True, kw_only=True)
class Normal:
    """A normal law cut off at `low` and `high`: no efficiency is above 100 %, and no price below what it is made of."""

    mean: float
    sd: float
    low: float
    high: float
    each_year: bool = False

    def __post_init__(self) -> None:
        """Refuse bounds that hold next to nothing of the law."""
        _ascending("low", self.low, "high", self.high)
        if self.sd <= 0:
            raise ConfigError(f"sd {self.sd:g} is not above 0")
        if self._mass[1] - self._mass[0] < _LEAST_MASS:
            raise ConfigError(
                f"{self.low:g}..{self.high:g} is too far from the mean {self.mean:g} for an sd of {self.sd:g}"
            )

    @property
    def support(self) -> tuple[float, float]:
        """The bounds."""
        return self.low, self.high

    @property
    def expected(self) -> float:
        """The mean of what is left between the bounds."""
        low, high = self._scores
        density = _NORMAL.pdf(low) - _NORMAL.pdf(high)
        return self.mean + self.sd * density / (self._mass[1] - self._mass[0])

    def at(self, uniform: Floats) -> Floats:
        """Return the values at shares."""
        low, high = self._mass
        values = self.mean + self.sd * normal_at(low + (high - low) * uniform)
        return np.clip(values, self.low, self.high)

    @property
    def _scores(self) -> tuple[float, float]:
        return (self.low - self.mean) / self.sd, (self.high - self.mean) / self.sd

    @property
    def _mass(self) -> tuple[float, float]:
        low, high = self._scores
        return _NORMAL.cdf(low), _NORMAL.cdf(high)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lognormal:
    """A median, and a factor: two thirds of all values lie between median / factor and median x factor.

    For prices and other numbers above 0 that are not bounded above.
    """

    median: float
    factor: float
    each_year: bool = False

    def __post_init__(self) -> None:
        """Refuse a median or a factor that is none."""
        if self.median <= 0:
            raise ConfigError(f"median {self.median:g} is not above 0")
        if not 1 < self.factor <= 10:
            raise ConfigError(f"factor {self.factor:g} is not above 1 and at most 10")

    @property
    def support(self) -> tuple[float, float]:
        """All that is above 0."""
        return 0.0, math.inf

    @property
    def expected(self) -> float:
        """The mean, which is above the median."""
        return self.median * math.exp(math.log(self.factor) ** 2 / 2)

    def at(self, uniform: Floats) -> Floats:
        """Return the values at shares."""
        return self.median * np.exp(math.log(self.factor) * normal_at(uniform))


@dataclass(frozen=True, slots=True, kw_only=True)
class Discrete:
    """One of some values; `weights` say how likely each is, and need not add up to 1. All are equal without them."""

    values: tuple[float, ...]
    weights: tuple[float, ...] | None = None
    each_year: bool = False

    def __post_init__(self) -> None:
        """Refuse weights that are none, or not one for each value."""
        if self.weights is None:
            return
        if len(self.weights) != len(self.values):
            raise ConfigError(f"{len(self.weights)} weights for {len(self.values)} values")
        if min(self.weights) < 0 or not 0 < sum(self.weights) < math.inf:
            raise ConfigError("a weight is negative, or all are 0, or their sum is beyond reckoning")

    @property
    def support(self) -> tuple[float, float]:
        """The least and the greatest."""
        return min(self.values), max(self.values)

    @property
    def expected(self) -> float:
        """The weighted mean."""
        return float(np.average(self.values, weights=self.weights))

    def at(self, uniform: Floats) -> Floats:
        """Return the values at shares."""
        order = np.argsort(self.values, kind="stable")
        weights = np.ones(len(order)) if self.weights is None else np.asarray(self.weights)[order]
        ends = np.cumsum(weights) / np.sum(weights)
        # Never beyond the last value that has a weight, whatever the sum is rounded to.
        last = int(np.flatnonzero(weights)[-1])
        place = np.minimum(np.searchsorted(ends, uniform, side="right"), last)
        chosen: Floats = np.asarray(self.values, dtype=np.float64)[order][place]
        return chosen


LAWS = (Fixed, Uniform, Triangular, Normal, Lognormal, Discrete)
KINDS: Mapping[str, type] = {law.__name__.lower(): law for law in LAWS}


def normal_at(uniform: Floats) -> Floats:
    """Return the values of the standard normal law at shares; 0 and 1, which have none, as the nearest that do."""
    inside = np.clip(uniform, 1e-16, 1 - 2**-53)
    return np.fromiter(map(_NORMAL.inv_cdf, inside.flat), np.float64, inside.size).reshape(inside.shape)


def normal_share(values: Floats) -> Floats:
    """Return the shares of the standard normal law below values: the inverse of `normal_at`."""
    return np.fromiter(map(_NORMAL.cdf, values.flat), np.float64, values.size).reshape(values.shape)


def _ascending(low_name: str, low: float, high_name: str, high: float) -> None:
    if not low < high:
        raise ConfigError(f"{low_name} {low:g} is not below {high_name} {high:g}")
