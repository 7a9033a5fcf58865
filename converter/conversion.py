"""Keras student -> TFLite with int8 weights, activations, inputs and outputs, static shapes, batch 1.

Decides how it is converted and which operators are allowed; whether the result is right is verification's business.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from agent.contract.durable import write_durable
from agent.contract.errors import ConfigError, RejectedError
from agent.contract.features import Singles
from agent.contract.featurespec import FeatureSpec
from agent.inference.runtime import Runtime, load_runtime
from converter import modeldir, scoring
from converter.modeldir import ModelDir, Validation
from converter.operators import read_graph
from converter.quiet import native_output_kept
from converter.targets import Verdict, check, judge

MAX_STUDENT_BYTES = 200_000  # budget of the smallest boards
EDGE_TPU_COMPILER = "edgetpu_compiler"
SLOTS_LAYER = "sum"  # of a student: see trainer.learning.networks
_COMPILER_TIMEOUT_S = 300
_NOT_ON_PATH = f"{EDGE_TPU_COMPILER} is not on PATH: operators were checked against its list, nothing was compiled"


@dataclass(frozen=True)
class Conversion:
    """What a conversion gave.

    Attributes:
        model_sha256, student_sha256: of the int8 model, and of the file of the student that it was made of.
        model_bytes: size of the int8 model.
        operators: each operator with its version, in order of execution, and what each target makes of it.
        pinball_int8_kw, pinball_float_kw: loss on the held-out days of training, the same windows for both.
        edge_tpu: what became of the Edge TPU variant, in words.
    """

    model_sha256: str
    student_sha256: str
    model_bytes: int
    operators: tuple[Verdict, ...]
    pinball_int8_kw: float
    pinball_float_kw: float
    edge_tpu: str

    @property
    def loss_change(self) -> float:
        """Relative change of the loss from float to int8."""
        return self.pinball_int8_kw / self.pinball_float_kw - 1

    def to_json(self) -> dict[str, Any]:
        """The content of `conversion.json`."""
        return {**asdict(self), "operators": [asdict(op) for op in self.operators], "loss_change": self.loss_change}


def convert(folder: ModelDir) -> Conversion:
    """Convert the student of a model directory; write `model_int8.tflite` and `conversion.json`.

    Raises:
        ConfigError: when the directory is incomplete.
        RejectedError: when the network does not convert to operators that every runtime in use executes in int8.
    """
    spec = folder.spec()
    recent, steps = folder.calibration()
    validation = folder.validation()
    student = load_student(folder, spec)
    model = to_unbiased_int8(student, spec, recent, steps)
    operators = judge(read_graph(model))
    check(operators)
    runtime = check_form(model, spec)
    if len(model) > MAX_STUDENT_BYTES:
        raise RejectedError(
            f"the int8 model has {len(model)} bytes, above {MAX_STUDENT_BYTES}",
            where=str(folder.path),
            todo="Train a smaller student, or a shorter horizon",
        )
    write_durable(folder.file(modeldir.INT8), model)
    for stale in (modeldir.EDGE_TPU, modeldir.VERIFICATION, modeldir.GOLDEN):  # they belong to the model before
        folder.file(stale).unlink(missing_ok=True)
    conversion = Conversion(
        model_sha256=hashlib.sha256(model).hexdigest(),
        student_sha256=hashlib.sha256(folder.read_bytes(modeldir.STUDENT)).hexdigest(),
        model_bytes=len(model),
        operators=operators,
        pinball_int8_kw=scoring.score_windows(
            spec, scoring.run_all(runtime, validation.recent, validation.steps), validation
        ),
        pinball_float_kw=scoring.score_windows(spec, predict(student, validation), validation),
        edge_tpu=_compile_for_edge_tpu(folder),
    )
    folder.write_json(modeldir.CONVERSION, conversion.to_json())
    return conversion


def load_student(folder: ModelDir, spec: FeatureSpec) -> Any:
    """Load the float student.

    Raises:
        ConfigError: when there is none.
        RejectedError: when the file is damaged, or its inputs and output are not those of `spec`.
    """
    path = folder.file(modeldir.STUDENT)
    folder.read_bytes(modeldir.STUDENT)
    student = load_network(path, todo=modeldir.repeat(modeldir.STUDENT, folder.path))
    _compare(
        (_shape(student, "recent"), _shape(student, "steps"), tuple(student.output_shape)[1:]), spec, where=str(path)
    )
    return student


def load_network(path: Path, *, todo: str) -> Any:
    """Load a Keras model.

    Raises:
        RejectedError: when the file is damaged; `todo` says what to do then.
    """
    import keras  # noqa: PLC0415 - ten seconds that `inspect` and `bundle` do not need

    try:
        return keras.models.load_model(path, compile=False)
    except Exception as exc:  # Keras raises whatever its archive, its JSON or its layers raise
        raise RejectedError(f"is damaged: not a readable Keras model ({exc})", where=str(path), todo=todo) from exc


def predict(student: Any, validation: Validation) -> Singles:
    """Return `raw` [N, H + D, 3] of the float student on the held-out windows."""
    raw = student({"recent": validation.recent, "steps": validation.steps}, training=False)
    return np.asarray(raw, dtype=np.float32)


def check_form(model: bytes, spec: FeatureSpec) -> Runtime:
    """Load an int8 model and hold its tensors against the spec: int8 in and out, batch 1, named inputs, fixed shapes.

    Raises:
        RejectedError: when it is of another form.
    """
    runtime = load_runtime(model)
    shapes = runtime.recent_shape, runtime.steps_shape, runtime.raw_shape
    _compare(tuple(shape[1:] for shape in shapes), spec, where=modeldir.INT8)
    if not runtime.int8 or any(shape[0] != 1 for shape in shapes):
        raise RejectedError("is not int8 in and out with a batch of 1", where=modeldir.INT8, todo="Convert it again")
    return runtime


def _compare(found: tuple[Any, ...], spec: FeatureSpec, where: str) -> None:
    expected = ((spec.recent_size,), (spec.horizon, len(spec.step_names)), (spec.output_size, 3))
    if found != expected:
        raise RejectedError(
            f"has shapes {found} where its feature spec says {expected} (recent, steps, and raw: {spec.horizon} slots "
            f"and {spec.days} daily peaks)",
            where=where,
            todo="Train again: model and feature spec are not of one run",
        )


def _shape(student: Any, name: str) -> tuple[int, ...] | None:
    found = [tensor.shape for tensor in student.inputs if tensor.name.split(":")[0] == name]
    return tuple(found[0])[1:] if len(found) == 1 else None


def to_int8(student: Any, spec: FeatureSpec, recent: Singles, steps: Singles, *, kit: Any = None) -> bytes:
    """Quantise a Keras model after training; one that was trained quantised keeps the steps that it has learnt.

    Args:
        student: from inputs named `recent` and `steps` to `raw`.
        spec: fixes the shapes.
        recent: [N, recent_size] representative inputs.
        steps: [N, H, F] of the same windows.
        kit: the Keras that the model is of; None takes Keras 3.

    Raises:
        RejectedError: when an operator has no int8 form.
    """
    import keras  # noqa: PLC0415 - see load_network
    import tensorflow as tf  # noqa: PLC0415 - see load_network

    kit = kit or keras
    # Named inputs of fixed size: TFLite orders inputs by name, and auto-generated names swap between builds.
    inputs = {
        "recent": kit.Input((spec.recent_size,), batch_size=1, name="recent"),
        "steps": kit.Input((spec.horizon, len(spec.step_names)), batch_size=1, name="steps"),
    }
    maker = tf.lite.TFLiteConverter.from_keras_model(kit.Model(inputs, student(inputs, training=False)))
    maker.optimizations = [tf.lite.Optimize.DEFAULT]
    maker.representative_dataset = lambda: (
        {"recent": recent[i : i + 1], "steps": steps[i : i + 1]} for i in range(len(recent))
    )
    maker.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    maker.inference_input_type = maker.inference_output_type = tf.int8
    try:
        with native_output_kept(), warnings.catch_warnings():  # pages of output, on success too
            # Its own deprecations are no business of the caller; as errors they send it down an older path.
            warnings.simplefilter("ignore")
            return bytes(maker.convert())
    except Exception as exc:  # the converter raises whatever its C++ parts raise
        detail = str(exc).strip().splitlines() or [type(exc).__name__]
        raise RejectedError(f"does not convert to int8 ({detail[0]})", where="student") from exc


def to_unbiased_int8(student: Any, spec: FeatureSpec, recent: Singles, steps: Singles) -> bytes:
    """Quantise as `to_int8` does, and take away by how much int8 is too high or too low in the mean.

    Rounding inside a network adds up to a shift of all that it says, by up to a step, and differently in each runtime.
    Where a layer `sum` gives the slots of `raw`, its bias is moved by the mean error of each quantile (Nagel et al.,
    "Data-free quantization through weight equalization and bias correction", 2019). The student is left as it is.

    Raises:
        RejectedError: see `to_int8`.
    """
    model = to_int8(student, spec, recent, steps)
    last = next((layer for layer in student.layers if layer.name == SLOTS_LAYER), None)
    if last is None:
        return model
    in_float = np.asarray(student({"recent": recent, "steps": steps}, training=False))[:, : spec.horizon]
    in_int8 = scoring.run_all(check_form(model, spec), recent, steps)[:, : spec.horizon]
    kernel, bias = last.get_weights()
    last.set_weights([kernel, bias + (in_float - in_int8).mean(axis=(0, 1))])
    try:
        return to_int8(student, spec, recent, steps)
    finally:
        last.set_weights([kernel, bias])


def _compile_for_edge_tpu(folder: ModelDir) -> str:
    compiler = shutil.which(EDGE_TPU_COMPILER)
    if compiler is None:
        return _NOT_ON_PATH
    try:
        run = subprocess.run(
            [compiler, "--show_operations", "--out_dir", str(folder.path), str(folder.file(modeldir.INT8))],
            capture_output=True,
            text=True,
            timeout=_COMPILER_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as exc:
        raise ConfigError(
            f"{EDGE_TPU_COMPILER} did not run to its end ({exc})",
            where=str(folder.path),
            todo="Mend it, or take it off PATH to convert without it",
        ) from exc
    if run.returncode or not folder.file(modeldir.EDGE_TPU).exists():
        last = (run.stderr or run.stdout).strip().splitlines()
        raise ConfigError(
            f"{EDGE_TPU_COMPILER} failed ({last[-1] if last else run.returncode})", where=str(folder.path)
        )
    return f"compiled by {compiler}"
