"""Measured against baseline: EnPI, CUSUM of savings, verified savings with their interval. Pure.

A saving is expected less measured energy: positive where less was used than the baseline expects under the same
conditions. Half the width of the interval comes from `Fit.sum_errors`; as the band of the CUSUM the same width says
how far chance alone carries the sum.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from agent.contract.errors import ConfigError, UnavailableError
from agent.contract.features import Floats
from agent.planning.performance.baseline import Baseline
from agent.planning.performance.observations import Observations, date_of
from agent.planning.performance.record import Adjustment
from agent.planning.performance.regression import student_quantile
from agent.planning.performance.variables import WORKING_DAY

_BEYOND = 0.1  # of a variable's range: so far beyond it the baseline is still believed


@dataclass(frozen=True)
class Part:
    """Energy of a part of the reporting period; `ratio` is the normalised EnPI, None where nothing is expected."""

    name: str
    days: int
    measured_kwh: float
    expected_kwh: float

    @property
    def saved_kwh(self) -> float:
        """Expected less measured."""
        return self.expected_kwh - self.measured_kwh

    @property
    def ratio(self) -> float | None:
        """Measured over expected."""
        return self.measured_kwh / self.expected_kwh if self.expected_kwh > 0 else None


@dataclass(frozen=True, eq=False)
class Performance:
    """A reporting period.

    Attributes:
        observations: the days or weeks in it.
        expected_kwh: [N] by the baseline, adjusted.
        adjusted_kwh: [N] of it, by adjustments.
        band_kwh: [N] half the width of the interval of the savings up to then.
        confidence: of that interval.
        extrapolated: observations with a variable outside what the baseline has seen.
    """

    observations: Observations
    expected_kwh: Floats
    adjusted_kwh: Floats
    band_kwh: Floats
    confidence: float
    extrapolated: int

    @cached_property
    def cusum_kwh(self) -> Floats:
        """[N] cumulative savings."""
        return np.asarray(np.cumsum(self.expected_kwh - self.observations.energy_kwh))

    @cached_property
    def total(self) -> Part:
        """All of it."""
        return self._part("total", np.ones(len(self.observations), dtype=bool))

    @property
    def interval_kwh(self) -> tuple[float, float]:
        """The savings at least and at most, with `confidence`."""
        saved, half = self.total.saved_kwh, float(self.band_kwh[-1])
        return saved - half, saved + half

    @property
    def proven(self) -> bool:
        """Whether the interval of the savings (or of the excess) excludes zero."""
        low, high = self.interval_kwh
        return low > 0 or high < 0

    def months(self) -> list[Part]:
        """By month of an observation's first day."""
        names = np.array([f"{date_of(ordinal):%Y-%m}" for ordinal in self.observations.ordinals.tolist()])
        return [self._part(str(name), names == name) for name in np.unique(names)]

    def intensities(self) -> dict[str, tuple[float, float]]:
        """Energy per unit of each summed variable, measured and expected, where there is some of it."""
        found = {}
        for name in self.observations.variables:
            quantity = float(self.observations.total(name).sum())
            if name not in {WORKING_DAY, "temperature"} and quantity > 0:
                found[name] = (self.total.measured_kwh / quantity, self.total.expected_kwh / quantity)
        return found

    def _part(self, name: str, of: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> Part:
        return Part(
            name,
            int(of.sum()) * self.observations.length,
            float(self.observations.energy_kwh[of].sum()),
            float(self.expected_kwh[of].sum()),
        )


def compare(
    baseline: Baseline, observations: Observations, adjustments: Sequence[Adjustment] = (), *, confidence: float = 0.9
) -> Performance:
    """Compare a reporting period with the baseline.

    Args:
        baseline: of the same resolution.
        observations: of the reporting period.
        adjustments: that apply to it.
        confidence: of the interval, two-sided.

    Raises:
        UnavailableError: when no day of the period is whole.
        ConfigError: when the period lies within the baseline's, or the confidence is none.
    """
    if not 0 < confidence < 1:
        raise ConfigError(f"{confidence} is not between 0 and 1", where="confidence")
    if not len(observations):
        raise UnavailableError(
            f"there is no whole {observations.by} in the reporting period", where="performance", todo="Wait for data"
        )
    first, end = date_of(observations.ordinals[0]), date_of(observations.ordinals[-1] + observations.length - 1)
    if first <= baseline.last and end >= baseline.first:
        raise ConfigError(
            f"the reporting period begins on {first}, within the baseline's, {baseline.first} to {baseline.last}",
            where="performance",
            todo="Savings are told of days that the baseline has not seen: choose others by --from and --to",
        )
    adjusted = np.zeros(len(observations))
    for entry in adjustments:
        days = observations.ordinals[:, None] + np.arange(observations.length)
        holds = days >= entry.first.toordinal()
        if entry.last is not None:
            holds &= days <= entry.last.toordinal()
        adjusted += entry.kwh_per_day * holds.sum(axis=1)
    quantile = student_quantile(0.5 + confidence / 2, baseline.fit.freedom)
    return Performance(
        observations=observations,
        expected_kwh=baseline.fit.expected(observations) + adjusted,
        adjusted_kwh=adjusted,
        band_kwh=quantile * baseline.fit.sum_errors(observations),
        confidence=confidence,
        extrapolated=_extrapolated(baseline, observations),
    )


def _extrapolated(baseline: Baseline, observations: Observations) -> int:
    outside = np.zeros(len(observations), dtype=bool)
    for name in baseline.fit.form.needs:
        if name in baseline.ranges:
            low, high = baseline.ranges[name]
            margin = _BEYOND * (high - low)
            daily = observations.variables[name].mean(axis=1)
            outside |= (daily < low - margin) | (daily > high + margin)
    return int(outside.sum())
