"""Feature spec: everything that fixes the features of a model, and its form in a bundle's manifest.

It names the columns; `agent.contract.features` computes them. The calendar (zone, holidays) comes with the spec; the
device never computes a holiday.
"""

from __future__ import annotations

import datetime as dt
import enum
import re
from dataclasses import dataclass, field
from typing import Any

from agent.contract.errors import ConfigError, RejectedError
from agent.contract.jsonform import Fields
from agent.contract.slots import SLOT_LENGTHS_S
from agent.contract.zones import parse_zone

DAY_S = 86_400
QUANTILES = (0.1, 0.5, 0.9)
HARMONICS = (1, 2, 3, 4, 5, 6)  # of the day
_COVARIATE_PARTS = ("", "_known", "_day_mean", "_change_1d")
LAG_DAYS = (1, 2, 3, 4, 5, 6, 7, 14)
SAME_WEEKDAYS = (7, 14, 21, 28)
MIN_HISTORY_DAYS = 15  # the longest single lag, and a day for a shift of the clocks
MAX_HISTORY_DAYS = 29
_MAX_HOLIDAYS = 400
_MAX_COVARIATES = 8
_MAX_KW = 1e9
_LEAST_SCALE = 1e-6
LEVEL_COLUMNS = ("level", "spread")  # they follow the load
_LOAD_COLUMNS = len(LAG_DAYS) + 7
_RECENT_STEPS_S = (*SLOT_LENGTHS_S, 7200, 10_800, 14_400, 21_600, 43_200, DAY_S)  # each divides a day


@dataclass(frozen=True)
class Covariate:
    """A quantity that is known ahead, such as forecast temperature, and the level that standardises it.

    Attributes:
        name: `[a-z][a-z0-9_]{0,31}`.
        center, scale: mean and standard deviation in the training data, in its own unit.
    """

    name: str
    center: float
    scale: float

    def __post_init__(self) -> None:
        if re.fullmatch(r"[a-z][a-z0-9_]{0,31}", self.name) is None:
            raise ConfigError(f"{self.name!r} is no name of a covariate", todo="Use a-z, 0-9 and _, like temperature_c")
        if not (abs(self.center) <= _MAX_KW and _LEAST_SCALE <= self.scale <= _MAX_KW):
            raise ConfigError(f"covariate {self.name}: center or scale is out of range")


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
        scaling: which standardisation; `trailing_days` belongs to TRAILING.
        center_kw, scale_kw: mean and standard deviation of the training data: the level of GLOBAL, and what the
            features `level` and `spread` compare the trailing level with.
        recent_days, recent_step_s: extent and resolution of `recent`.
        seasonal: whether the time of the year is a feature; it hurts below two years of data.
        covariates: known-ahead quantities, each flagged where it is not known.
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
    seasonal: bool = False
    covariates: tuple[Covariate, ...] = ()
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
        if len(self.covariates) > _MAX_COVARIATES:
            raise ConfigError(f"{len(self.covariates)} covariates are more than {_MAX_COVARIATES}")
        if twice := sorted({name for name in self.step_names if self.step_names.count(name) > 1}):
            raise ConfigError(
                f"covariates: two features would have the name {twice[0]}", todo="Name the column otherwise"
            )
        if not (_LEAST_SCALE <= self.scale_kw <= _MAX_KW and abs(self.center_kw) <= _MAX_KW):
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
        """Names of the F features of `steps`, in order. The weekday of a holiday is Sunday, in `lag_same_kind` too."""
        return (
            *(f"lag_{day}d" for day in LAG_DAYS),
            "lag_same_kind",
            "mean_same_weekday",
            "mean_7d",
            "last",
            "last_day_mean",
            "last_day_max",
            "last_day_min",
            *LEVEL_COLUMNS,
            *(f"day_{number}_{wave}" for number in HARMONICS for wave in ("sin", "cos")),
            "position",
            *(f"weekday_{day}" for day in range(7)),
            "holiday",
            "working",
            "working_lag_1d",
            "working_lag_7d",
            "working_next_day",
            "holiday_lag_1d",
            "holiday_lag_7d",
            "holiday_next_day",
            *(("year_sin", "year_cos") if self.seasonal else ()),
            *(f"{covariate.name}{part}" for covariate in self.covariates for part in _COVARIATE_PARTS),
        )

    @property
    def load_columns(self) -> int:
        """How many of `step_names`, from the first on, are load."""
        return _LOAD_COLUMNS

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
            "seasonal": self.seasonal,
            "covariates": [{"name": c.name, "center": c.center, "scale": c.scale} for c in self.covariates],
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
                seasonal=fields.flag("seasonal"),
                covariates=tuple(
                    Covariate(part.text("name", max_length=32), part.number("center"), part.number("scale"))
                    for part in fields.children("covariates", _MAX_COVARIATES)
                ),
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
