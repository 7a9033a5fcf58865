"""Is the int8 model the student that was trained, and is it the same on every runtime? Measured, never assumed.

Three runs: Keras in float here; LiteRT and tflite-runtime in int8, each in a process of its own, whose time and memory
are therefore theirs alone. Float and int8 are compared on the held-out days; the two runtimes on held-out windows from
any time of day, since a share of 0.1 % takes many outputs. What passes leaves golden vectors, which every device must
reproduce.
"""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

import agent
import converter
from agent.contract import jsonform
from agent.contract.durable import write_durable
from agent.contract.errors import ConfigError, RejectedError
from agent.contract.features import Singles
from agent.contract.featurespec import FeatureSpec
from agent.contract.jsonform import Fields
from agent.inference.scoring import PeakScore
from converter import modeldir, records, scoring
from converter.conversion import check_form, load_student, predict
from converter.modeldir import Judged, ModelDir
from converter.operators import read_graph

DEFAULT_TFLITE_PYTHON = Path(".venv-tflite/bin/python")
# Runtimes round differently in each layer: golden outputs must be met within this many int8 steps.
TOLERANCE_STEPS = 4
MAX_PINBALL_APART = 0.001  # between the two runtimes, as these:
MAX_STEPS_APART = 3  # beyond it the card says so, up to the tolerance
MAX_SHARE_ABOVE_ONE = 0.001  # of outputs, likewise
MAX_LOSS_CHANGE = 0.05  # int8 against float; the budget is 1 %, beyond 5 % something is broken
_GOLDEN_WINDOWS = 8
_CHILD_TIMEOUT_S = 300
_MAX_ANSWER = 2**16
_HALF_STEP = 0.5  # outputs are whole steps, compared in floats


@dataclass(frozen=True)
class RuntimeResult:
    """One runtime, in a process of its own.

    Attributes:
        runtime: library and version.
        median_ms: of one forecast, one thread.
        resident_growth_kib: memory that loading the model and its first forecast took, beyond Python, numpy and the
            library; None where the system does not tell.
        pinball_kw: its loss on the windows that the runtimes are compared on: on some dozen days alone, one int8 step
            here and there moves the loss by half a per cent either way.
        max_steps: greatest difference from LiteRT in int8 steps of the output.
        differing: share of outputs that differ at all.
        above_one: share of outputs that differ by more than one step.
    """

    runtime: str
    median_ms: float
    resident_growth_kib: int | None
    pinball_kw: float
    max_steps: float
    differing: float
    above_one: float


@dataclass(frozen=True)
class Verification:
    """What was found.

    Attributes:
        model_sha256: of the int8 model that was verified.
        windows: held-out days compared with float.
        runtime_windows: held-out windows on which the runtimes are compared.
        output_step: one int8 step of the output, standardised.
        mean_difference, max_difference: of int8 from float outputs, standardised.
        loss_change: relative change of the loss from float to int8.
        arena_bytes: memory for values between operators, as planned; see `Graph.arena_bytes`.
        peaks: how `student_float` and `student_int8` foretell the daily peaks; None where no day is known whole.
        calibration: what the held-out days teach about the bands of `slots` and `peaks`, for the bundle: the first
            forecasts in the field are then calibrated, too.
        runtimes: LiteRT first.
        remark: what was not verified, or where the runtimes are further apart than intended; else empty.
    """

    model_sha256: str
    windows: int
    runtime_windows: int
    output_step: float
    tolerance: float
    mean_difference: float
    max_difference: float
    loss_change: float
    arena_bytes: int
    peaks: Mapping[str, PeakScore | None]
    calibration: Mapping[str, Any]
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
        RejectedError: when the model is not the one that was converted, or not of the spec's form, or int8 and float,
            or two runtimes, differ by more than allowed; nothing is written then.
    """
    model, spec = records.int8_model(folder), folder.spec()
    validation = folder.validation()
    check_form(model, spec)
    graph = read_graph(model)
    python, remark = _find_python(tflite_python)
    parity, days = folder.parity(), len(validation.recent)
    every = _join(validation, parity)
    answer, both = _run(Path(sys.executable), "litert", model, every)
    raw, reference = both[:days], both[days:]
    in_float = predict(load_student(folder, spec), validation)
    int8_kw, float_kw = (scoring.score_windows(spec, values, validation) for values in (raw, in_float))
    if int8_kw > float_kw * (1 + MAX_LOSS_CHANGE):
        raise RejectedError(
            f"int8 loses {int8_kw / float_kw - 1:.1%} against float, above {MAX_LOSS_CHANGE:.0%}",
            where=str(folder.file(modeldir.INT8)),
            todo="Train again; outliers in the calibration windows widen the int8 steps",
        )
    results = [_result(answer, spec, parity, reference, reference, graph.output_step)]
    if python is not None:
        answer, other = _run(python, "tflite", model, parity)
        results.append(_result(answer, spec, parity, other, reference, graph.output_step))
        remark = _compare(*results)
    chosen = np.unique(np.linspace(0, len(raw) - 1, _GOLDEN_WINDOWS).astype(int))
    golden = io.BytesIO()
    np.savez(golden, recent=validation.recent[chosen], steps=validation.steps[chosen], raw=raw[chosen])
    write_durable(folder.file(modeldir.GOLDEN), golden.getvalue())
    difference = np.abs(raw - in_float)
    outputs = {"student_float": in_float, "student_int8": raw}
    verification = Verification(
        model_sha256=hashlib.sha256(model).hexdigest(),
        windows=days,
        runtime_windows=len(parity.recent),
        output_step=graph.output_step,
        tolerance=round((TOLERANCE_STEPS + 0.04) * graph.output_step, 6),  # the comparison itself is in floats
        mean_difference=float(difference.mean()),
        max_difference=float(difference.max()),
        loss_change=int8_kw / float_kw - 1,
        arena_bytes=graph.arena_bytes,
        peaks={name: scoring.score_daily_peaks(spec, values, validation) for name, values in outputs.items()},
        calibration=scoring.calibrate(spec, raw, validation),
        runtimes=tuple(results),
        remark=remark,
    )
    folder.write_json(modeldir.VERIFICATION, verification.to_json())
    return verification


def _result(
    answer: Mapping[str, Any],
    spec: FeatureSpec,
    parity: Judged,
    raw: Singles,
    reference: Singles,
    step: float,
) -> RuntimeResult:
    steps_apart = np.abs(raw - reference) / step
    return RuntimeResult(
        runtime=str(answer["runtime"]),
        median_ms=float(answer["median_ms"]),
        resident_growth_kib=answer["resident_growth_kib"],
        pinball_kw=scoring.score_windows(spec, raw, parity),
        max_steps=round(float(steps_apart.max()), 3),
        differing=float((steps_apart > _HALF_STEP).mean()),
        above_one=float((steps_apart > 1 + _HALF_STEP).mean()),
    )


def _compare(reference: RuntimeResult, other: RuntimeResult) -> str:
    """Return in words where two runtimes differ by more than intended; empty where they do not.

    Raises:
        RejectedError: when they differ by so much that boards would forecast otherwise, or refuse the golden outputs.
    """
    apart = abs(other.pinball_kw / reference.pinball_kw - 1)
    names = f"{other.runtime} differs from {reference.runtime}"
    if other.max_steps > TOLERANCE_STEPS + _HALF_STEP or not apart <= MAX_PINBALL_APART:
        raise RejectedError(
            f"{names} by up to {other.max_steps:.1f} int8 steps and {apart:.2%} of the loss, where {TOLERANCE_STEPS} "
            f"and {MAX_PINBALL_APART:.1%} are allowed",
            where=modeldir.INT8,
            todo="Do not ship this model: boards with that runtime would forecast otherwise. Train again",
        )
    if other.max_steps <= MAX_STEPS_APART + _HALF_STEP and other.above_one <= MAX_SHARE_ABOVE_ONE:
        return ""
    return (
        f"{names} by up to {other.max_steps:.0f} int8 steps and by more than one in {other.above_one:.2%} of outputs, "
        f"where {MAX_STEPS_APART} and {MAX_SHARE_ABOVE_ONE:.1%} are intended"
    )


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


def _join(*parts: Judged) -> Judged:
    return Judged(**{one.name: np.concatenate([getattr(part, one.name) for part in parts]) for one in fields(Judged)})


def _run(python: Path, adapter: str, model: bytes, windows: Judged) -> tuple[dict[str, Any], Singles]:
    """Run every window on one runtime in a process of its own; return what it said of itself, and `raw`.

    Raises:
        RejectedError: when it cannot run the model.
    """
    with tempfile.TemporaryDirectory(prefix="edgewatt-verify-") as name:
        place = Path(name)
        (place / "model.tflite").write_bytes(model)
        np.savez(place / "inputs.npz", recent=windows.recent, steps=windows.steps)
        # Links to our two packages alone: were site-packages on its path, it would load TensorFlow's numpy.
        (place / "path").mkdir()
        for package in (agent, converter):
            (place / "path" / package.__name__).symlink_to(Path(str(package.__file__)).parent.absolute())
        answer = _run_child(python, adapter, place)
        raw = _outputs(place / "outputs.npz", windows, python)
    if answer["tensorflow_loaded"]:
        raise RejectedError("TensorFlow is loaded beside the runtime", where=str(python))
    return answer, raw


def _run_child(python: Path, adapter: str, place: Path) -> dict[str, Any]:
    command = [str(python), "-m", "converter.runtime_child", adapter, "model.tflite", "inputs.npz", "outputs.npz"]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    try:
        run = subprocess.run(
            command,
            cwd=place,
            env={**kept, "PYTHONPATH": str(place / "path")},
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
            todo="Check with it: import numpy and the runtime; else do not ship this model",
        )
    try:
        last_line = run.stdout.strip().splitlines()[-1]
        answer = Fields(jsonform.loads(last_line.encode(), where="answer", max_bytes=_MAX_ANSWER), "answer")
        answer.text("runtime")
        answer.number("median_ms", 0)
        answer.raw("resident_growth_kib")
        answer.flag("tensorflow_loaded")
    except (IndexError, RejectedError) as exc:
        raise _no_answer(python) from exc
    return answer.as_dict()


def _outputs(path: Path, windows: Judged, python: Path) -> Singles:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            raw: Singles = arrays["raw"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as exc:
        raise _no_answer(python) from exc
    if raw.shape[:1] != windows.recent.shape[:1]:
        raise _no_answer(python)
    return raw


def _no_answer(python: Path) -> RejectedError:
    return RejectedError(
        "gave no answer when told to run the model",
        where=str(python),
        todo="Give the Python of an environment with numpy and the runtime",
    )
