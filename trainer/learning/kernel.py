"""Kernel ridge regression: the teacher's member that knows the shape of whole days. Closed form, no gradient steps.

One regression for each hour of the day at which a forecast may begin, from the last week and the calendar of the
target days to all rows at once. The kernel is linear plus Gaussian: a ridge regression that also compares a window
with the windows it has seen. Quantiles are the median and, at the same time of day, the residuals of windows whose
fortnight was left out: windows of one week know each other, so that single ones left out would flatter it.
Knows model inputs, not plants. (Saunders, Gammerman and Vovk, "Ridge regression learning algorithm in dual variables",
1998; leaving out by parts of the inverse: Wahba, "Spline models for observational data", 1990.)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from agent.contract.features import Floats, Inputs, Ints, Singles
from agent.contract.featurespec import QUANTILES, FeatureSpec
from trainer.learning.levels import Level, center_and_scale

_LEVELS = (Level.OWN_WEEK, Level.TRAILING, Level.PLANT)
_WIDTHS = (1.0, 2.0)  # of the Gaussian, in root mean square distance of features
_PENALTIES = (0.01, 0.03, 0.1, 0.3, 1.0)
_FOLDS = 6
_HOURS = 24
_CALENDAR_WEIGHT = 3.0
_LEAST_WINDOWS = 14  # below this an hour has no regression of its own, and the nearest one answers
_MOST_WINDOWS = 1500  # a regression's time grows with their cube
_LEFT_OUT_DAYS = 14


@dataclass(frozen=True, eq=False)
class _Hour:
    """The regressions of one hour: features [n, P] less their mean [P], and for each kernel weights [n, rows]."""

    seen: Singles
    mean: Singles
    weights: tuple[Singles, ...]
    offset: Singles


class KernelRidge:
    """Fitted regressions.

    Invariants:
        The same windows give the same member; nothing is drawn.
        q0.1 <= q0.5 <= q0.9 in every row.
    """

    def __init__(self, spec: FeatureSpec, levels: list[dict[int, _Hour]], spread: Floats) -> None:
        """Hold what `fit` found: for each of the levels regressions by hour, and spreads [24, rows, 2]."""
        self._spec, self._levels, self._spread = spec, levels, spread

    @staticmethod
    def can_fit(spec: FeatureSpec, inputs: Inputs, target: Singles) -> bool:
        """Whether any hour has enough windows for a regression of its own."""
        hours = hour_of(spec, inputs)[np.isfinite(target).all(axis=1)]
        return bool((np.bincount(hours, minlength=_HOURS) >= _LEAST_WINDOWS).any())

    @classmethod
    def fit(
        cls,
        spec: FeatureSpec,
        inputs: Inputs,
        target: Singles,
        origins: Ints,
        *,
        progress: Callable[[int, int], None] = lambda _done, _total: None,
    ) -> tuple[KernelRidge, Singles]:
        """Fit to N windows; return the member, and the median [N, rows] that each window had been told if left out.

        Windows of which nothing could be learnt are told NaN.

        Args:
            spec: of the inputs.
            inputs: N windows.
            target: [N, rows] standardised truth; windows with a NaN among their slots are left out.
            origins: [N] slot of the first step: windows of the same fortnight are left out together.
            progress: called after each hour.
        """
        known = np.isfinite(target).all(axis=1)
        hours = hour_of(spec, inputs)
        blocks = origins // (_LEFT_OUT_DAYS * spec.per_day)
        levels: list[dict[int, _Hour]] = []
        told = np.zeros(target.shape)
        fitted = np.zeros(len(target), dtype=bool)
        for level in _LEVELS:
            x, center, scale = _features(spec, inputs, level)
            y = (target - center[:, None]) / scale[:, None]
            found: dict[int, _Hour] = {}
            penalties: list[float] | None = None
            for hour in sorted(range(_HOURS), key=lambda h: -int((known & (hours == h)).sum())):
                rows = np.flatnonzero(known & (hours == hour))
                if len(rows) < _LEAST_WINDOWS:
                    continue
                rows = rows[-_MOST_WINDOWS:]
                penalties = penalties or _choose(x[rows], y[rows], scale[rows])
                found[hour], left_out = _solve(x[rows], y[rows], blocks[rows], penalties)
                told[rows] += (left_out * scale[rows, None] + center[rows, None]) / len(_LEVELS)
                fitted[rows] = True
                progress(len(levels) * _HOURS + len(found), len(_LEVELS) * _HOURS)
            levels.append(found)
        told[~fitted] = np.nan
        return cls(spec, levels, _spreads(spec, hours, target - told)), told.astype(np.float32)

    def predict(self, inputs: Inputs) -> Singles:
        """Return standardised quantiles [N, rows, 3]."""
        hours = hour_of(self._spec, inputs)
        median = np.zeros((len(hours), self._spread.shape[1]))
        for level, found in zip(_LEVELS, self._levels, strict=True):
            x, center, scale = _features(self._spec, inputs, level)
            nearest = np.array([min(found, key=lambda h: _apart(h, hour)) for hour in range(_HOURS)])[hours]
            for hour, fitted in found.items():
                rows = np.flatnonzero(nearest == hour)
                if len(rows):
                    y = _apply(fitted, x[rows])
                    median[rows] += (y * scale[rows, None] + center[rows, None]) / len(_LEVELS)
        low, high = self._spread[hours, :, 0], self._spread[hours, :, 1]
        result: Singles = np.stack([median - low, median, median + high], axis=-1).astype(np.float32)
        return result

    def arrays(self) -> dict[str, Any]:
        """What `of` needs, to be saved."""
        flat: dict[str, Any] = {"spread": self._spread}
        for level, found in enumerate(self._levels):
            for hour, fitted in found.items():
                key = f"{level}_{hour}"
                flat |= {f"seen_{key}": fitted.seen, f"mean_{key}": fitted.mean, f"offset_{key}": fitted.offset}
                flat |= {f"weights_{key}_{number}": weights for number, weights in enumerate(fitted.weights)}
        return flat

    @classmethod
    def of(cls, spec: FeatureSpec, arrays: Mapping[str, Any]) -> KernelRidge:
        """Build from what `arrays` gave."""
        levels: list[dict[int, _Hour]] = [{} for _ in _LEVELS]
        for key in (name.removeprefix("seen_") for name in arrays if name.startswith("seen_")):
            level, hour = (int(part) for part in key.split("_"))
            weights = tuple(arrays[f"weights_{key}_{number}"].astype(np.float32) for number in range(len(_WIDTHS)))
            seen, mean, offset = (arrays[f"{name}_{key}"].astype(np.float32) for name in ("seen", "mean", "offset"))
            levels[level][hour] = _Hour(seen, mean, weights, offset)
        return cls(spec, levels, np.asarray(arrays["spread"], dtype=np.float64))


def hour_of(spec: FeatureSpec, inputs: Inputs) -> Ints:
    """Return the local hour [N] at which each forecast begins, read from its first step."""
    sine, cosine = (inputs.steps[:, 0, spec.step_names.index(f"day_1_{wave}")] for wave in ("sin", "cos"))
    hours: Ints = np.floor(np.arctan2(sine, cosine) / (2 * np.pi) * _HOURS + 1e-3).astype(np.int64) % _HOURS
    return hours


def _apart(one: int, other: int) -> int:
    return min((one - other) % _HOURS, (other - one) % _HOURS)


def _features(spec: FeatureSpec, inputs: Inputs, level: Level) -> tuple[Floats, Floats, Floats]:
    """Features [N, P] at a level, and its center [N] and scale [N]."""
    count = len(inputs.recent)
    center, scale = center_and_scale(spec, inputs, level)
    week = (inputs.recent - center[:, None]) / scale[:, None]
    per_day = week.shape[1] // spec.recent_days
    names = spec.step_names
    calendar = inputs.steps[:, :, names.index("weekday_0") :].astype(np.float64)
    days = [min(spec.horizon - 1, day * spec.per_day + spec.per_day // 2) for day in range(spec.days)]
    idle = 1.0 - inputs.steps[:, days[0], names.index("working")][:, None].astype(np.float64)
    edges = [0, spec.horizon - 1]
    # Load that is known ahead to matter (weather) is wanted through the day, not only at its middle.
    known_ahead = names.index(spec.covariates[0].name) if spec.covariates else len(names)
    through = np.linspace(0, spec.horizon - 1, 8 * spec.days).astype(np.int64)
    parts = [
        week,
        week[:, :per_day] * idle,
        week[:, -per_day:] * idle,
        _CALENDAR_WEIGHT * calendar[:, days].reshape(count, -1),
        0.5 * _CALENDAR_WEIGHT * calendar[:, edges].reshape(count, -1),
        inputs.steps[:, 0, names.index("level") : names.index("level") + 2].astype(np.float64),
        np.log(scale)[:, None],
        inputs.steps[:, through, known_ahead:].astype(np.float64).reshape(count, -1),
    ]
    return np.concatenate(parts, axis=1), center, scale


def _kernels(x: Floats | Singles, other: Floats | Singles) -> list[Any]:
    """Return for each width the kernel [n, m] between centred features, as precise as these."""
    product = x @ other.T
    size = x.shape[1]
    squared = (x**2).sum(axis=1)[:, None] + (other**2).sum(axis=1) - 2 * product
    squared = np.maximum(squared, 0.0) / size
    return [product / size + np.exp(-squared / width**2) for width in _WIDTHS]


def _choose(x: Floats, y: Floats, scale: Floats) -> list[float]:
    """Choose a penalty for each kernel by blocks of a week left out in turn."""
    offset = y.mean(axis=0)
    blocks = (np.arange(len(x)) // 7) % _FOLDS
    result = []
    for kernel in _kernels(x - x.mean(axis=0), x - x.mean(axis=0)):
        losses = []
        for penalty in _PENALTIES:
            loss = 0.0
            for fold in range(_FOLDS):
                out = blocks == fold
                if out.any() and not out.all():
                    weights = _regress(kernel[np.ix_(~out, ~out)], penalty, (y - offset)[~out])
                    error = np.abs(kernel[np.ix_(out, ~out)] @ weights - (y - offset)[out])
                    loss += float((error * scale[out, None]).sum())
            losses.append(loss)
        result.append(_PENALTIES[int(np.argmin(losses))])
    return result


def _regress(kernel: Floats, penalty: float, y: Floats) -> Floats:
    return np.asarray(np.linalg.solve(kernel + penalty * np.eye(len(kernel)), y), dtype=np.float64)


def _solve(x: Floats, y: Floats, blocks: Ints, penalties: list[float]) -> tuple[_Hour, Floats]:
    """Return the regressions of an hour, and what each window would be told had its block been left out [n, rows]."""
    mean, offset = x.mean(axis=0), y.mean(axis=0)
    weights, left_out = [], np.zeros_like(y)
    for kernel, penalty in zip(_kernels(x - mean, x - mean), penalties, strict=True):
        inverse = np.linalg.inv(kernel + penalty * np.eye(len(kernel)))
        found = inverse @ (y - offset)
        weights.append(found.astype(np.float32))
        for block in np.unique(blocks):
            out = np.flatnonzero(blocks == block)
            left_out[out] += (y[out] - np.linalg.solve(inverse[np.ix_(out, out)], found[out])) / len(penalties)
    hour = _Hour((x - mean).astype(np.float32), mean.astype(np.float32), tuple(weights), offset.astype(np.float32))
    return hour, left_out


def _apply(fitted: _Hour, x: Floats) -> Floats:
    kernels = _kernels((x - fitted.mean).astype(np.float32), fitted.seen)
    told = [kernel @ weights for kernel, weights in zip(kernels, fitted.weights, strict=True)]
    return np.asarray(np.mean(told, axis=0) + fitted.offset, dtype=np.float64)


def _spreads(spec: FeatureSpec, hours: Ints, residuals: Floats) -> Floats:
    """Quantiles of the residuals [24, rows, 2], of forecasts from the hour and its neighbours, rows smoothed."""
    rows = residuals.shape[1]
    result = np.zeros((_HOURS, rows, 2))
    reach = max(1, 3600 // spec.slot_s)
    for hour in range(_HOURS):
        near = np.array([_apart(hour, int(other)) <= 1 for other in hours])
        some = residuals[near]
        some = some[np.isfinite(some).all(axis=1)]
        if len(some) < _LEAST_WINDOWS:
            some = residuals[np.isfinite(residuals).all(axis=1)]
        for row in range(rows):
            low, high = (
                (row, row + 1) if row >= spec.horizon else (max(0, row - reach), min(spec.horizon, row + reach + 1))
            )
            if len(some):
                below, above = np.quantile(some[:, low:high], (QUANTILES[0], QUANTILES[2]))
                result[hour, row] = max(0.0, -below), max(0.0, above)
            else:
                result[hour, row] = 1.0
    return result
