"""The networks: what the teacher and the student look like.

Both take the contract's named inputs `recent` and `steps` and return `raw`. ReLU only, no normalisation layer, static
shapes: this is what converts to full int8 for every runtime in use. Nothing here knows of data or of training.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np

from agent.contract.errors import ConfigError
from agent.contract.features import Singles
from agent.contract.featurespec import LEVEL_COLUMNS, FeatureSpec

RAW_SIZE = 3  # median and two spreads
_PATHS = 16  # whose highest slots foretell the daily peak
_FACTORED_ABOVE = 48  # steps; beyond this a full linear map from `recent` would fill the student's 200 kB alone
_FACTOR_RANK = 48
_LONG = 200  # steps
_AHEAD_PARTS = 8  # of a day ahead, for its summary
_AHEAD_CHANNELS = 8
_MOST_BYTES = 197_000  # of an int8 student, a little below the budget of 200 kB, since they are estimated:
_BYTES_A_UNIT, _BYTES_OF_THE_GRAPH = 12, 36_000
_LEAST_CONTEXT = 8


@dataclass(frozen=True)
class Shape:
    """Size of a network.

    Attributes:
        context: units of the dense summary of the week and the calendar ahead.
        context_channels: channels that this summary adds to each step.
        channels: channels of the convolutions over the steps.
        blocks: convolutions of 5 steps.
        dropout: share of units dropped while training.
        noise: standard deviation of the noise added to the load inputs while training.
        level_noise: the same for the level of a window, one value for all of its steps: levels tell the season of a
            window, and a network that knows it by heart does worse in the seasons to come.
    """

    context: int
    context_channels: int
    channels: int
    blocks: int = 1
    dropout: float = 0.1
    noise: float = 0.1
    level_noise: float = 0.0

    @property
    def plain(self) -> Shape:
        """The same without what only training has."""
        return replace(self, dropout=0.0, noise=0.0, level_noise=0.0)


# A student has more windows than it can learn by heart, and a teacher's word for each: dropout and noise only blur it.
STUDENT = Shape(context=112, context_channels=4, channels=64, dropout=0.0, noise=0.0)
TEACHER = Shape(context=128, context_channels=4, channels=64, dropout=0.3, level_noise=0.2)


def build(spec: FeatureSpec, shape: Shape, *, name: str, seed: int, batch: int | None = None, kit: Any = keras) -> Any:
    """Build a network.

    Args:
        spec: fixes the shapes of inputs and output.
        shape: size of the network.
        name: of the Keras model.
        seed: of the initial weights and of the noise.
        batch: a fixed batch size; None while training.
        kit: the Keras to build with: this one, or Keras 2 for a shape without noise.

    Returns:
        A `keras.Model` from `recent` [B, recent_size] and `steps` [B, H, F] to `raw` [B, H + D, 3]: slots, then daily
        peaks.
    """
    seeds, layers = _Seeds(seed, kit), kit.layers
    horizon, width = spec.horizon, len(spec.step_names)
    recent = kit.Input(shape=(spec.recent_size,), batch_size=batch, name="recent")
    steps = kit.Input(shape=(horizon, width), batch_size=batch, name="steps")
    # One row of `horizon` pixels: a convolution that both runtimes run fast and that an Edge TPU maps.
    clean_row = layers.Reshape((1, horizon, width))(steps)
    week, row = recent, clean_row
    if shape.noise:
        week = layers.GaussianNoise(shape.noise, seed=seeds.next())(recent)
        row = ColumnNoise(shape.noise, spec.load_columns, shape.level_noise, seed=seeds.next())(clean_row)

    # Which days lie ahead decides what the week means: a convolution that looks at some hours at once. Not pooled: a
    # mean of a dozen int8 values is a tie between two steps every dozenth time, which runtimes break differently.
    some_hours = max(1, horizon // (_AHEAD_PARTS * spec.days))
    ahead = _conv(_AHEAD_CHANNELS, some_hours, seeds, activation="relu", name="ahead", apart=some_hours)(row)
    ahead = layers.Flatten()(ahead)
    # Nothing is added up but by a layer with weights: in int8 an addition rounds, each runtime in its own way.
    summary = _dense(shape.context, seeds, activation="relu", name="summary")(layers.Concatenate()([week, ahead]))
    summary = layers.Dropout(shape.dropout, seed=seeds.next())(summary)
    context_channels = _context_channels(spec, shape)
    context = _dense(horizon * context_channels, seeds, activation="relu", name="context")(summary)
    context = layers.Reshape((1, horizon, context_channels))(context)

    hidden = [_conv(shape.channels, 1, seeds, activation="relu", name="mixed")(layers.Concatenate()([row, context]))]
    for block in block_names(shape):
        inner = layers.Dropout(shape.dropout, seed=seeds.next())(_joined(hidden, layers))
        hidden.append(_conv(shape.channels, 5, seeds, activation="relu", name=block)(inner))
    hidden = [layers.Dropout(shape.dropout, seed=seeds.next())(part) for part in hidden]
    # A linear skip: on many plants a ridge regression is the best single model, and no ReLU should stand in its way.
    linear = week
    if horizon > _FACTORED_ABOVE:
        linear = _dense(_FACTOR_RANK // 3 if horizon > _LONG else _FACTOR_RANK, seeds, name="factors")(linear)
    linear = _dense(horizon * RAW_SIZE, seeds, small=True, name="linear")(linear)
    linear = layers.Reshape((1, horizon, RAW_SIZE))(linear)
    every = layers.Concatenate()([*hidden, row, linear])
    raw = _conv(RAW_SIZE, 1, seeds, name="sum")(every)
    peaks = _peaks(spec, clean_row, every, summary, shape, seeds)
    raw = layers.Concatenate(axis=2)([raw, peaks])
    raw = layers.Reshape((spec.output_size, RAW_SIZE), name="raw")(raw)
    return kit.Model(inputs={"recent": recent, "steps": steps}, outputs=raw, name=name)


def slim(spec: FeatureSpec, shape: Shape) -> Shape:
    """Return the shape, its summary made narrower where an int8 network would be too large: for long horizons.

    Raises:
        ConfigError: when no summary is narrow enough.
    """

    def size(context: int) -> int:
        weights = int(build(spec, replace(shape, context=context), name="size", seed=0).count_params())
        # Each unit of the two widest layers has a bias, a scale and a zero point beside its weights.
        units = spec.horizon * (_context_channels(spec, shape) + RAW_SIZE)
        return weights + _BYTES_A_UNIT * units + _BYTES_OF_THE_GRAPH

    if size(shape.context) <= _MOST_BYTES:
        return shape
    least = min(_LEAST_CONTEXT, shape.context)
    each = size(least + 1) - size(least)
    context = least + (_MOST_BYTES - size(least)) // each
    if context < least:
        raise ConfigError(
            f"{spec.horizon} slots of {spec.slot_s // 60} min ahead need a student of more than {_MOST_BYTES} bytes",
            where="--horizon-hours",
            todo="Give a shorter horizon, or import the load in longer slots",
        )
    return replace(shape, context=min(context, shape.context))


def without_noise(spec: FeatureSpec, shape: Shape, model: Any) -> Any:
    """Return the same network for use, not for training: only layers that every Keras knows, the same weights."""
    plain = build(spec, shape.plain, name=model.name, seed=0)
    for layer in model.layers:
        if layer.get_weights():  # by name: Keras orders the layers of the two networks differently
            plain.get_layer(layer.name).set_weights(layer.get_weights())
    return plain


def places_of_steps(shape: Shape) -> dict[str, int]:
    """Return the layers whose kernel [1, W, C, U] takes the columns of `steps`, and how many inputs stand before."""
    hidden = (1 + shape.blocks) * shape.channels
    return {"ahead": 0, "mixed": 0, "sum": hidden, "means": hidden, "tops": 0}


def block_names(shape: Shape) -> list[str]:
    """Return the names of the convolutions over steps; each reads what all before it say."""
    return [f"block_{number}" for number in range(1, shape.blocks + 1)]


def silence(shape: Shape, model: Any, steps: Singles) -> None:
    """Zero the weights of columns that are zero in all of `steps` [N, H, F], which a new network is to learn from.

    Learning never touches them: a plant's first holiday would meet the random numbers that they began with.
    """
    silent = np.flatnonzero(~steps.any(axis=(0, 1)))
    for name, before in places_of_steps(shape).items():
        kernel, *rest = model.get_layer(name).get_weights()
        kernel[:, :, before + silent] = 0.0
        model.get_layer(name).set_weights([kernel, *rest])


class ColumnNoise(keras.layers.Layer):  # type: ignore[misc]  # keras has no types
    """Gaussian noise on the load and the level of a row while training; nothing otherwise."""

    def __init__(self, stddev: float, columns: int, level_stddev: float, *, seed: int) -> None:
        """Noise of `stddev` on features 0 to `columns` - 1, and of `level_stddev` on the next two, level and spread."""
        super().__init__()
        self._stddev, self._columns, self._level_stddev = stddev, columns, level_stddev
        self._seed = keras.random.SeedGenerator(seed)

    def call(self, values: Any, training: bool | None = None) -> Any:  # Keras calls it so
        """Return `values` [B, 1, H, F], noisy while training."""
        if not training:
            return values
        batch, _, steps, width = keras.ops.shape(values)
        # Random numbers cost as much as a convolution: none are made for columns that get no noise.
        load = self._stddev * keras.random.normal((batch, 1, steps, self._columns), seed=self._seed)
        level = self._level_stddev * keras.random.normal((batch, 1, 1, len(LEVEL_COLUMNS)), seed=self._seed)
        after = width - self._columns - len(LEVEL_COLUMNS)
        values += keras.ops.pad(load, ((0, 0), (0, 0), (0, 0), (0, width - self._columns)))
        return values + keras.ops.pad(level, ((0, 0), (0, 0), (0, 0), (self._columns, after)))


def _context_channels(spec: FeatureSpec, shape: Shape) -> int:
    """Long horizons get a leaner summary: their maps to each step would fill the student's 200 kB alone."""
    return 1 if spec.horizon > _LONG else shape.context_channels


def _joined(parts: list[Any], layers: Any) -> Any:
    return layers.Concatenate()(parts) if len(parts) > 1 else parts[0]


def _peaks(spec: FeatureSpec, row: Any, every: Any, summary: Any, shape: Shape, seeds: _Seeds) -> Any:
    """The daily peaks [B, 1, D, 3]: of the highest of learnt paths, the mean of `every` part, and the week's summary.

    A path may be a lag, whose highest slot is the peak of that earlier day, or any mixture of the features of a step.
    Paths come from clean inputs, since the maximum of what training made noisy is higher than that of what a device
    sees. Nothing is concatenated, and neither `row` nor `every` itself is pooled: in int8 both would force one step
    size upon all tensors concerned, and so a wrong one upon what the slots are made of.
    """
    layers, short = seeds.kit.layers, spec.days * spec.per_day - spec.horizon

    def by_day(tensor: Any, pooling: Any) -> Any:
        if short:
            tensor = layers.ZeroPadding2D(((0, 0), (0, short)))(tensor)
        return pooling((1, spec.per_day))(tensor)

    tops = by_day(_conv(_PATHS, 1, seeds, activation="relu", name="tops")(row), layers.MaxPooling2D)
    if shape.noise:
        tops = layers.GaussianNoise(shape.noise, seed=seeds.next())(tops)
    tops = _conv(RAW_SIZE, 1, seeds)(tops)
    means = by_day(_conv(RAW_SIZE, 1, seeds, name="means")(every), layers.AveragePooling2D)
    week = _dense(spec.days * RAW_SIZE, seeds, small=True, name="week_of_peaks")(summary)
    week = layers.Reshape((1, spec.days, RAW_SIZE))(week)
    return layers.Add()([layers.Add()([tops, means]), week])


class _Seeds:
    """A fresh seed for each layer, all from one, its name, and the Keras that it is of."""

    def __init__(self, seed: int, kit: Any) -> None:
        self.kit = kit
        self._next = seed * 1009 % 2**31
        self._layers = 0

    def next(self) -> int:
        self._next += 1
        return self._next

    def layer_name(self) -> str:
        """A name for the next layer with weights: the same in networks of the same shape, noisy or not."""
        self._layers += 1
        return f"layer_{self._layers}"


def _dense(
    units: int, seeds: _Seeds, *, activation: str | None = None, small: bool = False, name: str | None = None
) -> Any:
    initializer = _initializer(seeds, small=small)
    name = name or seeds.layer_name()
    return seeds.kit.layers.Dense(units, activation=activation, kernel_initializer=initializer, name=name)


def _conv(
    channels: int, width: int, seeds: _Seeds, *, activation: str | None = None, name: str | None = None, apart: int = 1
) -> Any:
    return seeds.kit.layers.Conv2D(
        channels,
        (1, width),
        strides=(1, apart),
        padding="same" if apart == 1 else "valid",
        activation=activation,
        kernel_initializer=_initializer(seeds),
        name=name or seeds.layer_name(),
    )


def _initializer(seeds: _Seeds, *, small: bool = False) -> Any:
    return seeds.kit.initializers.VarianceScaling(0.05 if small else 1.0, "fan_avg", "uniform", seed=seeds.next())
