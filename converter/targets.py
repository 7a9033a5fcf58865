"""Which device takes which operator: runtimes by the versions they know, the Edge TPU by its published list.

Decides from the graph alone; that a model also gives the same figures everywhere is measured by `verification`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from agent.contract.errors import RejectedError
from converter.operators import Graph, Operator

# Highest version of each operator that a runtime resolves, found by asking it for one version after the other.
_TFLITE_RUNTIME = {
    "ADD": 5,
    "AVERAGE_POOL_2D": 3,
    "CONCATENATION": 4,
    "CONV_2D": 7,
    "DEPTHWISE_CONV_2D": 7,
    "EXPAND_DIMS": 1,
    "FULLY_CONNECTED": 10,
    "L2_NORMALIZATION": 2,
    "LOGISTIC": 3,
    "MAXIMUM": 4,
    "MAX_POOL_2D": 3,
    "MEAN": 3,
    "MINIMUM": 4,
    "MUL": 7,
    "PACK": 4,
    "PAD": 4,
    "QUANTIZE": 3,
    "REDUCE_MAX": 3,
    "REDUCE_MIN": 3,
    "RELU": 3,
    "RELU6": 3,
    "RELU_N1_TO_1": 1,
    "RESHAPE": 1,
    "SLICE": 6,
    "SOFTMAX": 3,
    "SPLIT": 4,
    "SQUEEZE": 2,
    "STRIDED_SLICE": 8,
    "SUB": 5,
    "SUM": 2,
    "TANH": 3,
    "TRANSPOSE": 6,
}
_LITERT = _TFLITE_RUNTIME | {
    "ADD": 6,
    "CONCATENATION": 7,
    "CONV_2D": 8,
    "FULLY_CONNECTED": 14,
    "MUL": 8,
    "PACK": 5,
    "PAD": 6,
    "QUANTIZE": 6,
    "SLICE": 8,
    "SOFTMAX": 4,
    "SPLIT": 5,
    "TRANSPOSE": 9,
}
EDGE_TPU, TFLITE_RUNTIME, LITERT = "Edge TPU", "tflite-runtime 2.14", "LiteRT 2"
_RUNTIMES = {TFLITE_RUNTIME: _TFLITE_RUNTIME, LITERT: _LITERT}
_MAX_SOFTMAX = 16_000


@dataclass(frozen=True)
class Verdict:
    """What the targets make of one operator.

    Attributes:
        name, version: of the operator.
        inputs, outputs: data type and shape of each tensor, as `INT8[1,48,31]`.
        obstacles: by target, what stands in its way there; empty where it runs.
    """

    name: str
    version: int
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    obstacles: dict[str, tuple[str, ...]]


def judge(graph: Graph) -> tuple[Verdict, ...]:
    """Judge each operator of a model, in order of execution."""
    return tuple(
        Verdict(
            name=operator.name,
            version=operator.version,
            inputs=tuple(map(str, operator.inputs)),
            outputs=tuple(map(str, operator.outputs)),
            obstacles={
                EDGE_TPU: tuple(_on_edge_tpu(operator)),
                **{target: tuple(_in_runtime(operator, versions)) for target, versions in _RUNTIMES.items()},
            },
        )
        for operator in graph.operators
    )


def check(verdicts: Sequence[Verdict]) -> None:
    """Refuse a model that some target could not execute wholly in int8.

    Raises:
        RejectedError: with each operator that stands in the way, where, and why.
    """
    bad = [
        f"{position} {verdict.name} v{verdict.version} ({target}: {', '.join(reasons)})"
        for position, verdict in enumerate(verdicts)
        for target, reasons in verdict.obstacles.items()
        if reasons
    ]
    if bad:
        raise RejectedError(
            f"uses operators that not every device executes in int8: {'; '.join(bad)}",
            where="model_int8.tflite",
            todo="Build the network from dense layers, convolutions, pooling, additions and ReLU",
        )


def table(verdicts: Sequence[Verdict]) -> list[str]:
    """Lines for people, one an operator."""
    return [
        f"{position:3}  {verdict.name:18} v{verdict.version:<2}  {' '.join(verdict.outputs):18}  "
        + ", ".join(f"{target} {'NO' if reasons else 'yes'}" for target, reasons in verdict.obstacles.items())
        for position, verdict in enumerate(verdicts)
    ]


def _in_runtime(operator: Operator, versions: dict[str, int]) -> list[str]:
    newest = versions.get(operator.name)
    if newest is None:
        return ["not among the operators that were tried there"]
    return [] if operator.version <= newest else [f"knows it up to version {newest}"]


def _on_edge_tpu(operator: Operator) -> list[str]:
    """Conditions of "Model requirements" and "Supported operations" in coral.ai/docs/edgetpu/models-intro."""
    found = []
    computed = [tensor for tensor in (*operator.inputs, *operator.outputs) if not tensor.constant]
    if any(tensor.kind not in {"INT8", "UINT8"} for tensor in computed):
        found.append("a tensor is not of 8 bits")
    if not all(tensor.static for tensor in computed):
        found.append("a shape is not fixed")
    if any(size > 1 for tensor in computed for size in tensor.shape[:-3]):
        found.append("a tensor is larger than 1 in other than its three inner dimensions")
    if operator.name not in _EDGE_TPU:
        return [*found, "not on its list"]
    condition = _EDGE_TPU[operator.name]
    return found if condition is None or condition[0](operator) else [*found, condition[1]]


def _no_activation(operator: Operator) -> bool:
    return not operator.options.get("fusedActivationFunction", 0)


def _same_dilation(operator: Operator) -> bool:
    return bool(operator.options.get("dilationWFactor", 1) == operator.options.get("dilationHFactor", 1))


def _plain_concatenation(operator: Operator) -> bool:
    constants = [tensor for tensor in operator.inputs if tensor.content is not None and tensor.content.any()]
    padding = any(tensor.constant for tensor in operator.inputs)
    return _no_activation(operator) and not constants and (not padding or len(operator.inputs) == 2)


def _one_dimensional(operator: Operator) -> bool:
    usual = not operator.options.get("weightsFormat", 0)
    return usual and all(sum(size > 1 for size in tensor.shape) <= 1 for tensor in operator.outputs)


def _no_batch_padding(operator: Operator) -> bool:
    return operator.inputs[1].constant and not operator.inputs[1].integers()[:2].any()


def _no_batch_axis(operator: Operator) -> bool:
    shape, axes = operator.inputs[0].shape, operator.inputs[1]
    if not axes.constant:
        return False
    reduced = {int(axis) % len(shape) for axis in axes.integers()}
    inner = len(shape) - 1
    return 0 not in reduced and (operator.name != "MEAN" or inner not in reduced or shape[inner] % 4 == 0)


def _no_batch_split(operator: Operator) -> bool:
    axis, shape = operator.inputs[0], operator.inputs[1].shape
    return axis.constant and int(axis.integers()[0]) % len(shape) != 0


def _unit_strides(operator: Operator) -> bool:
    masks = (operator.options.get(name, 0) for name in ("ellipsisMask", "newAxisMask"))
    return operator.inputs[3].constant and bool((operator.inputs[3].integers() == 1).all()) and not any(masks)


_Condition = tuple[Callable[[Operator], bool], str]
_BATCH: _Condition = (_no_batch_axis, "reduces the batch, or an inner dimension that is no multiple of 4")
_EDGE_TPU: dict[str, _Condition | None] = {
    "ADD": None,
    "AVERAGE_POOL_2D": (_no_activation, "has a fused activation"),
    "CONCATENATION": (_plain_concatenation, "has a fused activation or a constant other than zero padding"),
    "CONV_2D": (_same_dilation, "has different dilations in x and y"),
    "DEPTHWISE_CONV_2D": (_same_dilation, "has different dilations in x and y"),
    "EXPAND_DIMS": None,
    "FULLY_CONNECTED": (_one_dimensional, "its output has more than one dimension, or its weights an odd format"),
    "L2_NORMALIZATION": None,
    "LOGISTIC": None,
    "MAXIMUM": None,
    "MAX_POOL_2D": (_no_activation, "has a fused activation"),
    "MEAN": _BATCH,
    "MINIMUM": None,
    "MUL": None,
    "PACK": (lambda operator: operator.options.get("axis", 0) != 0, "packs the batch"),
    "PAD": (_no_batch_padding, "pads the batch"),
    "QUANTIZE": None,
    "REDUCE_MAX": _BATCH,
    "REDUCE_MIN": _BATCH,
    "RELU": None,
    "RELU6": None,
    "RELU_N1_TO_1": None,
    "RESHAPE": None,
    "SLICE": None,
    "SOFTMAX": (
        lambda operator: (
            sum(size > 1 for size in operator.inputs[0].shape) <= 1 and max(operator.inputs[0].shape) <= _MAX_SOFTMAX
        ),
        "its input has more than one dimension, or more than 16,000 elements",
    ),
    "SPLIT": (_no_batch_split, "splits the batch"),
    "SQUEEZE": None,
    "STRIDED_SLICE": (_unit_strides, "has strides other than 1, an ellipsis or a new axis"),
    "SUB": None,
    "SUM": _BATCH,
    "TANH": None,
    "TRANSPOSE": None,
}
