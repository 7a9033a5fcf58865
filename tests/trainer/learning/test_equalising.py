"""Equalising changes what a student says inside, and nothing that it says."""

import numpy as np
import pytest

from agent.contract.features import Inputs
from agent.contract.featurespec import FeatureSpec
from trainer.learning import fitting, networks
from trainer.learning.equalising import equalise

SPEC = FeatureSpec(1800, 48, "UTC")


def some_inputs(seed=1, count=20):
    random = np.random.default_rng(seed)
    recent = random.normal(size=(count, SPEC.recent_size)).astype(np.float32)
    steps = random.normal(size=(count, SPEC.horizon, len(SPEC.step_names))).clip(-2, 2).astype(np.float32)
    return Inputs(recent, steps, np.zeros(count), np.ones(count))


def lopsided(shape):
    """A network whose linear skip and some of whose hidden channels range far beyond its features."""
    model = networks.build(SPEC, shape, name="one", seed=1)
    for name, factor in (("linear", 30.0), ("mixed", np.linspace(0.1, 12.0, shape.channels, dtype=np.float32))):
        kernel, bias = model.get_layer(name).get_weights()
        model.get_layer(name).set_weights([kernel * factor, bias + 0.1])
    return model


def joined(model, inputs):
    import keras

    return fitting.predict(keras.Model(model.inputs, model.get_layer("sum").input), inputs)


@pytest.mark.parametrize("blocks", [1, 2])
def test_the_network_says_the_same(blocks):
    shape = networks.Shape(context=8, context_channels=2, channels=12, blocks=blocks, dropout=0.0, noise=0.0)
    model = lopsided(shape)
    before = fitting.predict(model, some_inputs())
    equalise(SPEC, shape, model, some_inputs())
    other = some_inputs(seed=2)
    after = fitting.predict(model, some_inputs())
    assert np.allclose(before, after, rtol=1e-4, atol=1e-3)
    fresh = fitting.predict(lopsided(shape), other)
    assert np.allclose(fresh, fitting.predict(model, other), rtol=1e-4, atol=1e-3)


def test_no_part_ranges_beyond_the_features():
    shape = networks.Shape(context=8, context_channels=2, channels=12, dropout=0.0, noise=0.0)
    model = lopsided(shape)
    width = len(SPEC.step_names)
    before = np.abs(joined(model, some_inputs()))
    hidden = 2 * shape.channels
    assert before[..., :hidden].max() > 4 > before[..., hidden:-3].max()
    assert before[..., -3:].max() > 4
    equalise(SPEC, shape, model, some_inputs())
    after = np.abs(joined(model, some_inputs()))
    features = after[..., hidden : hidden + width].max()
    assert after.max() <= features * 1.001
    speaks = before[..., :hidden].max(axis=(0, 1, 2)) > 1e-3
    assert np.allclose(after[..., :hidden].max(axis=(0, 1, 2))[speaks], features, rtol=1e-3)
    assert np.allclose(after[..., -3:].max(axis=(0, 1, 2)), features, rtol=1e-3)


def test_what_never_speaks_stays_silent():
    shape = networks.Shape(context=8, context_channels=2, channels=12, dropout=0.0, noise=0.0)
    model = networks.build(SPEC, shape, name="one", seed=1)
    for name in ("linear", "mixed"):
        model.get_layer(name).set_weights([0 * weights for weights in model.get_layer(name).get_weights()])
    before = fitting.predict(model, some_inputs())
    equalise(SPEC, shape, model, some_inputs())
    assert np.allclose(before, fitting.predict(model, some_inputs()), atol=1e-6)
