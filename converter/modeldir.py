"""The model directory: what training leaves, conversion adds to, and bundling reads. Only this module knows its files.

It is a working folder of the centre, not a thing that travels: what travels is the bundle.
"""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from agent.contract import jsonform
from agent.contract.durable import write_durable
from agent.contract.errors import ConfigError, RejectedError
from agent.contract.features import Floats, Singles
from agent.contract.featurespec import FeatureSpec
from agent.contract.jsonform import Fields

SPEC, STUDENT, TRAINING, SNAPSHOT = "spec.json", "student.keras", "training.json", "snapshot.parquet"
CALIBRATION, VALIDATION, PARITY = "calibration.npz", "validation.npz", "parity.npz"
INT8, EDGE_TPU = "model_int8.tflite", "model_int8_edgetpu.tflite"
CONVERSION, VERIFICATION, GOLDEN = "conversion.json", "verification.json", "golden.npz"
_MAX_JSON = 2**22
_TRAIN_AGAIN = "Train the model again: earlier versions of edgewatt did not write it"


@dataclass(frozen=True, eq=False)
class Judged:
    """Forecasts to be made, and what came true.

    Attributes:
        recent, steps: [N, ...] model inputs.
        truth_kw: [N, H], NaN where unknown.
        center_kw, scale_kw: [N].
    """

    recent: Singles
    steps: Singles
    truth_kw: Floats
    center_kw: Floats
    scale_kw: Floats


@dataclass(frozen=True, eq=False)
class Validation(Judged):
    """Held-out forecasts.

    Attributes:
        naive_kw: [N, H, 3] what seasonal naive said.
        begin_ms: [N] when each begins.
    """

    naive_kw: Floats
    begin_ms: Floats


@dataclass(frozen=True)
class ModelDir:
    """A model directory."""

    path: Path

    def file(self, name: str) -> Path:
        """Path of one of the files above."""
        return self.path / name

    @property
    def teachers(self) -> list[Path]:
        """The files of the teacher, in order."""
        return sorted(self.path.glob("teacher*"))

    def spec(self) -> FeatureSpec:
        """Read the feature spec.

        Raises:
            ConfigError, RejectedError: when missing or malformed.
        """
        return FeatureSpec.from_json(self.read_json(SPEC), str(self.file(SPEC)))

    def read_json(self, name: str) -> dict[str, Any]:
        """Read one JSON file.

        Raises:
            ConfigError: when it is missing.
            RejectedError: when it is malformed.
        """
        data, where = self.read_bytes(name), str(self.file(name))
        try:
            return jsonform.loads(data, where=where, max_bytes=_MAX_JSON)
        except RejectedError as exc:
            raise RejectedError(exc.what, where=where, todo=repeat(name, self.path)) from exc

    def fields(self, name: str) -> Fields:
        """Read one JSON file field by field: complaints name the step to repeat.

        Raises:
            ConfigError, RejectedError: see `read_json`.
        """
        return Fields(self.read_json(name), str(self.file(name)), todo=repeat(name, self.path))

    def read_bytes(self, name: str) -> bytes:
        """Read one file.

        Raises:
            ConfigError: when it is missing or unreadable, with the command that makes it.
        """
        try:
            return self.file(name).read_bytes()
        except OSError as exc:
            raise ConfigError(
                f"cannot be read ({exc.strerror})", where=str(self.file(name)), todo=_made_by(name, self.path)
            ) from exc

    def write_json(self, name: str, value: Mapping[str, Any]) -> None:
        """Write one JSON file, readable by people."""
        write_durable(self.file(name), (json.dumps(value, indent=1, allow_nan=False) + "\n").encode())

    def read_arrays(self, name: str, *wanted: str) -> dict[str, Any]:
        """Read named arrays.

        Raises:
            ConfigError: when the file is missing.
            RejectedError: when it is damaged or lacks an array.
        """
        self.read_bytes(name)
        try:
            with np.load(self.file(name), allow_pickle=False) as arrays:
                return {key: arrays[key] for key in wanted}
        except KeyError as exc:
            raise RejectedError(f"lacks an array ({exc})", where=str(self.file(name)), todo=_TRAIN_AGAIN) from exc
        except (OSError, ValueError, EOFError, MemoryError, RuntimeError, zipfile.BadZipFile, zlib.error) as exc:
            raise RejectedError(
                f"is damaged ({exc})", where=str(self.file(name)), todo=repeat(name, self.path)
            ) from exc

    def calibration(self) -> tuple[Singles, Singles]:
        """Read the windows that fix the int8 steps, `recent` and `steps`; the model has learnt from them.

        Raises:
            ConfigError, RejectedError: when missing or damaged.
        """
        arrays = self.read_arrays(CALIBRATION, "recent", "steps")
        self._check(CALIBRATION, arrays, self._sizes(*arrays))
        return arrays["recent"], arrays["steps"]

    def parity(self) -> Judged:
        """Read held-out windows from any time of day, by which two runtimes are compared.

        Raises:
            ConfigError, RejectedError: see `validation`.
        """
        return Judged(**self._judged(PARITY, "recent", "steps", "truth_kw", "center_kw", "scale_kw"))

    def validation(self) -> Validation:
        """Read the held-out days.

        Raises:
            ConfigError: when missing.
            RejectedError: when damaged, of other shapes than the feature spec says, or holding values that no training
                run writes: inputs that are not finite, scales that are not positive, nothing known of what came true.
        """
        names = ("recent", "steps", "truth_kw", "center_kw", "scale_kw", "naive_kw", "begin_ms")
        return Validation(**self._judged(VALIDATION, *names))

    def _judged(self, name: str, *wanted: str) -> dict[str, Any]:
        arrays = self.read_arrays(name, *wanted)
        self._check(name, arrays, self._sizes(*arrays), gaps_in="truth_kw")
        where = str(self.file(name))
        if not np.isfinite(arrays["truth_kw"]).any():
            raise RejectedError("knows no true load to judge by", where=where, todo=_made_by(name, self.path))
        if not (arrays["scale_kw"] > 0).all():
            raise RejectedError("scale_kw is not positive", where=where, todo=_made_by(name, self.path))
        return arrays

    def _sizes(self, *names: str) -> dict[str, tuple[int, ...]]:
        spec = self.spec()
        slots = (spec.horizon,)
        sizes = {
            "recent": (spec.recent_size,),
            "steps": (*slots, len(spec.step_names)),
            "truth_kw": slots,
            "center_kw": (),
            "scale_kw": (),
            "naive_kw": (*slots, 3),
            "begin_ms": (),
        }
        return {name: sizes[name] for name in names}

    def _check(
        self, name: str, arrays: Mapping[str, Any], sizes: Mapping[str, tuple[int, ...]], gaps_in: str = ""
    ) -> None:
        """Hold arrays against their sizes a window.

        Raises:
            RejectedError: when one does not fit, or holds what is not a finite number.
        """
        count = next(iter(arrays.values())).shape[:1]
        for key, array in arrays.items():
            problem = ""
            if array.dtype.kind != "f" or array.shape != (*count, *sizes[key]) or 0 in array.shape:
                problem = f"has shape {array.shape} where the feature spec says {('N', *sizes[key])}"
            elif key != gaps_in and not np.isfinite(array).all():
                problem = "holds values that are not finite"
            if problem:
                raise RejectedError(f"{key} {problem}", where=str(self.file(name)), todo=_made_by(name, self.path))


def repeat(name: str, path: Path) -> str:
    """Say which step makes a file anew that is damaged or of an earlier version."""
    return _made_by(name, path) if name in {INT8, CONVERSION, VERIFICATION, GOLDEN} else "Train the model again"


def _made_by(name: str, path: Path) -> str:
    if name in {INT8, CONVERSION}:
        return f"Run: edgewatt-converter convert {path}"
    if name in {VERIFICATION, GOLDEN}:
        return f"Run: edgewatt-converter verify {path}"
    if name == PARITY:
        return _TRAIN_AGAIN
    return "Is this a folder made by `edgewatt-trainer train`?"
