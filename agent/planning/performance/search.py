"""Which form fits best: every subset of the linear variables, every kind of temperature term, every base temperature.

Decides the form alone; coefficients and their uncertainty are `regression`'s. Pure.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from agent.contract.features import Floats
from agent.planning.performance.form import Form, degree_days
from agent.planning.performance.observations import Observations
from agent.planning.performance.variables import TEMPERATURE

BIC, ADJUSTED_R2 = "bic", "adjusted-r2"
CRITERIA = (BIC, ADJUSTED_R2)
_STEPS = 33  # base temperatures of the first pass
_EDGE = 0.05  # share of the observations that must lie beyond a base temperature
_FINE_STEPS = 21
_SINGULAR = 1e-9
_LEAST_SHARE = 1e-12  # of the variance: what is less is rounding
_PER_PARAMETER = 5  # observations that a form needs for each of its parameters


def best_form(observations: Observations, linear: Sequence[str], criterion: str, weights: Floats) -> Form:
    """Return the form with the best criterion.

    Heating and cooling count only where more of them takes more energy: slopes below zero are no degree-day model.

    Args:
        observations: to be explained.
        linear: variables that may enter as they are.
        criterion: `bic` or `adjusted-r2`; base temperatures count as parameters.
        weights: [N] of the observations.
    """
    root = np.sqrt(weights)
    energy = observations.energy_kwh * root
    shape = (len(observations), observations.length)
    temperature = observations.variables.get(TEMPERATURE)
    grid = _grid(temperature) if temperature is not None else np.empty(0)
    score = _score(criterion, _centred(energy, root), len(energy))
    best: dict[str, tuple[float, Form]] = {}

    def consider(form: Form, residual: float) -> None:
        found = score(residual, form.parameters)
        enough = form.parameters == 1 or len(energy) >= _PER_PARAMETER * form.parameters
        if enough and (form.kind not in best or found < best[form.kind][0]):
            best[form.kind] = found, form

    def forms(linear: tuple[str, ...], bases_c: Floats) -> Iterator[tuple[Form, float]]:
        base = Form("1P", (), linear).design(observations.variables, shape) * root[:, None]
        return _forms(base, energy, temperature, root, bases_c, linear)

    for subset in _subsets(linear):
        for found in forms(subset, grid):
            consider(*found)
    # Each kind is refined before they are compared: two base temperatures would else make up for one off the grid.
    for kind, (_, form) in list(best.items()):
        if form.bases_c:
            offsets = np.linspace(grid[0] - grid[1], grid[1] - grid[0], _FINE_STEPS)
            fine = np.unique(np.concatenate([base_c + offsets for base_c in form.bases_c]))
            for found in forms(form.linear, fine):
                if found[0].kind == kind:
                    consider(*found)
    return min(best.values(), key=lambda entry: entry[0])[1]


def _subsets(names: Sequence[str]) -> Iterator[tuple[str, ...]]:
    for size in range(len(names) + 1):
        yield from itertools.combinations(names, size)


def _grid(temperature: Floats) -> Floats:
    means = temperature.mean(axis=1)
    low, high = np.quantile(means, [_EDGE, 1 - _EDGE])
    return np.linspace(low, high, _STEPS) if high > low else np.empty(0)


def _centred(energy: Floats, root: Floats) -> float:
    """Sum of squares about the weighted mean."""
    share = float(energy @ root) / float(root @ root)
    return float(((energy - share * root) ** 2).sum())


def _score(criterion: str, total: float, count: int) -> Callable[[float, int], float]:
    """Smaller is better; `residual` and `total` are sums of squares."""

    def bic(residual: float, parameters: int) -> float:
        return float(count * np.log(max(residual, _LEAST_SHARE * total)) + parameters * np.log(count))

    def unadjusted(residual: float, parameters: int) -> float:
        return max(residual, _LEAST_SHARE * total) / max(count - parameters, 1)

    if total <= 0.0:
        return lambda _, parameters: float(parameters)
    return bic if criterion == BIC else unadjusted


def _forms(
    base: Floats, energy: Floats, temperature: Floats | None, root: Floats, grid: Floats, linear: tuple[str, ...]
) -> Iterator[tuple[Form, float]]:
    """Yield each kind with its best base temperatures and its residual sum of squares.

    What the linear terms explain is taken out of everything first (Frisch and Waugh): each kind is then a fit of one
    or two columns, solved for all base temperatures at once.
    """
    frame = np.linalg.qr(base)[0]

    def rest(columns: Floats) -> Floats:
        return np.asarray(columns - frame @ (frame.T @ columns))

    left = rest(energy)
    total = float(left @ left)
    yield Form("1P", (), linear), total
    if temperature is None or not len(grid):
        return
    raw = {
        "2P": temperature.sum(axis=1)[:, None],
        "3PH": np.stack([degree_days(temperature, base_c, cooling=False) for base_c in grid], axis=1),
        "3PC": np.stack([degree_days(temperature, base_c, cooling=True) for base_c in grid], axis=1),
    }
    scale = {kind: ((columns * root[:, None]) ** 2).sum(axis=0) for kind, columns in raw.items()}
    columns = {kind: rest(values * root[:, None]) for kind, values in raw.items()}
    inner = {kind: (values**2).sum(axis=0) for kind, values in columns.items()}
    outer = {kind: values.T @ left for kind, values in columns.items()}
    for kind in ("2P", "3PH", "3PC"):
        there = inner[kind] > _SINGULAR * scale[kind]
        allowed = there & ((outer[kind] > 0) | (kind == "2P"))
        gain = np.where(allowed, outer[kind] ** 2 / np.where(there, inner[kind], 1.0), -np.inf)
        at = int(gain.argmax())
        if allowed[at]:
            yield Form(kind, () if kind == "2P" else (float(grid[at]),), linear), total - float(gain[at])
    yield from _two_sided(columns, inner, outer, grid, linear, total)


def _two_sided(
    columns: dict[str, Floats],
    inner: dict[str, Floats],
    outer: dict[str, Floats],
    grid: Floats,
    linear: tuple[str, ...],
    total: float,
) -> Iterator[tuple[Form, float]]:
    cross = columns["3PH"].T @ columns["3PC"]
    heat, cool = inner["3PH"][:, None], inner["3PC"][None, :]
    to_heat, to_cool = outer["3PH"][:, None], outer["3PC"][None, :]
    determinant = heat * cool - cross**2
    there = determinant > _SINGULAR * heat * cool
    safe = np.where(there, determinant, 1.0)
    heating, cooling = (to_heat * cool - to_cool * cross) / safe, (to_cool * heat - to_heat * cross) / safe
    gain = np.where(there & (heating > 0) & (cooling > 0), heating * to_heat + cooling * to_cool, -np.inf)
    places = np.arange(len(grid))
    for kind, allowed in (("4P", places[:, None] == places), ("5P", places[:, None] < places)):
        found = np.where(allowed, gain, -np.inf)
        low, high = np.unravel_index(int(found.argmax()), found.shape)
        if np.isfinite(found[low, high]):
            bases = (float(grid[low]),) if kind == "4P" else (float(grid[low]), float(grid[high]))
            yield Form(kind, bases, linear), total - float(found[low, high])
