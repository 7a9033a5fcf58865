"""What a TFLite model is made of, read from the flatbuffer itself, not from what was asked for.

Knows the format alone; which device takes what is `targets`' decision.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.contract.errors import RejectedError

_BYTES = {"INT8": 1, "UINT8": 1, "BOOL": 1, "INT16": 2, "FLOAT16": 2, "INT64": 8, "FLOAT64": 8}
_ARENA_ALIGNMENT = 64  # kDefaultTensorAlignment in TFLite's arena_planner.h


@dataclass(frozen=True, eq=False)
class Tensor:
    """One tensor.

    Attributes:
        kind: data type, as `INT8`.
        shape: without names; () for a scalar.
        static: whether its shape is fixed.
        content: bytes of a constant; None for what is computed.
    """

    kind: str
    shape: tuple[int, ...]
    static: bool
    content: NDArray[np.uint8] | None

    @property
    def constant(self) -> bool:
        """Whether its values stand in the file."""
        return self.content is not None

    @property
    def size_bytes(self) -> int:
        """Memory of its values."""
        return math.prod(self.shape) * _BYTES.get(self.kind, 4)

    def integers(self) -> NDArray[np.int32]:
        """Values of a constant INT32 tensor, flat: axes, paddings, shapes."""
        content = np.empty(0, np.uint8) if self.content is None else self.content
        return content.view(np.int32)

    def __str__(self) -> str:
        """As `INT8[1,48,31]`."""
        return f"{self.kind}[{','.join(map(str, self.shape))}]"


@dataclass(frozen=True, eq=False)
class Operator:
    """One operator.

    Attributes:
        name: as in TFLite's schema, as `CONV_2D`.
        version: of its definition.
        inputs, outputs: tensors; an input that is left out is not among them.
        options: its parameters by the schema's names; empty where it has none.
    """

    name: str
    version: int
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    options: Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class Graph:
    """A model with one subgraph.

    Attributes:
        operators: in order of execution.
        inputs, outputs: of the model.
        output_step: size of one int8 step of the first output; 0 where that is not quantised.
    """

    operators: tuple[Operator, ...]
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    output_step: float

    @property
    def arena_bytes(self) -> int:
        """Memory for the values between operators, as TFLite plans it; scratch memory of kernels comes on top.

        The largest tensor is placed first, each at the lowest address that is free for as long as it lives (TFLite's
        `ArenaPlanner`); inputs and outputs live to the end, since the caller reads and writes them at any time.
        """
        spans = self._lifetimes()
        placed: list[tuple[int, int, int, int]] = []  # from, to (operators), begin, end (bytes)
        for tensor, (first, last) in sorted(spans.items(), key=lambda item: -item[0].size_bytes):
            size = -(-tensor.size_bytes // _ARENA_ALIGNMENT) * _ARENA_ALIGNMENT
            begin = 0
            for _, _, low, high in sorted(
                (one for one in placed if one[0] <= last and first <= one[1]), key=lambda one: one[2]
            ):
                if begin + size <= low:
                    break
                begin = max(begin, high)
            placed.append((first, last, begin, begin + size))
        return max((end for *_, end in placed), default=0)

    def _lifetimes(self) -> dict[Tensor, tuple[int, int]]:
        end = len(self.operators)
        spans = dict.fromkeys(self.inputs, (0, end))
        for place, operator in enumerate(self.operators):
            for tensor in (*operator.inputs, *operator.outputs):
                if not tensor.constant:
                    first, last = spans.get(tensor, (place, place))
                    spans[tensor] = first, max(last, place)
        return spans | {tensor: (spans[tensor][0], end) for tensor in self.outputs if tensor in spans}


def read_graph(model: bytes) -> Graph:
    """Read a model.

    Raises:
        RejectedError: when it is not readable, or has control flow (several subgraphs), which no device here maps.
    """
    from tensorflow.lite.python import schema_py_generated as schema  # noqa: PLC0415 - TensorFlow takes seconds

    try:
        graph = schema.ModelT.InitFromObj(schema.Model.GetRootAs(model, 0))
    except Exception as exc:  # the reader trusts its input and raises whatever comes of that
        raise RejectedError(f"is not a readable TFLite model ({exc})", where="model") from exc
    if len(graph.subgraphs) != 1:
        raise RejectedError(f"has {len(graph.subgraphs)} subgraphs where one is executed", where="model")
    names = {value: name for name, value in vars(schema.BuiltinOperator).items() if isinstance(value, int)}
    kinds = {value: name for name, value in vars(schema.TensorType).items() if isinstance(value, int)}
    part = graph.subgraphs[0]
    tensors = [_tensor(tensor, kinds[tensor.type], graph.buffers[tensor.buffer].data) for tensor in part.tensors]
    operators = []
    for operator in part.operators:
        code = graph.operatorCodes[operator.opcodeIndex]
        operators.append(
            Operator(
                name=names.get(max(code.builtinCode, code.deprecatedBuiltinCode), "CUSTOM"),
                version=int(code.version),
                inputs=tuple(tensors[i] for i in operator.inputs if i >= 0),
                outputs=tuple(tensors[i] for i in operator.outputs if i >= 0),
                options=vars(operator.builtinOptions) if operator.builtinOptions is not None else {},
            )
        )
    quantization = part.tensors[part.outputs[0]].quantization
    scale = None if quantization is None else quantization.scale
    return Graph(
        operators=tuple(operators),
        inputs=tuple(tensors[i] for i in part.inputs),
        outputs=tuple(tensors[i] for i in part.outputs),
        output_step=0.0 if scale is None or not len(scale) else float(scale[0]),
    )


def _tensor(tensor: Any, kind: str, content: Any) -> Tensor:
    signature = tensor.shapeSignature
    return Tensor(
        kind=kind,
        shape=() if tensor.shape is None else tuple(int(size) for size in tensor.shape),
        static=signature is None or bool((np.asarray(signature) >= 0).all()),
        content=None if content is None or not len(content) else np.asarray(content, dtype=np.uint8),
    )
