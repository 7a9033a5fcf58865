"""Which operators a TFLite model uses, and whether every runtime in use executes them.

Read from the flatbuffer itself, not from what was asked for: version numbers decide what an old runtime loads. The
lists hold what our networks can give and what was seen to run, not all that a TPU or a runtime knows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from agent.contract.errors import RejectedError

# Operator: highest version seen to load in tflite-runtime 2.14 (FULLY_CONNECTED 12 of dynamic-range models does not).
_RUNTIME_2_14 = {
    "ADD": 2,
    "AVERAGE_POOL_2D": 2,
    "CONCATENATION": 2,
    "CONV_2D": 3,
    "EXPAND_DIMS": 1,
    "FULLY_CONNECTED": 4,
    "MAX_POOL_2D": 2,
    "PAD": 2,
    "QUANTIZE": 1,
    "RELU": 2,
    "RESHAPE": 1,
}
# coral.ai/docs/edgetpu/models-intro, "Supported operations".
_EDGE_TPU = frozenset(_RUNTIME_2_14)
_MAX_WIDE_DIMENSIONS = 3  # Edge TPU: dimensions larger than 1 in a tensor


@dataclass(frozen=True)
class Operator:
    """One operator of a graph.

    Attributes:
        name: as in TFLite's schema.
        version: of its definition.
        inputs, outputs: data type and shape of each tensor, as `INT8[1,48,31]`.
        edge_tpu: whether an Edge TPU can take it.
        runtime_2_14: whether tflite-runtime 2.14 executes this version.
    """

    name: str
    version: int
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    edge_tpu: bool
    runtime_2_14: bool


def list_operators(model: bytes) -> list[Operator]:
    """Return the operators of a model in order of execution.

    Raises:
        RejectedError: when it has control flow (several subgraphs), which no device here maps.
    """
    from tensorflow.lite.python import schema_py_generated as schema  # noqa: PLC0415 - TensorFlow takes seconds

    graph = schema.ModelT.InitFromObj(schema.Model.GetRootAs(model, 0))
    if len(graph.subgraphs) != 1:
        raise RejectedError(f"has {len(graph.subgraphs)} subgraphs where one is executed", where="model")
    names = {value: name for name, value in vars(schema.BuiltinOperator).items() if isinstance(value, int)}
    kinds = {value: name for name, value in vars(schema.TensorType).items() if isinstance(value, int)}
    tensors = graph.subgraphs[0].tensors

    def described(indices: Sequence[int]) -> tuple[str, ...]:
        shapes = [(tensors[i].type, tensors[i].shape) for i in indices if i >= 0]
        return tuple(
            f"{kinds[kind]}[{','.join(str(size) for size in (() if shape is None else shape))}]"
            for kind, shape in shapes
        )

    result = []
    for operator in graph.subgraphs[0].operators:
        code = graph.operatorCodes[operator.opcodeIndex]
        name = names.get(max(code.builtinCode, code.deprecatedBuiltinCode), "CUSTOM")
        touched = [tensors[i] for i in (*operator.inputs, *operator.outputs) if i >= 0]
        wide = max(sum(size > 1 for size in (() if t.shape is None else t.shape)) for t in touched)
        kept_int8 = all(kinds[tensors[i].type] == "INT8" for i in operator.outputs)
        static = all(t.shapeSignature is None or (t.shapeSignature >= 0).all() for t in touched)
        result.append(
            Operator(
                name=name,
                version=int(code.version),
                inputs=described(operator.inputs),
                outputs=described(operator.outputs),
                edge_tpu=name in _EDGE_TPU and wide <= _MAX_WIDE_DIMENSIONS and kept_int8 and static,
                runtime_2_14=code.version <= _RUNTIME_2_14.get(name, 0),
            )
        )
    return result


def check_operators(operators: Sequence[Operator]) -> None:
    """Refuse a model that some runtime in use could not execute wholly in int8.

    Raises:
        RejectedError: with each operator that stands in the way.
    """
    bad = [
        f"{position} {op.name} v{op.version} ({' and '.join(reasons)})"
        for position, op in enumerate(operators)
        if (
            reasons := [
                words
                for fine, words in (
                    (op.edge_tpu, "not for an Edge TPU"),
                    (op.runtime_2_14, "not in tflite-runtime 2.14"),
                )
                if not fine
            ]
        )
    ]
    if bad:
        raise RejectedError(
            f"uses operators that not every device executes in int8: {'; '.join(bad)}",
            where="model_int8.tflite",
            todo="Build the network from dense layers, convolutions, additions and ReLU",
        )


def table(operators: Sequence[Operator]) -> list[str]:
    """Lines for people, one an operator."""
    return [
        f"{position:3}  {op.name:18} v{op.version:<2}  {' '.join(op.outputs):16}  "
        f"Edge TPU {'yes' if op.edge_tpu else 'NO'}, tflite-runtime 2.14 {'yes' if op.runtime_2_14 else 'NO'}"
        for position, op in enumerate(operators)
    ]


def output_step(model: bytes) -> float:
    """Return the size of one int8 step of the model's output, standardised."""
    from tensorflow.lite.python import schema_py_generated as schema  # noqa: PLC0415 - TensorFlow takes seconds

    graph = schema.ModelT.InitFromObj(schema.Model.GetRootAs(model, 0)).subgraphs[0]
    return float(graph.tensors[graph.outputs[0]].quantization.scale[0])
