"""How the forecasts of a backtest did where the truth is known: teacher, both students and naive on the same slots.

The teacher and the float student are asked from the very history that the device had; where the device fell back to
naive for want of history, so do they.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from agent.contract import features
from agent.contract.features import Floats, Inputs
from agent.contract.featurespec import QUANTILES, FeatureSpec
from agent.contract.rows import Forecast, ForecastSource
from agent.inference.naive import LABEL, forecast_naive
from agent.inference.runtime import load_runtime
from agent.inference.scoring import PeakScore, coverage, pinball, score_peaks
from agent.inference.tracking import Tracker
from converter import modeldir, scoring
from converter.modeldir import ModelDir
from trainer.backtest.inputs import Prepared, device_history, known_ahead
from trainer.dataset.snapshot import Snapshot
from trainer.learning import evaluation
from trainer.learning.windows import Windows

INT8, CALIBRATED = "student_int8", "student_int8_calibrated"


@dataclass(frozen=True)
class Scores:
    """Figures over all slots of all origins whose truth is known; power and losses in the unit of the file.

    Attributes:
        slots: how many.
        pinball, mae, coverage: of `naive`, `teacher`, `student_float`, `student_int8`, and `student_int8_calibrated`:
            the same forecasts with the band that on-line calibration would have given.
        peak: how the int8 student foretold the daily peaks; None where no day's truth is whole.
    """

    slots: int
    pinball: dict[str, float]
    mae: dict[str, float]
    coverage: dict[str, float]
    peak: PeakScore | None


def judge(
    folder: ModelDir, prepared: Prepared, forecasts: Sequence[Forecast]
) -> tuple[Scores | None, dict[str, Floats]]:
    """Return the scores, None where no truth is known, and the forecasts [N, H, 3] by all but the int8 student."""
    plant, origins, spec = prepared.plant, prepared.origins, folder.spec()
    truth = truth_of(plant, origins, spec.horizon)
    power = np.stack([forecast.power_kw for forecast in forecasts])
    naive = np.stack(
        [
            forecast_naive(*device_history(plant, origin), spec.slot_s, spec.horizon).power_kw
            for origin in origins.tolist()
        ]
    )
    others = {"naive": naive, **_networks(folder, spec, prepared, forecasts, naive)}
    others[CALIBRATED] = _calibrated(folder, prepared, forecasts)
    known = np.isfinite(truth)
    if not known.any():
        return None, others
    every = {**others, INT8: power}
    names = [name for name in ("naive", "teacher", "student_float", INT8, CALIBRATED) if name in every]
    return Scores(
        slots=int(known.sum()),
        pinball={name: pinball(every[name], truth, QUANTILES) for name in names},
        mae={name: float(np.nanmean(np.abs(every[name][..., 1] - truth))) for name in names},
        coverage={name: coverage(every[name], truth) for name in names},
        peak=score_peaks(spec, power, np.stack([forecast.peak_kw for forecast in forecasts]), truth),
    ), others


def truth_of(plant: Snapshot, origins: features.Ints, horizon: int) -> Floats:
    """Return what came true [N, H]; NaN where it is unknown."""
    padded = np.concatenate([plant.power_kw, np.full(horizon, np.nan)])
    truth: Floats = padded[origins[:, None] + np.arange(horizon)]
    return truth


def lines(scores: Scores) -> list[str]:
    """A table for people."""
    naive = scores.pinball["naive"]
    text = [f"{'':24}  {'pinball':>11}  {'vs naive':>8}  {'MAE':>11}  {'in band':>7}"]
    for name, loss in scores.pinball.items():
        ratio, mae, inside = loss / max(naive, 1e-12), scores.mae[name], scores.coverage[name]
        text.append(f"{name:24}  {loss:11.5g}  {ratio:8.3f}  {mae:11.5g}  {inside:7.1%}")
    if scores.peak is not None:
        text.append(
            f"daily peak: {scores.peak.bias:+.1%} by its own output ({scores.peak.coverage:.1%} in band), "
            f"{scores.peak.path_bias:+.1%} by the highest slot of the median"
        )
    return text


def _networks(
    folder: ModelDir, spec: FeatureSpec, prepared: Prepared, forecasts: Sequence[Forecast], naive: Floats
) -> dict[str, Floats]:
    """Quantiles of the teacher and the float student; naive's where the device had no fit history."""
    plant, origins = prepared.plant, prepared.origins
    inputs: list[Inputs] = []
    usable = np.zeros(len(origins), dtype=bool)
    for number, (origin, forecast) in enumerate(zip(origins.tolist(), forecasts, strict=True)):
        if forecast.source is ForecastSource.NAIVE:
            continue
        start_ms, power_kw = device_history(plant, origin)
        skipped = _skipped(spec, power_kw)
        ahead = {name: values[skipped:] for name, values in known_ahead(plant, origin, spec.horizon).items()}
        history, _ = features.repair(power_kw[skipped:], spec.per_day)
        begin_ms = start_ms + skipped * spec.slot_s * 1000
        inputs.append(features.compute(spec, begin_ms, history, np.array([len(history)]), ahead))
        usable[number] = True
    result = {name: naive.copy() for name in ("teacher", "student_float")}
    if usable.any():
        judged = Windows(
            origins[usable],
            Inputs(*(np.concatenate([getattr(one, name) for one in inputs]) for name in Inputs.__annotations__)),
            np.empty((0, 0), dtype=np.float32),
            truth_of(plant, origins[usable], spec.horizon),
        )
        given = evaluation.forecast_all(folder, spec, judged)
        for name, power in result.items():
            power[usable] = given[name]
    return result


def _skipped(spec: FeatureSpec, power_kw: Floats) -> int:
    """How many slots of a history a model leaves out: those before its first known one, or before it looks back."""
    known = np.flatnonzero(np.isfinite(power_kw))
    return max(int(known[0]) if len(known) else 0, len(power_kw) - spec.max_history)


def _calibrated(folder: ModelDir, prepared: Prepared, forecasts: Sequence[Forecast]) -> Floats:
    """Return the forecasts [N, H, 3] as the device's tracker would have issued them, each from what was over by then.

    A model's tracker begins with what the held-out days of training taught, naive's with nothing.
    """
    plant, slot_ms = prepared.plant, prepared.plant.slot_s * 1000
    trackers = {LABEL: Tracker(plant.slot_s)}
    result, over = [np.empty(0)] * len(forecasts), 0
    for number in np.argsort(prepared.origins, kind="stable").tolist():
        forecast, origin = forecasts[number], int(prepared.origins[number])
        for slot in range(over, origin):
            for tracker in trackers.values():
                tracker.learn(plant.start_ms + slot * slot_ms, float(plant.power_kw[slot]))
        over = max(over, origin)
        if forecast.model not in trackers:
            trackers[forecast.model] = Tracker(plant.slot_s, _first_calibration(folder))
        result[number] = trackers[forecast.model].issue(forecast)[0].power_kw
    return np.stack(result)


def _first_calibration(folder: ModelDir) -> dict[str, Any]:
    """What a bundle would bring along; see `converter.verification`."""
    held_out = folder.validation()
    raw = scoring.run_all(load_runtime(folder.read_bytes(modeldir.INT8)), held_out.recent, held_out.steps)
    return scoring.calibrate(folder.spec(), raw, held_out)
