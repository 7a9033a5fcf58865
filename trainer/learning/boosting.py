"""Gradient boosting: the teacher's member that is best where load jumps between states. LightGBM behind one module.

One row for each step of each window, one model a quantile. It says nothing of the daily peak: those rows are NaN.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import lightgbm
import numpy as np

from agent.contract.features import Floats, Inputs, Singles
from agent.contract.featurespec import QUANTILES, FeatureSpec

MOST_ROWS = 60_000
_OUTER_ROUNDS = 0.75  # of the median's: outer quantiles are sooner learnt by heart
_ROWS_AT_ONCE = 500_000


class Boosting:
    """Fitted trees.

    Invariants:
        The same windows and seed give the same member on the same machine.
        q0.1 <= q0.5 <= q0.9 in every slot.
    """

    def __init__(self, spec: FeatureSpec, models: list[lightgbm.Booster]) -> None:
        """Hold one model a quantile."""
        self._spec, self._models = spec, models

    @classmethod
    def fit(
        cls,
        spec: FeatureSpec,
        inputs: Inputs,
        target: Singles,
        *,
        seed: int,
        rounds: int = 130,
        share: Floats | None = None,
        progress: Callable[[int, int], None] = lambda _done, _total: None,
    ) -> Boosting:
        """Fit to an even draw of the steps of N windows.

        Args:
            spec: of the inputs.
            inputs: N windows.
            target: [N, rows] standardised truth; NaN is left out.
            seed: of the draw and of the trees.
            rounds: trees of the median.
            share: [N] what each window weighs; its scale where it is not given, since kW count.
            progress: called after each quantile.
        """
        random = np.random.default_rng(seed)
        slots = target[:, : spec.horizon]
        known = np.flatnonzero(np.isfinite(slots))
        chosen = np.sort(random.choice(known, min(len(known), MOST_ROWS), replace=False))
        window, step = np.divmod(chosen, spec.horizon)
        x = _rows(spec, inputs.steps[window, step])
        share = inputs.scale_kw if share is None else share
        weight = share[window] / share.mean()
        y = slots[window, step]

        def train(level: float) -> lightgbm.Booster:
            trees = rounds if level == QUANTILES[1] else max(1, round(_OUTER_ROUNDS * rounds))
            return lightgbm.train(_parameters(level, seed), lightgbm.Dataset(x, y, weight=weight), trees)

        models = []
        # One thread a model: two threads of one model wait for each other in busy loops, minutes on a machine in use.
        with ThreadPoolExecutor(len(QUANTILES)) as pool:
            for number, model in enumerate(pool.map(train, QUANTILES), 1):
                models.append(model)
                progress(number, len(QUANTILES))
        return cls(spec, models)

    def predict(self, inputs: Inputs) -> Singles:
        """Return standardised quantiles [N, rows, 3]; the rows of daily peaks are NaN."""
        count, horizon = inputs.steps.shape[:2]
        result = np.full((count, self._spec.output_size, len(QUANTILES)), np.nan, dtype=np.float32)
        at_once = max(1, _ROWS_AT_ONCE // horizon)
        with ThreadPoolExecutor(len(QUANTILES)) as pool:
            for low in range(0, count, at_once):
                part = inputs.steps[low : low + at_once]
                x = _rows(self._spec, part.reshape(-1, part.shape[-1]))
                told = np.stack(list(pool.map(partial(_tell, x=x), self._models)), axis=-1)
                result[low : low + at_once, :horizon] = np.sort(told, axis=-1).reshape(len(part), horizon, -1)
        return result

    def texts(self) -> list[str]:
        """The models as LightGBM writes them."""
        return [model.model_to_string() for model in self._models]

    @classmethod
    def of(cls, spec: FeatureSpec, texts: list[str]) -> Boosting:
        """Build from what `texts` gave."""
        return cls(spec, [lightgbm.Booster(model_str=text) for text in texts])


def _rows(spec: FeatureSpec, steps: Singles) -> Singles:
    """Features of single steps [n, F + 2]: with the time of day and the weekday as numbers that a tree can split."""
    names = spec.step_names
    sine, cosine = steps[:, names.index("day_1_sin")], steps[:, names.index("day_1_cos")]
    hour = (np.arctan2(sine, cosine) / (2 * np.pi) % 1.0) * 24
    first = names.index("weekday_0")
    weekday = steps[:, first : first + 7].argmax(axis=1)
    return np.column_stack([steps, np.round(hour, 4), weekday]).astype(np.float32)


def _tell(model: lightgbm.Booster, x: Singles) -> Floats:
    return np.asarray(model.predict(x, num_threads=1), dtype=np.float64)


def _parameters(level: float, seed: int) -> dict[str, object]:
    return {
        "objective": "quantile",
        "alpha": level,
        "learning_rate": 0.06,
        "num_leaves": 31,
        "min_data_in_leaf": 40,
        "feature_fraction": 0.6,
        "bagging_fraction": 0.8,
        "bagging_freq": 1,
        "lambda_l2": 5.0,
        "seed": seed,
        "deterministic": True,
        "num_threads": 1,
        "force_row_wise": True,
        "verbosity": -1,
    }
