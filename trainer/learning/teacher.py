"""The teacher: networks, boosting and kernel regression, each weighed by how well it did on the held-out weeks.

Decides who its members are, what they weigh, and that the kernel's median guides the trees. A teacher is a function of
model inputs, so it can label as many windows, real or made, as its student is to learn from.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from zipfile import BadZipFile

import lightgbm
import numpy as np

from agent.contract import jsonform
from agent.contract.durable import write_durable
from agent.contract.errors import ConfigError, RejectedError
from agent.contract.features import Floats, Inputs, Singles, split_peak
from agent.contract.featurespec import QUANTILES, FeatureSpec
from agent.contract.jsonform import Fields
from agent.inference.scoring import pinball
from trainer.learning import ensemble, windows
from trainer.learning.base import Base
from trainer.learning.boosting import LEVELS, MOST_ROWS, Boosting
from trainer.learning.ensemble import Networks
from trainer.learning.kernel import KernelRidge
from trainer.learning.levels import Level
from trainer.learning.options import Options, Progress
from trainer.learning.pool import PoolPlant
from trainer.learning.windows import Windows

# Of the logarithm of a loss: a member with a sixth more than the best weighs a third, one with half as much again
# nothing. Some weeks of judgement do not bear a sharper one.
_SPREAD = 0.15
# Weeks held out amid the data flatter members that compare with what they have seen: later weeks are less like it.
_PRIOR = {"networks": 4.0, "boosting": 3.0, "kernel": 1.0}
_KERNEL_YEARS = (1.0, 4.0)  # it gains most by every year more to compare with; a weight for each
OWN_SHARE_OF_STEPS = 0.6  # of a plant that learns beside others
_HEAD, _KERNEL = "teacher.json", "teacher-kernel.npz"
_FILES = {"networks": "teacher-network-", "boosting": "teacher-boosting-", "kernel": _KERNEL}
_MAX_JSON, _MOST_NETWORKS = 2**16, 9
_ROUNDING = 1e-6
_AGAIN = "Train the model again"


class Member(Protocol):
    """What a teacher is made of."""

    def predict(self, inputs: Inputs) -> Singles:
        """Return standardised quantiles [N, H + D, 3]; NaN in rows of which the member says nothing."""


@dataclass(frozen=True, eq=False)
class Teacher:
    """Members by name, and what each weighs.

    Attributes:
        spec: of the inputs.
        members: by name.
        weights: by name; they add up to one.
    """

    spec: FeatureSpec
    members: Mapping[str, Member]
    weights: Mapping[str, float]

    def predict(self, inputs: Inputs) -> Singles:
        """Return standardised quantiles [N, H + D, 3]."""
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
        """Write files `teacher*` into a folder that has none; `teacher.json` names each with its SHA-256."""
        head: dict[str, Any] = {"weights": dict(self.weights)}
        for name, member in self.members.items():
            if isinstance(member, Networks):
                member.save(folder)
                head["levels"] = [str(level) for level, _ in member.models]
            elif isinstance(member, Boosting):
                for number, text in enumerate(member.texts(), 1):
                    write_durable(folder / f"teacher-boosting-{number}.txt", text.encode())
            elif isinstance(member, KernelRidge):
                packed = io.BytesIO()
                np.savez(packed, **member.arrays())
                write_durable(folder / _KERNEL, packed.getvalue())
            else:
                raise TypeError(name)
        head["files"] = {path.name: _sha256(path.read_bytes()) for path in sorted(folder.glob("teacher-*"))}
        write_durable(folder / _HEAD, (json.dumps(head, indent=1) + "\n").encode())


def load(spec: FeatureSpec, folder: Path) -> Teacher:
    """Read what `save` wrote.

    Raises:
        ConfigError: when the folder has no teacher.
        RejectedError: when a file of it is damaged or missing.
    """
    try:
        data = (folder / _HEAD).read_bytes()
    except OSError as exc:
        raise ConfigError(
            "has no teacher", where=str(folder), todo="Give a folder made by edgewatt-trainer train"
        ) from exc
    where = str(folder / _HEAD)
    head = Fields(_parse(data, where), where, todo=_AGAIN)
    files, weights = head.child("files"), head.child("weights")
    unnamed = {path.name for path in folder.glob("teacher-*")} - set(files.as_dict())
    if unnamed:
        head.fail("files", f"does not name {', '.join(sorted(unnamed))}")
    # Before anything is parsed: LightGBM ends the whole process over a file that is cut off.
    for name in files.as_dict():
        _check_file(folder / name, files.text(name, max_length=64))
    told = {name: weights.number(name, 0.0, 1.0) for name in weights.as_dict()}
    if not abs(sum(told.values()) - 1) < _ROUNDING:
        head.fail("weights", "do not add up to 1")
    if set(told) != {
        member for member, file in _FILES.items() if any(name.startswith(file) for name in files.as_dict())
    }:
        head.fail("weights", "are not of the members whose files there are")
    members: dict[str, Member] = {}
    try:
        for name in told:  # the kernel first: it guides the trees
            members[name] = _read_member(spec, folder, name, head, members)
    except (OSError, KeyError, ValueError, TypeError, AttributeError, BadZipFile, lightgbm.basic.LightGBMError) as exc:
        raise RejectedError(f"its teacher is damaged ({exc})", where=str(folder), todo=_AGAIN) from exc
    return Teacher(spec, members, told)


def _parse(data: bytes, where: str) -> dict[str, Any]:
    try:
        return jsonform.loads(data, where=where, max_bytes=_MAX_JSON)
    except RejectedError as exc:
        raise RejectedError(exc.what, where=where, todo=_AGAIN) from exc


def _check_file(path: Path, expected: str) -> None:
    try:
        data = path.read_bytes()
    except OSError as exc:
        raise RejectedError(f"cannot be read ({exc.strerror})", where=str(path), todo=_AGAIN) from exc
    if _sha256(data) != expected:
        raise RejectedError("is damaged: it is not the file that training wrote", where=str(path), todo=_AGAIN)


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _read_member(spec: FeatureSpec, folder: Path, name: str, head: Fields, before: Mapping[str, Member]) -> Member:
    if name == "networks":
        return Networks.load(spec, [Level(level) for level in head.items("levels", _MOST_NETWORKS)], folder)
    if name == "boosting":
        count = len(LEVELS) * len(QUANTILES)
        texts = [(folder / f"teacher-boosting-{number}.txt").read_text() for number in range(1, count + 1)]
        return Boosting.of(spec, texts, before.get("kernel"))
    if name == "kernel":
        with np.load(folder / _KERNEL, allow_pickle=False) as arrays:
            return KernelRidge.of(spec, dict(arrays))
    raise KeyError(name)


def fit(
    spec: FeatureSpec,
    learnt: Windows,
    held_out: Windows,
    options: Options,
    progress: Progress,
    *,
    made: Sequence[Windows] = (),
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
        made: windows of made years, with their truth, for networks and trees. The kernel compares with what was.
        base: what the networks start from; nothing where it is not given.
        others: plants whose windows all members learn from, too: for a plant that has little of its own.
    """
    members: dict[str, Member] = {}
    together = windows.join([*(one.learnt for one in others), learnt]) if others else learnt
    guide, guided = None, None
    if KernelRidge.can_fit(spec, together.inputs, together.target):
        guide, guided = KernelRidge.fit(
            spec, together.inputs, together.target, together.origins, progress=_stage(progress, "kernel")
        )
        members["kernel"] = guide
    if guide is not None and guided is not None:
        guided = np.concatenate([guided, *(guide.predict(one.inputs)[:, :, 1] for one in made)])
    every = windows.join([together, *made]) if made else together
    members["boosting"] = Boosting.fit(
        spec,
        every.inputs,
        every.target,
        seed=options.seed,
        rounds=options.boosting_rounds,
        share=_shares(spec, learnt, made, others, options),
        guide=guide,
        guided=guided,
        progress=_stage(progress, "boosting"),
    )
    members["networks"] = ensemble.fit_networks(spec, learnt, made, others, base, options, progress)
    losses = {name: loss_kw(spec, member, held_out) for name, member in members.items()}
    years = len(np.unique(learnt.origins // spec.per_day)) / 365.25
    return Teacher(spec, members, weigh(losses, years))


def weigh(losses: Mapping[str, float], years: float) -> dict[str, float]:
    """Return what members weigh, together 1: by their held-out losses, and by how many years they have learnt from."""
    best = min(losses.values())
    prior = _PRIOR | {"kernel": _PRIOR["kernel"] * float(np.clip(years, *_KERNEL_YEARS))}
    raw = {name: prior[name] * math.exp(-((math.log(loss / best) / _SPREAD) ** 2)) for name, loss in losses.items()}
    return {name: value / sum(raw.values()) for name, value in raw.items()}


def loss_kw(spec: FeatureSpec, member: Member | Teacher, of: Windows) -> float:
    """Return the mean pinball loss of the slots, in kW."""
    return pinball(split_peak(spec, to_kw(member.predict(of.inputs), of))[0], of.truth_kw, QUANTILES)


def to_kw(quantiles: Floats | Singles, of: Windows) -> Floats:
    """Take standardised quantiles [N, rows, 3] to kW."""
    return quantiles * of.inputs.scale_kw[:, None, None] + of.inputs.center_kw[:, None, None]


def _shares(
    spec: FeatureSpec, learnt: Windows, made: Sequence[Windows], others: Sequence[PoolPlant], options: Options
) -> Floats:
    """What each window of others, of the plant and of its made years, joined in this order, weighs in boosting.

    Boosting sees single steps and fills up with those of other plants: a draw, which weighs less than the plant's own.
    """
    if not others:  # steps count alike at whatever hour their window begins
        parts = [one.inputs.scale_kw / one.inputs.scale_kw.sum() for one in (learnt, *made)]
        return np.concatenate(ensemble.with_made(parts, options))
    random = np.random.default_rng(options.seed)
    own_part = round(len(learnt) * (1 - OWN_SHARE_OF_STEPS) / OWN_SHARE_OF_STEPS)  # few windows must not weigh as many
    room = max(1, max(MOST_ROWS // spec.horizon - len(learnt), own_part) // len(others))
    parts = []
    for one in others:
        drawn = random.permutation(len(one.learnt)) < room
        odds = windows.odds(one.spec, one.learnt) * drawn
        parts.append((1 - OWN_SHARE_OF_STEPS) / len(others) * odds / odds.sum())
    own = ensemble.with_made([windows.odds(spec, one) for one in (learnt, *made)], options)
    return np.concatenate([*parts, *(OWN_SHARE_OF_STEPS * one for one in own)])


def _stage(progress: Progress, stage: str) -> Callable[[int, int], None]:
    return lambda done, total: progress(stage, done, total)
