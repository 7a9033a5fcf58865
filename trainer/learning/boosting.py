"""Gradient boosting: the teacher's member that is best where load jumps between states. LightGBM behind one module.

One row for each step of each window, one model for each quantile at each of three levels; their mean is told. Trees
cannot draw a straight line, so what another member would say of the step is a feature too: they learn where it errs.
It says nothing of the daily peak: those rows are NaN.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Protocol

import lightgbm
import numpy as np

from agent.contract.features import Floats, Inputs, Ints, Singles
from agent.contract.featurespec import QUANTILES, FeatureSpec
from trainer.learning.levels import Level, center_and_scale

MOST_ROWS = 60_000
LEVELS = (Level.TRAILING, Level.PLANT, Level.LAST_WEEK)
_OUTER_ROUNDS = 0.7  # of the median's: outer quantiles are sooner learnt by heart
_WINDOWS_AT_ONCE = 500_000  # steps
_LAST_HOURS = (1, 3, 6)
_AROUND = 2  # parts of the last week on each side of the same time a day and a week ago
_THREADS = 2


class Guide(Protocol):
    """A member whose median is a feature."""

    def predict(self, inputs: Inputs) -> Singles:
        """Return standardised quantiles [N, H + D, 3]."""


class Boosting:
    """Fitted trees.

    Invariants:
        The same windows and seed give the same member on the same machine.
        q0.1 <= q0.5 <= q0.9 in every slot.
    """

    def __init__(self, spec: FeatureSpec, models: list[list[lightgbm.Booster]], guide: Guide | None = None) -> None:
        """Hold for each of `LEVELS` one model a quantile, and what they were guided by."""
        self._spec, self._models, self._guide = spec, models, guide

    @classmethod
    def fit(
        cls,
        spec: FeatureSpec,
        inputs: Inputs,
        target: Singles,
        *,
        seed: int,
        rounds: int = 220,
        share: Floats | None = None,
        guide: Guide | None = None,
        guided: Singles | None = None,
        progress: Callable[[int, int], None] = lambda _done, _total: None,
    ) -> Boosting:
        """Fit to an even draw of the steps of N windows.

        Args:
            spec: of the inputs.
            inputs: N windows.
            target: [N, rows] standardised truth; NaN is left out.
            seed: of the draw and of the trees.
            rounds: trees of the median.
            share: [N] what each window weighs, none where it is 0; its scale where it is not given, since kW count.
            guide: a member that has learnt already.
            guided: [N, rows] the median that `guide` would tell each window had it not learnt from it; NaN where
                unknown.
            progress: called after each model.
        """
        share = inputs.scale_kw if share is None else share
        slots = target[:, : spec.horizon]
        known = np.flatnonzero(np.isfinite(slots) & (share > 0)[:, None])
        random = np.random.default_rng(seed)
        chosen = np.sort(random.choice(known, min(len(known), MOST_ROWS), replace=False))
        window, step = np.divmod(chosen, spec.horizon)
        load, other = _rows(spec, inputs, window, step, None if guide is None else guided)
        truth = slots[window, step]

        def train(level: Level, quantile: float) -> lightgbm.Booster:
            center, scale = (one[window] for one in center_and_scale(spec, inputs, level))
            x = np.column_stack([(load - center[:, None]) / scale[:, None], other])
            weight = share[window] * scale
            data = lightgbm.Dataset(x, (truth - center) / scale, weight=weight / weight.mean())
            trees = rounds if quantile == QUANTILES[1] else max(1, round(_OUTER_ROUNDS * rounds))
            return lightgbm.train(_parameters(quantile, seed), data, trees)

        models = []
        wanted = list(itertools.product(LEVELS, QUANTILES))
        # One thread a model: two threads of one model wait for each other in busy loops, minutes on a machine in use.
        with ThreadPoolExecutor(_THREADS) as pool:
            for number, model in enumerate(pool.map(lambda one: train(*one), wanted), 1):
                models.append(model)
                progress(number, len(wanted))
        return cls(spec, _by_level(models), guide)

    def predict(self, inputs: Inputs) -> Singles:
        """Return standardised quantiles [N, rows, 3]; the rows of daily peaks are NaN."""
        count, horizon = inputs.steps.shape[:2]
        result = np.full((count, self._spec.output_size, len(QUANTILES)), np.nan, dtype=np.float32)
        guided = None if self._guide is None else self._guide.predict(inputs)[:, :, 1]
        levels = [center_and_scale(self._spec, inputs, level) for level in LEVELS]
        at_once = max(1, _WINDOWS_AT_ONCE // horizon)
        with ThreadPoolExecutor(_THREADS) as pool:
            for low in range(0, count, at_once):
                window = np.repeat(np.arange(low, min(count, low + at_once)), horizon)
                step = np.tile(np.arange(horizon), len(window) // horizon)
                load, other = _rows(self._spec, inputs, window, step, guided)
                total = np.zeros((len(window), len(QUANTILES)))
                for models, (center, scale) in zip(self._models, levels, strict=True):
                    at, by = center[window, None], scale[window, None]
                    x = np.column_stack([(load - at) / by, other])
                    told = np.stack(list(pool.map(partial(_tell, x=x), models)), axis=-1)
                    total += np.sort(told, axis=-1) * by + at
                result[low : low + at_once, :horizon] = (total / len(LEVELS)).reshape(-1, horizon, len(QUANTILES))
        return result

    def texts(self) -> list[str]:
        """The models as LightGBM writes them, level by level."""
        return [model.model_to_string() for models in self._models for model in models]

    @classmethod
    def of(cls, spec: FeatureSpec, texts: list[str], guide: Guide | None) -> Boosting:
        """Build from what `texts` gave."""
        return cls(spec, _by_level([lightgbm.Booster(model_str=text) for text in texts]), guide)


def _by_level(models: list[lightgbm.Booster]) -> list[list[lightgbm.Booster]]:
    return [models[low : low + len(QUANTILES)] for low in range(0, len(models), len(QUANTILES))]


def _rows(
    spec: FeatureSpec, inputs: Inputs, window: Ints, step: Ints, guided: Singles | None
) -> tuple[Singles, Singles]:
    """Features of single steps: load [n, L], to be brought to a level, and all others [n, M].

    Beside those of the step, load is the last week about the same time a day and a week ago, its last hours, days and
    extremes, and what the guide says; the time of day and the weekday are numbers that a tree can split.
    """
    names, steps = spec.step_names, inputs.steps[window, step]
    sine, cosine = steps[:, names.index("day_1_sin")], steps[:, names.index("day_1_cos")]
    hour = (np.arctan2(sine, cosine) / (2 * np.pi) % 1.0) * 24
    first = names.index("weekday_0")
    weekday = steps[:, first : first + 7].argmax(axis=1)
    other = np.column_stack([steps[:, spec.load_columns :], np.round(hour, 4), weekday]).astype(np.float32)

    week = inputs.recent
    per_day = week.shape[1] // spec.recent_days
    place = step % spec.per_day * per_day // spec.per_day
    around = np.arange(-_AROUND, _AROUND + 1)
    columns = [
        week[window[:, None], np.clip(start + place[:, None] + around, 0, week.shape[1] - 1)].mean(axis=1)
        for start in (week.shape[1] - per_day, 0)
    ]
    columns += [week[:, -max(1, hours * per_day // 24) :].mean(axis=1)[window] for hours in _LAST_HOURS]
    columns += [of_week[window] for of_week in (week.max(axis=1), week.min(axis=1))]
    columns += list(week.reshape(len(week), spec.recent_days, per_day).mean(axis=2)[window].T)
    if guided is not None:
        columns.append(guided[window, step])
    return np.column_stack([steps[:, : spec.load_columns], *columns]).astype(np.float32), other


def _tell(model: lightgbm.Booster, x: Singles) -> Floats:
    return np.asarray(model.predict(x, num_threads=1), dtype=np.float64)


def _parameters(quantile: float, seed: int) -> dict[str, object]:
    return {
        "objective": "quantile",
        "alpha": quantile,
        "learning_rate": 0.08,
        "num_leaves": 15,
        "min_data_in_leaf": 100,
        "feature_fraction": 0.4,
        "bagging_fraction": 0.8,
        "bagging_freq": 1,
        "lambda_l2": 5.0,
        "seed": seed,
        "deterministic": True,
        "num_threads": 1,
        "force_row_wise": True,
        "verbosity": -1,
    }
