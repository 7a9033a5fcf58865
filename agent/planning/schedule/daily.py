"""Loads that come every day, in local time, as loads of a problem in steps.

Decides which days' runs a problem holds: those whose whole window it can see, so that a run is planned once its end is
in view and never half. A day of 23 or 25 hours moves nothing: windows are wall-clock times.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import math
from collections.abc import Iterator
from dataclasses import dataclass

from agent.contract.zones import to_local
from agent.planning.schedule.parts import Array, Deferrable, Load, Sequence, Stage
from agent.planning.schedule.rules import unbroken_kw

_DAY_MIN = 1440


@dataclass(frozen=True, slots=True, kw_only=True)
class DailyStage:
    """A piece that runs whole, and the pause before it."""

    power_kw: float
    minutes: int
    min_pause_minutes: int = 0
    max_pause_minutes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Daily:
    """A load that runs once on each of some weekdays (0 = Monday), within a window of local time.

    Attributes:
        stages: one, or several in order.
        from_min, to_min: the window, in minutes of the day; one that ends before it begins ends on the next day.
        usual_min: when it starts if nobody plans; then its run is a part of the plant's forecast.
    """

    name: str
    stages: tuple[DailyStage, ...]
    from_min: int = 0
    to_min: int = _DAY_MIN
    usual_min: int | None = None
    weekdays: frozenset[int] = frozenset(range(7))
    breakable: bool = False
    min_on_minutes: int = 0
    min_off_minutes: int = 0

    @property
    def window_min(self) -> int:
        """Length of the window."""
        return (self.to_min - self.from_min - 1) % _DAY_MIN + 1

    @property
    def run_min(self) -> int:
        """Shortest time from its start to its end."""
        return sum(stage.minutes + stage.min_pause_minutes * (n > 0) for n, stage in enumerate(self.stages))


@dataclass(frozen=True, slots=True)
class Occurrence:
    """One day's run.

    Attributes:
        load: in the steps of the problem; None where the problem does not see its whole window, or too little of it is
            left.
        usual: step of its usual start, which may lie before the problem or behind it; None: it has none.
        has_begun: whether its window began before the problem.
        end: step before which its window ends; it may lie behind the problem.
        unbroken_kw: its power, step by step, when it runs without needless pauses.
    """

    name: str
    load: Load | None
    usual: int | None
    has_begun: bool
    end: int
    unbroken_kw: Array


def occurrences(daily: Daily, zone: dt.tzinfo, start_ms: int, step_s: int, steps: int) -> Iterator[Occurrence]:
    """Yield the runs whose windows touch the problem."""
    step_ms = step_s * 1000
    first = to_local(start_ms, zone).date() - dt.timedelta(days=1)
    last = to_local(start_ms + steps * step_ms, zone).date()
    for offset in range((last - first).days + 1):
        date = first + dt.timedelta(days=offset)
        if date.weekday() not in daily.weekdays:
            continue
        begin_ms = _at_ms(date, daily.from_min, zone)
        end_ms = _at_ms(date, daily.from_min + daily.window_min, zone)
        begin, end = -((start_ms - begin_ms) // step_ms), (end_ms - start_ms) // step_ms
        if end <= 0 or begin >= steps:
            continue
        usual = None
        if daily.usual_min is not None:
            later = (daily.usual_min - daily.from_min) % _DAY_MIN
            usual = (_at_ms(date, daily.from_min + later, zone) - start_ms) // step_ms
        load = _load(daily, f"{daily.name} {date}", max(begin, 0), end, step_s)
        profile = unbroken_kw(load)
        if end > steps or end - load.earliest < load.steps:
            yield Occurrence(load.name, None, usual, begin < 0, end, profile)
            continue
        if usual is not None and load.earliest <= usual <= end - load.steps:
            load = dataclasses.replace(load, usual=usual)
        yield Occurrence(load.name, load, usual, begin < 0, end, profile)


def _at_ms(date: dt.date, minute: int, zone: dt.tzinfo) -> int:
    day, minute = date + dt.timedelta(days=minute // _DAY_MIN), minute % _DAY_MIN
    local = dt.datetime.combine(day, dt.time(minute // 60, minute % 60), tzinfo=zone)
    return round(local.timestamp() * 1000)


def _load(daily: Daily, name: str, begin: int, end: int, step_s: int) -> Load:
    def count(minutes: int) -> int:
        return math.ceil(minutes * 60 / step_s)

    if len(daily.stages) == 1:
        (stage,) = daily.stages
        return Deferrable(
            name=name,
            power_kw=stage.power_kw,
            steps=count(stage.minutes),
            earliest=begin,
            latest=end,
            breakable=daily.breakable,
            min_on=min(max(count(daily.min_on_minutes), 1), count(stage.minutes)),
            min_off=max(count(daily.min_off_minutes), 1),
        )
    stages = tuple(
        Stage(
            profile_kw=(stage.power_kw,) * count(stage.minutes),
            min_gap=count(stage.min_pause_minutes),
            max_gap=max(count(stage.min_pause_minutes), stage.max_pause_minutes * 60 // step_s),
        )
        for stage in daily.stages
    )
    return Sequence(name=name, stages=stages, earliest=begin, latest=end)
