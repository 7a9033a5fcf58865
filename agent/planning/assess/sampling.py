"""The random numbers of an assessment: one stream a parameter, the same for the plant before and after a measure.

Decides how parameters are drawn: each from a generator seeded by the seed and the parameter's own name. So the same
seed gives the same result, a parameter that is added moves no other, and of the difference between plant and measure
nothing is noise. Each stream is stratified (Latin hypercube): of N runs each lies in another Nth of the law.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from agent.planning.assess.case import Correlation
from agent.planning.assess.distributions import Distribution, Fixed, Floats, normal_at, normal_share

Values = dict[str, Floats]


class Uniforms:
    """Uniform numbers by parameter, for a number of runs and years.

    Invariants:
        one name has the same numbers whatever else was drawn before;
        a parameter that is drawn each year has in its first year the numbers that it would have for the whole life.
    """

    def __init__(self, runs: int, years: int, seed: int, correlations: Sequence[Correlation] = ()) -> None:
        """Prepare to draw; `correlations` are those that `check_correlations` found no fault with."""
        self.runs = runs
        self.years = years
        self._seed = seed
        self._drawn: Values = _joint({name: self._stream(name, 1)[:, 0] for name in _names(correlations)}, correlations)

    def of(self, name: str, *, each_year: bool = False) -> Floats:
        """Return uniform numbers in 0..1, [runs, years], or [runs, 1] for a parameter that is drawn once."""
        if name in self._drawn:
            return self._drawn[name][:, np.newaxis]
        return self._stream(name, self.years if each_year else 1)

    def values(self, laws: Mapping[str, Distribution], streams: Mapping[str, str] | None = None) -> Values:
        """Return each parameter's values, [runs, years] or [runs, 1]; fixed ones [1, 1].

        Args:
            laws: by the parameter's name.
            streams: names of streams for parameters that do not use the one of their own name.
        """
        return {
            name: np.full((1, 1), law.value)
            if isinstance(law, Fixed)
            else law.at(self.of((streams or {}).get(name, name), each_year=law.each_year))
            for name, law in laws.items()
        }

    def _stream(self, name: str, years: int) -> Floats:
        generator = np.random.default_rng((self._seed, *name.encode()))
        columns = [(generator.permutation(self.runs) + generator.random(self.runs)) / self.runs for _ in range(years)]
        return np.stack(columns, axis=1)


def check_correlations(
    correlations: Sequence[Correlation], laws: Sequence[Mapping[str, Distribution]]
) -> Iterator[str]:
    """Yield what is wrong with correlations between the parameters of `laws`, of the plant before and after."""
    names = _names(correlations)
    for name in names:
        found = [each[name] for each in laws if name in each]
        if not found:
            yield f"{name} is no parameter"
        elif all(isinstance(law, Fixed) for law in found):
            yield f"{name} is fixed"
        elif any(law.each_year for law in found):
            yield f"{name} is drawn each year: only what is drawn once for the whole life can be correlated"
    pairs = [frozenset(each.between) for each in correlations]
    if len(set(pairs)) < len(pairs):
        yield "one pair stands twice"
    elif names and np.linalg.eigvalsh(_matrix(names, correlations))[0] < 1e-9:
        yield "these cannot hold together: two that go with a third go with each other too"


def rank_correlation(first: Floats, second: Floats) -> float:
    """Return Spearman's correlation of two samples [N]: 0 where either is constant."""
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return 0.0
    return float(np.corrcoef(_ranks(first), _ranks(second))[0, 1])


def _ranks(values: Floats) -> Floats:
    """Ranks from 0, equal values with the mean of theirs."""
    _, group, sizes = np.unique(values, return_inverse=True, return_counts=True)
    ranks: Floats = (np.cumsum(sizes) - (sizes + 1) / 2)[group]
    return ranks


def _names(correlations: Sequence[Correlation]) -> list[str]:
    return list(dict.fromkeys(name for each in correlations for name in each.between))


def _matrix(names: Sequence[str], correlations: Sequence[Correlation]) -> Floats:
    """Correlations of the normal scores [K, K] that give the ranks the wanted ones (2 sin(pi r / 6))."""
    matrix = np.eye(len(names))
    for each in correlations:
        row, column = (names.index(name) for name in each.between)
        matrix[row, column] = matrix[column, row] = 2 * np.sin(np.pi * each.rank / 6)
    return matrix


def _joint(streams: Mapping[str, Floats], correlations: Sequence[Correlation]) -> Values:
    """Join independent uniform numbers [runs] into correlated ones, by a Gaussian copula."""
    if not streams:
        return {}
    names = list(streams)
    scores = np.stack([normal_at(stream) for stream in streams.values()])
    joined = np.linalg.cholesky(_matrix(names, correlations)) @ scores
    return {name: normal_share(row) for name, row in zip(names, joined, strict=True)}
