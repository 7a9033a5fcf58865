"""What to give up when not all wishes can be met: the least that makes a plan possible, in words.

Decides what counts as least: the battery's end gives way first, then a load's window, then a part of a load, and the
site limit last, since it trips a breaker. Two things are said: by how much the limit is short if all is to run as
asked, and what the plan that keeps it gives up.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np

from agent.planning.schedule.highs import minimise
from agent.planning.schedule.loadmodel import Give, LoadColumns
from agent.planning.schedule.model import Model, Yields, build
from agent.planning.schedule.parts import Array, Deferrable, Load
from agent.planning.schedule.problem import Problem
from agent.planning.schedule.words import amount, clock, duration, peak_amount, spans

_LIMITS = Yields(over_per_kwh=1.0, soc_per_kwh=None, loads=None)
_ALL = Yields(over_per_kwh=1000.0, soc_per_kwh=1.0, loads=Give(short_per_kwh=100.0, late_per_kwh=3.0))
_DUST = 1e-4  # kW or kWh
_ROOM = 1e-3  # kW or kWh: binaries that are nearly whole must not make it impossible again
_GAP = 1e-2


@dataclasses.dataclass(frozen=True, slots=True)
class Relaxed:
    """A problem that can be met; `kept` are the loads that it still has, `notes` say what was given up."""

    problem: Problem
    kept: tuple[int, ...]
    notes: tuple[str, ...]


def relax(problem: Problem, *, limit_s: float, threads: int) -> Relaxed | None:
    """Give up the least; None where even that was not found in time."""
    found = _solve(problem, _ALL, limit_s / 2, threads)
    if found is None:
        return None
    model, point = found
    notes = list(_over_words(problem, model, point, "whatever is moved, "))
    asked = _solve(problem, _LIMITS, limit_s / 2, threads)
    if asked is not None:
        notes += [note for note in _over_words(problem, *asked, "to run all as asked, ") if not notes]
    loads, kept = [], []
    for index, (load, columns) in enumerate(zip(problem.loads, model.loads, strict=True)):
        eased, words = _ease(problem, load, columns, point)
        notes += words
        if eased is not None:
            loads.append(eased)
            kept.append(index)
    battery = problem.battery
    short_kwh = float(point[model.short].sum())
    if battery is not None and short_kwh > _DUST:
        least = min(battery.min_soc, battery.initial_soc)
        end = max(battery.end_soc - (short_kwh + _ROOM) / battery.capacity_kwh, least)
        notes.append(f"the battery ends at {end:.0%} instead of {battery.end_soc:.0%}")
        battery = dataclasses.replace(battery, final_soc=end, min_soc=min(battery.min_soc, end))
    eased_problem = dataclasses.replace(
        problem,
        loads=tuple(loads),
        battery=battery,
        site_limit_kw=problem.site_limit_kw + point[model.over_in] + _ROOM,
        export_limit_kw=problem.export_limit_kw + point[model.over_out] + _ROOM,
    )
    return Relaxed(eased_problem, tuple(kept), tuple(notes))


def _solve(problem: Problem, yields: Yields, limit_s: float, threads: int) -> tuple[Model, Array] | None:
    model = build(problem, yields)
    solved = minimise(model.milp, gap=_GAP, limit_s=limit_s, threads=threads)
    return None if solved.point is None else (model, solved.point)


def _over_words(problem: Problem, model: Model, point: Array, when: str) -> Iterator[str]:
    for columns, limit_kw, what in (
        (model.over_in, problem.site_limit_kw, "site limit"),
        (model.over_out, problem.export_limit_kw, "export limit"),
    ):
        over = point[columns]
        if (mask := over > _DUST).any():
            limit, short = peak_amount(float(limit_kw[int(np.argmax(over))])), amount(float(over.max()))
            yield f"{when}the {what} of {limit} kW is short by {short} kW {spans(problem, mask)}"


def _ease(problem: Problem, load: Load, columns: LoadColumns, point: Array) -> tuple[Load | None, list[str]]:
    """Return the load as it is met, or None where it is left out; and what that means."""
    name, end = f"load {load.name!r}", load.end(problem.steps)
    used = np.concatenate([step[point[column] > 0.5] for step, column, _ in columns.entries])
    if not len(used):
        return None, [f"{name} is left out"]
    notes = []
    over = int(used.max()) + 1
    if not isinstance(load, Deferrable) and load.start_by is not None:
        step, column, _ = columns.entries[0]
        begins = int(step[point[column] > 0.5].min())
        if begins > load.start_by:
            longer = duration((begins - load.start_by) * problem.step_s)
            notes.append(f"{name} goes on at {clock(problem, begins)}, {longer} after its longest pause")
            load = dataclasses.replace(load, start_by=begins)
    if over > end:
        late = duration((over - end) * problem.step_s)
        notes.append(f"{name} ends at {clock(problem, over)}, {late} late")
        load = dataclasses.replace(load, latest=over)
    if isinstance(load, Deferrable) and load.breakable and len(used) < load.steps:
        asked, runs = duration(load.steps * problem.step_s), duration(len(used) * problem.step_s)
        notes.append(f"{name} runs {runs} instead of {asked}")
        load = dataclasses.replace(load, steps=len(used))
    return load, notes
