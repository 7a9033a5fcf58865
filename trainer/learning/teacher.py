"""The teacher: networks, boosting and kernel regression, each weighed by how well it did on the held-out weeks.

Decides who its members are and what they weigh. A teacher is a function of model inputs, so it can label as many
windows, real or made, as its student is to learn from.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import keras
import numpy as np

from agent.contract.durable import write_durable
from agent.contract.errors import ConfigError
from agent.contract.features import Floats, Inputs, Singles, split_peak
from agent.contract.featurespec import QUANTILES, FeatureSpec
from agent.inference.scoring import pinball
from trainer.learning import fitting, networks, windows
from trainer.learning.base import Base, adapt
from trainer.learning.boosting import MOST_ROWS, Boosting
from trainer.learning.fitting import Schedule
from trainer.learning.kernel import KernelRidge
from trainer.learning.options import Options, Progress
from trainer.learning.pool import PoolPlant, balanced_odds, thinned
from trainer.learning.windows import Windows

_SHARPNESS = 4.0  # a member of twice the loss weighs a sixteenth; some weeks of judgement do not bear more
# Weeks held out amid the data flatter members that compare with what they have seen: later weeks are less like it.
_PRIOR = {"networks": 3.0, "boosting": 1.0, "kernel": 1.0}
_WIDTHS = np.arange(0.7, 2.01, 0.05).round(2).tolist()
OWN_SHARE_OF_STEPS, OWN_SHARE_OF_WINDOWS = 0.6, 0.5  # of a plant that learns beside others
_HEAD, _KERNEL = "teacher.json", "teacher-kernel.npz"


class Member(Protocol):
    """What a teacher is made of."""

    def predict(self, inputs: Inputs) -> Singles:
        """Return standardised quantiles [N, H + D, 3]; NaN in rows of which the member says nothing."""


class Networks:
    """The mean of several networks, which differ by their seed."""

    def __init__(self, models: list[Any]) -> None:
        """Hold fitted networks."""
        self.models = models

    def predict(self, inputs: Inputs) -> Singles:
        """Return standardised quantiles [N, H + D, 3]."""
        told = [fitting.standardised_quantiles(fitting.predict(model, inputs)) for model in self.models]
        result: Singles = np.mean(told, axis=0).astype(np.float32)
        return result


@dataclass(frozen=True, eq=False)
class Teacher:
    """Members by name, what each weighs, and how much wider than theirs its band is.

    Attributes:
        spec: of the inputs.
        members: by name.
        weights: by name; they add up to one.
        widths: factors of the lower and the upper spread, of slots and of daily peaks: members know the load that they
            learnt from better than the load to come.
    """

    spec: FeatureSpec
    members: Mapping[str, Member]
    weights: Mapping[str, float]
    widths: Mapping[str, tuple[float, float]] = field(default_factory=lambda: {"slots": (1, 1), "peaks": (1, 1)})

    def predict(self, inputs: Inputs) -> Singles:
        """Return standardised quantiles [N, H + D, 3]."""
        told = self._mean(inputs)
        for name, rows in _parts(self.spec).items():
            for quantile, width in zip((0, 2), self.widths[name], strict=True):
                told[:, rows, quantile] = told[:, rows, 1] + width * (told[:, rows, quantile] - told[:, rows, 1])
        return told

    def widened(self, held_out: Windows) -> Teacher:
        """Return the teacher with the widths that lose least on windows that nothing learnt from."""
        told, truth = self._mean(held_out.inputs), held_out.target
        weight = held_out.inputs.scale_kw[:, None]
        widths = {}
        for name, rows in _parts(self.spec).items():
            middle, error = told[:, rows, 1], truth[:, rows] - told[:, rows, 1]
            found = []
            for quantile, level in ((0, QUANTILES[0]), (2, QUANTILES[2])):
                spread = told[:, rows, quantile] - middle
                beyond = [error - width * spread for width in _WIDTHS]
                losses = [np.nansum(weight * np.maximum(level * one, (level - 1) * one)) for one in beyond]
                found.append(_WIDTHS[int(np.argmin(losses))] if np.isfinite(error).any() else 1.0)
            widths[name] = (found[0], found[1])
        return replace(self, widths=widths)

    def _mean(self, inputs: Inputs) -> Singles:
        total: Floats | float = 0.0
        weight: Floats | float = 0.0
        for name, member in self.members.items():
            told = member.predict(inputs)
            known = np.isfinite(told)
            total = total + self.weights[name] * np.where(known, told, 0.0)
            weight = weight + self.weights[name] * known
        result: Singles = (np.asarray(total) / np.asarray(weight)).astype(np.float32)
        return result

    def save(self, folder: Path) -> None:
        """Write files `teacher*` into a folder."""
        for name, member in self.members.items():
            if isinstance(member, Networks):
                for number, model in enumerate(member.models, 1):
                    model.save(folder / f"teacher-network-{number}.keras")
            elif isinstance(member, Boosting):
                for level, text in zip(QUANTILES, member.texts(), strict=True):
                    write_durable(folder / f"teacher-boosting-{level}.txt", text.encode())
            elif isinstance(member, KernelRidge):
                np.savez(folder / _KERNEL, **member.arrays())
            else:
                raise TypeError(name)
        write_durable(
            folder / _HEAD,
            (json.dumps({"weights": dict(self.weights), "widths": dict(self.widths)}, indent=1) + "\n").encode(),
        )


def load(spec: FeatureSpec, folder: Path) -> Teacher:
    """Read what `save` wrote.

    Raises:
        ConfigError: when the folder has no teacher.
    """
    try:
        head = json.loads((folder / _HEAD).read_bytes())
    except OSError as exc:
        raise ConfigError(
            "has no teacher", where=str(folder), todo="Give a folder made by edgewatt-trainer train"
        ) from exc
    members: dict[str, Member] = {}
    for name in head["weights"]:
        if name == "networks":
            paths = sorted(folder.glob("teacher-network-*.keras"))
            members[name] = Networks([keras.models.load_model(path, compile=False) for path in paths])
        elif name == "boosting":
            texts = [(folder / f"teacher-boosting-{level}.txt").read_text() for level in QUANTILES]
            members[name] = Boosting.of(spec, texts)
        else:
            with np.load(folder / _KERNEL, allow_pickle=False) as arrays:
                members[name] = KernelRidge.of(spec, dict(arrays))
    return Teacher(spec, members, head["weights"], head["widths"])


def fit(
    spec: FeatureSpec,
    learnt: Windows,
    held_out: Windows,
    options: Options,
    progress: Progress,
    *,
    base: Base | None = None,
    others: Sequence[PoolPlant] = (),
) -> Teacher:
    """Fit all members to the windows and weigh them on held-out ones.

    A member that cannot be fitted to so little is left out.

    Args:
        spec: of the windows.
        learnt: what is learnt from.
        held_out: what the weights are judged by; no member learns from it.
        options: seed, number of networks, how long they learn.
        progress: told after each step.
        base: what the networks start from; nothing where it is not given.
        others: plants whose windows all members learn from, too: for a plant that has little of its own.
    """
    members: dict[str, Member] = {}
    together = windows.join([*(one.learnt for one in others), learnt])
    if KernelRidge.can_fit(spec, together.inputs, together.target):
        members["kernel"] = KernelRidge.fit(spec, together.inputs, together.target, progress=_stage(progress, "kernel"))
    members["boosting"] = _boosting(spec, learnt, others, options, progress)
    members["networks"] = Networks(_networks(spec, learnt, others, base, options, progress))
    losses = {name: loss_kw(spec, member, held_out) for name, member in members.items()}
    best = min(losses.values())
    raw = {name: _PRIOR[name] * (best / loss) ** _SHARPNESS for name, loss in losses.items()}
    weights = {name: value / sum(raw.values()) for name, value in raw.items()}
    return Teacher(spec, members, weights).widened(held_out)


def loss_kw(spec: FeatureSpec, member: Member | Teacher, of: Windows) -> float:
    """Return the mean pinball loss of the slots, in kW."""
    return pinball(split_peak(spec, to_kw(member.predict(of.inputs), of))[0], of.truth_kw, QUANTILES)


def to_kw(quantiles: Floats | Singles, of: Windows) -> Floats:
    """Take standardised quantiles [N, rows, 3] to kW."""
    return quantiles * of.inputs.scale_kw[:, None, None] + of.inputs.center_kw[:, None, None]


def _boosting(
    spec: FeatureSpec, learnt: Windows, others: Sequence[PoolPlant], options: Options, progress: Progress
) -> Boosting:
    """Boosting sees single steps and fills up with those of other plants; the plant's own weigh more than these."""
    if not others:
        parts, share = learnt, None
    else:
        room = max(1, (MOST_ROWS // spec.horizon - len(learnt)) // len(others))
        few = [replace(one, learnt=thinned(one.learnt, room, options.seed)) for one in others]
        parts, share = _beside(spec, learnt, few, OWN_SHARE_OF_STEPS)
    return Boosting.fit(
        spec,
        parts.inputs,
        parts.target,
        seed=options.seed,
        rounds=options.boosting_rounds,
        share=share,
        progress=_stage(progress, "boosting"),
    )


def _networks(
    spec: FeatureSpec,
    learnt: Windows,
    others: Sequence[PoolPlant],
    base: Base | None,
    options: Options,
    progress: Progress,
) -> list[Any]:
    result = []
    days = len(np.unique(learnt.origins // spec.per_day))
    updates, rate = options.updates_for(days), options.peak_rate
    if base is not None:
        updates, rate = options.adapt_updates, options.adapt_rate
    # Of other plants' windows, too, so that a few days do not make a network forget what the base knew.
    parts, odds = _beside(spec, learnt, others, OWN_SHARE_OF_WINDOWS)
    total = options.teachers * updates
    for number in range(options.teachers):
        seed, name = options.seed * 100 + number + 1, f"teacher_{number + 1}"
        if base is None:
            model = networks.build(spec, options.teacher, name=name, seed=seed)
        else:
            model = adapt(base, spec, options.teacher, seed, name=name)
        fitting.fit(
            model,
            parts.inputs,
            parts.target,
            Schedule(updates, options.batch, rate, options.weight_decay, seed),
            odds=odds,
            progress=_part(progress, "networks", number * updates, total),
        )
        result.append(networks.without_noise(spec, options.teacher, model))
    return result


def _beside(
    spec: FeatureSpec, learnt: Windows, others: Sequence[PoolPlant], own_share: float
) -> tuple[Windows, Floats]:
    """Join a plant's windows with those of others; return them and the odds of each."""
    own = windows.odds(spec, learnt)
    if not others:
        return learnt, own
    parts = windows.join([*(one.learnt for one in others), learnt])
    return parts, np.concatenate([balanced_odds(others) * (1 - own_share), own * own_share])


def _parts(spec: FeatureSpec) -> dict[str, slice]:
    return {"slots": slice(0, spec.horizon), "peaks": slice(spec.horizon, spec.output_size)}


def _stage(progress: Progress, stage: str) -> Callable[[int, int], None]:
    return lambda done, total: progress(stage, done, total)


def _part(progress: Progress, stage: str, before: int, total: int) -> Callable[[int, int], None]:
    return lambda done, _total: progress(stage, before + done, total)
