"""Windows: which forecasts of a snapshot are learnt from, which are held out, and their arrays.

Decides which are fit to learn from; `holdout` decides the weeks. Features come from `agent.contract.features` alone.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agent.contract import features
from agent.contract.errors import ConfigError, UnavailableError
from agent.contract.features import Floats, Inputs, Ints, Singles
from agent.contract.featurespec import Covariate, FeatureSpec, Scaling
from agent.contract.zones import local_day_bounds_ms, parse_zone, to_local, utc_iso
from agent.inference.forecaster import MAX_REPAIRED_SHARE
from agent.inference.naive import forecast_naive
from trainer.dataset.snapshot import Snapshot
from trainer.learning.holdout import Split

Bools = NDArray[np.bool_]

_MIN_WINDOWS = 48
SEASONAL_DAYS = 730  # the time of the year is a feature from two years of data on
MIDNIGHT_SHARE = 0.3  # of the windows drawn: the day ahead is what is planned by, other hours must do well too
HOUR_S = 3600
MOST_PARITY = 1200  # outputs enough for a share of 0.1 % and a loss that noise of half an int8 step hardly moves
MAX_BYTES = 512 * 2**20  # of the training arrays; more windows than fit are thinned out


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


def make_spec(snapshot: Snapshot, horizon_hours: int, scaling: Scaling, part: Split) -> FeatureSpec:
    """Return the feature spec for a plant; levels come from what is learnt alone."""
    learnt = ~part.mark()
    covariates = []
    for name, values in snapshot.covariates.items():
        known = values[: part.end][learnt]
        known = known[np.isfinite(known)]
        if len(known) and float(known.std()) > 1e-6 * max(1.0, float(np.abs(known).max())):  # rounding is no change
            covariates.append(Covariate(name, float(known.mean()), float(known.std())))
    load = snapshot.power_kw[: part.end][learnt]
    return FeatureSpec(
        snapshot.slot_s,
        horizon_hours * 3600 // snapshot.slot_s,
        snapshot.zone,
        snapshot.holidays,
        scaling,
        center_kw=float(np.nanmean(load)),
        scale_kw=max(float(np.nanstd(load)), 1e-6),
        seasonal=len(snapshot.power_kw) > SEASONAL_DAYS * snapshot.per_day,
        covariates=tuple(covariates),
    )


def training_windows(
    spec: FeatureSpec, snapshot: Snapshot, part: Split, *, seed: int, max_bytes: int = MAX_BYTES
) -> Windows:
    """Return windows that begin at each full hour of the plant (an even draw of them where memory would not do).

    Args:
        spec: see `make_spec`.
        snapshot: the data.
        part: nothing of what it holds out is a target.
        seed: of the draw.
        max_bytes: memory of the arrays.

    Raises:
        ConfigError: when too few windows are free of gaps.
    """
    origins = _origins(spec, snapshot, part.end)
    held = np.concatenate([[0], np.cumsum(part.mark())])
    origins = origins[held[origins + spec.horizon] == held[origins]]
    usable = origins[_fit_to_learn(spec, snapshot, origins)]
    if len(usable) < _MIN_WINDOWS:
        raise ConfigError(
            f"only {len(usable)} windows of the load are free enough of gaps, {_MIN_WINDOWS} are needed",
            where=f"plant {snapshot.plant}",
            todo="Import the missing data, or wait for more",
        )
    bytes_each = 4 * (spec.recent_size + spec.horizon * (len(spec.step_names) + 4))
    most = max(_MIN_WINDOWS, max_bytes // bytes_each)
    if len(usable) > most:
        usable = np.sort(np.random.default_rng(seed).choice(usable, most, replace=False))
    return make(spec, snapshot, usable)


def held_out_windows(spec: FeatureSpec, snapshot: Snapshot, part: Split) -> Windows:
    """Return one window a day, from local midnight, of all held-out weeks.

    Raises:
        UnavailableError: when no day can be judged.
    """
    parts = [daily_origins(spec, snapshot, low, high) for low, high in part.held_out]
    return _judged(spec, snapshot, np.concatenate(parts), part.held_out[0][0], part.held_out[-1][1])


def parity_windows(spec: FeatureSpec, snapshot: Snapshot, part: Split) -> Windows:
    """Return windows from slots at any time of day in all held-out weeks: `MOST_PARITY`, or as many as there are.

    For what is no loss to be proud of but a comparison that needs many outputs: of one model on two runtimes.

    Raises:
        UnavailableError: when nothing of them can be judged.
    """
    low = spec.min_history
    parts = [np.arange(max(first, low), end - spec.horizon + 1, dtype=np.int64) for first, end in part.held_out]
    origins = np.concatenate(parts)
    origins = origins[_fit_to_learn(spec, snapshot, origins)]
    if len(origins) > MOST_PARITY:
        origins = origins[np.linspace(0, len(origins) - 1, MOST_PARITY).astype(np.int64)]
    return _judged(spec, snapshot, origins, part.held_out[0][0], part.held_out[-1][1])


def daily_windows(spec: FeatureSpec, snapshot: Snapshot, first: int, end: int) -> Windows:
    """Return one window a day, from local midnight, whose targets all lie in slots [first, end).

    Raises:
        UnavailableError: when no day can be judged.
    """
    return _judged(spec, snapshot, daily_origins(spec, snapshot, first, end), first, end)


def daily_origins(spec: FeatureSpec, snapshot: Snapshot, first: int, end: int) -> Ints:
    """Return the slots of local midnights whose targets all lie in slots [first, end), as far as a device would run."""
    slot_ms = snapshot.slot_s * 1000
    origins = [
        (midnight_ms - snapshot.start_ms) // slot_ms
        for midnight_ms in _midnights(snapshot, first, end)
        if (midnight_ms - snapshot.start_ms) % slot_ms == 0
    ]
    low = max(first, spec.min_history)
    inside = np.array([o for o in origins if low <= o <= end - spec.horizon], dtype=np.int64)
    return inside[_fit_to_learn(spec, snapshot, inside)] if len(inside) else inside


def _judged(spec: FeatureSpec, snapshot: Snapshot, origins: Ints, first: int, end: int) -> Windows:
    if len(origins) == 0:
        span = [utc_iso(snapshot.start_ms + slot * snapshot.slot_s * 1000) for slot in (first, end)]
        raise UnavailableError(
            f"holds no whole day from {span[0]} to {span[1]} that can be forecast and judged",
            where=f"plant {snapshot.plant}",
            todo="Import load of that time, and 15 days before it",
        )
    return make(spec, snapshot, origins)


def make(spec: FeatureSpec, snapshot: Snapshot, origins: Ints) -> Windows:
    """Compute the arrays of windows."""
    history, _ = features.repair(snapshot.power_kw, snapshot.per_day)
    inputs = features.compute(spec, snapshot.start_ms, history, origins, snapshot.covariates)
    target = features.standardised_target(spec, snapshot.power_kw, origins, inputs)
    padded = np.concatenate([snapshot.power_kw, np.full(spec.horizon, np.nan)])
    return Windows(origins, inputs, target, padded[origins[:, None] + np.arange(spec.horizon)])


def odds(spec: FeatureSpec, windows: Windows) -> Floats:
    """Return [N] how often a window is drawn: by its scale, since kW count; MIDNIGHT_SHARE begin at local midnight."""
    midnight = at_midnight(spec, windows.inputs)
    result = windows.inputs.scale_kw.copy()
    for some, share in ((midnight, MIDNIGHT_SHARE), (~midnight, 1 - MIDNIGHT_SHARE)):
        result[some] *= share / max(result[some].sum(), 1e-12)
    shares: Floats = result / result.sum()
    return shares


def at_midnight(spec: FeatureSpec, inputs: Inputs) -> Bools:
    """Return [N] whether forecasts begin at local midnight."""
    sine, cosine = (inputs.steps[:, 0, spec.step_names.index(f"day_1_{wave}")] for wave in ("sin", "cos"))
    return (np.abs(sine) < 1e-3) & (cosine > 0)


def join(parts: Sequence[Windows]) -> Windows:
    """Return all windows in one; origins belong to different load curves then."""
    names = ("recent", "steps", "center_kw", "scale_kw")
    inputs = Inputs(*(np.concatenate([getattr(part.inputs, name) for part in parts]) for name in names))
    rest = (np.concatenate([getattr(part, name) for part in parts]) for name in ("target", "truth_kw"))
    return Windows(np.concatenate([part.origins for part in parts]), inputs, *rest)


def _origins(spec: FeatureSpec, snapshot: Snapshot, end: int) -> Ints:
    """Slots at full local hours: what zones of half-hours call one, too."""
    step = max(1, HOUR_S // snapshot.slot_s)
    phase = (next(_midnights(snapshot, 0, end)) - snapshot.start_ms) // (snapshot.slot_s * 1000) % step
    first = -(-(spec.min_history - phase) // step) * step + phase
    return np.arange(first, end - spec.horizon + 1, step)


def naive_quantiles(spec: FeatureSpec, snapshot: Snapshot, origins: Ints) -> Floats:
    """Return the device's own seasonal naive forecast [N, H, 3] in kW for each origin."""
    power_kw, start_ms = snapshot.power_kw, snapshot.start_ms
    return np.stack(
        [forecast_naive(start_ms, power_kw[:origin], spec.slot_s, spec.horizon).power_kw for origin in origins]
    )


def _fit_to_learn(spec: FeatureSpec, snapshot: Snapshot, origins: Ints) -> Bools:
    """Mark windows from which the device would forecast, too, with at least half of the targets known.

    None begins right after an unknown slot: repair bridges it to what came after, which nobody knew then.
    """
    missing = np.concatenate([[0], np.cumsum(~np.isfinite(snapshot.power_kw))])
    padded = np.concatenate([missing, np.full(spec.horizon, missing[-1])])
    week = 7 * snapshot.per_day
    filled = (missing[origins] - missing[origins - week]) / week
    unknown = (padded[origins + spec.horizon] - missing[origins]) / spec.horizon
    after_gap = missing[origins] > missing[origins - 1]
    fit: Bools = (filled <= MAX_REPAIRED_SHARE) & (unknown <= 0.5) & ~after_gap
    return fit


def _midnights(snapshot: Snapshot, first: int, end: int) -> Iterator[int]:
    zone = parse_zone(snapshot.zone)
    slot_ms = snapshot.slot_s * 1000
    day = to_local(snapshot.start_ms + first * slot_ms, zone).date()
    last = to_local(snapshot.start_ms + end * slot_ms, zone).date()
    while day <= last:
        yield local_day_bounds_ms(day, zone)[0]
        day += dt.timedelta(days=1)
