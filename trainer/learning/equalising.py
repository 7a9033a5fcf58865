"""Equalising: a student is made to bear int8 by scaling what it says inside, not what it says.

int8 has one step size for all that is concatenated, and the widest part decides it. What follows a ReLU or a linear map
may be scaled down where it arises and its readers' weights up by as much (Nagel et al., "Data-free quantization through
weight equalization and bias correction", 2019). Here each hidden channel and each part of the linear skip is brought to
the range of the features beside which it stands.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from agent.contract.features import Inputs, Singles
from agent.contract.featurespec import FeatureSpec
from trainer.learning import fitting
from trainer.learning.networks import RAW_SIZE, Shape, block_names

_LEAST = 1e-3  # of a range: what never speaks is left as it is


def equalise(spec: FeatureSpec, shape: Shape, model: Any, inputs: Inputs) -> None:
    """Equalise a network without noise in place; it says the same as before but for rounding.

    Args:
        spec: of the network.
        shape: of the network.
        model: see `networks.build`.
        inputs: N windows that show how far each part ranges.
    """
    joined = fitting.predict(keras.Model(model.inputs, model.get_layer("sum").input), inputs)
    widest = np.abs(joined).max(axis=tuple(range(joined.ndim - 1)))
    hidden, row, linear = np.split(widest, [shape.channels, len(widest) - RAW_SIZE])
    _scale_hidden(model, shape, np.maximum(hidden / row.max(), 1.0))
    _scale_linear(model, spec.horizon, np.where(linear > _LEAST, linear / row.max(), 1.0))


def _scale_hidden(model: Any, shape: Shape, by: Singles) -> None:
    """Divide the hidden channels; a ReLU of a part is that part of the ReLU. The blocks read and write them."""
    _change(model, "mixed", out=by)
    for name in block_names(shape):
        _change(model, name, rows=by, out=by)
    _change(model, "means", rows=by)
    _change(model, "sum", rows=by)


def _scale_linear(model: Any, horizon: int, by: Singles) -> None:
    """Divide the three parts of each step of the linear skip."""
    _change(model, "linear", out=np.tile(by, horizon))
    _change(model, "sum", rows=by, last=True)


def _change(
    model: Any, name: str, *, rows: Singles | None = None, out: Singles | None = None, last: bool = False
) -> None:
    """Multiply what a layer makes of its first (or last) inputs by `rows`, and divide what it says by `out`."""
    kernel, bias = model.get_layer(name).get_weights()
    if rows is not None:
        place = slice(-len(rows), None) if last else slice(0, len(rows))
        kernel[..., place, :] *= rows[:, None]
    if out is not None:
        kernel, bias = kernel / out, bias / out
    model.get_layer(name).set_weights([kernel, bias])
