"""Bundles and histories for the inference tests; they run in both TFLite environments, without TensorFlow."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from agent.contract.bundle import Bundle
from agent.contract.featurespec import FeatureSpec
from agent.inference.forecaster import Model

CASES = Path(__file__).parent / "cases"
START_MS = 1_760_002_200_000  # on the grid of every slot length up to 30 min


@pytest.fixture(scope="session", params=sorted(path.name for path in CASES.glob("*.ewb")))
def bundle(request: pytest.FixtureRequest) -> Bundle:
    """Every bundle in `cases`."""
    return Bundle.from_bytes((CASES / request.param).read_bytes())


@pytest.fixture(scope="session")
def model(bundle: Bundle) -> Model:
    return Model.load(bundle)


@pytest.fixture
def start_ms(bundle: Bundle) -> int:
    return START_MS - START_MS % (bundle.manifest.feature_spec.slot_s * 1000)


@pytest.fixture
def history(bundle: Bundle) -> np.ndarray:
    """30 days with a daily and a weekly pattern and noise."""
    return plant(bundle.manifest.feature_spec, 30)


def plant(spec: FeatureSpec, days: int, seed: int = 3) -> np.ndarray:
    slot = np.arange(days * spec.per_day)
    day = slot // spec.per_day
    shape = 100 + 40 * np.sin(2 * np.pi * slot / spec.per_day) - 25 * (day % 7 >= 5)
    return shape + np.random.default_rng(seed).normal(0, 4, len(slot))
