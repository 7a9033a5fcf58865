"""Equalising: a student is made to bear int8 by scaling what it says inside, not what it says.

int8 has one step size for a tensor, and for all that is concatenated: the widest channel decides it. What follows a
ReLU or a linear map may be scaled where it arises and its readers' weights the other way (Nagel et al., "Data-free
quantization through weight equalization and bias correction", 2019). Here each channel is brought to the range of those
beside which it stands, the features themselves where there are any: down, so that all others keep fine steps, and up,
so that one step of it, by which runtimes may differ, moves what is said by little.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from agent.contract.features import Floats, Inputs
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
    hidden = ["mixed", *block_names(shape)]
    inner = ["factors"] if any(layer.name == "factors" for layer in model.layers) else []
    ranges = _ranges(model, ["ahead", "summary", "context", "linear", *hidden, *inner], inputs)
    week, row = np.abs(inputs.recent).max(), np.abs(inputs.steps).max()

    # What never changes what the network says: each factor goes out of one layer and into all that read it.
    ahead = _factors(ranges["ahead"], week)
    _change(model, "ahead", out=ahead)
    _change(model, "summary", rows=_repeated(ahead, model, "summary", after=spec.recent_size), first=spec.recent_size)
    summary = _factors(ranges["summary"], 1.0)
    _change(model, "summary", out=summary)
    for reader in ("context", "week_of_peaks"):
        _change(model, reader, rows=summary)
    context = _factors(ranges["context"].reshape(spec.horizon, -1).max(axis=0), row)
    _change(model, "context", out=np.tile(context, spec.horizon))
    _change(model, "mixed", rows=context, first=len(spec.step_names))
    for name in inner:
        factors = _factors(ranges[name], 1.0)
        _change(model, name, out=factors)
        _change(model, "linear", rows=factors)
    linear = _factors(ranges["linear"].reshape(spec.horizon, RAW_SIZE).max(axis=0), row)
    _change(model, "linear", out=np.tile(linear, spec.horizon))
    for number, name in enumerate(hidden):
        channels = _factors(ranges[name], row)
        _change(model, name, out=channels)
        for reader in (*hidden[number + 1 :], "means", "sum"):
            _change(model, reader, rows=channels, first=number * shape.channels)
    for reader in ("means", "sum"):
        _change(model, reader, rows=linear, first=len(hidden) * shape.channels + len(spec.step_names))


def _ranges(model: Any, names: list[str], inputs: Inputs) -> dict[str, Floats]:
    """Return how far each channel of some layers goes from zero; each unit of what is dense."""
    inside = keras.Model(model.inputs, [model.get_layer(name).output for name in names])
    told = fitting.predict_all(inside, inputs)
    return {
        name: np.abs(values).max(axis=tuple(range(values.ndim - 1))).astype(np.float64)
        for name, values in zip(names, told, strict=True)
    }


def _factors(ranges: Floats, wanted: float) -> Floats:
    return np.where(ranges > _LEAST, ranges / wanted, 1.0)


def _repeated(factors: Floats, model: Any, reader: str, *, after: int) -> Floats:
    """The factors of channels, for each of the places that a reader of flattened places reads."""
    places = (model.get_layer(reader).get_weights()[0].shape[-2] - after) // len(factors)
    return np.tile(factors, places)


def _change(model: Any, name: str, *, rows: Floats | None = None, out: Floats | None = None, first: int = 0) -> None:
    """Multiply what a layer makes of its inputs from the `first` on by `rows`, and divide what it says by `out`."""
    kernel, bias = model.get_layer(name).get_weights()
    if rows is not None:
        kernel[..., first : first + len(rows), :] *= rows[:, None]
    if out is not None:
        kernel, bias = kernel / out, bias / out
    model.get_layer(name).set_weights([kernel, bias])
