"""Levels at which a member of the teacher may work: what it takes from a window's load and divides it by.

Windows come standardised by the trailing level. On plants that drift this is the best level to learn at, on steady ones
the plant's own is; no level is best everywhere, so members learn at several and their mean is taken. Pure functions of
model inputs: a made window has the same levels as a real one.
"""

from __future__ import annotations

import enum

import numpy as np

from agent.contract.features import Floats, Inputs
from agent.contract.featurespec import LEVEL_COLUMNS, FeatureSpec

_SCALE_FLOOR = 0.05


class Level(enum.StrEnum):
    """What load is compared with.

    TRAILING: as the window comes. PLANT: the plant's training data. LAST_WEEK: the mean of the last week, in the
    plant's units. OWN_WEEK: mean and spread of the last week.
    """

    TRAILING = "trailing"
    PLANT = "plant"
    LAST_WEEK = "last_week"
    OWN_WEEK = "own_week"


def center_and_scale(spec: FeatureSpec, inputs: Inputs, level: Level) -> tuple[Floats, Floats]:
    """Return [N] and [N], in standardised units: load z stands at (z - center) / scale."""
    count = len(inputs.recent)
    if level is Level.TRAILING:
        return np.zeros(count), np.ones(count)
    mean = inputs.recent.mean(axis=1, dtype=np.float64)
    if level is Level.OWN_WEEK:
        return mean, np.maximum(inputs.recent.std(axis=1, dtype=np.float64), _SCALE_FLOOR)
    # The features `level` and `spread` are what standardising by the trailing level took away.
    above, spread = (inputs.steps[:, 0, spec.step_names.index(name)].astype(np.float64) for name in LEVEL_COLUMNS)
    plant = np.exp(-spread / 2)
    return (mean if level is Level.LAST_WEEK else -above * plant), plant
