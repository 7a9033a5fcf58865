"""What the JSON files of a model directory must hold, and which int8 model they speak of.

Decides what is refused, with the step to repeat, before anything is made of it: a folder may be damaged, or come from
an earlier version. What the figures are worth is for others to say; unknown fields are kept.
"""

from __future__ import annotations

import hashlib
from typing import Any

from agent.contract.bundle import MAX_TOLERANCE, MODEL_NAME
from agent.contract.errors import RejectedError
from agent.contract.jsonform import Fields
from converter import modeldir
from converter.modeldir import ModelDir

_MOST_OPERATORS, _MOST_RUNTIMES, _MOST_PLANTS, _MOST_WEEKS = 1000, 10, 1000, 100
_LONGEST = 4096  # a remark may hold a path


def training(folder: ModelDir) -> dict[str, Any]:
    """Read `training.json`.

    Raises:
        ConfigError: when it is missing.
        RejectedError: when a field is missing or of another kind.
    """
    of = folder.fields(modeldir.TRAINING)
    of.integer("schema", 1, 1)
    of.text("name", pattern=MODEL_NAME)
    of.integer("version", 1)
    of.text("plant")
    of.hexbytes("data_sha256", 32)
    for key in ("created_ms", "data_from_ms", "data_to_ms"):
        of.instant(key)
    for key in ("rows", "windows", "made_years"):
        of.integer(key)
    for key in ("config", "teacher_weights", "pool_left_out"):
        of.child(key)
    held_out = of.child("validation")
    held_out.integer("days", 1)
    for key in ("from_ms", "to_ms"):
        held_out.instant(key)
    held_out.items("weeks_ms", _MOST_WEEKS)
    _numbers(of.child("pinball_kw"), "naive", "teacher", "student_float")
    of.child("parameters").integer("student")
    _numbers(of, "seconds", *(key for key in ("energy_wh", "co2_g") if of.raw(key) is not None))
    of.text("energy_source")
    if of.raw("base_model") is not None:
        of.child("base_model")
    list(of.children("pool", _MOST_PLANTS))
    return of.as_dict()


def conversion(folder: ModelDir) -> dict[str, Any]:
    """Read `conversion.json`.

    Raises:
        ConfigError, RejectedError: see `training`.
    """
    of = folder.fields(modeldir.CONVERSION)
    of.hexbytes("model_sha256", 32)
    of.hexbytes("student_sha256", 32)
    of.integer("model_bytes", 1)
    _numbers(of, "pinball_int8_kw", "pinball_float_kw")
    of.number("loss_change")
    of.text("edge_tpu", max_length=_LONGEST)
    for operator in of.children("operators", _MOST_OPERATORS):
        operator.text("name")
        operator.integer("version")
        operator.items("inputs", _MOST_OPERATORS)
        operator.items("outputs", _MOST_OPERATORS)
        operator.child("obstacles")
    return of.as_dict()


def verification(folder: ModelDir) -> dict[str, Any]:
    """Read `verification.json`; its `calibration` is for `agent.inference.calibration` to judge.

    Raises:
        ConfigError, RejectedError: see `training`.
    """
    of = folder.fields(modeldir.VERIFICATION)
    of.hexbytes("model_sha256", 32)
    for key in ("windows", "runtime_windows"):
        of.integer(key, 1)
    of.integer("arena_bytes")
    of.number("tolerance", 0, MAX_TOLERANCE)
    _numbers(of, "output_step", "mean_difference", "max_difference")
    of.number("loss_change")
    of.text("remark", max_length=_LONGEST)
    for key in ("slots", "peaks"):
        of.child("calibration").child(key)
    peaks = of.child("peaks")
    for key in ("student_float", "student_int8"):
        if peaks.raw(key) is not None:
            _check_peak(peaks.child(key))
    runtimes = list(of.children("runtimes", _MOST_RUNTIMES))
    if not runtimes:
        of.fail("runtimes", "names none")
    for runtime in runtimes:
        runtime.text("runtime")
        _numbers(runtime, "median_ms", "pinball_kw", "max_steps", "differing", "above_one")
        if runtime.raw("resident_growth_kib") is not None:
            runtime.integer("resident_growth_kib")
    return of.as_dict()


def int8_model(folder: ModelDir) -> bytes:
    """Read the int8 model: the one that was converted, of the student that is there.

    Raises:
        ConfigError: when a file is missing.
        RejectedError: when either is not the file that `conversion.json` speaks of: its figures are of another.
    """
    of = folder.fields(modeldir.CONVERSION)
    model, student = folder.read_bytes(modeldir.INT8), folder.read_bytes(modeldir.STUDENT)
    for name, data, key, what in (
        (modeldir.INT8, model, "model_sha256", "is not the model that conversion made"),
        (modeldir.STUDENT, student, "student_sha256", "is not the student that the int8 model was made of"),
    ):
        if of.hexbytes(key, 32) != hashlib.sha256(data).digest():
            raise RejectedError(what, where=str(folder.file(name)), todo=modeldir.repeat(modeldir.INT8, folder.path))
    return model


def _check_peak(of: Fields) -> None:
    of.integer("days", 1)
    for key in ("bias", "path_bias"):
        of.number(key)
    of.number("coverage", 0, 1)
    of.number("pinball_kw", 0)


def _numbers(of: Fields, *keys: str) -> None:
    for key in keys:
        of.number(key, 0)
