"""A training run: snapshot -> teacher -> labels -> student -> scores on held-out weeks -> model directory.

The folder appears whole or not at all. What the student does in int8 is the converter's business.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from agent.contract.durable import new_folder
from agent.contract.errors import ConfigError
from agent.contract.features import Floats
from agent.contract.featurespec import QUANTILES, FeatureSpec
from agent.inference.scoring import pinball
from converter import modeldir, scoring
from converter.modeldir import ModelDir
from trainer.dataset.snapshot import Snapshot
from trainer.learning import base as bases
from trainer.learning import fitting, holdout, lessons, networks, windows
from trainer.learning import pool as pools
from trainer.learning import teacher as teachers
from trainer.learning.base import Base
from trainer.learning.equalising import equalise
from trainer.learning.fitting import Schedule
from trainer.learning.footprint import Footprint, Meter
from trainer.learning.holdout import Split
from trainer.learning.lessons import Lessons
from trainer.learning.options import Options, Progress
from trainer.learning.pool import Pool, PoolPlant
from trainer.learning.teacher import Teacher
from trainer.learning.windows import Windows

CALIBRATION_WINDOWS = 600
SHORT_DAYS = 60  # with less to learn from, a plant learns beside others where there are some


@dataclass(frozen=True)
class Trained:
    """Where a run left its model, and how it did on the held-out days."""

    path: Path
    pinball_kw: dict[str, float]
    spec: FeatureSpec
    footprint: Footprint
    pool_left_out: Mapping[str, str]
    made_years: int


def no_progress(_stage: str, _done: int, _total: int) -> None:
    """Say nothing."""


def train(
    snapshot: Snapshot,
    out: Path,
    *,
    name: str,
    version: int,
    options: Options,
    progress: Progress = no_progress,
    base: Base | None = None,
    pool: Sequence[Snapshot] = (),
) -> Trained:
    """Train a model for one plant.

    Args:
        snapshot: the data.
        out: the model directory to make; it must not exist.
        name: of the model.
        version: of the model.
        options: everything that decides the result beside the data.
        progress: told after each step.
        base: what the networks start from.
        pool: other plants, for one that has less than `SHORT_DAYS` to learn from: it learns beside them, and where
            there is no base, one is made of all. Plants that are not needed or cannot be learnt from are left out,
            recorded.

    Raises:
        ConfigError: when there is too little or unusable data, `out` exists, or the base is for other slots.
        StorageError: when `out` cannot be written.
        UnavailableError: when training diverges.
    """
    if out.exists():
        raise ConfigError("exists already", where=str(out), todo="Give another --version, or remove the folder")
    meter = Meter(package_power_w=options.package_power_w, grid_g_per_kwh=options.grid_g_per_kwh)

    def told(stage: str, done: int, total: int) -> None:
        meter.sample()
        progress(stage, done, total)

    part = holdout.split(snapshot, options.horizon_hours, options.validation_days)
    spec = windows.make_spec(snapshot, options.horizon_hours, options.scaling, part)
    options = replace(options, student=networks.slim(spec, options.student))
    if base is not None:
        bases.adapt(base, spec, options.teacher, options.seed)  # one that does not fit is refused now, not later
    learnt = windows.training_windows(spec, snapshot, part, seed=options.seed)
    held_out = windows.held_out_windows(spec, snapshot, part)
    naive_kw = windows.naive_quantiles(spec, snapshot, held_out.origins)
    known = _beside(pool, spec, learnt, options)
    made = lessons.made_windows(spec, snapshot, part, learnt, options)
    start = base
    if base is None and known.plants:
        own = PoolPlant(snapshot.plant, snapshot.sha256, spec, learnt, held_out, naive_kw)
        start = bases.pretrain(Pool((own, *known.plants), known.left_out), name, options, told)
    teacher = teachers.fit(spec, learnt, held_out, options, told, made=made, base=start, others=known.plants)
    taught = lessons.prepare(spec, teacher, learnt, options, told, made=made, others=known.plants)
    student = learn(spec, taught, options, told)
    # Devices have no source of what is known ahead: what they will do is judged, and calibrated, without it.
    unknowing = replace(snapshot, covariates={})
    in_field = windows.held_out_windows(spec, unknowing, part) if spec.covariates else held_out
    scores = {
        "naive": pinball(naive_kw, held_out.truth_kw, QUANTILES),
        "teacher": teachers.loss_kw(spec, teacher, in_field),
        "student_float": score(spec, student, in_field),
    }
    footprint = meter.stop()
    record = _record(snapshot, options, spec, part, learnt, in_field, scores, footprint)
    if spec.covariates:
        record["pinball_kw_knowing_covariates"] = score(spec, student, held_out)
    record |= {"name": name, "version": version, "teacher_weights": dict(teacher.weights)}
    record |= {"parameters": {"student": int(student.count_params())}, "made_years": len(made)}
    record |= {"base_model": bases.lineage(base) if base else None, "pool": [one.lineage for one in known.plants]}
    record |= {"pool_left_out": dict(known.left_out)}
    parity = windows.parity_windows(spec, unknowing, part)
    _write(out, spec, snapshot, student, teacher, learnt, in_field, parity, naive_kw, record, options.seed)
    return Trained(out, scores, spec, footprint, known.left_out, len(made))


def _beside(pool: Sequence[Snapshot], spec: FeatureSpec, learnt: Windows, options: Options) -> Pool:
    """Gather the plants that a plant learns beside: none where it has enough of its own."""
    days = len(np.unique(learnt.origins // spec.per_day))
    if days >= SHORT_DAYS:
        return Pool((), {one.plant: f"not needed: the plant has {days} days of its own to learn from" for one in pool})
    return pools.gather(pool, spec, validation_days=options.validation_days, seed=options.seed)


def learn(spec: FeatureSpec, of: Lessons, options: Options, progress: Progress = no_progress) -> Any:
    """Return a student that has learnt lessons.

    Raises:
        UnavailableError: when it diverges.
    """
    student = networks.build(spec, options.student, name="student", seed=options.seed)
    networks.silence(options.student, student, of.inputs.steps)
    fitting.fit(
        student,
        of.inputs,
        of.target,
        Schedule(options.student_updates, options.batch, options.peak_rate, options.weight_decay, options.seed * 100),
        taught=of.taught,
        truth_share=options.truth_share,
        odds=of.odds,
        progress=lambda done, total: progress("student", done, total),
    )
    clean = networks.without_noise(spec, options.student, student)
    some = np.random.default_rng(options.seed).permutation(len(of.target))[:CALIBRATION_WINDOWS]
    equalise(spec, options.student, clean, of.inputs.rows(some))
    return clean


def score(spec: FeatureSpec, model: Any, of: Windows) -> float:
    """Return the mean pinball loss of a student's slots, in kW."""
    raw = fitting.predict(model, of.inputs)
    return scoring.score(spec, raw, of.inputs.center_kw, of.inputs.scale_kw, of.truth_kw)


def _record(
    snapshot: Snapshot,
    options: Options,
    spec: FeatureSpec,
    part: Split,
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
        "config": options.to_json(),
        "windows": len(learnt),
        "validation": {
            "days": len(held_out),
            "from_ms": snapshot.start_ms + int(held_out.origins[0]) * slot_ms,
            "to_ms": snapshot.start_ms + (int(held_out.origins[-1]) + spec.horizon) * slot_ms,
            "weeks_ms": [[snapshot.start_ms + slot * slot_ms for slot in stretch] for stretch in part.held_out],
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
    teacher: Teacher,
    learnt: Windows,
    held_out: Windows,
    parity: Windows,
    naive_kw: Floats,
    record: dict[str, Any],
    seed: int,
) -> None:
    with new_folder(out) as temp:
        folder = ModelDir(temp)
        folder.write_json(modeldir.SPEC, spec.to_json())
        folder.write_json(modeldir.TRAINING, record)
        snapshot.write(folder.file(modeldir.SNAPSHOT))
        student.save(folder.file(modeldir.STUDENT))
        teacher.save(temp)
        count = min(CALIBRATION_WINDOWS, len(learnt))
        chosen = np.sort(np.random.default_rng(seed).choice(len(learnt), count, replace=False))
        some = learnt.inputs.rows(chosen)
        np.savez_compressed(folder.file(modeldir.CALIBRATION), recent=some.recent, steps=some.steps)
        begin_ms = (snapshot.start_ms + held_out.origins * snapshot.slot_s * 1000).astype(np.float64)
        np.savez_compressed(folder.file(modeldir.VALIDATION), **_arrays(held_out), naive_kw=naive_kw, begin_ms=begin_ms)
        np.savez_compressed(folder.file(modeldir.PARITY), **_arrays(parity))


def _arrays(of: Windows) -> dict[str, Any]:
    """What a model directory keeps of windows that something is judged by."""
    inputs = {name: getattr(of.inputs, name) for name in ("recent", "steps", "center_kw", "scale_kw")}
    return {**inputs, "truth_kw": of.truth_kw}
