"""The seam to a TFLite interpreter: what a forecaster needs of one, and which one is there.

Decides how model bytes become something that runs, how tensors are told apart, and how kW-scaled floats pass the int8
border. Knows nothing of features' meaning. The two native libraries sit behind `litert` and `tflite`, which hand their
interpreter to `InterpreterRuntime`; both have the same Python interface.

Not for concurrent use: an interpreter has one set of tensors. The daemon forecasts from one thread.
"""

from __future__ import annotations

import importlib
import struct
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from agent.contract.bundle import MAX_MODEL_BYTES
from agent.contract.errors import ConfigError, RejectedError, UnavailableError
from agent.contract.features import Singles

_IDENTIFIER = b"TFL3"  # schema.fbs, file_identifier
_SMALLEST_BYTES = 64  # less cannot hold a root table, a subgraph and three tensors
_ADAPTERS = ("agent.inference.litert", "agent.inference.tflite")
_WHERE = "model.tflite"


class Runtime(Protocol):
    """One loaded model.

    Attributes:
        name: library and version, for reports.
        recent_shape, steps_shape, raw_shape: of its tensors, batch included.
        int8: whether all three tensors are int8.
    """

    name: str
    recent_shape: tuple[int, ...]
    steps_shape: tuple[int, ...]
    raw_shape: tuple[int, ...]
    int8: bool

    def run(self, recent: Singles, steps: Singles) -> Singles:
        """Return `raw` [1, rows, 3] float32 for `recent` [1, R] and `steps` [1, H, F].

        Raises:
            RejectedError: when the shapes are not the model's.
            UnavailableError: when the interpreter fails.
        """
        ...


def load_runtime(model: bytes, *, threads: int = 1) -> Runtime:
    """Load a TFLite model with LiteRT where it is installed, else with tflite-runtime.

    Raises:
        RejectedError: when the bytes are not a model that this runtime can execute.
        UnavailableError: when no runtime is installed.
    """
    missing: list[str] = []
    for adapter in _ADAPTERS:
        try:
            module = importlib.import_module(adapter)
        except ImportError as exc:
            missing.append(str(exc))
            continue
        runtime: Runtime = module.load(model, threads=threads)
        return runtime
    raise UnavailableError("no TFLite runtime is installed", where="inference", todo="; or ".join(missing))


def check_flatbuffer(model: bytes) -> None:
    """Refuse bytes that are plainly no TFLite model before a native library reads them.

    The interpreters trust their input: tflite-runtime 2.14 dies with SIGSEGV on random bytes. This looks at length,
    identifier, and that the root table and its fields lie inside; content beyond that is defended by the hashes and
    signatures of bundle and repository.

    Raises:
        RejectedError: otherwise.
    """
    todo = "Fetch the bundle again, or build it again with edgewatt-converter"
    if not _SMALLEST_BYTES <= len(model) <= MAX_MODEL_BYTES:
        raise RejectedError(f"{len(model)} bytes cannot be a TFLite model", where=_WHERE, todo=todo)
    if model[4:8] != _IDENTIFIER:
        raise RejectedError("is not a TFLite model (no TFL3 mark)", where=_WHERE, todo=todo)
    try:
        (root,) = struct.unpack_from("<I", model, 0)
        (back,) = struct.unpack_from("<i", model, root)
        vtable = root - back
        if vtable < 0:
            raise RejectedError("is a damaged TFLite model", where=_WHERE, todo=todo)
        vtable_bytes, table_bytes = struct.unpack_from("<HH", model, vtable)
        fields = struct.unpack_from(f"<{(vtable_bytes - 4) // 2}H", model, vtable + 4) if vtable_bytes >= 4 else ()
    except struct.error as exc:
        raise RejectedError("is a damaged TFLite model", where=_WHERE, todo=todo) from exc
    # schema.fbs, table Model: 0 version, 1 operator_codes, 2 subgraphs, 3 description, 4 buffers.
    inside = root + table_bytes <= len(model) and all(field < table_bytes for field in fields)
    if not inside or len(fields) < 5 or not (fields[1] and fields[2] and fields[4]):
        raise RejectedError("is a damaged TFLite model", where=_WHERE, todo=todo)
    for field in (fields[1], fields[2], fields[4]):
        _check_vector(model, root + field, todo)


def _check_vector(model: bytes, at: int, todo: str) -> None:
    """Check that a vector of tables, and the first bytes of each table, lie inside the file."""
    try:
        (offset,) = struct.unpack_from("<I", model, at)
        (count,) = struct.unpack_from("<I", model, at + offset)
        if count * 4 > len(model):
            raise RejectedError("is a damaged TFLite model", where=_WHERE, todo=todo)
        first = at + offset + 4
        for index, entry in enumerate(struct.unpack_from(f"<{count}I", model, first)):
            table = first + 4 * index + entry
            (back,) = struct.unpack_from("<i", model, table)
            if not 0 <= table - back <= len(model) - 4:
                raise RejectedError("is a damaged TFLite model", where=_WHERE, todo=todo)
    except struct.error as exc:
        raise RejectedError("is a damaged TFLite model", where=_WHERE, todo=todo) from exc


@dataclass(frozen=True)
class _Tensor:
    """One input or output: where it is, its form, and its affine quantisation (scale 0: float)."""

    index: int
    shape: tuple[int, ...]
    scale: float
    zero_point: int

    def encode(self, values: Singles) -> NDArray[Any]:
        if values.shape != self.shape:
            raise RejectedError(f"input of shape {values.shape} where the model takes {self.shape}", where=_WHERE)
        if not self.scale:
            return values.astype(np.float32)
        steps = np.rint(values.astype(np.float64) / self.scale) + self.zero_point
        quantised: NDArray[np.int8] = np.clip(steps, -128, 127).astype(np.int8)
        return quantised

    def decode(self, values: NDArray[Any]) -> Singles:
        if not self.scale:
            return values.astype(np.float32)
        floats: Singles = (self.scale * (values.astype(np.float64) - self.zero_point)).astype(np.float32)
        return floats


class InterpreterRuntime:
    """A `Runtime` over an interpreter of either library.

    Inputs are matched by name, never by order: TFLite orders them by name, and two builds of one network may differ.
    """

    def __init__(self, interpreter: Any, name: str) -> None:
        """Allocate the tensors of `interpreter`.

        Raises:
            RejectedError: when the model cannot be executed, or has other inputs and outputs than a forecaster's.
        """
        self.name = name
        self._interpreter = interpreter
        try:
            interpreter.allocate_tensors()
            inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
        except Exception as exc:
            raise _refused(name, exc) from exc
        if len(inputs) != 2 or len(outputs) != 1:
            raise RejectedError(
                f"has {len(inputs)} inputs and {len(outputs)} outputs where a forecaster has 2 and 1", where=_WHERE
            )
        self._recent = _tensor(_named(inputs, "recent"))
        self._steps = _tensor(_named(inputs, "steps"))
        self._raw = _tensor(outputs[0])
        if self._recent.index == self._steps.index:
            raise RejectedError("has one input that is named both 'recent' and 'steps'", where=_WHERE)
        self.recent_shape, self.steps_shape, self.raw_shape = (
            self._recent.shape,
            self._steps.shape,
            self._raw.shape,
        )
        self.int8 = bool(self._recent.scale and self._steps.scale and self._raw.scale)

    def run(self, recent: Singles, steps: Singles) -> Singles:
        """Return `raw` [1, rows, 3] float32; see `Runtime.run`.

        Raises:
            RejectedError: when the shapes are not the model's.
            UnavailableError: when the interpreter fails.
        """
        recent_in, steps_in = self._recent.encode(recent), self._steps.encode(steps)
        try:
            self._interpreter.set_tensor(self._recent.index, recent_in)
            self._interpreter.set_tensor(self._steps.index, steps_in)
            self._interpreter.invoke()
            values = self._interpreter.get_tensor(self._raw.index)
        except Exception as exc:
            raise UnavailableError(f"{self.name} could not run the model ({exc})", where=_WHERE) from exc
        return self._raw.decode(values)


def make_runtime(interpreter_class: Any, model: bytes, name: str, threads: int) -> Runtime:
    """Build an interpreter of either library from checked bytes.

    Raises:
        RejectedError: when the bytes are not a model that the library can execute.
    """
    if threads < 1:
        raise ConfigError(f"{threads} threads cannot run a model", todo="Give 1 or more")
    check_flatbuffer(model)
    try:
        interpreter = interpreter_class(model_content=model, num_threads=threads)
    except Exception as exc:
        raise _refused(name, exc) from exc
    return InterpreterRuntime(interpreter, name)


def _refused(name: str, exc: Exception) -> RejectedError:
    return RejectedError(
        f"{name} cannot execute the model ({str(exc).strip() or type(exc).__name__})",
        where=_WHERE,
        todo="Convert it again with edgewatt-converter and verify it with this runtime",
    )


def _named(details: list[dict[str, Any]], name: str) -> dict[str, Any]:
    # Names arrive as `recent`, `serving_default_recent:0` or `recent_1:0`, by converter and version.
    found = [detail for detail in details if name in str(detail.get("name", ""))]
    if len(found) != 1:
        names = ", ".join(repr(str(detail.get("name", ""))) for detail in details)
        raise RejectedError(f"has no single input named {name!r} (inputs: {names})", where=_WHERE)
    return found[0]


def _tensor(detail: dict[str, Any]) -> _Tensor:
    kind = np.dtype(detail["dtype"])
    shape = tuple(int(size) for size in detail["shape"])
    if kind == np.float32:
        return _Tensor(int(detail["index"]), shape, 0.0, 0)
    scale, zero_point = detail["quantization"]
    if kind != np.int8 or not (np.isfinite(scale) and scale > 0):
        raise RejectedError(
            f"tensor {detail['name']!r} is {kind} with scale {scale} where int8 with a scale, or float32, is read",
            where=_WHERE,
            todo="Convert it again with edgewatt-converter",
        )
    return _Tensor(int(detail["index"]), shape, float(scale), int(zero_point))
