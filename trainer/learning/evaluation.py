"""Naive, teacher, student and int8 student on weeks that no training saw: one forecast a day, all on the same slots."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from agent.contract.errors import ConfigError
from agent.contract.features import Floats, Singles, assemble, split_peak
from agent.contract.featurespec import QUANTILES, FeatureSpec
from agent.contract.zones import utc_iso
from agent.inference.naive import forecast_naive
from agent.inference.runtime import load_runtime
from agent.inference.scoring import PeakScore, coverage, pinball, score_peaks
from converter import modeldir, records, scoring
from converter.conversion import load_student
from converter.modeldir import ModelDir
from trainer.dataset.snapshot import Snapshot, read_snapshot
from trainer.learning import fitting, teacher, windows
from trainer.learning.holdout import Split


@dataclass(frozen=True)
class Evaluation:
    """Scores on held-out days.

    Attributes:
        pinball_kw: mean loss of `naive`, `teacher`, `student_float` and, where converted, `student_int8`.
        mae_kw: mean absolute error of their medians.
        coverage: share of slots inside the band from 0.1 to 0.9.
        peaks: the same models on the peak of each day; None where no day is known whole.
        days, slots: how many were judged.
        seen: whether some of them lie in the data of the training run.
    """

    pinball_kw: dict[str, float]
    mae_kw: dict[str, float]
    coverage: dict[str, float]
    peaks: dict[str, PeakScore | None]
    days: int
    slots: int
    from_ms: int
    to_ms: int
    seen: bool


def evaluate(folder: ModelDir, snapshot: Snapshot, from_ms: int, to_ms: int | None = None) -> Evaluation:
    """Judge a trained model on one origin a day, at the plant's midnight.

    Args:
        folder: of the model.
        snapshot: load of the same plant, with at least 15 days before `from_ms`.
        from_ms: targets begin at or after it.
        to_ms: targets end before or at it; the end of the snapshot where None.

    Raises:
        ConfigError: when the model is of another slot length, or the folder is incomplete.
        RejectedError: when a file of it is damaged, or the int8 model is not of its student.
        UnavailableError: when no day can be judged.
    """
    spec = folder.spec()
    if spec.slot_s != snapshot.slot_s:
        raise ConfigError(
            f"is for slots of {spec.slot_s // 60} min, the plant has {snapshot.slot_s // 60}", where=str(folder.path)
        )
    first = max(0, snapshot.index(from_ms))
    end = len(snapshot.power_kw) if to_ms is None else min(len(snapshot.power_kw), snapshot.index(to_ms))
    return _judge(folder, snapshot, windows.daily_windows(spec, snapshot, first, end))


def evaluate_held_out(folder: ModelDir) -> Evaluation:
    """Judge a trained model on the weeks that its own training held out.

    Raises:
        ConfigError, RejectedError: when the folder is incomplete or damaged.
    """
    snapshot = read_snapshot(folder.file(modeldir.SNAPSHOT))
    weeks = folder.read_json(modeldir.TRAINING)["validation"]["weeks_ms"]
    stretches = tuple((snapshot.index(begin_ms), snapshot.index(end_ms)) for begin_ms, end_ms in weeks)
    part = Split(stretches, len(snapshot.power_kw))
    return _judge(folder, snapshot, windows.held_out_windows(folder.spec(), snapshot, part))


def _judge(folder: ModelDir, snapshot: Snapshot, judged: windows.Windows) -> Evaluation:
    spec, data_to_ms = folder.spec(), folder.fields(modeldir.TRAINING).instant("data_to_ms")
    every = {"naive": _naive(spec, snapshot, judged), **_split(spec, _every(folder, judged))}
    forecasts = {name: slots for name, (slots, _) in every.items()}
    known = np.isfinite(judged.truth_kw)
    slot_ms = spec.slot_s * 1000
    begin_ms = snapshot.start_ms + int(judged.origins[0]) * slot_ms
    return Evaluation(
        pinball_kw={name: pinball(kw, judged.truth_kw, QUANTILES) for name, kw in forecasts.items()},
        mae_kw={name: float(np.nanmean(np.abs(kw[..., 1] - judged.truth_kw))) for name, kw in forecasts.items()},
        coverage={name: coverage(kw, judged.truth_kw) for name, kw in forecasts.items()},
        peaks={name: score_peaks(spec, *both, judged.truth_kw) for name, both in every.items()},
        days=len(judged),
        slots=int(known.sum()),
        from_ms=begin_ms,
        to_ms=snapshot.start_ms + (int(judged.origins[-1]) + spec.horizon) * slot_ms,
        seen=begin_ms < data_to_ms,
    )


def lines(evaluation: Evaluation) -> list[str]:
    """A table for people."""
    naive = evaluation.pinball_kw["naive"]
    text = [
        f"{evaluation.days} days, {utc_iso(evaluation.from_ms)} to {utc_iso(evaluation.to_ms)}",
        f"{'':14}  {'pinball kW':>11}  {'vs naive':>8}  {'MAE kW':>11}  {'in band':>7}",
    ]
    for name, loss in evaluation.pinball_kw.items():
        mae, inside = evaluation.mae_kw[name], evaluation.coverage[name]
        text.append(f"{name:14}  {loss:11.5g}  {loss / max(naive, 1e-12):8.3f}  {mae:11.5g}  {inside:7.1%}")
    if any(evaluation.peaks.values()):
        text.append(f"{'daily peak':14}  {'pinball kW':>11}  {'bias':>8}  {'by median path':>14}  {'in band':>7}")
    for name, peak in evaluation.peaks.items():
        if peak is not None:
            text.append(
                f"{name:14}  {peak.pinball_kw:11.5g}  {peak.bias:+8.1%}  {peak.path_bias:+14.1%}  {peak.coverage:7.1%}"
            )
    if evaluation.seen:
        text.append("Some of these days lie in the data of the training run: the figures flatter the model.")
    return text


def forecast_all(folder: ModelDir, spec: FeatureSpec, judged: windows.Windows) -> dict[str, Floats]:
    """Return the quantiles [N, H, 3] in kW of `teacher`, `student_float` and, where converted, `student_int8`.

    Raises:
        ConfigError: when the folder is incomplete.
    """
    return {name: slots for name, (slots, _) in _split(spec, _every(folder, judged)).items()}


def _every(folder: ModelDir, judged: windows.Windows) -> dict[str, Floats]:
    """Return all rows [N, H + D, 3] in kW of each model."""
    inputs = judged.inputs
    taught = teacher.load(folder.spec(), folder.path)
    student = load_student(folder, folder.spec())
    student_raw: dict[str, Singles] = {"student_float": fitting.predict(student, inputs)}
    if folder.file(modeldir.INT8).exists():
        runtime = load_runtime(records.int8_model(folder))
        student_raw["student_int8"] = scoring.run_all(runtime, inputs.recent, inputs.steps)
    return {
        "teacher": teacher.to_kw(taught.predict(judged.inputs), judged),
        **{name: _to_kw(raw, inputs) for name, raw in student_raw.items()},
    }


def _split(spec: FeatureSpec, every: dict[str, Floats]) -> dict[str, tuple[Floats, Floats]]:
    return {name: split_peak(spec, quantiles) for name, quantiles in every.items()}


def _naive(spec: FeatureSpec, snapshot: Snapshot, judged: windows.Windows) -> tuple[Floats, Floats]:
    made = [
        forecast_naive(snapshot.start_ms, snapshot.power_kw[:origin], spec.slot_s, spec.horizon)
        for origin in judged.origins
    ]
    return np.stack([one.power_kw for one in made]), np.stack([one.peak_kw for one in made])


def _to_kw(raw: Singles, inputs: Any) -> Floats:
    return assemble(raw, inputs.center_kw, inputs.scale_kw)
