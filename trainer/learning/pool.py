"""Other plants to learn from: brought to one slot length, as windows of the same columns, each plant with equal say.

Decides which plants can be learnt from together. Zone, holidays and level of the windows are those of their own plant,
so that a Sunday of one stands beside a Sunday of the other, both in units of their own spread.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from agent.contract.errors import ConfigError, UnavailableError
from agent.contract.features import Floats
from agent.contract.featurespec import FeatureSpec, Scaling
from trainer.dataset.snapshot import Snapshot
from trainer.learning import holdout, windows
from trainer.learning.windows import Windows

_MAX_BYTES = 512 * 2**20  # of the arrays of all plants together


@dataclass(frozen=True, eq=False)
class PoolPlant:
    """One plant of a pool.

    Attributes:
        plant: its name.
        data_sha256: of its snapshot as given, before slots were averaged.
        spec: of the windows.
        learnt, held_out: windows; no target of the latter is one of the former.
        naive_kw: [N, H, 3] what seasonal naive said of `held_out`.
    """

    plant: str
    data_sha256: str
    spec: FeatureSpec
    learnt: Windows
    held_out: Windows
    naive_kw: Floats

    @property
    def lineage(self) -> dict[str, str]:
        """Name and data, as they stand in records."""
        return {"plant": self.plant, "data_sha256": self.data_sha256}


@dataclass(frozen=True, eq=False)
class Pool:
    """Plants that can be learnt from together, and why others cannot: name -> reason, for a technician."""

    plants: tuple[PoolPlant, ...]
    left_out: Mapping[str, str]


def at_slot(snapshot: Snapshot, slot_s: int) -> Snapshot:
    """Return the same plant in longer slots, the mean of the shorter ones; NaN where one of them is missing.

    Raises:
        ConfigError: when its slots are longer already, or do not divide the wanted ones.
    """
    if slot_s % snapshot.slot_s:
        raise ConfigError(
            f"has slots of {snapshot.slot_s // 60} min, which do not make slots of {slot_s // 60} min",
            where=f"plant {snapshot.plant}",
            todo="Learn from a plant of equal or shorter slots",
        )
    each = slot_s // snapshot.slot_s
    if each == 1:
        return snapshot
    first = -(snapshot.start_ms // 1000) % slot_s // snapshot.slot_s
    count = (len(snapshot.power_kw) - first) // each

    def mean(values: Floats) -> Floats:
        longer: Floats = values[first : first + count * each].reshape(count, each).mean(axis=1)
        return longer

    return replace(
        snapshot,
        slot_s=slot_s,
        start_ms=snapshot.start_ms + first * snapshot.slot_s * 1000,
        power_kw=mean(snapshot.power_kw),
        covariates={name: mean(values) for name, values in snapshot.covariates.items()},
    )


def gather(snapshots: Sequence[Snapshot], like: FeatureSpec, *, validation_days: int, seed: int) -> Pool:
    """Make windows of plants, with the columns of `like`: what a plant does not know of them is told as unknown.

    Args:
        snapshots: the plants.
        like: slot length, horizon, and columns of the calendar and of covariates.
        validation_days: held out of each plant.
        seed: of the draw, where all windows would not fit into memory.
    """
    plants: list[PoolPlant] = []
    left_out: dict[str, str] = {}
    for snapshot in snapshots:
        try:
            max_bytes = _MAX_BYTES // len(snapshots)
            plants.append(_plant(snapshot, like, validation_days=validation_days, seed=seed, max_bytes=max_bytes))
        except (ConfigError, UnavailableError) as exc:  # one bad plant of many does not stop the others
            left_out[snapshot.plant] = str(exc)
    return Pool(tuple(plants), left_out)


def _plant(snapshot: Snapshot, like: FeatureSpec, *, validation_days: int, seed: int, max_bytes: int) -> PoolPlant:
    hours = like.horizon * like.slot_s // windows.HOUR_S
    same = at_slot(snapshot, like.slot_s)
    part = holdout.split(same, hours, validation_days)
    spec = windows.make_spec(same, hours, Scaling.TRAILING, part)
    spec = replace(spec, seasonal=like.seasonal, covariates=like.covariates)
    learnt = windows.training_windows(spec, same, part, seed=seed, max_bytes=max_bytes)
    held_out = windows.held_out_windows(spec, same, part)
    naive_kw = windows.naive_quantiles(spec, same, held_out.origins)
    return PoolPlant(snapshot.plant, snapshot.sha256, spec, learnt, held_out, naive_kw)


def balanced_odds(plants: Sequence[PoolPlant]) -> Floats:
    """Return how often each window of all plants, joined in order, is drawn: every plant as often as any other."""
    return np.concatenate([windows.odds(one.spec, one.learnt) / len(plants) for one in plants])


def thinned(of: Windows, most: int, seed: int) -> Windows:
    """Return an even draw of windows, all of them where there are no more than `most`."""
    if len(of) <= most:
        return of
    chosen = np.sort(np.random.default_rng(seed).choice(len(of), most, replace=False))
    return Windows(of.origins[chosen], of.inputs.rows(chosen), of.target[chosen], of.truth_kw[chosen])
