"""The teacher's networks: alike but for their seed and the level at which each learns; their mean is told.

A network at another level errs otherwise: four at four levels did better than four at one on nine of nine development
files, by 2.4 %.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from agent.contract.features import Floats, Inputs, Singles
from agent.contract.featurespec import FeatureSpec
from trainer.learning import fitting, networks, windows
from trainer.learning.base import Base, adapt
from trainer.learning.fitting import Schedule
from trainer.learning.levels import Level, at_level
from trainer.learning.options import Options, Progress
from trainer.learning.pool import PoolPlant, balanced_odds
from trainer.learning.windows import Windows

LEVELS = (Level.TRAILING, Level.PLANT, Level.LAST_WEEK, Level.OWN_WEEK)  # of the first network, the second, ...
OWN_SHARE_OF_WINDOWS = 0.5  # of a plant that learns beside others


@dataclass(frozen=True, eq=False)
class Networks:
    """Fitted networks, each with the level at which it has learnt."""

    spec: FeatureSpec
    models: tuple[tuple[Level, Any], ...]

    def predict(self, inputs: Inputs) -> Singles:
        """Return standardised quantiles [N, H + D, 3]."""
        total: Floats | float = 0.0
        for level, model in self.models:
            seen, center, scale = at_level(self.spec, inputs, level)
            told = fitting.standardised_quantiles(fitting.predict(model, seen))
            total = total + told * scale[:, None, None] + center[:, None, None]
        result: Singles = (np.asarray(total) / len(self.models)).astype(np.float32)
        return result

    def save(self, folder: Path) -> None:
        """Write a file `teacher-network-N-LEVEL.keras` for each."""
        for number, (level, model) in enumerate(self.models, 1):
            model.save(_file(folder, number, level))

    @classmethod
    def load(cls, spec: FeatureSpec, levels: Sequence[Level], folder: Path) -> Networks:
        """Read what `save` wrote: a network at each of `levels`.

        Raises:
            OSError, ValueError: when one is missing or damaged.
        """
        models = (
            keras.models.load_model(_file(folder, number, level), compile=False)
            for number, level in enumerate(levels, 1)
        )
        return cls(spec, tuple(zip(levels, models, strict=True)))


def fit_networks(
    spec: FeatureSpec,
    learnt: Windows,
    made: Sequence[Windows],
    others: Sequence[PoolPlant],
    base: Base | None,
    options: Options,
    progress: Progress,
) -> Networks:
    """Fit the networks of a teacher.

    Args:
        spec: of the windows.
        learnt: what is learnt from.
        made: windows of made years, learnt from, too.
        others: plants whose windows are learnt from, too.
        base: what all start from, at its level; nothing where it is not given.
        options: seed, number of networks, how long they learn.
        progress: told after each step.

    Raises:
        UnavailableError: when one diverges.
    """
    models = []
    days = len(np.unique(learnt.origins // spec.per_day))
    updates, rate = options.updates_for(days), options.peak_rate
    if base is not None:
        updates, rate = options.adapt_updates, options.adapt_rate
    # Of other plants' windows, too, so that a few days do not make a network forget what the base knew.
    parts, odds = _beside(spec, learnt, made, others, options)
    total = options.teachers * updates
    for number in range(options.teachers):
        seed, name = options.seed * 100 + number + 1, f"teacher_{number + 1}"
        level = LEVELS[number % len(LEVELS)] if base is None else Level.TRAILING
        seen, center, scale = at_level(spec, parts.inputs, level)
        if base is None:
            model = networks.build(spec, options.teacher, name=name, seed=seed)
            networks.silence(options.teacher, model, seen.steps)
        else:
            model = adapt(base, spec, options.teacher, seed, name=name)
        fitting.fit(
            model,
            seen,
            ((parts.target - center[:, None]) / scale[:, None]).astype(np.float32),
            Schedule(updates, options.batch, rate, options.weight_decay, seed),
            odds=odds * scale,  # an error counts in kW, whatever it is learnt in
            progress=_part(progress, number * updates, total),
        )
        models.append((level, networks.without_noise(spec, options.teacher, model)))
    return Networks(spec, tuple(models))


def with_made(odds: Sequence[Floats], options: Options) -> list[Floats]:
    """Return the odds of the plant's own windows, the first, and of each made year, so that these have their share."""
    own, *made = odds
    share = options.teacher_made_share if made else 0.0
    return [own * (1 - share), *(one * share / len(made) for one in made)]


def _beside(
    spec: FeatureSpec, learnt: Windows, made: Sequence[Windows], others: Sequence[PoolPlant], options: Options
) -> tuple[Windows, Floats]:
    """Join a plant's windows with those of its made years and of others; return them and the odds of each."""
    own = np.concatenate(with_made([windows.odds(spec, one) for one in (learnt, *made)], options))
    if not others:
        return (windows.join([learnt, *made]) if made else learnt), own
    parts = windows.join([*(one.learnt for one in others), learnt, *made])
    return parts, np.concatenate([balanced_odds(others) * (1 - OWN_SHARE_OF_WINDOWS), own * OWN_SHARE_OF_WINDOWS])


def _file(folder: Path, number: int, level: Level) -> Path:
    return folder / f"teacher-network-{number}-{level}.keras"


def _part(progress: Progress, before: int, total: int) -> Callable[[int, int], None]:
    return lambda done, _total: progress("networks", before + done, total)
