"""One network, fitted: the loss, the optimiser and the loop. Knows arrays, not plants.

TensorFlow's seeds are global to the process: two fits must not run at the same time in one process.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from agent.contract.errors import UnavailableError
from agent.contract.features import Floats, Inputs, Ints, Singles, assemble
from agent.contract.featurespec import QUANTILES

_WARM_UP = 20  # one part in this many of the steps
_PREDICT_BATCH = 512
_PEAK_WEIGHT = 0.1  # of the daily peaks beside the slots: enough for their own weights, little for the shared ones


@dataclass(frozen=True)
class Schedule:
    """How long and how hard to learn; see `Options`."""

    updates: int
    batch: int
    peak_rate: float
    weight_decay: float
    seed: int


def fit(
    model: Any,
    inputs: Inputs,
    target: Singles,
    schedule: Schedule,
    *,
    taught: Singles | None = None,
    truth_share: float = 1.0,
    odds: Floats | None = None,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
    kit: Any = keras,
) -> None:
    """Fit a network in place.

    Args:
        model: from `recent` and `steps` to `raw`.
        inputs: N windows, each of H slots and D days.
        target: [N, H + D] standardised truth, the daily peaks last; NaN counts for nothing.
        schedule: how long and how hard.
        taught: [N, H + D, 3] a teacher's standardised quantiles.
        truth_share: weight of the truth where there is a teacher.
        odds: [N] how often each window is drawn, against the others; None for all alike.
        progress: called after each step.
        kit: the Keras that the network is of.

    Raises:
        UnavailableError: when the loss is no longer finite.
    """
    kit.utils.set_random_seed(schedule.seed % 2**32)  # numpy takes no more
    optimiser = _optimiser(schedule, kit)
    optimiser.build(model.trainable_variables)
    horizon = inputs.steps.shape[1]

    def weigh(quantiles: Any, truth: Any, teacher: Any) -> Any:
        loss = _pinball(quantiles, truth)
        if teacher is None:
            return loss
        # Half the distance, so that both parts are of one size: pinball at the median is half an error too.
        return truth_share * loss + (1.0 - truth_share) * 0.5 * tf.reduce_mean(tf.abs(teacher - quantiles))

    def step(recent: Any, steps: Any, truth: Any, teacher: Any) -> Any:
        with tf.GradientTape() as tape:
            given = (_quantiles(model({"recent": recent, "steps": steps}, training=True)), truth, teacher)
            slots = weigh(*(None if part is None else part[:, :horizon] for part in given))
            peaks = weigh(*(None if part is None else part[:, horizon:] for part in given))
            loss = slots + _PEAK_WEIGHT * peaks
        gradients = tape.gradient(loss, model.trainable_variables)
        optimiser.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
        return loss

    update = tf.function(step)
    loss = 0.0
    arrays = (inputs.recent, inputs.steps, target, *(() if taught is None else (taught,)))
    for done, rows in enumerate(_batches(len(target), schedule, odds), 1):
        # Batch by batch: all windows as tensors would be another copy of the largest arrays of a run.
        batch = [tf.constant(array[rows]) for array in arrays]
        loss = update(*batch, *([None] if taught is None else []))
        progress(done, schedule.updates)
    if not np.isfinite(float(loss)):
        raise UnavailableError("training diverged", where=model.name, todo="Train again with another --seed")


def predict(model: Any, inputs: Inputs) -> Singles:
    """Return `raw` [N, H + D, 3] of a network."""
    return np.concatenate([told.numpy() for told in _in_batches(model, inputs)])


def predict_all(model: Any, inputs: Inputs) -> list[Singles]:
    """Return what a network of several outputs says, each [N, ...]."""
    return [np.concatenate(parts) for parts in zip(*_in_batches(model, inputs), strict=True)]


def _in_batches(model: Any, inputs: Inputs) -> Iterator[Any]:
    for low in range(0, len(inputs.recent), _PREDICT_BATCH):
        rows = slice(low, low + _PREDICT_BATCH)
        given = {"recent": tf.constant(inputs.recent[rows]), "steps": tf.constant(inputs.steps[rows])}
        yield model(given, training=False)


def standardised_quantiles(raw: Singles) -> Floats:
    """Return the quantiles [N, H + D, 3] of `raw`, still standardised."""
    ones = np.ones(len(raw))
    return assemble(raw, 0.0 * ones, ones)


def _quantiles(raw: Any) -> Any:
    """The contract's `assemble` in TensorFlow, standardised: median, and what softplus makes of the spreads."""
    median, spread = raw[..., :1], tf.nn.softplus(raw[..., 1:])
    return tf.concat([median - spread[..., :1], median, median + spread[..., 1:]], axis=-1)


def _pinball(quantiles: Any, truth: Any) -> Any:
    known = tf.math.is_finite(truth)
    error = tf.where(known, truth, 0.0)[..., None] - quantiles
    levels = tf.constant(QUANTILES, dtype=tf.float32)
    loss = tf.reduce_mean(tf.maximum(levels * error, (levels - 1.0) * error), axis=-1)
    weight = tf.cast(known, tf.float32)
    return tf.math.divide_no_nan(tf.reduce_sum(loss * weight), tf.reduce_sum(weight))


class OneDeviceAdamW(keras.optimizers.AdamW):  # type: ignore[misc]  # keras has no types
    """AdamW that adds up no gradients of several devices.

    TensorFlow keeps a gradient of that sum for ever, and with it all of the fit: some 50 MB each.
    """

    def _all_reduce_sum_gradients(self, grads_and_vars: Any) -> Any:  # Keras calls it so
        return grads_and_vars


def _optimiser(schedule: Schedule, kit: Any) -> Any:
    warm_up = max(1, schedule.updates // _WARM_UP)
    rate = kit.optimizers.schedules.CosineDecay(
        schedule.peak_rate / _WARM_UP,
        max(1, schedule.updates - warm_up),
        alpha=1e-3,
        warmup_target=schedule.peak_rate,
        warmup_steps=warm_up,
    )
    kind = OneDeviceAdamW if kit is keras else kit.optimizers.AdamW
    return kind(rate, weight_decay=schedule.weight_decay, global_clipnorm=1.0)


def _batches(count: int, schedule: Schedule, odds: Floats | None) -> Iterator[Ints]:
    """Yield `updates` batches of rows, drawn with replacement."""
    random = np.random.default_rng(schedule.seed)
    share = None if odds is None else np.cumsum(odds / odds.sum())
    for _ in range(schedule.updates):
        if share is None:
            yield random.integers(0, count, schedule.batch)
        else:
            yield np.minimum(np.searchsorted(share, random.random(schedule.batch)), count - 1)
