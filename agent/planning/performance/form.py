"""The forms that a baseline may take: linear terms, and change-point forms in temperature (ASHRAE Guideline 14). Pure.

Every form is a form of a day; an observation of a week is the sum of its days.

    1P   nothing of temperature            4P   heating and cooling, one base temperature
    2P   a straight line in temperature    5P   heating and cooling, each with its own base temperature
    3PH  heating below a base temperature  3PC  cooling above one
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from agent.contract.features import Floats
from agent.planning.performance.variables import TEMPERATURE

CONSTANT, HEATING, COOLING = "constant", "heating degree days", "cooling degree days"
_TEMPERATURE_TERMS = {
    "1P": (),
    "2P": (TEMPERATURE,),
    "3PH": (HEATING,),
    "3PC": (COOLING,),
    "4P": (HEATING, COOLING),
    "5P": (HEATING, COOLING),
}
KINDS = tuple(_TEMPERATURE_TERMS)


@dataclass(frozen=True, slots=True)
class Form:
    """Which terms a regression has.

    Attributes:
        kind: of its part in temperature, one of `KINDS`.
        bases_c: base temperatures: none, one, or that of heating and that of cooling.
        linear: names of the variables that enter as they are.
    """

    kind: str
    bases_c: tuple[float, ...] = ()
    linear: tuple[str, ...] = ()

    @property
    def terms(self) -> tuple[str, ...]:
        """Names of the coefficients."""
        return (CONSTANT, *self.linear, *_TEMPERATURE_TERMS[self.kind])

    @property
    def needs(self) -> tuple[str, ...]:
        """Names of the variables without which it cannot be computed."""
        return self.linear if self.kind == "1P" else (*self.linear, TEMPERATURE)

    @property
    def parameters(self) -> int:
        """Coefficients and base temperatures together."""
        return len(self.terms) + len(self.bases_c)

    def design(self, variables: Mapping[str, Floats], shape: tuple[int, int]) -> Floats:
        """[N, terms] from variables [N, L] of `shape` (N, L)."""
        columns = [np.full(shape[0], float(shape[1])), *(variables[name].sum(axis=1) for name in self.linear)]
        if self.kind == "2P":
            columns.append(variables[TEMPERATURE].sum(axis=1))
        for name, base_c in self._bases():
            columns.append(degree_days(variables[TEMPERATURE], base_c, cooling=name == COOLING))
        return np.stack(columns, axis=1)

    def base_slopes(self, coefficients: Floats, variables: Mapping[str, Floats]) -> Floats:
        """[N, base temperatures] how much an observation changes with each."""
        by_term = dict(zip(self.terms, coefficients.tolist(), strict=True))
        columns: list[Floats] = []
        for name, base_c in self._bases():
            below = (variables[TEMPERATURE] < base_c).sum(axis=1)
            beyond = variables[TEMPERATURE].shape[1] - below
            column = by_term[name] * (below if name == HEATING else -beyond)
            if self.kind == "4P" and columns:
                columns[0] = columns[0] + column
            else:
                columns.append(column)
        return np.stack(columns, axis=1)

    def _bases(self) -> list[tuple[str, float]]:
        degree_terms = [name for name in _TEMPERATURE_TERMS[self.kind] if name != TEMPERATURE]
        return [(name, self.bases_c[min(place, len(self.bases_c) - 1)]) for place, name in enumerate(degree_terms)]


def degree_days(temperature_c: Floats, base_c: float, *, cooling: bool) -> Floats:
    """[N] sum of the degrees by which daily means [N, L] lie below (or above) a base temperature."""
    beyond = temperature_c - base_c if cooling else base_c - temperature_c
    return np.asarray(np.maximum(beyond, 0.0).sum(axis=1))
