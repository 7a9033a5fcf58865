"""A base: a network that many plants have taught, from which networks of one plant start.

Decides how a base is made, what its folder holds, and how its weights come into a network whose features are not all
known to it. How long a plant then teaches its own network is `teacher`'s business.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from agent.contract import jsonform
from agent.contract.durable import new_folder
from agent.contract.errors import ConfigError, RejectedError
from agent.contract.features import Singles
from agent.contract.featurespec import QUANTILES, FeatureSpec
from agent.contract.jsonform import Fields
from agent.inference.scoring import pinball
from converter import scoring
from converter.conversion import load_network
from trainer.learning import fitting, networks, windows
from trainer.learning.fitting import Schedule
from trainer.learning.networks import Shape
from trainer.learning.options import Options, Progress
from trainer.learning.pool import Pool, PoolPlant, balanced_odds

_NETWORK, _RECORD = "base.keras", "base.json"
_MOST_UPDATES = 4  # times those of one plant: more plants than that get fewer steps each
_MAX_JSON = 2**22
_MAX_NAMES = 256


@dataclass(frozen=True, eq=False)
class Base:
    """A network that knows many plants.

    Attributes:
        name: of the base.
        model: without noise.
        shape: of the network that was trained.
        slot_s, horizon: of the windows.
        step_names: columns of `steps`.
        record: the content of `base.json`.
    """

    name: str
    model: Any
    shape: Shape
    slot_s: int
    horizon: int
    step_names: tuple[str, ...]
    record: Mapping[str, Any]

    @property
    def parameters(self) -> int:
        """How many weights the network has."""
        return int(self.model.count_params())


def pretrain(pool: Pool, name: str, options: Options, progress: Progress) -> Base:
    """Teach one network by all plants of a pool, each as often as any other.

    Args:
        pool: the plants; all of one slot length, horizon and set of columns.
        name: of the base.
        options: seed, size of the network, how long it learns from one plant.
        progress: told after each step.

    Raises:
        ConfigError: when no plant can be learnt from.
        UnavailableError: when training diverges.
    """
    if not pool.plants:
        reasons = "; ".join(pool.left_out.values()) or "none was given"
        raise ConfigError(
            f"no plant can be learnt from: {reasons}", where=f"base {name}", todo="Give plants with more load"
        )
    begun = time.monotonic()
    spec = pool.plants[0].spec
    together = windows.join([one.learnt for one in pool.plants])
    updates = options.base_updates * min(_MOST_UPDATES, len(pool.plants))
    model = networks.build(spec, options.teacher, name="base", seed=options.seed)
    networks.silence(options.teacher, model, together.inputs.steps)
    fitting.fit(
        model,
        together.inputs,
        together.target,
        Schedule(updates, options.batch, options.peak_rate, options.weight_decay, options.seed),
        odds=balanced_odds(pool.plants),
        progress=lambda done, total: progress("base", done, total),
    )
    model = networks.without_noise(spec, options.teacher, model)
    record = {
        "schema": 1,
        "name": name,
        "created_ms": int(time.time() * 1000),
        "slot_s": spec.slot_s,
        "horizon": spec.horizon,
        "step_names": list(spec.step_names),
        "plants": [one.lineage for one in pool.plants],
        "left_out": dict(pool.left_out),
        "config": options.to_json(),
        "weights_sha256": _sha256(model),
        "updates": updates,
        "windows": len(together),
        "seconds": round(time.monotonic() - begun, 3),
        "pinball_kw": {one.plant: _losses(one, model) for one in pool.plants},
    }
    return Base(name, model, options.teacher, spec.slot_s, spec.horizon, spec.step_names, record)


def _losses(of: PoolPlant, model: Any) -> dict[str, float]:
    """On the held-out weeks of a plant: seasonal naive and the base as it is."""
    held_out = of.held_out
    raw = fitting.predict(model, held_out.inputs)
    return {
        "naive": pinball(of.naive_kw, held_out.truth_kw, QUANTILES),
        "base": scoring.score(of.spec, raw, held_out.inputs.center_kw, held_out.inputs.scale_kw, held_out.truth_kw),
    }


def adapt(base: Base, spec: FeatureSpec, shape: Shape, seed: int, *, name: str = "adapted") -> Any:
    """Return a network for a plant that starts from the weights of a base.

    Features that the base does not know (the time of the year, covariates) start at weight zero: the network says at
    first what the base says. Features that the plant lacks are dropped.

    Args:
        base: where the weights come from.
        spec: of the plant.
        shape: of the network; noise and dropout may differ from those of the base, sizes may not.
        seed: of the noise while training.
        name: of the network.

    Raises:
        ConfigError: when the base has another slot length, horizon or form of network.
    """
    _check_fits(base, spec, shape)
    model = networks.build(spec, shape, name=name, seed=seed)
    places = networks.places_of_steps(shape)
    if {layer.name for layer in _with_weights(model)} != {layer.name for layer in _with_weights(base.model)}:
        raise _other_form(base)
    for source in _with_weights(base.model):
        kernel, *rest = source.get_weights()
        if (before := places.get(source.name)) is not None:
            kernel = _moved(kernel, before, base.step_names, spec.step_names)
        try:
            model.get_layer(source.name).set_weights([kernel, *rest])
        except ValueError as exc:
            raise _other_form(base) from exc
    return model


def _other_form(base: Base) -> ConfigError:
    return ConfigError(
        "its network has another form than those of this version",
        where=f"base {base.name}",
        todo="Make the base again: edgewatt-trainer base",
    )


def _moved(kernel: Singles, before: int, known: tuple[str, ...], wanted: tuple[str, ...]) -> Singles:
    """Return a kernel [1, W, C, U] whose C inputs hold the `wanted` columns after `before` others; 0 for new ones."""
    columns = kernel[:, :, before : before + len(known)]
    inner = np.zeros((*kernel.shape[:2], len(wanted), kernel.shape[3]), np.float32)
    for number, name in enumerate(wanted):
        if name in known:
            inner[:, :, number] = columns[:, :, known.index(name)]
    return np.concatenate([kernel[:, :, :before], inner, kernel[:, :, before + len(known) :]], axis=2)


def _check_fits(base: Base, spec: FeatureSpec, shape: Shape) -> None:
    for what, has, wanted, unit in (
        ("slots", base.slot_s // 60, spec.slot_s // 60, "min"),
        ("a horizon", base.horizon * base.slot_s // 3600, spec.horizon * spec.slot_s // 3600, "h"),
    ):
        if has != wanted:
            raise ConfigError(
                f"is for {what} of {has} {unit}, the plant has {wanted} {unit}",
                where=f"base {base.name}",
                todo=f"Make one: edgewatt-trainer base --slot-minutes {spec.slot_s // 60} "
                f"--horizon-hours {spec.horizon * spec.slot_s // 3600}",
            )
    if base.shape.plain != shape.plain:
        raise ConfigError(
            f"its network ({base.shape.plain}) is not of the size wanted ({shape.plain})",
            where=f"base {base.name}",
            todo="Make the base again: edgewatt-trainer base, with --quick where the training has it",
        )


def save(base: Base, folder: Path) -> None:
    """Write the folder of a base, whole or not at all.

    Raises:
        ConfigError: when it exists.
        StorageError: when it cannot be written.
    """
    if folder.exists():
        raise ConfigError("exists already", where=str(folder), todo="Give another --name, or remove the folder")
    with new_folder(folder) as temp:
        base.model.save(temp / _NETWORK)
        (temp / _RECORD).write_text(json.dumps(base.record, indent=1, allow_nan=False) + "\n")


def load(folder: Path) -> Base:
    """Read what `save` wrote.

    Raises:
        ConfigError: when there is no base.
        RejectedError: when it is damaged.
    """
    where = str(folder)
    try:
        data = (folder / _RECORD).read_bytes()
    except OSError as exc:
        raise ConfigError("holds no base", where=where, todo="Make one: edgewatt-trainer base --name NAME") from exc
    again = "Make the base again"
    record = jsonform.loads(data, where=str(folder / _RECORD), max_bytes=_MAX_JSON)
    fields = Fields(record, str(folder / _RECORD), todo=again)
    names = tuple(str(name) for name in fields.items("step_names", _MAX_NAMES))
    try:
        shape = Shape(**record["config"]["teacher"])
    except (KeyError, TypeError, ValueError) as exc:
        raise RejectedError(f"is damaged ({exc})", where=where, todo=again) from exc
    model = load_network(folder / _NETWORK, todo=again)
    if fields.text("weights_sha256", max_length=64) != _sha256(model):
        raise RejectedError("holds not the weights that its record names", where=where, todo=again)
    return Base(
        fields.text("name", max_length=64),
        model,
        shape,
        fields.integer("slot_s", 60, 86_400),
        fields.integer("horizon", 1, 100_000),
        names,
        record,
    )


def lineage(base: Base) -> dict[str, str]:
    """Name and hash of the weights, as they stand in `training.json`."""
    return {"name": base.name, "sha256": base.record["weights_sha256"]}


def _sha256(model: Any) -> str:
    """The hash of the weights; the file also holds the time at which it was written."""
    digest = hashlib.sha256()
    for weights in model.get_weights():
        digest.update(np.ascontiguousarray(weights, dtype="<f4").tobytes())
    return digest.hexdigest()


def _with_weights(model: Any) -> list[Any]:
    """Layers that learn; networks of one shape call them alike."""
    return [layer for layer in model.layers if layer.get_weights()]
