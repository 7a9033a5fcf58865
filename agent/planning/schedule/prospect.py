"""What the rest of a billing month is judged by: how the load may come, what it was, and what was aimed at so far.

Decides which days and which forecasts count: those of the last four weeks that begin at the same time of day. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from agent.contract.tariff.tariff import Tariff
from agent.contract.zones import to_local
from agent.planning.schedule.parts import Array, frozen

HISTORY_DAYS = 28
PAST_DAYS = 36  # of load that are looked at: seasonal naive looks a week further back
_WEEK = 7
_LEAST = 7  # days that are known; forecasts whose truth is known
_LEAST_KNOWN = 0.9  # of a day
_DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Aims:
    """What is worth aiming at in the rest of a billing month.

    Attributes:
        peaks_kw: highest import by demand charge.
        day: local date of their choice; empty: they were not chosen.
        month: label of the billing month that they are for.
    """

    peaks_kw: Mapping[str, float] = field(default_factory=dict)
    day: str = ""
    month: str = ""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Prospect:
    """What a guarded plan rests on beside its problem.

    Attributes:
        median_kw: [steps] net load of the forecast.
        paths_kw: [paths, steps] net load as it may come.
        days_kw: [days, steps] net load of days past, from the same hour on; what happened may happen again.
        day: local date of the plan's begin.
        month: label of its billing month.
        days_left: of that month.
        aims: chosen last; None before the first.
    """

    median_kw: Array
    paths_kw: Array
    days_kw: Array
    day: str = ""
    month: str = ""
    days_left: float = 0.0
    aims: Aims | None = None

    def __post_init__(self) -> None:
        for name in ("median_kw", "paths_kw", "days_kw"):
            object.__setattr__(self, name, frozen(getattr(self, name)))

    @property
    def standing(self) -> Aims:
        """The aims as they stand: those of another billing month are none."""
        if self.aims is not None and self.aims.month == self.month:
            return self.aims
        return Aims(month=self.month)


def prospect(
    tariff: Tariff,
    start_ms: int,
    median_kw: Array,
    past_kw: Array,
    medians_before: Mapping[int, Array],
    *,
    step_s: int,
    aims: Aims | None,
) -> Prospect | None:
    """Return the prospect of a plan; None as long as less than a week of load is known, or where no whole day is ahead.

    What is aimed at for a month cannot be seen in a part of a day.

    Args:
        tariff: whose billing month and local day count.
        start_ms: of the plan.
        median_kw: [steps] of its forecast.
        past_kw: [T] net load of the steps up to its start, up to `PAST_DAYS`; NaN where unknown.
        medians_before: of the forecasts that began this many days before, their medians, [steps] or longer. Where
            there are less than a week of them, seasonal naive stands in for them.
        step_s: length of a step.
        aims: chosen last.
    """
    per_day = 86_400 // step_s
    known = _ways(median_kw, past_kw, medians_before, per_day) if len(median_kw) >= per_day else None
    if known is None:
        return None
    month = tariff.month_at(start_ms)
    return Prospect(
        median_kw=median_kw,
        paths_kw=paths_kw(median_kw, *known),
        days_kw=known[1],
        day=f"{to_local(start_ms, tariff.zone).date()}",
        month=month.label,
        days_left=(month.end_ms - start_ms) / _DAY_MS,
        aims=aims,
    )


def paths_kw(median_kw: Array, errors_kw: Array, days_kw: Array) -> Array:
    """Return how the load may come: [paths, steps]. It stays within what the plant drew on the days past.

    Args:
        median_kw: [steps] of the forecast.
        errors_kw: [paths, steps] load less median, of earlier forecasts from the same time of day.
        days_kw: [days, steps] net load of days past.
    """
    highest = max(float(days_kw.max()), float(median_kw.max()))
    paths: Array = np.clip(median_kw + errors_kw, min(float(days_kw.min()), float(median_kw.min())), highest)
    return paths


def _ways(
    median_kw: Array, past_kw: Array, medians_before: Mapping[int, Array], per_day: int
) -> tuple[Array, Array] | None:
    """Return errors [paths, steps] and days [days, steps] of which the whole truth is known.

    What little is unknown of a day is taken to be the median, and no error.
    """
    steps = len(median_kw)
    truths = {}
    for back in range(-(-steps // per_day), HISTORY_DAYS + 1):
        truth = _from(past_kw, back * per_day, steps)
        if truth is not None and np.isfinite(truth).mean() >= _LEAST_KNOWN:
            truths[back] = truth
    if len(truths) < _LEAST:
        return None
    errors = [
        truth - medians_before[back][:steps]
        for back, truth in truths.items()
        if back in medians_before and len(medians_before[back]) >= steps
    ]
    if len(errors) < _LEAST:
        weeks = {back: _from(past_kw, (back + _WEEK) * per_day, steps) for back in truths}
        errors = [truths[back] - week for back, week in weeks.items() if week is not None]
    days = np.stack(list(truths.values()))
    return np.nan_to_num(np.stack(errors or [np.zeros(steps)])), np.where(np.isfinite(days), days, median_kw)


def _from(past_kw: Array, back: int, steps: int) -> Array | None:
    """Return the steps that begin so many steps before the end; None where they reach beyond what is there."""
    begin = len(past_kw) - back
    return past_kw[begin : begin + steps] if begin >= 0 else None
