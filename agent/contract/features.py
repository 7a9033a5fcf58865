"""Features: the only code that turns slot history into model inputs, on the device and in training alike.

Two inputs, both float32 and scaled to about [-4, 4] so that one int8 step means the same everywhere:

`recent`  [N, recent_size]   the last `recent_days` as means over `recent_step_s`, standardised and clipped
`steps`   [N, horizon, F]    per step of the horizon: lags, aggregates and calendar of the target slot

and one output, `raw` [N, horizon + days, 3]: median and two spreads of each slot, then of the peak of each day ahead,
assembled to quantiles by `assemble` and told apart by `split_peak`. A day here is 24 h, counted from the origin.
The calendar (zone, holidays) comes with the spec; the device never computes a holiday. Gap repair happens before
(`repair`).
"""

from __future__ import annotations

import datetime as dt
import enum
import re
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.contract.errors import ConfigError, RejectedError
from agent.contract.jsonform import Fields
from agent.contract.slotcalendar import SlotCalendar
from agent.contract.slots import SLOT_LENGTHS_S
from agent.contract.zones import parse_zone

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]
Ints = NDArray[np.int64]

DAY_S = 86_400
CLIP_SIGMA = 4.0
QUANTILES = (0.1, 0.5, 0.9)
LAG_DAYS = (1, 2, 3, 4, 5, 6, 7, 14)
SAME_WEEKDAYS = (7, 14, 21, 28)
MIN_HISTORY_DAYS = 15  # the longest single lag, and a day for a shift of the clocks
MAX_HISTORY_DAYS = 29
_MAX_HOLIDAYS = 400
_MAX_KW = 1e9
_RECENT_STEPS_S = (*SLOT_LENGTHS_S, 7200, 10_800, 14_400, 21_600, 43_200, DAY_S)  # each divides a day


class Scaling(enum.StrEnum):
    """How load is standardised: by the training data's level, or by the plant's own recent level."""

    GLOBAL = "global"
    TRAILING = "trailing"


@dataclass(frozen=True)
class FeatureSpec:
    """Everything that fixes the features of a model.

    Attributes:
        slot_s: slot length; must divide a day.
        horizon: number of steps ahead.
        zone: the plant's zone for calendar features, an IANA name or a fixed offset.
        holidays: local dates, ISO form, written by the centre three years ahead.
        scaling: which standardisation; `center_kw` and `scale_kw` belong to GLOBAL, `trailing_days` to TRAILING.
        recent_days, recent_step_s: extent and resolution of `recent`.
        holiday_ordinals: `holidays` as day ordinals; follows from them.
    """

    slot_s: int
    horizon: int
    zone: str
    holidays: tuple[str, ...] = ()
    scaling: Scaling = Scaling.TRAILING
    center_kw: float = 0.0
    scale_kw: float = 1.0
    trailing_days: int = 28
    recent_days: int = 7
    recent_step_s: int = 1800
    quantiles: tuple[float, ...] = QUANTILES
    holiday_ordinals: frozenset[int] = field(init=False, repr=False, compare=False, default=frozenset())

    def __post_init__(self) -> None:
        if self.slot_s not in SLOT_LENGTHS_S:
            raise ConfigError(f"a slot of {self.slot_s} s is not supported", todo=f"Use one of {SLOT_LENGTHS_S}")
        if not 1 <= self.horizon <= 7 * self.per_day:
            raise ConfigError(f"a horizon of {self.horizon} steps is outside 1 step..7 days")
        if self.recent_step_s not in _RECENT_STEPS_S:
            raise ConfigError(f"recent_step_s {self.recent_step_s} is not one of {_RECENT_STEPS_S}")
        if self.recent_step_s % self.slot_s and self.slot_s % self.recent_step_s:
            raise ConfigError("recent_step_s and slot_s do not divide one another")
        if not (1e-6 <= self.scale_kw <= _MAX_KW and abs(self.center_kw) <= _MAX_KW):
            raise ConfigError(f"scale_kw must be 1e-6..{_MAX_KW:g} and center_kw within {_MAX_KW:g} of 0")
        if not (1 <= self.recent_days <= 14 and 1 <= self.trailing_days <= 28):
            raise ConfigError("recent_days must be 1..14 and trailing_days 1..28")
        parse_zone(self.zone)
        try:
            days = frozenset(_ordinal(day) for day in self.holidays)
        except ValueError as exc:
            raise ConfigError(f"holidays: {exc}", todo="Write dates as 2026-12-25") from exc
        object.__setattr__(self, "holiday_ordinals", days)

    @property
    def per_day(self) -> int:
        """Slots in 24 hours."""
        return DAY_S // self.slot_s

    @property
    def days(self) -> int:
        """Days of 24 h in the horizon; the last may be cut short by its end."""
        return -(-self.horizon // self.per_day)

    @property
    def output_size(self) -> int:
        """Rows of a model's output: one a slot, then one a day for its peak."""
        return self.horizon + self.days

    @property
    def min_history(self) -> int:
        """Slots of history below which there is no forecast."""
        return MIN_HISTORY_DAYS * self.per_day

    @property
    def max_history(self) -> int:
        """Slots of history that are used; more change nothing."""
        return MAX_HISTORY_DAYS * self.per_day

    @property
    def recent_size(self) -> int:
        """Length of the `recent` input."""
        return self.recent_days * DAY_S // max(self.slot_s, self.recent_step_s)

    @property
    def step_names(self) -> tuple[str, ...]:
        """Names of the F features of `steps`, in order."""
        return (
            *(f"lag_{day}d" for day in LAG_DAYS),
            "mean_same_weekday",
            "mean_7d",
            "last",
            "last_day_mean",
            "last_day_max",
            "last_day_min",
            "day_sin",
            "day_cos",
            "half_day_sin",
            "half_day_cos",
            "position",
            *(f"weekday_{day}" for day in range(7)),
            "holiday",
            "working",
            "working_lag_1d",
            "working_lag_7d",
            "working_next_day",
        )

    def to_json(self) -> dict[str, Any]:
        """The form in a bundle's manifest."""
        return {
            "slot_s": self.slot_s,
            "horizon": self.horizon,
            "zone": self.zone,
            "holidays": list(self.holidays),
            "scaling": str(self.scaling),
            "center_kw": self.center_kw,
            "scale_kw": self.scale_kw,
            "trailing_days": self.trailing_days,
            "recent_days": self.recent_days,
            "recent_step_s": self.recent_step_s,
            "quantiles": list(self.quantiles),
            "daily_peaks": self.days,
            "step_features": list(self.step_names),
        }

    @classmethod
    def from_json(cls, value: object, where: str = "feature_spec") -> FeatureSpec:
        """Parse the form of `to_json`.

        Raises:
            RejectedError: when malformed, or when it names features that this version does not compute.
        """
        fields = Fields(value, where)
        scaling = fields.text("scaling", max_length=16)
        if scaling not in set(Scaling):
            fields.fail("scaling", f"{scaling!r} is not one of {', '.join(Scaling)}")
        if tuple(fields.items("quantiles", 16)) != QUANTILES:
            fields.fail("quantiles", f"are not {QUANTILES}")
        try:
            spec = cls(
                slot_s=fields.integer("slot_s", 1, DAY_S),
                horizon=fields.integer("horizon", 1, 100_000),
                zone=fields.text("zone", max_length=64),
                holidays=tuple(fields.items("holidays", _MAX_HOLIDAYS)),
                scaling=Scaling(scaling),
                center_kw=fields.number("center_kw"),
                scale_kw=fields.number("scale_kw"),
                trailing_days=fields.integer("trailing_days", 1, 28),
                recent_days=fields.integer("recent_days", 1, 14),
                recent_step_s=fields.integer("recent_step_s", 300, DAY_S),
            )
        except ConfigError as exc:
            raise RejectedError(exc.what, where=where, todo=exc.todo) from exc
        if "daily_peaks" not in fields:
            fields.fail("daily_peaks", "is missing: the model gives no daily peak; train and convert it again")
        if fields.integer("daily_peaks") != spec.days:
            fields.fail("daily_peaks", f"is not {spec.days}, the days in the horizon")
        if fields.items("step_features", 256) != list(spec.step_names):
            fields.fail("step_features", "are not the ones that this version computes: update the agent")
        return spec


def _ordinal(day: object) -> int:
    # `fromisoformat` alone also takes 20261225 and 2026-W52-5, which other readers may not.
    if not isinstance(day, str) or re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", day) is None:
        raise ValueError(f"{day!r} is not a date")
    return dt.date.fromisoformat(day).toordinal()


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


def compute(spec: FeatureSpec, start_ms: int, power_kw: Floats, origins: Ints) -> Inputs:
    """Compute the inputs of forecasts that begin at `origins`.

    Args:
        spec: what to compute.
        start_ms: start of the first slot; on the slot grid.
        power_kw: [T] mean power of consecutive slots, without a gap (see `repair`).
        origins: [N] indices into the slots; a forecast from origin i knows slots 0..i-1 and covers i..i+horizon-1.
            i == T is the forecast from now.

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
    columns = [*_load_columns(spec, power_kw, origins, center, scale, calendar)]
    columns += _calendar_columns(spec, origins, calendar)
    steps = np.stack(columns, axis=-1).astype(np.float32)
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


def _standardise(values: Floats, center: Floats, scale: Floats) -> Floats:
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
    columns = [*(lags[day] for day in LAG_DAYS), same_mean, week_mean]
    columns += [
        ones * value[:, None]
        for value in (last_day[:, -1], last_day.mean(axis=1), last_day.max(axis=1), last_day.min(axis=1))
    ]
    return [_standardise(column, center, scale) for column in columns]


def _calendar_columns(spec: FeatureSpec, origins: Ints, calendar: SlotCalendar) -> list[Floats]:
    targets = origins[:, None] + np.arange(spec.horizon)
    angle = 2 * np.pi * calendar.second_of_day[targets] / DAY_S
    position = np.broadcast_to(2 * np.arange(spec.horizon) / max(1, spec.horizon - 1) - 1, targets.shape)
    day = calendar.ordinal[targets]
    weekday = (day + 6) % 7  # ordinal 1 is a Monday
    columns = [np.sin(angle), np.cos(angle), np.sin(2 * angle), np.cos(2 * angle), position.astype(np.float64)]
    columns += [(weekday == number).astype(np.float64) for number in range(7)]
    columns.append(calendar.holiday(day).astype(np.float64))
    columns += [calendar.working(other).astype(np.float64) for other in (day, day - 1, day - 7, day + 1)]
    return columns


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
