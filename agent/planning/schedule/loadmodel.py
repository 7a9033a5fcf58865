"""Process loads as columns and rows of the program, in formulations whose relaxation is tight.

What runs whole is a choice among its starts; stages follow each other by "has begun by step t", two entries a row.
What may pause is a column a step, with aggregated rows for the shortest runs and pauses (Rajan and Takriti, 2005).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from agent.planning.schedule.milp import Builder, Indices
from agent.planning.schedule.parts import Array, Deferrable, Load, Stage


@dataclass(frozen=True, slots=True)
class Give:
    """What a load may give way by, and at which price: energy that it goes without, and steps beyond its window."""

    short_per_kwh: float
    late_per_kwh: float


@dataclass(frozen=True, slots=True)
class LoadColumns:
    """One load in the program: its power at a step is the sum of value * x[column] over the entries of the step.

    Attributes:
        entries: (step, column, value).
        turns: columns of consecutive steps, 1 where a run begins, with 0; or 1 where one ends, with the steps that all
            runs together last.
    """

    entries: list[tuple[Indices, Indices, Array]] = field(default_factory=list)
    turns: list[tuple[Indices, int]] = field(default_factory=list)

    def power_kw(self, point: Array, steps: int) -> Array:
        """Return the power of each step at a point of the program."""
        power = np.zeros(steps)
        for step, column, value in self.entries:
            power += np.bincount(step, weights=value * point[column], minlength=steps)
        return power


def add_load(builder: Builder, load: Load, steps: int, step_h: float, give: Give | None = None) -> LoadColumns:
    """Add a load's columns and rows; with `give`, it may come short or late."""
    if isinstance(load, Deferrable) and load.breakable:
        return _breakable(builder, load, steps, step_h, give)
    return _whole(builder, load, steps, step_h, give)


def stages_of(load: Load) -> tuple[Stage, ...]:
    """Return what runs whole as stages; those with a fixed pause between them are joined."""
    if isinstance(load, Deferrable):
        return (Stage(profile_kw=(load.power_kw,) * load.steps),)
    joined = [load.stages[0]]
    for stage in load.stages[1:]:
        before = joined[-1]
        if stage.min_gap == stage.max_gap:
            profile = before.profile_kw + (0.0,) * stage.min_gap + stage.profile_kw
            joined[-1] = Stage(profile_kw=profile, min_gap=before.min_gap, max_gap=before.max_gap)
        else:
            joined.append(stage)
    return tuple(joined)


def _goes_on(load: Load) -> bool:
    """Whether it runs already, and so must go on at once."""
    return load.on_before > 0 if isinstance(load, Deferrable) else load.running


def _last_start(load: Load, steps: int) -> int:
    """Return the last step at which the first stage may start."""
    if _goes_on(load):
        return 0
    last = load.end(steps) - load.steps
    return last if isinstance(load, Deferrable) or load.start_by is None else min(last, load.start_by)


def _whole(builder: Builder, load: Load, steps: int, step_h: float, give: Give | None) -> LoadColumns:
    """A binary a start and stage, one of which is 1 (or the load is left out, where it may give way)."""
    stages = stages_of(load)
    end = load.end(steps) if give is None else steps
    first, last = load.earliest, _last_start(load, steps)
    if give is not None and not _goes_on(load):
        last = steps - load.steps
    energy_kwh = step_h * sum(sum(stage.profile_kw) for stage in stages)
    left_out = None
    if give is not None:
        left_out = builder.columns(1, upper=1.0, cost=give.short_per_kwh * energy_kwh, integer=True)
    rest = load.steps
    entries: list[tuple[Indices, Indices, Array]] = []
    turns: list[tuple[Indices, int]] = []
    before: tuple[Indices, int, int] | None = None
    for stage in stages:
        length = len(stage.profile_kw)
        if before is not None:
            rest -= stage.min_gap
            last = min(before[1] + len(before[0]) - 1 + before[2] + stage.max_gap, end - rest)
            first = before[1] + before[2] + stage.min_gap
        rest -= length
        late = np.maximum(first + np.arange(last - first + 1) + length - load.end(steps), 0)
        if before is None and not isinstance(load, Deferrable) and load.start_by is not None:
            late = np.maximum(late, first + np.arange(last - first + 1) - load.start_by)
        cost = 0.0 if give is None else give.late_per_kwh * late * sum(stage.profile_kw) * step_h
        starts = builder.columns(last - first + 1, cost=cost, upper=1.0, integer=True)
        one = builder.rows(1, lower=1.0, upper=1.0)
        builder.add(one, starts, 1.0)
        if left_out is not None:
            builder.add(one, left_out, 1.0)
        step, column, value = np.broadcast_arrays(
            first + np.arange(len(starts))[:, None] + np.arange(length), starts[:, None], np.array(stage.profile_kw)
        )
        entries.append((step.ravel(), column.ravel(), value.ravel()))
        turns.append((starts, 0))
        if len(stages) > 1:
            begun = _begun(builder, starts)
            if before is not None:
                _follow(builder, before, (begun, first), stage)
            before = begun, first, length
    return LoadColumns(entries, turns)


def _begun(builder: Builder, starts: Indices) -> Indices:
    """Add "has begun by step t": the running sum of the starts."""
    begun = builder.columns(len(starts), upper=1.0)
    rows = builder.rows(len(starts), lower=0.0, upper=0.0)
    builder.add(rows, begun, 1.0)
    builder.add(rows[1:], begun[:-1], -1.0)
    builder.add(rows, starts, -1.0)
    return begun


def _follow(builder: Builder, before: tuple[Indices, int, int], this: tuple[Indices, int], stage: Stage) -> None:
    """Let a stage have begun by t only if the one before was over min_gap ago, and surely if max_gap ago."""
    earlier, earlier_first, length = before
    begun, first = this
    for gap, low, high in ((stage.min_gap, -np.inf, 0.0), (stage.max_gap, 0.0, np.inf)):
        at = first + np.arange(len(begun)) - length - gap - earlier_first  # in the columns of the one before
        rows = builder.rows(len(begun), lower=low, upper=high)
        builder.add(rows, begun, 1.0)
        builder.add(rows[at >= 0], earlier[np.minimum(at[at >= 0], len(earlier) - 1)], -1.0)


def _breakable(builder: Builder, load: Deferrable, steps: int, step_h: float, give: Give | None) -> LoadColumns:
    """A binary a step, "on"; with min_on or min_off two columns more, "turned on" and "turned off"."""
    end = load.end(steps) if give is None else steps
    step = np.arange(load.earliest, end)
    count = len(step)
    must = step < (load.min_on - load.on_before if load.on_before else 0)
    may = step >= (0 if load.off_before is None else load.min_off - load.off_before)
    step_kwh = load.power_kw * step_h
    late = 0.0 if give is None else give.late_per_kwh * step_kwh * np.maximum(step + 1 - load.end(steps), 0)
    on = builder.columns(count, cost=late, lower=must, upper=may | must, integer=True)
    needed = builder.rows(1, lower=load.steps, upper=load.steps)
    builder.add(needed, on, 1.0)
    if give is not None:
        builder.add(needed, builder.columns(1, cost=give.short_per_kwh * step_kwh, upper=load.steps), 1.0)
    entries = [(step, on, np.full(count, load.power_kw))]
    if load.min_on == load.min_off == 1:
        return LoadColumns(entries)
    up = builder.columns(count, upper=step + load.min_on <= end)
    down = builder.columns(count, upper=1.0)
    was_on = np.where(step == 0, float(load.on_before > 0), 0.0)
    rows = builder.rows(count, lower=was_on, upper=was_on)
    for columns, back, value in ((on, 0, 1.0), (on, 1, -1.0), (up, 0, -1.0), (down, 0, 1.0)):
        builder.add(rows[back:], columns[: count - back], value)
    for turned, length, side, limit in ((up, load.min_on, -1.0, 0.0), (down, load.min_off, 1.0, 1.0)):
        rows = builder.rows(count, upper=limit)
        builder.add(rows, on, side)
        for back in range(min(length, count)):
            builder.add(rows[back:], turned[: count - back], 1.0)
    return LoadColumns(entries, [(up, 0), (down, load.steps)])
