"""Distillation across domains: what a plant with years of data knows, given to one with a few weeks of it, in 7 steps.

Decides the order of the steps and what each reports; how networks start from others is `base`'s decision, what a plant
with little data learns from is `training`'s. The same run also trains on the target's weeks alone: what it gained is
measured, on days that neither has seen.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from agent.contract.durable import new_folder
from agent.contract.errors import ConfigError, UnavailableError
from agent.contract.featurespec import FeatureSpec
from agent.contract.zones import utc_iso
from converter.conversion import convert
from converter.modeldir import TRAINING, ModelDir
from trainer.dataset.plants import nearest, plant_profile
from trainer.dataset.snapshot import Snapshot
from trainer.learning import base as bases
from trainer.learning import holdout, training, windows
from trainer.learning import pool as pools
from trainer.learning.base import Base
from trainer.learning.evaluation import Evaluation, evaluate, evaluate_held_out
from trainer.learning.options import Options, Progress

REPORT, SOURCE_MODEL = "transfer.json", "source-model"
TITLES = (
    "choose source and target domain",
    "take source data",
    "extract features and train the source model",
    "test the source model",
    "build the transfer network from its parameters",
    "fine-tune it on the target",
    "test on the target",
)


@dataclass(frozen=True)
class Step:
    """One of the seven: its number, what was done, and the figures; `text` says them to people."""

    number: int
    title: str
    figures: Mapping[str, Any]
    text: tuple[str, ...]


@dataclass(frozen=True)
class Transfer:
    """What a transfer gave.

    Attributes:
        path: the model directory, converted; it also holds the source model and this report.
        source, target: the plants.
        pinball_kw: on the judged days, of `naive`, and of teacher, float and int8 student: transferred and scratch.
        ratio: loss of the transferred int8 student against that of the target's weeks alone; below 1 is a gain.
        steps: the seven.
    """

    path: Path
    source: str
    target: str
    pinball_kw: Mapping[str, Mapping[str, float]]
    ratio: float
    steps: tuple[Step, ...]

    def to_json(self) -> dict[str, Any]:
        """The content of the report file."""
        return {
            "source": self.source,
            "target": self.target,
            "pinball_kw": {name: dict(losses) for name, losses in self.pinball_kw.items()},
            "ratio_transfer_vs_scratch": self.ratio,
            "steps": [asdict(step) for step in self.steps],
        }


@dataclass
class _Report:
    """The steps so far."""

    steps: list[Step] = field(default_factory=list)

    def add(self, figures: Mapping[str, Any], *text: str) -> None:
        number = len(self.steps) + 1
        self.steps.append(Step(number, TITLES[number - 1], figures, text))


def run(
    target: Snapshot,
    sources: Sequence[Snapshot],
    out: Path,
    *,
    name: str,
    version: int,
    options: Options,
    scratch_dir: Path,
    weeks: int = 4,
    until_ms: int | None = None,
    progress: Progress = training.no_progress,
) -> Transfer:
    """Transfer from the source that is most like the target; the model appears whole, with its report, or not at all.

    Args:
        target: the plant; what follows `until_ms` is only judged by.
        sources: plants to choose from; one is a choice, too. All they hold is learnt from.
        out: the model directory to make; it must not exist.
        name: of the model.
        version: of the model.
        options: of all training.
        scratch_dir: gets the model directory of the target's weeks alone; it must not exist.
        weeks: of the target that are learnt from, the last before `until_ms`.
        until_ms: None for the end of the data: then the weeks held out of those are judged by.
        progress: told after each step of training.

    Raises:
        ConfigError: when no source fits, the target has too little load, or a folder exists.
        UnavailableError: when training diverges.
        RejectedError: when a student does not convert.
        StorageError: when a folder cannot be written.
    """
    for folder in (out, scratch_dir):
        if folder.exists():
            raise ConfigError("exists already", where=str(folder), todo="Give another --version, or remove the folder")
    known = last_weeks(target, weeks, until_ms)
    report = _Report()
    source = _choose(known, sources, report)
    spec = _spec(known, options)
    base = _source_model(source, spec, f"{name}-source", options, progress, report)
    _transfer_network(base, spec, options, report)
    # Nothing that fails or is killed leaves a model without its report: the folder appears when all is in it.
    training.train(known, scratch_dir, name=name, version=version, options=options, progress=progress)
    convert(ModelDir(scratch_dir))
    with new_folder(out) as temp:
        model = ModelDir(temp / "model")
        training.train(
            known,
            model.path,
            name=name,
            version=version,
            options=options,
            progress=progress,
            base=base,
            pool=(source,),
        )
        bases.save(base, model.path / SOURCE_MODEL)
        _fine_tuned(model, report)
        convert(model)
        judged = {
            key: _judge(of, target, until_ms) for key, of in (("transfer", model), ("scratch", ModelDir(scratch_dir)))
        }
        losses = {key: one.pinball_kw for key, one in judged.items()}
        ratio = losses["transfer"]["student_int8"] / losses["scratch"]["student_int8"]
        _tested(judged, ratio, report)
        result = Transfer(out, source.plant, target.plant, losses, ratio, tuple(report.steps))
        model.write_json(REPORT, {"schema": 1, **result.to_json()})
        for path in model.path.iterdir():
            path.rename(temp / path.name)
        model.path.rmdir()
    return result


def last_weeks(snapshot: Snapshot, weeks: int, until_ms: int | None = None) -> Snapshot:
    """Return only the last weeks before an instant.

    Raises:
        ConfigError: when there is no load before it.
    """
    known = snapshot if until_ms is None else snapshot.before(until_ms)
    return known.since(known.end_ms - weeks * 7 * 86_400_000)


def _choose(target: Snapshot, sources: Sequence[Snapshot], report: _Report) -> Snapshot:
    """Step 1, and the facts of step 2."""
    others = [one for one in sources if one.plant != target.plant and target.slot_s % one.slot_s == 0]
    if not others:
        raise ConfigError(
            f"no plant of slots of {target.slot_s // 60} min or shorter is there to learn from",
            where="--source",
            todo="Import another plant's load",
        )
    if len(others) == 1:
        source, ranking = others[0], {}
    else:
        found = nearest(plant_profile(target), [profile for one in others if (profile := _profile(one)) is not None])
        if not found:
            raise ConfigError("no plant has whole days to compare", where="--source", todo="Name one with --source")
        ranking = {one.plant: round(one.distance, 4) for one in found if np.isfinite(one.distance)}
        source = next(one for one in others if one.plant == found[0].plant)
    chosen = "nearest of " + ", ".join(f"{plant} ({far:.2f})" for plant, far in ranking.items())
    report.add(
        {"source": source.plant, "target": target.plant, "distances": ranking},
        f"source {source.plant}{f': {chosen}' if ranking else ''}",
        f"target {target.plant}",
    )
    report.add({"source": _about(source), "target": _about(target)}, _about_text(source), _about_text(target))
    return source


def _profile(snapshot: Snapshot) -> Any:
    try:
        return plant_profile(snapshot)
    except ConfigError:  # too few whole days: nothing to choose by, or to learn from
        return None


def _about(snapshot: Snapshot) -> dict[str, Any]:
    return {
        "plant": snapshot.plant,
        "from_ms": snapshot.start_ms,
        "to_ms": snapshot.end_ms,
        "slot_s": snapshot.slot_s,
        "known_share": round(float(np.isfinite(snapshot.power_kw).mean()), 4),
        "data_sha256": snapshot.sha256,
    }


def _about_text(snapshot: Snapshot) -> str:
    days = len(snapshot.power_kw) / snapshot.per_day
    known = float(np.isfinite(snapshot.power_kw).mean())
    return (
        f"{snapshot.plant}: {days:.0f} days to {utc_iso(snapshot.end_ms)}, slots of {snapshot.slot_s // 60} min, "
        f"{known:.1%} known"
    )


def _spec(known: Snapshot, options: Options) -> FeatureSpec:
    part = holdout.split(known, options.horizon_hours, options.validation_days)
    return windows.make_spec(known, options.horizon_hours, options.scaling, part)


def _source_model(
    source: Snapshot, spec: FeatureSpec, name: str, options: Options, progress: Progress, report: _Report
) -> Base:
    """Steps 3 and 4."""
    # The columns that every plant has: what only the target knows starts at weight zero.
    like = FeatureSpec(spec.slot_s, spec.horizon, spec.zone)
    pool = pools.gather([source], like, validation_days=options.validation_days, seed=options.seed)
    base = bases.pretrain(pool, name, options, progress)
    record = base.record
    features = {"steps": len(base.step_names), "recent": spec.recent_size}
    report.add(
        {"features": features, **{key: record[key] for key in ("windows", "updates", "seconds")}},
        f"{features['steps']} features a step and {features['recent']} of the last week, {record['windows']} windows",
        f"{record['updates']} steps of learning in {record['seconds']:.0f} s",
    )
    losses = record["pinball_kw"][source.plant]
    report.add(
        {"held_out_days": len(pool.plants[0].held_out), "pinball_kw": losses},
        f"on {len(pool.plants[0].held_out)} held-out days of {source.plant}: pinball {losses['base']:.5g} kW, "
        f"{losses['base'] / max(losses['naive'], 1e-12):.3f} x seasonal naive",
    )
    return base


def _transfer_network(base: Base, spec: FeatureSpec, options: Options, report: _Report) -> None:
    """Step 5: what the network is made of; training builds it by the same call, once a seed."""
    size = int(bases.adapt(base, spec, options.teacher, options.seed).count_params())
    new = [name for name in spec.step_names if name not in base.step_names]
    report.add(
        {"parameters": size, "from_source": base.parameters, "new_features": new},
        f"{base.parameters} parameters from the source"
        + (f", {size - base.parameters} at zero for {', '.join(new)}" if size > base.parameters else ", none new"),
    )


def _fine_tuned(folder: ModelDir, report: _Report) -> None:
    """Step 6."""
    record = folder.read_json(TRAINING)
    config, weights = record["config"], record["teacher_weights"]
    report.add(
        {
            "windows": record["windows"],
            "updates": config["adapt_updates"],
            "peak_rate": config["adapt_rate"],
            "networks": config["teachers"],
            "teacher_weights": weights,
            "pinball_kw": record["pinball_kw"],
            "seconds": record["seconds"],
        },
        f"{record['windows']} windows of the target beside those of the source, {config['teachers']} networks of "
        f"{config['adapt_updates']} steps",
        "teacher: " + ", ".join(f"{name} {weight:.0%}" for name, weight in weights.items()),
    )


def _judge(folder: ModelDir, target: Snapshot, until_ms: int | None) -> Evaluation:
    """Judge on the days from `until_ms` on, or on the held-out weeks where there are none."""
    if until_ms is not None and until_ms < target.end_ms:
        with contextlib.suppress(UnavailableError):
            return evaluate(folder, target, until_ms)
    return evaluate_held_out(folder)


def _tested(judged: Mapping[str, Evaluation], ratio: float, report: _Report) -> None:
    """Step 7."""
    ours, alone = judged["transfer"], judged["scratch"]
    naive, int8 = ours.pinball_kw["naive"], ours.pinball_kw["student_int8"]
    report.add(
        {
            "days": ours.days,
            "from_ms": ours.from_ms,
            "to_ms": ours.to_ms,
            "held_out_week": ours.seen,
            "pinball_kw": {key: value.pinball_kw for key, value in judged.items()},
            "coverage": {key: value.coverage for key, value in judged.items()},
        },
        f"{ours.days} days{', held out of those weeks' if ours.seen else ' after those weeks'}; pinball in kW:",
        f"{'':14}  {'transfer':>11}  {'alone':>11}  {'ratio':>6}",
        *(
            f"{name:14}  {loss:11.5g}  {alone.pinball_kw[name]:11.5g}  {loss / alone.pinball_kw[name]:6.3f}"
            for name, loss in ours.pinball_kw.items()
        ),
        f"int8 student: {ratio:.3f} x the loss of one of the target's weeks alone, "
        f"{int8 / max(naive, 1e-12):.3f} x seasonal naive",
    )


def lines(of: Transfer) -> list[str]:
    """The report for people."""
    text = []
    for step in of.steps:
        text += [f"{step.number}. {step.title}", *(f"   {line}" for line in step.text)]
    return [*text, f"{of.path}"]
