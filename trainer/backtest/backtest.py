"""A backtest: trained on what lies before an instant, converted, and asked from each origin as a device would ask.

Decides the order of the steps; what is read and cut is `inputs`' decision, what the figures are
`scores`'. The forecasts are the int8 student's, through the agent's own ladder: history judged and repaired,
and seasonal naive, flagged, where the history before an origin is unfit for the model. A student that does not beat
naive on the held-out days is judged all the same, and that devices would refuse it is said.
"""

from __future__ import annotations

import resource
import statistics
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from agent.contract.bundle import Bundle, Golden, Manifest, Training
from agent.contract.errors import ConfigError
from agent.contract.features import Ints
from agent.contract.featurespec import FeatureSpec
from agent.contract.rows import Forecast
from agent.inference.forecaster import Model
from agent.inference.ladder import Ladder
from agent.inference.runtime import load_runtime
from converter import modeldir
from converter.conversion import convert
from converter.modeldir import ModelDir
from trainer.backtest import scores as judgement
from trainer.backtest.forecast_files import write_forecasts
from trainer.backtest.inputs import HORIZON_HOURS, Prepared, device_history, known_ahead
from trainer.backtest.scores import Scores
from trainer.dataset.snapshot import Snapshot
from trainer.learning import training
from trainer.learning.options import Options, Progress

MODEL = "model"  # the model directory in a working folder


@dataclass(frozen=True)
class Backtest:
    """What a backtest gave; power and losses are in the unit of the file.

    Attributes:
        origins, slots: forecasts made, and slots whose truth is known.
        by_source: forecasts by the rung of the ladder that made them.
        reasons: why it was not the model, and how often.
        repaired: forecasts from a history with gaps that were filled.
        refused: why devices would refuse a bundle of this model; empty where they would not.
        scores: of the teacher, both students and naive; None where no truth is known.
        seconds: by stage.
        train_s: reading, training (teacher and student) and converting.
        forecast_ms_p50: of one forecast on this machine, history to quantiles.
        student_bytes: of the int8 student.
        peak_rss_mib: of this process and its largest child together.
        uses_temperature: whether the student was trained with the temperature column.
        remarks: what else to know.
    """

    origins: int
    slots: int
    by_source: dict[str, int]
    reasons: dict[str, int]
    repaired: int
    refused: str
    scores: Scores | None
    seconds: dict[str, float]
    train_s: float
    forecast_ms_p50: float
    student_bytes: int
    peak_rss_mib: float
    uses_temperature: bool
    remarks: tuple[str, ...]


def run(prepared: Prepared, work_dir: Path, options: Options, progress: Progress = training.no_progress) -> Backtest:
    """Train, convert, forecast, write the forecasts, judge them.

    Args:
        prepared: see `inputs.prepare`.
        work_dir: gets the model directory `model`, and the forecasts of the teacher, the float student and naive, and
            the calibrated ones, each in a file of the form of the forecasts.
        options: of training; the horizon is 24 h whatever they say.
        progress: told after each step of training.

    Raises:
        ConfigError: when `work_dir` holds a model already, or training refuses the data.
        RejectedError: when the student does not convert.
        UnavailableError: when training diverges.
        StorageError: when a file cannot be written.
    """
    folder = ModelDir(work_dir / MODEL)
    if folder.path.exists():
        raise ConfigError("exists already", where=str(folder.path), todo="Give another --work-dir, or remove it")
    stages = _Stages(progress)
    with stages("train"):
        training.train(
            prepared.learnt,
            folder.path,
            name=prepared.name,
            version=1,
            options=replace(options, horizon_hours=HORIZON_HOURS),
            progress=stages.progress,
            pool=prepared.pool,
        )
    with stages("convert"):
        conversion = convert(folder)
    with stages("forecast"):
        forecasts, times_ms = replay(folder, prepared.plant, prepared.origins)
        power_kw = np.stack([forecast.power_kw for forecast in forecasts])
    request, slot_s = prepared.request, prepared.plant.slot_s
    with stages("judge"):
        scores, others = judgement.judge(folder, prepared, forecasts)
    for name, power in others.items():
        write_forecasts(work_dir / f"forecasts-{name}.csv", prepared.frame, prepared.origins_ms, slot_s, power)
    write_forecasts(request.out, prepared.frame, prepared.origins_ms, slot_s, power_kw)
    warm = any(name.startswith("temperature") for name in folder.spec().step_names)
    return Backtest(
        origins=len(forecasts),
        slots=0 if scores is None else scores.slots,
        by_source=dict(Counter(str(forecast.source) for forecast in forecasts)),
        reasons=dict(Counter(forecast.note for forecast in forecasts if forecast.note)),
        repaired=sum(forecast.repaired_share > 0 for forecast in forecasts),
        refused=refusal(folder),
        scores=scores,
        seconds={name: round(seconds, 3) for name, seconds in stages.seconds.items()},
        train_s=round(stages.seconds["train"] + stages.seconds["convert"], 3),
        forecast_ms_p50=statistics.median(times_ms),
        student_bytes=conversion.model_bytes,
        peak_rss_mib=_peak_rss_mib(),
        uses_temperature=warm,
        remarks=(*prepared.remarks, *_unused(prepared, folder, warm=warm)),
    )


def _unused(prepared: Prepared, folder: ModelDir, *, warm: bool) -> list[str]:
    """What was given and read, and did not make the model."""
    remarks = []
    if prepared.request.temperature_column is not None and not warm:
        remarks.append("the temperature is not used: models learn from load and calendar")
    left_out = folder.read_json(modeldir.TRAINING)["pool_left_out"]
    remarks += [f"pool plant {name} is left out: {why}" for name, why in left_out.items()]
    return remarks


def device_model(folder: ModelDir) -> Model:
    """Load the int8 student of a model directory into the device's own forecaster, without the parcel of a bundle."""
    record = folder.read_json(modeldir.TRAINING)
    spec = folder.spec()
    manifest = Manifest(
        name=record["name"],
        version=record["version"],
        created_ms=record["created_ms"],
        feature_spec=spec,
        pinball_kw=_losses(folder),
        training=Training(record["data_sha256"], record["rows"], record["config"]),
        tolerance=0.0,
    )
    model = folder.read_bytes(modeldir.INT8)
    return Model(Bundle(manifest, model, _no_golden(spec), {}), load_runtime(model))


def replay(folder: ModelDir, plant: Snapshot, origins: Ints) -> tuple[list[Forecast], list[float]]:
    """Forecast from each origin with what a device holds then; return the forecasts, and how long each took in ms."""
    spec = folder.spec()
    ladder = Ladder(spec.slot_s, spec.horizon)
    ladder.active = device_model(folder)
    forecasts, times_ms = [], []
    for origin in origins.tolist():
        start_ms, power_kw = device_history(plant, origin)
        ahead = known_ahead(plant, origin, spec.horizon)
        begun = time.perf_counter()
        forecasts.append(ladder.forecast(start_ms, power_kw, ahead))
        times_ms.append((time.perf_counter() - begun) * 1000)
    return forecasts, times_ms


class _Stages:
    """How long each stage took; the stages of training as they report themselves."""

    def __init__(self, progress: Progress) -> None:
        self.seconds: dict[str, float] = {}
        self._progress = progress
        self._part = ""
        self._since = 0.0

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        begun = self._since = time.monotonic()
        yield
        self._close()
        self.seconds[name] = time.monotonic() - begun

    def progress(self, stage: str, done: int, total: int) -> None:
        if stage != self._part:
            self._close()
            self._part = stage
        self._progress(stage, done, total)

    def _close(self) -> None:
        now = time.monotonic()
        if self._part:
            name = f"train_{self._part}"
            self.seconds[name] = self.seconds.get(name, 0.0) + now - self._since
        self._part, self._since = "", now


def _losses(folder: ModelDir) -> dict[str, float]:
    losses: dict[str, float] = dict(folder.read_json(modeldir.TRAINING)["pinball_kw"])
    return {**losses, "student_int8": folder.read_json(modeldir.CONVERSION)["pinball_int8_kw"]}


def refusal(folder: ModelDir) -> str:
    """Why devices refuse a bundle of this model (`agent.contract.bundle`); empty where they do not."""
    losses = _losses(folder)
    if losses["student_int8"] < losses["naive"]:
        return ""
    return (
        f"devices would refuse this model: on the held-out days the int8 student (pinball "
        f"{losses['student_int8']:.6g}) does not beat seasonal naive ({losses['naive']:.6g})"
    )


def _no_golden(spec: FeatureSpec) -> Golden:
    """Golden vectors are for a device to compare with the centre; here is the centre."""
    recent, steps, raw = (
        np.empty(shape, dtype=np.float32)
        for shape in ((0, spec.recent_size), (0, spec.horizon, len(spec.step_names)), (0, spec.output_size, 3))
    )
    return Golden(recent, steps, raw, tolerance=0.0)


def _peak_rss_mib() -> float:
    """Greatest resident memory of this process and of its largest child; they may not have met, so it is a bound."""
    both = (resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return round(sum(both) / (2**20 if sys.platform == "darwin" else 2**10), 1)
