"""Windows: which forecasts of a snapshot are learnt from, which are held out, and their arrays.

Decides the split and which windows are fit to learn from. Features come from `agent.contract.features` alone.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from agent.contract import features
from agent.contract.errors import ConfigError, UnavailableError
from agent.contract.features import FeatureSpec, Floats, Inputs, Ints, Scaling, Singles
from agent.contract.zones import local_day_bounds_ms, parse_zone, to_local, utc_iso
from agent.inference.forecaster import MAX_REPAIRED_SHARE
from agent.inference.naive import forecast_naive
from trainer.dataset.snapshot import Snapshot

TRAIN_DAYS = 28  # the least that is learnt from
LEAST_VALIDATION_DAYS = 7
_MAX_BYTES = 512 * 2**20  # of the training arrays; more windows than fit are thinned out


@dataclass(frozen=True, eq=False)
class Windows:
    """N forecasts to be made, and what came true.

    Attributes:
        origins: [N] slot index of the first step.
        inputs: of the model.
        target: [N, H + D] standardised truth of slots and daily peaks, NaN where unknown.
        truth_kw: [N, H] of the slots alone.
    """

    origins: Ints
    inputs: Inputs
    target: Singles
    truth_kw: Floats

    def __len__(self) -> int:
        return len(self.origins)


@dataclass(frozen=True)
class Split:
    """Slots of a snapshot: learnt from are targets before `validation`, held out are those from it on."""

    validation: int
    end: int


def make_spec(snapshot: Snapshot, horizon_hours: int, scaling: Scaling, split: Split) -> FeatureSpec:
    """Return the feature spec for a plant; a global level comes from the training part alone."""
    horizon = horizon_hours * 3600 // snapshot.slot_s
    spec = FeatureSpec(snapshot.slot_s, horizon, snapshot.zone, snapshot.holidays, scaling)
    if scaling is Scaling.TRAILING:
        return spec
    known = snapshot.power_kw[: split.validation]
    return replace(spec, center_kw=float(np.nanmean(known)), scale_kw=float(np.nanstd(known)))


def split(snapshot: Snapshot, horizon_hours: int, validation_days: int) -> Split:
    """Hold out the last days: `validation_days`, or a fifth of what can be forecast where the data is short.

    Raises:
        ConfigError: when there is too little history, with what is needed, or the load never changes.
    """
    known = snapshot.power_kw[np.isfinite(snapshot.power_kw)]
    days = len(snapshot.power_kw) // snapshot.per_day
    before = features.MIN_HISTORY_DAYS + TRAIN_DAYS + -(-horizon_hours // 24)
    needed = before + LEAST_VALIDATION_DAYS
    where = f"plant {snapshot.plant}"
    if days < needed:
        raise ConfigError(
            f"has {days} days of load where training needs at least {needed} "
            f"({features.MIN_HISTORY_DAYS} of history, {before - features.MIN_HISTORY_DAYS} to learn from, "
            f"{LEAST_VALIDATION_DAYS} to judge by); a year is better",
            where=where,
            todo=f"Import {needed - days} more days; until then devices forecast by seasonal naive",
        )
    if float(known.std()) <= 1e-6 * max(1.0, float(np.abs(known).max())):
        raise ConfigError(
            f"the load is constant ({known[0]:.6g} kW): there is nothing to learn",
            where=where,
            todo="Check the meter and the column of the file",
        )
    held_out = min(validation_days, max(LEAST_VALIDATION_DAYS, (days - features.MIN_HISTORY_DAYS) // 5), days - before)
    end = len(snapshot.power_kw)
    return Split(end - held_out * snapshot.per_day, end)


def training_windows(spec: FeatureSpec, snapshot: Snapshot, part: Split, *, batch: int, seed: int) -> Windows:
    """Return windows from every slot (or an even draw of them where memory would not do) of the training part.

    Raises:
        ConfigError: when too few windows are free of gaps.
    """
    origins = np.arange(spec.min_history, part.validation - spec.horizon + 1)
    usable = origins[_fit_to_learn(spec, snapshot, origins)]
    if len(usable) < 2 * batch:
        raise ConfigError(
            f"only {len(usable)} windows of the load are free enough of gaps, {2 * batch} are needed",
            where=f"plant {snapshot.plant}",
            todo="Import the missing data, or wait for more",
        )
    bytes_each = 4 * (spec.recent_size + spec.horizon * (len(spec.step_names) + 5))
    most = max(2 * batch, _MAX_BYTES // bytes_each)
    if len(usable) > most:
        usable = np.sort(np.random.default_rng(seed).choice(usable, most, replace=False))
    return make(spec, snapshot, usable)


def daily_windows(spec: FeatureSpec, snapshot: Snapshot, first: int, end: int) -> Windows:
    """Return one window a day, from local midnight, whose targets all lie in slots [first, end).

    Raises:
        UnavailableError: when no day can be judged.
    """
    slot_ms = snapshot.slot_s * 1000
    origins = [
        (midnight_ms - snapshot.start_ms) // slot_ms
        for midnight_ms in _midnights(snapshot, first, end)
        if (midnight_ms - snapshot.start_ms) % slot_ms == 0
    ]
    low = max(first, spec.min_history)
    inside = np.array([o for o in origins if low <= o <= end - spec.horizon], dtype=np.int64)
    usable = inside[_fit_to_learn(spec, snapshot, inside)] if len(inside) else inside
    if len(usable) == 0:
        span = [utc_iso(snapshot.start_ms + slot * slot_ms) for slot in (first, end)]
        raise UnavailableError(
            f"holds no whole day from {span[0]} to {span[1]} that can be forecast and judged",
            where=f"plant {snapshot.plant}",
            todo="Import load of that time, and 15 days before it",
        )
    return make(spec, snapshot, usable)


def make(spec: FeatureSpec, snapshot: Snapshot, origins: Ints) -> Windows:
    """Compute the arrays of windows."""
    history, _ = features.repair(snapshot.power_kw, snapshot.per_day)
    inputs = features.compute(spec, snapshot.start_ms, history, origins)
    target = features.standardised_target(spec, snapshot.power_kw, origins, inputs)
    padded = np.concatenate([snapshot.power_kw, np.full(spec.horizon, np.nan)])
    return Windows(origins, inputs, target, padded[origins[:, None] + np.arange(spec.horizon)])


def naive_quantiles(spec: FeatureSpec, snapshot: Snapshot, origins: Ints) -> Floats:
    """Return the device's own seasonal naive forecast [N, H, 3] in kW for each origin."""
    power_kw, start_ms = snapshot.power_kw, snapshot.start_ms
    return np.stack(
        [forecast_naive(start_ms, power_kw[:origin], spec.slot_s, spec.horizon).power_kw for origin in origins]
    )


def _fit_to_learn(spec: FeatureSpec, snapshot: Snapshot, origins: Ints) -> np.ndarray:
    """Mark windows from which the device would forecast, too, with at least half of the targets known."""
    missing = np.concatenate([[0], np.cumsum(~np.isfinite(snapshot.power_kw))])
    padded = np.concatenate([missing, np.full(spec.horizon, missing[-1])])
    week = 7 * snapshot.per_day
    filled = (missing[origins] - missing[origins - week]) / week
    unknown = (padded[origins + spec.horizon] - missing[origins]) / spec.horizon
    fit: np.ndarray = (filled <= MAX_REPAIRED_SHARE) & (unknown <= 0.5)
    return fit


def _midnights(snapshot: Snapshot, first: int, end: int) -> Iterator[int]:
    zone = parse_zone(snapshot.zone)
    slot_ms = snapshot.slot_s * 1000
    day = to_local(snapshot.start_ms + first * slot_ms, zone).date()
    last = to_local(snapshot.start_ms + end * slot_ms, zone).date()
    while day <= last:
        yield local_day_bounds_ms(day, zone)[0]
        day += dt.timedelta(days=1)
