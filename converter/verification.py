"""Is the int8 model the student that was trained, and is it the same on every runtime? Measured, never assumed.

Three runs on the held-out windows: Keras in float, LiteRT in int8 here, tflite-runtime in int8 in a process and an
environment of its own. What passes leaves golden vectors, which every device must reproduce.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

import agent
import converter
from agent.contract.errors import ConfigError, RejectedError
from agent.contract.features import FeatureSpec, Singles
from agent.inference import litert
from converter import modeldir, scoring
from converter.conversion import load_student
from converter.modeldir import ModelDir, Validation
from converter.operators import output_step
from converter.timing import median_ms

DEFAULT_TFLITE_PYTHON = Path(".venv-tflite/bin/python")
# Runtimes round differently in each layer; up to 3 steps were seen between XNNPACK and the reference kernels.
TOLERANCE_STEPS = 4
MAX_LOSS_CHANGE = 0.05  # int8 against float; the budget is 1 %, beyond 5 % something is broken
_GOLDEN_WINDOWS = 8
_CHILD_TIMEOUT_S = 300
_SLACK = 1.01  # the comparison itself is in floats


@dataclass(frozen=True)
class RuntimeResult:
    """One runtime on the held-out windows.

    Attributes:
        runtime: library and version.
        median_ms: of one forecast, one thread.
        pinball_kw: its loss.
        max_steps: greatest difference from LiteRT in int8 steps of the output.
        differing: share of outputs that differ at all.
    """

    runtime: str
    median_ms: float
    pinball_kw: float
    max_steps: float
    differing: float


@dataclass(frozen=True)
class Verification:
    """What was found.

    Attributes:
        model_sha256: of the int8 model that was verified.
        windows: held-out windows compared.
        output_step: one int8 step of the output, standardised.
        mean_difference, max_difference: of int8 from float outputs, standardised.
        loss_change: relative change of the loss from float to int8.
        runtimes: LiteRT first.
        remark: what was not verified; empty when all was.
    """

    model_sha256: str
    windows: int
    output_step: float
    tolerance: float
    mean_difference: float
    max_difference: float
    loss_change: float
    runtimes: tuple[RuntimeResult, ...]
    remark: str

    def to_json(self) -> dict[str, Any]:
        """The content of `verification.json`."""
        return asdict(self)


def verify(folder: ModelDir, tflite_python: Path | None = None) -> Verification:
    """Compare float and int8, and the runtimes; write golden vectors and `verification.json`.

    Args:
        folder: after conversion.
        tflite_python: interpreter of an environment with tflite-runtime; None takes `.venv-tflite` where it exists.

    Raises:
        ConfigError: when the folder is incomplete, or `tflite_python` is not there.
        RejectedError: when int8 and float, or two runtimes, differ by more than allowed; nothing is written then.
    """
    model = folder.read_bytes(modeldir.INT8)
    spec, validation = folder.spec(), folder.validation()
    runtime = litert.load(model)
    step = output_step(model)
    raw = scoring.run_all(runtime, validation.recent, validation.steps)
    in_float = _float_outputs(folder, validation)
    int8_kw, float_kw = (_score(spec, values, validation) for values in (raw, in_float))
    if int8_kw > float_kw * (1 + MAX_LOSS_CHANGE):
        raise RejectedError(
            f"int8 loses {int8_kw / float_kw - 1:.1%} against float, above {MAX_LOSS_CHANGE:.0%}",
            where=str(folder.file(modeldir.INT8)),
            todo="Train again; outliers in the calibration windows widen the int8 steps",
        )
    latency_ms = median_ms(lambda: runtime.run(validation.recent[:1], validation.steps[:1]))
    results = [RuntimeResult(runtime.name, latency_ms, int8_kw, 0.0, 0.0)]
    python, remark = _find_python(tflite_python)
    if python is not None:
        results.append(_other_runtime(python, model, spec, validation, raw, step))
    tolerance = round(TOLERANCE_STEPS * step * _SLACK, 6)
    chosen = np.unique(np.linspace(0, len(raw) - 1, _GOLDEN_WINDOWS).astype(int))
    np.savez(
        folder.file(modeldir.GOLDEN),
        recent=validation.recent[chosen],
        steps=validation.steps[chosen],
        raw=raw[chosen],
    )
    difference = np.abs(raw - in_float)
    verification = Verification(
        model_sha256=hashlib.sha256(model).hexdigest(),
        windows=len(raw),
        output_step=step,
        tolerance=tolerance,
        mean_difference=float(difference.mean()),
        max_difference=float(difference.max()),
        loss_change=int8_kw / float_kw - 1,
        runtimes=tuple(results),
        remark=remark,
    )
    folder.write_json(modeldir.VERIFICATION, verification.to_json())
    return verification


def _float_outputs(folder: ModelDir, validation: Validation) -> Singles:
    student = load_student(folder)
    raw = student({"recent": validation.recent, "steps": validation.steps}, training=False)
    return np.asarray(raw, dtype=np.float32)


def _score(spec: FeatureSpec, raw: Singles, validation: Validation) -> float:
    return scoring.score(spec, raw, validation.center_kw, validation.scale_kw, validation.truth_kw)


def _find_python(stated: Path | None) -> tuple[Path | None, str]:
    if stated is None and not DEFAULT_TFLITE_PYTHON.exists():
        return None, f"tflite-runtime was not verified: there is no {DEFAULT_TFLITE_PYTHON}; give --tflite-python"
    path = (stated or DEFAULT_TFLITE_PYTHON).absolute()  # not resolved: a venv's python is a link out of it
    if not os.access(path, os.X_OK):
        raise ConfigError(
            "is not a Python interpreter",
            where=str(path),
            todo="Make one: python3.11 -m venv V; V/bin/pip install tflite-runtime==2.14.0 'numpy<2' tzdata",
        )
    return path, ""


def _other_runtime(
    python: Path, model: bytes, spec: FeatureSpec, validation: Validation, reference: Singles, step: float
) -> RuntimeResult:
    """Run tflite-runtime in its own process and compare.

    Raises:
        RejectedError: when it cannot run the model, or its outputs differ by more than allowed.
    """
    with tempfile.TemporaryDirectory(prefix="edgewatt-verify-") as name:
        place = Path(name)
        (place / "model.tflite").write_bytes(model)
        np.savez(place / "inputs.npz", recent=validation.recent, steps=validation.steps)
        # Links to our two packages alone: were site-packages on its path, it would load TensorFlow's numpy.
        (place / "path").mkdir()
        for package in (agent, converter):
            (place / "path" / package.__name__).symlink_to(Path(str(package.__file__)).parent.absolute())
        answer = _run_child(python, place, {"PYTHONPATH": str(place / "path")})
        with np.load(place / "outputs.npz", allow_pickle=False) as arrays:
            raw = arrays["raw"]
    if answer["tensorflow_loaded"]:
        raise RejectedError("TensorFlow is loaded beside tflite-runtime", where=str(python))
    steps_apart = np.abs(raw - reference) / step
    worst = float(steps_apart.max())
    if worst > TOLERANCE_STEPS * _SLACK:
        raise RejectedError(
            f"{answer['runtime']} differs from LiteRT by {worst:.1f} int8 steps, above {TOLERANCE_STEPS}",
            where="model_int8.tflite",
            todo="Do not ship this model: boards with that runtime would forecast otherwise",
        )
    return RuntimeResult(
        runtime=str(answer["runtime"]),
        median_ms=float(answer["median_ms"]),
        pinball_kw=_score(spec, raw, validation),
        max_steps=round(worst, 3),
        differing=float((steps_apart > 0.5).mean()),
    )


def _run_child(python: Path, place: Path, environment: Mapping[str, str]) -> dict[str, Any]:
    command = [str(python), "-m", "converter.tflite_child", "model.tflite", "inputs.npz", "outputs.npz"]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    try:
        run = subprocess.run(
            command,
            cwd=place,
            env={**kept, **environment},
            capture_output=True,
            text=True,
            timeout=_CHILD_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as exc:
        raise RejectedError(f"could not run the model ({exc})", where=str(python)) from exc
    if run.returncode:
        last = run.stderr.strip().splitlines()[-1:] or [f"exit code {run.returncode}"]
        raise RejectedError(
            f"could not run the model ({last[0]})",
            where=str(python),
            todo="Check with it: import tflite_runtime, numpy; else do not ship this model",
        )
    answer: dict[str, Any] = json.loads(run.stdout.strip().splitlines()[-1])
    return answer
