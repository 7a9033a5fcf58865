"""What is left of the loads after some steps have passed: the start of the next problem of a receding horizon.

Decides that what has begun goes on: a load that runs whole keeps running, a sequence keeps its order and pauses. What
missed its window is not dropped: it gets the time that it needs, and a note.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from agent.planning.schedule.parts import Array, Deferrable, Load, Sequence, Stage
from agent.planning.schedule.problem import Problem

_DUST_KW = 1e-3


def remaining_loads(problem: Problem, executed_kw: Array, steps: int) -> tuple[tuple[Load, ...], tuple[str, ...]]:
    """Return the loads still to run, with times counted from the end of what was executed.

    Args:
        problem: the problem that was being carried out.
        executed_kw: power that each of its loads had in the first steps: shape (loads, passed).
        steps: length of the problem to come.

    Returns:
        The loads, and notes on those that can no longer keep their window.
    """
    loads, notes = [], []
    for load, power in zip(problem.loads, np.atleast_2d(executed_kw), strict=True):
        left = _deferrable(load, power) if isinstance(load, Deferrable) else _sequence(load, power)
        if left is None:
            continue
        end = left.end(steps)
        needed = left.earliest + left.steps
        if needed > steps:
            notes.append(f"load {load.name!r} cannot be done within the plan")
            continue
        if end < needed or end > steps:
            if end < needed:
                notes.append(f"load {load.name!r} can no longer be done in its window")
            left = dataclasses.replace(left, latest=min(max(end, needed), steps))
        loads.append(left)
    return tuple(loads), tuple(notes)


def has_begun(load: Load) -> bool:
    """Whether what is left of a load is the rest of a run that has begun."""
    if isinstance(load, Deferrable):
        return load.on_before > 0 or load.off_before is not None
    return load.running or load.start_by is not None


def _shifted(load: Load, passed: int) -> tuple[int, int | None]:
    return max(load.earliest - passed, 0), None if load.latest is None else load.latest - passed


def _deferrable(load: Deferrable, power: Array) -> Deferrable | None:
    passed = len(power)
    on = power > load.power_kw / 2
    left = load.steps - int(on.sum())
    if left <= 0:
        return None
    off = np.flatnonzero(~on)
    on_before = passed - 1 - int(off[-1]) if len(off) else passed + load.on_before
    off_before = None
    if not on_before and on.any():
        off_before = passed - 1 - int(np.flatnonzero(on)[-1])
    elif not on_before and (load.on_before or load.off_before is not None):
        off_before = passed + (load.off_before or 0)
    earliest, latest = _shifted(load, passed)
    return dataclasses.replace(
        load,
        steps=left,
        earliest=earliest,
        latest=latest,
        usual=None,
        on_before=on_before,
        off_before=None if off_before is not None and off_before >= load.min_off else off_before,
        # A run that was broken off cannot be made whole: what is left of it is one run.
        min_on=load.min_on if on_before else min(load.min_on, left),
    )


def _sequence(load: Sequence, power: Array) -> Sequence | None:
    passed = len(power)
    earliest, latest = _shifted(load, passed)
    drawing = np.flatnonzero(power > _DUST_KW)
    if not len(drawing) and not load.running:
        start_by = None if load.start_by is None else max(load.start_by - passed, earliest)
        return dataclasses.replace(load, earliest=earliest, latest=latest, usual=None, start_by=start_by)
    at = 0 if load.running else int(drawing[0]) - _leading_zeros(load.stages[0])
    stages = list(load.stages)
    while stages:
        stage = stages[0]
        end = at + len(stage.profile_kw)
        if end > passed:
            rest = Stage(profile_kw=stage.profile_kw[passed - at :])
            return dataclasses.replace(
                load, stages=(rest, *stages[1:]), earliest=0, latest=latest, usual=None, running=True, start_by=None
            )
        stages.pop(0)
        if not stages:
            return None
        later = drawing[drawing >= end]
        if not len(later):
            waited = passed - end
            begin = max(stages[0].min_gap - waited, 0)
            by = max(stages[0].max_gap - waited, begin)
            return dataclasses.replace(
                load, stages=tuple(stages), earliest=begin, latest=latest, usual=None, running=False, start_by=by
            )
        at = int(later[0]) - _leading_zeros(stages[0])
    return None


def _leading_zeros(stage: Stage) -> int:
    return int(np.argmax(np.array(stage.profile_kw) > _DUST_KW))
