"""A load, the time it begins and two ways to look into what features make of it."""

import numpy as np

from agent.contract.features import Inputs
from agent.contract.featurespec import Covariate, FeatureSpec

MONDAY_MS = 1_767_571_200_000  # 2026-01-05T00:00Z
SPEC = FeatureSpec(slot_s=1800, horizon=48, zone="UTC")
TEMPERATURE = Covariate("temperature_c", 10.0, 5.0)
PER_DAY = SPEC.per_day


def history(days: int, seed: int = 1, slot_s: int = 1800) -> np.ndarray:
    """Kilowatts of so many days, with a wave a day and noise."""
    count = days * 86_400 // slot_s
    angle = np.arange(count) * 2 * np.pi * slot_s / 86_400
    return 100 + 30 * np.sin(angle) + np.random.default_rng(seed).normal(0, 3, count)


def column(spec: FeatureSpec, inputs: Inputs, name: str) -> np.ndarray:
    """One feature of the steps, as the model sees it."""
    return inputs.steps[..., spec.step_names.index(name)]


def in_kw(spec: FeatureSpec, inputs: Inputs, name: str) -> np.ndarray:
    """One feature of the steps, without its scaling."""
    return column(spec, inputs, name) * inputs.scale_kw[:, None] + inputs.center_kw[:, None]
