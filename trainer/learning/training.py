"""A training run: snapshot -> scaling -> teacher -> student -> scores on held-out weeks -> model directory.

The folder appears whole or not at all. What the student does in int8 is the converter's business.
"""

from __future__ import annotations

import secrets
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from agent.contract.errors import ConfigError
from agent.contract.features import QUANTILES, FeatureSpec, Floats, Scaling, split_peak
from agent.inference.scoring import pinball
from converter import modeldir, scoring
from converter.modeldir import ModelDir
from trainer.dataset.snapshot import Snapshot
from trainer.learning import fitting, networks, windows
from trainer.learning.footprint import Footprint, Meter
from trainer.learning.options import Options, Progress
from trainer.learning.windows import Split, Windows

CALIBRATION_WINDOWS = 300
_TRIAL_UPDATES = 300  # a scaling is judged by a student trained this long at most


@dataclass(frozen=True)
class Trained:
    """Where a run left its model, and how it did on the held-out days."""

    path: Path
    pinball_kw: dict[str, float]
    spec: FeatureSpec
    footprint: Footprint


def no_progress(_stage: str, _done: int, _total: int) -> None:
    """Say nothing."""


def train(
    snapshot: Snapshot, out: Path, *, name: str, version: int, options: Options, progress: Progress = no_progress
) -> Trained:
    """Train a model for one plant.

    Args:
        snapshot: the data.
        out: the model directory to make; it must not exist.
        name: of the model.
        version: of the model.
        options: everything that decides the result beside the data.
        progress: told after each step.

    Raises:
        ConfigError: when there is too little or unusable data, or `out` exists.
        UnavailableError: when training diverges.
    """
    if out.exists():
        raise ConfigError("exists already", where=str(out), todo="Give another --version, or remove the folder")
    meter = Meter(package_power_w=options.package_power_w, grid_g_per_kwh=options.grid_g_per_kwh)
    part = windows.split(snapshot, options.horizon_hours, options.validation_days)
    scaling = options.scaling or _choose_scaling(snapshot, part, options, progress)
    spec = windows.make_spec(snapshot, options.horizon_hours, scaling, part)
    learnt = windows.training_windows(spec, snapshot, part, batch=options.batch, seed=options.seed)
    held_out = windows.daily_windows(spec, snapshot, part.validation, part.end)
    meter.sample()

    teachers = _teachers(spec, learnt, options, progress)
    meter.sample()
    taught = ensemble(teachers, learnt)
    student = networks.build(spec, options.student, name="student", seed=options.seed)
    fitting.fit(
        student,
        learnt.inputs,
        learnt.target,
        _schedule(options, options.student_updates, 0),
        taught=taught.astype(np.float32),
        truth_share=options.truth_share,
        progress=_part_of(progress, "student", 0, options.student_updates),
    )
    naive_kw = windows.naive_quantiles(spec, snapshot, held_out.origins)
    scores = {
        "naive": pinball(naive_kw, held_out.truth_kw, QUANTILES),
        "teacher": pinball(
            split_peak(spec, to_kw(ensemble(teachers, held_out), held_out))[0], held_out.truth_kw, QUANTILES
        ),
        "student_float": _score(spec, student, held_out),
    }
    footprint = meter.stop()
    record = _record(snapshot, options, spec, learnt, held_out, scores, footprint)
    record |= {"name": name, "version": version, "parameters": _parameters(student, teachers)}
    _write(out, spec, snapshot, student, teachers, learnt, held_out, naive_kw, record, options.seed)
    return Trained(out, scores, spec, footprint)


def ensemble(teachers: list[Any], of: Windows) -> Floats:
    """Return the teacher's standardised quantiles [N, H + D, 3]: the mean over its networks."""
    result: Floats = np.mean(
        [fitting.standardised_quantiles(fitting.predict(model, of.inputs)) for model in teachers], axis=0
    )
    return result


def to_kw(quantiles: Floats, of: Windows) -> Floats:
    """Take standardised quantiles [N, rows, 3] to kW."""
    return quantiles * of.inputs.scale_kw[:, None, None] + of.inputs.center_kw[:, None, None]


def _teachers(spec: FeatureSpec, learnt: Windows, options: Options, progress: Progress) -> list[Any]:
    result = []
    total = options.teachers * options.teacher_updates
    for number in range(options.teachers):
        done_before = number * options.teacher_updates
        model = networks.build(
            spec, options.teacher, name=f"teacher_{number + 1}", seed=options.seed * 100 + number + 1
        )
        fitting.fit(
            model,
            learnt.inputs,
            learnt.target,
            _schedule(options, options.teacher_updates, number + 1),
            progress=_part_of(progress, "teacher", done_before, total),
        )
        result.append(model)
    return result


def _choose_scaling(snapshot: Snapshot, part: Split, options: Options, progress: Progress) -> Scaling:
    """Train a student briefly under each scaling; the better one on the held-out days wins."""
    updates = min(_TRIAL_UPDATES, options.student_updates)
    losses: dict[Scaling, float] = {}
    for number, scaling in enumerate(Scaling):
        spec = windows.make_spec(snapshot, options.horizon_hours, scaling, part)
        learnt = windows.training_windows(spec, snapshot, part, batch=options.batch, seed=options.seed)
        model = networks.build(spec, options.student, name=f"trial_{scaling}", seed=options.seed)
        fitting.fit(
            model,
            learnt.inputs,
            learnt.target,
            _schedule(options, updates, 0),
            progress=_part_of(progress, "scaling", number * updates, 2 * updates),
        )
        losses[scaling] = _score(spec, model, windows.daily_windows(spec, snapshot, part.validation, part.end))
    return min(losses, key=lambda scaling: losses[scaling])


def _part_of(progress: Progress, stage: str, before: int, total: int) -> Callable[[int, int], None]:
    return lambda done, _total: progress(stage, before + done, total)


def _score(spec: FeatureSpec, model: Any, of: Windows) -> float:
    raw = fitting.predict(model, of.inputs)
    return scoring.score(spec, raw, of.inputs.center_kw, of.inputs.scale_kw, of.truth_kw)


def _schedule(options: Options, updates: int, offset: int) -> fitting.Schedule:
    seed = options.seed * 100 + offset
    return fitting.Schedule(updates, options.batch, options.peak_rate, options.weight_decay, seed)


def _parameters(student: Any, teachers: list[Any]) -> dict[str, int]:
    return {
        "student": int(student.count_params()),
        "teacher": int(sum(model.count_params() for model in teachers)),
    }


def _record(
    snapshot: Snapshot,
    options: Options,
    spec: FeatureSpec,
    learnt: Windows,
    held_out: Windows,
    scores: dict[str, float],
    footprint: Footprint,
) -> dict[str, Any]:
    """The content of `training.json`."""
    slot_ms = snapshot.slot_s * 1000
    return {
        "schema": 1,
        "created_ms": int(time.time() * 1000),
        "plant": snapshot.plant,
        "data_sha256": snapshot.sha256,
        "rows": int(np.isfinite(snapshot.power_kw).sum()),
        "data_from_ms": snapshot.start_ms,
        "data_to_ms": snapshot.end_ms,
        "config": {**options.to_json(), "scaling": str(spec.scaling)},
        "windows": len(learnt),
        "validation": {
            "days": len(held_out),
            "from_ms": snapshot.start_ms + int(held_out.origins[0]) * slot_ms,
            "to_ms": snapshot.start_ms + (int(held_out.origins[-1]) + spec.horizon) * slot_ms,
        },
        "pinball_kw": scores,
        "seconds": round(footprint.seconds, 3),
        "energy_wh": footprint.energy_wh,
        "energy_source": footprint.source,
        "co2_g": footprint.co2_g,
    }


def _write(
    out: Path,
    spec: FeatureSpec,
    snapshot: Snapshot,
    student: Any,
    teachers: list[Any],
    learnt: Windows,
    held_out: Windows,
    naive_kw: Floats,
    record: dict[str, Any],
    seed: int,
) -> None:
    """Fill a folder beside `out`, then give it its name."""
    out.parent.mkdir(parents=True, exist_ok=True)
    temp = out.with_name(f".{out.name}.{secrets.token_hex(4)}.tmp")
    temp.mkdir()
    try:
        folder = ModelDir(temp)
        folder.write_json(modeldir.SPEC, spec.to_json())
        folder.write_json(modeldir.TRAINING, record)
        snapshot.write(folder.file(modeldir.SNAPSHOT))
        student.save(folder.file(modeldir.STUDENT))
        for number, model in enumerate(teachers, 1):
            model.save(folder.file(f"teacher-{number}.keras"))
        count = min(CALIBRATION_WINDOWS, len(learnt))
        chosen = np.sort(np.random.default_rng(seed).choice(len(learnt), count, replace=False))
        np.savez_compressed(
            folder.file(modeldir.CALIBRATION), recent=learnt.inputs.recent[chosen], steps=learnt.inputs.steps[chosen]
        )
        np.savez_compressed(
            folder.file(modeldir.VALIDATION),
            recent=held_out.inputs.recent,
            steps=held_out.inputs.steps,
            truth_kw=held_out.truth_kw,
            center_kw=held_out.inputs.center_kw,
            scale_kw=held_out.inputs.scale_kw,
            naive_kw=naive_kw,
        )
        temp.rename(out)
    except BaseException:
        shutil.rmtree(temp, ignore_errors=True)
        raise
