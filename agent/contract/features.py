"""Features: the only code that turns slot history into model inputs, on the device and in training alike.

Two inputs, both float32 and scaled to about [-4, 4] so that one int8 step means the same everywhere:

`recent`  [N, recent_size]   the last `recent_days` as means over `recent_step_s`, standardised and clipped
`steps`   [N, horizon, F]    per step of the horizon: lags, aggregates, level, calendar, covariates of the slot

and one output, `raw` [N, horizon + days, 3]: median and two spreads of each slot, then of the peak of each day ahead,
assembled to quantiles by `assemble` and told apart by `split_peak`. A day here is 24 h, counted from the origin.
Which columns, zone, holidays and levels: `agent.contract.featurespec`. Gap repair happens before (`repair`).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agent.contract.errors import ConfigError, RejectedError
from agent.contract.featurespec import (
    DAY_S,
    HARMONICS,
    LAG_DAYS,
    MAX_HISTORY_DAYS,
    MIN_HISTORY_DAYS,
    SAME_WEEKDAYS,
    FeatureSpec,
    Scaling,
)
from agent.contract.slotcalendar import SlotCalendar

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]
Ints = NDArray[np.int64]

CLIP_SIGMA = 4.0
LEVEL_CLIP = 1.5  # levels tell season and growth; beyond, a network would make up what another plant is like
_YEAR_DAYS = 365.25


@dataclass(frozen=True)
class Inputs:
    """Model inputs for N origins, and the level (kW) that takes outputs back to power.

    Attributes:
        recent: [N, recent_size] float32.
        steps: [N, horizon, F] float32.
        center_kw, scale_kw: [N].
    """

    recent: Singles
    steps: Singles
    center_kw: Floats
    scale_kw: Floats

    def rows(self, chosen: Ints) -> Inputs:
        """Return some of the forecasts."""
        return Inputs(self.recent[chosen], self.steps[chosen], self.center_kw[chosen], self.scale_kw[chosen])


def compute(
    spec: FeatureSpec,
    start_ms: int,
    power_kw: Floats,
    origins: Ints,
    covariates: Mapping[str, Floats] | None = None,
) -> Inputs:
    """Compute the inputs of forecasts that begin at `origins`.

    Args:
        spec: what to compute.
        start_ms: start of the first slot; on the slot grid.
        power_kw: [T] mean power of consecutive slots, without a gap (see `repair`).
        origins: [N] indices into the slots; a forecast from origin i knows slots 0..i-1 and covers i..i+horizon-1.
            i == T is the forecast from now.
        covariates: by name, values of the same slots and of those ahead, NaN where unknown; of what is missing or too
            short the rest is unknown, names that the spec does not have are left alone.

    Raises:
        ConfigError: when an origin has less than `spec.min_history` slots before it, or a value used is not finite.
    """
    origins = np.asarray(origins, dtype=np.int64)
    if len(origins) == 0 or origins.min() < spec.min_history or origins.max() > len(power_kw):
        raise ConfigError(
            f"a forecast needs {spec.min_history} slots of history ({MIN_HISTORY_DAYS} days)",
            todo="Wait for more data, or fall back to naive",
        )
    begin = max(0, int(origins.min()) - spec.max_history)
    power_kw = np.asarray(power_kw[begin : int(origins.max())], dtype=np.float64)
    if not np.all(np.isfinite(power_kw)):
        raise ConfigError("history holds values that are not finite", todo="Repair it first")
    start_ms += begin * spec.slot_s * 1000
    origins = origins - begin
    center, scale = _level(spec, power_kw, origins)
    count = int(origins.max()) + spec.horizon + spec.per_day
    calendar = SlotCalendar(spec.zone, spec.holiday_ordinals, spec.slot_s, start_ms, count)
    columns = itertools.chain(
        _load_columns(spec, power_kw, origins, center, scale, calendar),
        _level_columns(spec, power_kw, origins),
        _calendar_columns(spec, origins, calendar),
        _covariate_columns(spec, origins, begin, covariates or {}),
    )
    steps = np.empty((len(origins), spec.horizon, len(spec.step_names)), dtype=np.float32)
    for number, column in enumerate(columns):  # one by one: all of them in float64 would be four times as large
        steps[:, :, number] = column
    recent = _standardise(_recent(spec, power_kw, origins), center[:, None], scale[:, None]).astype(np.float32)
    return Inputs(recent, steps, center, scale)


def assemble(raw: Floats | Singles, center_kw: Floats, scale_kw: Floats) -> Floats:
    """Turn model output [N, rows, 3] (median, lower spread, upper spread; standardised) into kW quantiles [N, rows, 3].

    Spreads pass through softplus, so that q0.1 <= q0.5 <= q0.9 always holds.
    """
    raw = np.asarray(raw, dtype=np.float64)
    median = raw[..., 0]
    spread = np.logaddexp(0.0, raw[..., 1:])
    quantiles = np.stack([median - spread[..., 0], median, median + spread[..., 1]], axis=-1)
    return quantiles * scale_kw[:, None, None] + center_kw[:, None, None]


def split_peak(spec: FeatureSpec, quantiles: Floats) -> tuple[Floats, Floats]:
    """Split what `assemble` gives into the slots' quantiles [N, horizon, 3] and those of the daily peaks [N, days, 3].

    Raises:
        RejectedError: when there are not `spec.output_size` rows.
    """
    if quantiles.ndim != 3 or quantiles.shape[1] != spec.output_size:
        raise RejectedError(
            f"output of shape {quantiles.shape} where {spec.horizon} slots and {spec.days} daily peaks are expected",
            where="model",
            todo="Train and convert the model again",
        )
    return quantiles[:, : spec.horizon], quantiles[:, spec.horizon :]


def daily_peak(spec: FeatureSpec, power_kw: Floats) -> Floats:
    """Return the greatest mean slot power [..., days] of each day ahead from power [..., horizon].

    A day of which any slot is unknown (NaN) has an unknown peak: the missing slot may have been the highest.
    """
    short = spec.days * spec.per_day - spec.horizon
    # The last day, where the horizon cuts it, is filled with its own last slot: that changes no maximum.
    padded = np.concatenate([power_kw, np.repeat(power_kw[..., -1:], short, axis=-1)], axis=-1)
    peaks: Floats = padded.reshape(*power_kw.shape[:-1], spec.days, spec.per_day).max(axis=-1)
    return peaks


def standardised_target(spec: FeatureSpec, power_kw: Floats, origins: Ints, inputs: Inputs) -> Singles:
    """Return the truth [N, output_size] that `raw` is trained on: slots, then daily peaks.

    NaN where it is unknown or lies beyond the series; a day's peak needs all of its slots.
    """
    padded = np.concatenate([power_kw, np.full(spec.horizon, np.nan)])
    truth = padded[np.asarray(origins)[:, None] + np.arange(spec.horizon)]
    truth = np.concatenate([truth, daily_peak(spec, truth)], axis=1)
    target: Singles = ((truth - inputs.center_kw[:, None]) / inputs.scale_kw[:, None]).astype(np.float32)
    return target


def _level(spec: FeatureSpec, power_kw: Floats, origins: Ints) -> tuple[Floats, Floats]:
    if spec.scaling is Scaling.GLOBAL:
        ones = np.ones(len(origins))
        return spec.center_kw * ones, spec.scale_kw * ones
    return _trailing_level(spec, power_kw, origins)


def _trailing_level(spec: FeatureSpec, power_kw: Floats, origins: Ints) -> tuple[Floats, Floats]:
    # Running sums of deviations from the overall mean: no loss of digits on large loads.
    # The base is a mean of what every origin knows: later power must not reach earlier origins even by rounding.
    base = float(power_kw[: int(origins.min())].mean())
    deviation = power_kw - base
    first = np.concatenate([[0.0], np.cumsum(deviation)])
    second = np.concatenate([[0.0], np.cumsum(deviation**2)])
    low = np.maximum(0, origins - spec.trailing_days * spec.per_day)
    count = origins - low
    mean = (first[origins] - first[low]) / count
    variance = np.maximum(0.0, (second[origins] - second[low]) / count - mean**2)
    # A flat plant has no spread: one per cent of its level, or 1 W, keeps the division defined.
    floor = np.maximum(1e-3, 0.01 * np.abs(mean + base))
    return mean + base, np.maximum(np.sqrt(variance), floor)


def _standardise(values: Floats, center: Floats | float, scale: Floats | float) -> Floats:
    return np.clip((values - center) / scale, -CLIP_SIGMA, CLIP_SIGMA)


def _recent(spec: FeatureSpec, power_kw: Floats, origins: Ints) -> Floats:
    width = spec.recent_days * spec.per_day
    values = power_kw[origins[:, None] - width + np.arange(width)]
    group = max(1, spec.recent_step_s // spec.slot_s)
    mean: Floats = values.reshape(len(origins), -1, group).mean(axis=2)
    return mean


def _load_columns(
    spec: FeatureSpec, power_kw: Floats, origins: Ints, center: Floats, scale: Floats, calendar: SlotCalendar
) -> list[Floats]:
    center, scale = center[:, None], scale[:, None]
    targets = origins[:, None] + np.arange(spec.horizon)

    def lag(days: int) -> Floats:
        # The same local time of day: an hour more or less across a change of the clocks.
        source = targets - days * spec.per_day + calendar.shift(targets, days * spec.per_day)
        while np.any(late := source >= origins[:, None]):  # beyond one day ahead: the latest day that is known
            source = np.where(late, source - spec.per_day, source)
        value: Floats = power_kw[np.maximum(source, 0)]
        return value

    lags = {day: lag(day) for day in {*LAG_DAYS, *SAME_WEEKDAYS}}
    known = np.stack(
        [(origins >= (day + 1) * spec.per_day)[:, None] & np.ones_like(targets, bool) for day in SAME_WEEKDAYS]
    )
    same = np.stack([lags[day] for day in SAME_WEEKDAYS])
    same_mean = (same * known).sum(axis=0) / known.sum(axis=0)
    week_mean = np.mean([lags[day] for day in range(1, 8)], axis=0)
    last_day = power_kw[origins[:, None] - spec.per_day + np.arange(spec.per_day)]
    ones = np.ones_like(targets, dtype=np.float64)
    same_kind = _same_kind(spec, power_kw, origins, calendar, otherwise=lags[7])
    columns = [*(lags[day] for day in LAG_DAYS), same_kind, same_mean, week_mean]
    columns += [
        ones * value[:, None]
        for value in (last_day[:, -1], last_day.mean(axis=1), last_day.max(axis=1), last_day.min(axis=1))
    ]
    return [_standardise(column, center, scale) for column in columns]


def _same_kind(
    spec: FeatureSpec, power_kw: Floats, origins: Ints, calendar: SlotCalendar, *, otherwise: Floats
) -> Floats:
    """Power [N, horizon] of the latest known day of the target's kind: its weekday, Sunday or holiday of a holiday."""
    targets = origins[:, None] + np.arange(spec.horizon)
    kind = calendar.kind(calendar.ordinal)
    result = otherwise
    for day in range(MAX_HISTORY_DAYS - 1, 0, -1):
        source = targets - day * spec.per_day + calendar.shift(targets, day * spec.per_day)
        alike = (source >= 0) & (source < origins[:, None])
        source = np.where(alike, source, 0)
        result = np.where(alike & (kind[source] == kind[targets]), power_kw[source], result)
    return result


def _calendar_columns(spec: FeatureSpec, origins: Ints, calendar: SlotCalendar) -> list[Floats]:
    targets = origins[:, None] + np.arange(spec.horizon)
    angle = 2 * np.pi * calendar.second_of_day[targets] / DAY_S
    waves = [wave(number * angle) for number in HARMONICS for wave in (np.sin, np.cos)]
    position = np.broadcast_to(2 * np.arange(spec.horizon) / max(1, spec.horizon - 1) - 1, targets.shape)
    day = calendar.ordinal[targets]
    kind = calendar.kind(day)
    columns = [*waves, position.astype(np.float64)]
    columns += [(kind == number).astype(np.float64) for number in range(7)]
    columns.append(calendar.holiday(day).astype(np.float64))
    columns += [calendar.working(other).astype(np.float64) for other in (day, day - 1, day - 7, day + 1)]
    columns += [calendar.holiday(other).astype(np.float64) for other in (day - 1, day - 7, day + 1)]
    if spec.seasonal:
        year = 2 * np.pi * day / _YEAR_DAYS
        columns += [np.sin(year), np.cos(year)]
    return columns


def _level_columns(spec: FeatureSpec, power_kw: Floats, origins: Ints) -> list[Floats]:
    """Where the plant stands against its training data: what standardising by the trailing level takes away."""
    center, scale = _trailing_level(spec, power_kw, origins)
    ones = np.ones((1, spec.horizon))
    level = np.clip((center - spec.center_kw) / spec.scale_kw, -LEVEL_CLIP, LEVEL_CLIP)
    spread = np.clip(2 * np.log(scale / spec.scale_kw), -LEVEL_CLIP, LEVEL_CLIP)
    return [level[:, None] * ones, spread[:, None] * ones]


def _covariate_columns(
    spec: FeatureSpec, origins: Ints, begin: int, covariates: Mapping[str, Floats]
) -> Iterator[Floats]:
    """Per covariate: value, whether it is known, mean of the 24 hours to it, change since the day before."""
    first = int(origins.min()) - 2 * spec.per_day
    count = int(origins.max()) + spec.horizon - first
    rows = origins[:, None] + np.arange(spec.horizon) - first
    for covariate in spec.covariates:
        known_part = np.asarray(covariates.get(covariate.name, ()), dtype=np.float64)[begin + first :][:count]
        values = np.concatenate([known_part, np.full(count - len(known_part), np.nan)])
        known = np.isfinite(values)
        filled = _standardise(np.where(known, values, covariate.center), covariate.center, covariate.scale)
        sums, counts = (np.concatenate([[0.0], np.cumsum(part)]) for part in (filled, known))
        day_sum, day_count = (part[rows + 1] - part[rows + 1 - spec.per_day] for part in (sums, counts))
        yield filled[rows]
        yield known[rows].astype(np.float64)
        yield np.where(known[rows], day_sum / np.maximum(day_count, 1), 0.0)
        before = rows - spec.per_day
        change = np.where(known[rows] & known[before], filled[rows] - filled[before], 0.0)
        yield np.clip(change, -CLIP_SIGMA, CLIP_SIGMA)


def repair(power_kw: Floats, per_day: int) -> tuple[Floats, float]:
    """Fill gaps (NaN) in a history [T]; return it and the share of the last 7 days that had to be filled.

    Gaps of up to two hours are bridged in a straight line; longer ones take the value of 7 days before, else of one
    day before, else of the nearest known slot. An all-missing history comes back all NaN with share 1.
    """
    power_kw = np.array(power_kw, dtype=np.float64)
    missing = ~np.isfinite(power_kw)
    share = float(missing[-7 * per_day :].mean()) if len(power_kw) else 1.0
    if not missing.any() or missing.all():
        return power_kw, share
    known = np.flatnonzero(~missing)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], missing.astype(np.int8), [0]])))
    for low, high in zip(edges[::2], edges[1::2], strict=True):
        if low > 0 and high < len(power_kw) and high - low <= per_day // 12:
            power_kw[low:high] = np.interp(np.arange(low, high), known, power_kw[known])
            continue
        for index in range(low, high):
            for back in (7 * per_day, per_day):
                if index >= back and np.isfinite(power_kw[index - back]):
                    power_kw[index] = power_kw[index - back]
                    break
            else:
                nearest = known[np.argmin(np.abs(known - index))]
                power_kw[index] = power_kw[nearest]
    return power_kw, share
