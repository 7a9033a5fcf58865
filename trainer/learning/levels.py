"""Levels at which a member of the teacher may work: what it takes from a window's load and divides it by.

On plants that drift the trailing level is the best one to learn at, on steady ones the plant's own is; none is best
everywhere, so members learn at several and their mean is taken. Pure functions of model inputs: a made window has the
same levels as a real one.
"""

from __future__ import annotations

import enum
from dataclasses import replace

import numpy as np

from agent.contract.features import Floats, Inputs
from agent.contract.featurespec import LEVEL_COLUMNS, FeatureSpec, Scaling

_SCALE_FLOOR = 0.05
_CLIP = 6.0  # of load at another level: what the contract clips at 4 trailing ones may be more of a calm week's


class Level(enum.StrEnum):
    """What load is compared with.

    TRAILING: the last weeks. PLANT: the plant's training data. LAST_WEEK: the mean of the last week, in the plant's
    units. OWN_WEEK: mean and spread of the last week.
    """

    TRAILING = "trailing"
    PLANT = "plant"
    LAST_WEEK = "last_week"
    OWN_WEEK = "own_week"


def center_and_scale(spec: FeatureSpec, inputs: Inputs, level: Level) -> tuple[Floats, Floats]:
    """Return [N] and [N], in standardised units: load z stands at (z - center) / scale."""
    mean, spread = inputs.recent.mean(axis=1, dtype=np.float64), inputs.recent.std(axis=1, dtype=np.float64)
    if level is Level.OWN_WEEK:
        return mean, np.maximum(spread, _SCALE_FLOOR)
    # These features say where the trailing level stands in the plant's own: what standardising by it took away.
    above, wider = (inputs.steps[:, 0, spec.step_names.index(name)].astype(np.float64) for name in LEVEL_COLUMNS)
    scale = np.exp(wider / 2)
    here = (np.zeros(len(mean)), np.ones(len(mean)))
    if spec.scaling is Scaling.GLOBAL:
        trailing, plant = (above, scale), here
    else:
        trailing, plant = here, (-above / scale, 1 / scale)
    if level is Level.LAST_WEEK:
        return mean, plant[1]
    return trailing if level is Level.TRAILING else plant


def at_level(spec: FeatureSpec, inputs: Inputs, level: Level) -> tuple[Inputs, Floats, Floats]:
    """Return the inputs with their load at a level, and its center [N] and scale [N] in standardised units.

    Told z at that level is z * scale + center in standardised units.
    """
    center, scale = center_and_scale(spec, inputs, level)
    if not center.any() and (scale == 1).all():
        return inputs, center, scale
    steps = inputs.steps.copy()
    load = steps[:, :, : spec.load_columns]
    load -= center[:, None, None]
    load /= scale[:, None, None]
    np.clip(load, -_CLIP, _CLIP, out=load)
    recent = np.clip((inputs.recent - center[:, None]) / scale[:, None], -_CLIP, _CLIP).astype(np.float32)
    return replace(inputs, recent=recent, steps=steps), center, scale
