"""What the rest of a billing month is judged by: how the load may come, what it was, and what was aimed at so far.

Decides which days and which forecasts count: those of the last four weeks that begin at the same local time of day.
Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from agent.contract.slotcalendar import SlotCalendar
from agent.contract.tariff.tariff import Tariff
from agent.contract.zones import to_local
from agent.planning.billing.marginal import marginal_prices
from agent.planning.schedule.parts import Array, frozen

Bools = npt.NDArray[np.bool_]
HISTORY_DAYS = 28
PAST_DAYS = 36  # of load that are looked at: seasonal naive looks a week further back
_WEEK = 7
_LEAST = 7  # days that are known; forecasts whose truth is known
_LEAST_KNOWN = 0.9  # of a day
_DAY_S = 86_400


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
        days_kw: [days, steps] net load of days past, at the same local times; what happened may happen again.
        windows: bool [steps] by demand charge: whether it counts at this local time on some day of the week ahead.
        day: local date of the plan's begin.
        month: label of its billing month.
        days_left: of that month.
        aims: chosen last; None before the first.
    """

    median_kw: Array
    paths_kw: Array
    days_kw: Array
    windows: Mapping[str, Bools] = field(default_factory=dict)
    day: str = ""
    month: str = ""
    days_left: float = 0.0
    aims: Aims | None = None

    def __post_init__(self) -> None:
        for name in ("median_kw", "paths_kw", "days_kw"):
            object.__setattr__(self, name, frozen(getattr(self, name)))
        object.__setattr__(self, "windows", {name: frozen(one, bool) for name, one in self.windows.items()})

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
        medians_before: of the forecasts that began this many local days before, their medians, [steps] or longer.
            Where there are less than a week of them, seasonal naive stands in for them.
        step_s: length of a step.
        aims: chosen last.
    """
    steps, per_day = len(median_kw), 86_400 // step_s
    if steps < per_day:
        return None
    past = _Past(tariff.zone_name, start_ms, step_s, past_kw, steps)
    known = _ways(median_kw, past, medians_before)
    if known is None:
        return None
    month = tariff.month_at(start_ms)
    return Prospect(
        median_kw=median_kw,
        paths_kw=paths_kw(median_kw, *known),
        days_kw=known[1],
        windows=_windows(tariff, start_ms, step_s, steps),
        day=f"{to_local(start_ms, tariff.zone).date()}",
        month=month.label,
        days_left=(month.end_ms - start_ms) / (_DAY_S * 1000),
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


class _Past:
    """The load of the steps before a plan, by the wall clock: after the clocks were changed, days are no 24 h apart."""

    def __init__(self, zone_name: str, start_ms: int, step_s: int, past_kw: Array, steps: int) -> None:
        """Look up local times; the arguments are those of `prospect`, and the steps of the plan."""
        self.kw, self.steps, self.per_day = past_kw, steps, _DAY_S // step_s
        count = len(past_kw)
        calendar = SlotCalendar(zone_name, (), step_s, start_ms - count * step_s * 1000, count + steps)
        wall = (calendar.ordinal * _DAY_S + calendar.second_of_day) // step_s
        past, self._plan = wall[:count], wall[count:]
        self._first = int(wall[0])
        # By wall clock: which step it was; -1 where there was none, the first where there were two.
        self._at = np.full(int(wall.max()) - self._first + 1, -1)
        self._at[past[::-1] - self._first] = np.arange(count)[::-1]

    def _places(self, back: int) -> npt.NDArray[np.int64] | None:
        """Return the steps at the plan's local times so many days before; None where they begin before the first."""
        wanted = self._plan - back * self.per_day - self._first
        return None if wanted.min() < 0 else self._at[wanted]

    def day(self, back: int) -> Array | None:
        """Return the load [steps] at the plan's local times so many days before; NaN where there was no such time."""
        places = self._places(back)
        return None if places is None else np.where(places >= 0, self.kw[places], np.nan)

    def from_origin(self, back: int) -> Array | None:
        """Return the load [steps] that followed the plan's local time so many days before, step by step."""
        places = self._places(back)
        if places is None or places[0] < 0 or places[0] + self.steps > len(self.kw):
            return None
        return self.kw[places[0] : places[0] + self.steps]


def _ways(median_kw: Array, past: _Past, medians_before: Mapping[int, Array]) -> tuple[Array, Array] | None:
    """Return errors [paths, steps] and days [days, steps] of which the whole truth is known.

    What little is unknown of a day is taken to be the median, and no error.
    """
    steps = len(median_kw)
    truths = {}
    for back in range(-(-steps // past.per_day), HISTORY_DAYS + 1):
        truth = past.day(back)
        if truth is not None and np.isfinite(truth).mean() >= _LEAST_KNOWN:
            truths[back] = truth
    if len(truths) < _LEAST:
        return None
    came = {back: past.from_origin(back) for back in truths.keys() & medians_before.keys()}
    errors = [
        truth - medians_before[back][:steps]
        for back, truth in sorted(came.items())
        if truth is not None and len(medians_before[back]) >= steps
    ]
    if len(errors) < _LEAST:
        weeks = {back: past.day(back + _WEEK) for back in truths}
        errors = [truths[back] - week for back, week in weeks.items() if week is not None]
    days = np.stack(list(truths.values()))
    return np.nan_to_num(np.stack(errors or [np.zeros(steps)])), np.where(np.isfinite(days), days, median_kw)


def _windows(tariff: Tariff, start_ms: int, step_s: int, steps: int) -> dict[str, Bools]:
    """Return by charge whether it counts at the local time of each step, on some day of the week that has begun."""
    at = SlotCalendar(tariff.zone_name, (), step_s, start_ms, steps).second_of_day // step_s
    begin_ms = tariff.day_bounds_ms(start_ms)[0]
    return {name: window[at] for name, window in _week(tariff, begin_ms - begin_ms % (step_s * 1000), step_s).items()}


@lru_cache(maxsize=1)
def _week(tariff: Tariff, begin_ms: int, step_s: int) -> dict[str, Bools]:
    """Return by charge the local times of day, as steps of one, at which it counts within a week."""
    per_day = _DAY_S // step_s
    at = SlotCalendar(tariff.zone_name, (), step_s, begin_ms, _WEEK * per_day).second_of_day // step_s
    found: dict[str, Bools] = {}
    for term in marginal_prices(tariff, begin_ms, step_s, _WEEK * per_day).demand:
        found.setdefault(term.name, np.zeros(per_day, dtype=np.bool_))[at[term.counts]] = True
    return found
