"""Keras student -> TFLite with int8 weights, activations, inputs and outputs, static shapes, batch 1.

Decides how it is converted and which operators are allowed; whether the result is right is verification's business.
"""

from __future__ import annotations

import shutil
import subprocess
import warnings
from dataclasses import asdict, dataclass
from typing import Any

from agent.contract.durable import write_durable
from agent.contract.errors import ConfigError, RejectedError
from agent.contract.features import FeatureSpec, Singles
from agent.inference.runtime import load_runtime
from converter import modeldir, scoring
from converter.modeldir import ModelDir
from converter.operators import Operator, check_operators, list_operators
from converter.quiet import native_output_kept

MAX_STUDENT_BYTES = 200_000  # budget of the smallest boards
EDGE_TPU_COMPILER = "edgetpu_compiler"
_COMPILER_TIMEOUT_S = 300
_NOT_ON_PATH = f"{EDGE_TPU_COMPILER} is not on PATH: operators were checked against its list, nothing was compiled"


@dataclass(frozen=True)
class Conversion:
    """What a conversion gave.

    Attributes:
        model_bytes: size of the int8 model.
        operators: each operator with its version, in order of execution.
        pinball_int8_kw, pinball_float_kw: loss on the held-out days of training.
        edge_tpu: what became of the Edge TPU variant, in words.
    """

    model_bytes: int
    operators: tuple[Operator, ...]
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
    folder.read_bytes(modeldir.STUDENT)
    samples = folder.read_arrays(modeldir.CALIBRATION, "recent", "steps")
    validation = folder.validation()
    float_kw = float(folder.read_json(modeldir.TRAINING)["pinball_kw"]["student_float"])
    model = to_int8(load_student(folder), spec, samples["recent"], samples["steps"])
    operators = list_operators(model)
    check_operators(operators)
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
        model_bytes=len(model),
        operators=tuple(operators),
        pinball_int8_kw=scoring.score_runtime(spec, load_runtime(model), validation),
        pinball_float_kw=float_kw,
        edge_tpu=_compile_for_edge_tpu(folder),
    )
    folder.write_json(modeldir.CONVERSION, conversion.to_json())
    return conversion


def load_student(folder: ModelDir) -> Any:
    """Load the float student.

    Raises:
        RejectedError: when the file is damaged.
    """
    import keras  # noqa: PLC0415 - ten seconds that `inspect` and `bundle` do not need

    path = folder.file(modeldir.STUDENT)
    try:
        return keras.models.load_model(path, compile=False)
    except (ValueError, OSError, KeyError, TypeError) as exc:
        raise RejectedError(f"is not a readable Keras model ({exc})", where=str(path), todo="Train again") from exc


def to_int8(student: Any, spec: FeatureSpec, recent: Singles, steps: Singles) -> bytes:
    """Quantise a Keras model after training.

    Args:
        student: from inputs named `recent` and `steps` to `raw`.
        spec: fixes the shapes.
        recent: [N, recent_size] representative inputs.
        steps: [N, H, F] of the same windows.

    Raises:
        RejectedError: when an operator has no int8 form.
    """
    import keras  # noqa: PLC0415 - see load_student
    import tensorflow as tf  # noqa: PLC0415 - see load_student

    # Named inputs of fixed size: TFLite orders inputs by name, and auto-generated names swap between builds.
    inputs = {
        "recent": keras.Input(batch_shape=(1, spec.recent_size), name="recent"),
        "steps": keras.Input(batch_shape=(1, spec.horizon, len(spec.step_names)), name="steps"),
    }
    maker = tf.lite.TFLiteConverter.from_keras_model(keras.Model(inputs, student(inputs, training=False)))
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
