"""The networks: what the teacher and the student look like.

Both take the contract's named inputs `recent` and `steps` and return `raw`. ReLU only, no normalisation layer, static
shapes: this is what converts to full int8 for every runtime in use. Nothing here knows of data or of training.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras
from keras import layers

from agent.contract.features import FeatureSpec

RAW_SIZE = 3  # median and two spreads
_FACTORED_ABOVE = 48  # steps; beyond this a full linear map from `recent` would fill the student's 200 kB alone
_FACTOR_RANK = 48


@dataclass(frozen=True)
class Shape:
    """Size of a network.

    Attributes:
        context: units of the dense summary of `recent`.
        context_channels: channels that this summary adds to each step.
        channels: channels of the convolutions over the steps.
        blocks: residual convolutions of 5 steps.
        dropout: share of units dropped while training.
        noise: standard deviation of the noise added to the inputs while training.
    """

    context: int
    context_channels: int
    channels: int
    blocks: int = 1
    dropout: float = 0.1
    noise: float = 0.2


STUDENT = Shape(context=48, context_channels=4, channels=32)
TEACHER = Shape(context=96, context_channels=8, channels=64, dropout=0.3)


def build(spec: FeatureSpec, shape: Shape, *, name: str, seed: int, batch: int | None = None) -> Any:
    """Build a network.

    Args:
        spec: fixes the shapes of inputs and output.
        shape: size of the network.
        name: of the Keras model.
        seed: of the initial weights and of the noise.
        batch: a fixed batch size; None while training.

    Returns:
        A `keras.Model` from `recent` [B, recent_size] and `steps` [B, H, F] to `raw` [B, H, 3].
    """
    seeds = _Seeds(seed)
    horizon, width = spec.horizon, len(spec.step_names)
    recent = keras.Input(shape=(spec.recent_size,), batch_size=batch, name="recent")
    steps = keras.Input(shape=(horizon, width), batch_size=batch, name="steps")
    noisy_recent = layers.GaussianNoise(shape.noise, seed=seeds.next())(recent)
    noisy_steps = layers.GaussianNoise(shape.noise, seed=seeds.next())(steps)

    context = _dense(shape.context, seeds, activation="relu")(noisy_recent)
    context = layers.Dropout(shape.dropout, seed=seeds.next())(context)
    context = _dense(horizon * shape.context_channels, seeds, activation="relu")(context)
    context = layers.Reshape((1, horizon, shape.context_channels))(context)

    # One row of `horizon` pixels: a convolution that both runtimes run fast and that an Edge TPU maps.
    row = layers.Reshape((1, horizon, width))(noisy_steps)
    hidden = layers.Concatenate()([row, context])
    hidden = _conv(shape.channels, 1, seeds, activation="relu")(hidden)
    for _ in range(shape.blocks):
        inner = layers.Dropout(shape.dropout, seed=seeds.next())(hidden)
        inner = _conv(shape.channels, 5, seeds, activation="relu")(inner)
        hidden = layers.Add()([hidden, inner])
    hidden = layers.Dropout(shape.dropout, seed=seeds.next())(hidden)
    hidden = _conv(RAW_SIZE, 1, seeds)(hidden)

    # Linear skips: on many plants a ridge regression is the best single model, and no ReLU should stand in its way.
    along_steps = _conv(RAW_SIZE, 1, seeds)(row)
    linear = noisy_recent
    if horizon > _FACTORED_ABOVE:
        linear = _dense(_FACTOR_RANK, seeds)(linear)
    linear = _dense(horizon * RAW_SIZE, seeds, small=True)(linear)
    linear = layers.Reshape((1, horizon, RAW_SIZE))(linear)
    raw = layers.Add()([layers.Add()([hidden, along_steps]), linear])
    raw = layers.Reshape((horizon, RAW_SIZE), name="raw")(raw)
    return keras.Model(inputs={"recent": recent, "steps": steps}, outputs=raw, name=name)


class _Seeds:
    """A fresh seed for each layer, all from one."""

    def __init__(self, seed: int) -> None:
        self._next = seed * 1009

    def next(self) -> int:
        self._next += 1
        return self._next


def _dense(units: int, seeds: _Seeds, *, activation: str | None = None, small: bool = False) -> Any:
    return layers.Dense(units, activation=activation, kernel_initializer=_initializer(seeds, small=small))


def _conv(channels: int, width: int, seeds: _Seeds, *, activation: str | None = None) -> Any:
    return layers.Conv2D(
        channels, (1, width), padding="same", activation=activation, kernel_initializer=_initializer(seeds)
    )


def _initializer(seeds: _Seeds, *, small: bool = False) -> Any:
    return keras.initializers.VarianceScaling(0.05 if small else 1.0, "fan_avg", "uniform", seed=seeds.next())
