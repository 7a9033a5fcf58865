"""Which peak is worth aiming at in the rest of a billing month: the lower it is, the less is left for trading.

Decides once a local day; between, what was aimed at stands. The battery of every plan is then run by what stored
energy is worth under these aims. Pure, but for the solver that it is given.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from agent.planning.schedule.parts import Array, DemandCharge
from agent.planning.schedule.policy import Policy, followed_plan
from agent.planning.schedule.pricing import price_plan
from agent.planning.schedule.problem import Plan, Problem
from agent.planning.schedule.prospect import Aims, Bools, Prospect
from agent.planning.schedule.rules import do_nothing
from agent.planning.schedule.value import cost_to_go, levels_kwh
from agent.planning.schedule.words import peak_amount

_AIMS = 9
_TOLD = 0.01  # of an aim: what changes by less is not told
_DAY_S = 86_400
_WHOLE = 0.9  # of a window's times of day, in view: where the clocks change an hour of it may be missing
_MOST_STEPS = 672  # that aims are judged by: a week of quarter-hours
_OF_LOADS = ("load ", "to run all as asked, ")  # so begin the notes on what a load keeps or gives up


@dataclass(frozen=True, slots=True, eq=False)
class Guarded:
    """A plan whose battery follows a policy, and the aims that it rests on; the plan answers the policy's problem."""

    plan: Plan
    aims: Aims
    policy: Policy


def guarded_plan(problem: Problem, prospect: Prospect, solve: Callable[[Problem], Plan]) -> Guarded:
    """Make a plan whose battery follows a policy; where aims are due they are chosen before.

    Args:
        problem: with its battery; its demand charges hold the peaks so far.
        prospect: how the load may come.
        solve: makes plans; asked only where there are loads to place.
    """
    aims = choose_aims(problem, prospect) if is_due(problem, prospect) else prospect.standing
    return plan_aimed(problem, prospect, aims, solve)


def is_due(problem: Problem, prospect: Prospect) -> bool:
    """Return whether aims are to be chosen: once a local day, so with each month; and for a charge without one yet.

    One of which nothing is in view (of another season, on a weekend) gets none: it waits for its window.
    """
    aims = prospect.standing
    seen = {charge.name for charge in problem.demand if charge.month == prospect.month and charge.counts.any()}
    return bool(seen - aims.peaks_kw.keys()) or aims.day != prospect.day


def plan_aimed(problem: Problem, prospect: Prospect, aims: Aims, solve: Callable[[Problem], Plan]) -> Guarded:
    """Make a plan whose battery follows a policy, on given aims; see `guarded_plan`."""
    given = aimed(problem, aims)
    placed = solve(given) if given.loads else do_nothing(given)
    median_kw = given.load_kw + placed.loads_kw.sum(axis=0) - given.pv_kw
    policy = Policy(given, cost_to_go(given, _ways_kw(median_kw, prospect), median_kw))
    return Guarded(followed_plan(policy, placed.loads_kw, *_of_loads(given, placed)), aims, policy)


def choose_aims(problem: Problem, prospect: Prospect) -> Aims:
    """Return aims for the rest of the month: those of which demand and the days that are left cost least together.

    A day costs what the cost to go grows by over a day; load above the aims is in it. All aims lie below the highest
    load of their window on the days past by the same: the battery serves all charges at once. A charge that is not in
    view keeps what was aimed at this month. So does one of whose window a part is in view, as the part is held more
    easily than the whole; where there is no such aim yet, none of it is shaved until the whole is.

    Args:
        problem: of the days ahead, as of `guarded_plan`.
        prospect: as of `guarded_plan`.
    """
    problem, prospect = judged(problem, prospect)
    battery = problem.battery
    assert battery is not None  # noqa: S101 - there is nothing to aim with
    ways_kw = _ways_kw(problem.load_kw - problem.pv_kw, prospect)
    days_kw = ways_kw[len(prospect.paths_kw) :]
    first = {charge.name: charge for charge in reversed(problem.demand)}  # of the months of a charge the first counts
    counts = {charge.name: np.zeros(problem.steps, dtype=np.bool_) for charge in problem.demand}
    for charge in problem.demand:
        counts[charge.name] |= charge.counts
    windows = {name: one | prospect.windows.get(name, one) for name, one in counts.items() if one.any()}
    highest = {name: float(days_kw[:, window].max()) for name, window in windows.items()}
    per_day = _DAY_S // problem.step_s
    waits = {
        name: prospect.standing.peaks_kw.get(name, highest[name])
        for name, window in windows.items()
        if not _is_whole(counts[name], window, per_day)
    }
    times = prospect.days_left / (problem.steps * problem.step_s / _DAY_S)
    levels, stored = levels_kwh(battery), battery.initial_soc * battery.capacity_kwh

    def cost(aims: Aims) -> float:
        to_go = cost_to_go(aimed(problem, aims), ways_kw)
        peaks = (first[name].per_kw * max(kw, first[name].floor_kw) for name, kw in aims.peaks_kw.items())
        return times * float(np.interp(stored, levels, to_go[0] - to_go[-1])) + sum(peaks)

    depths = np.linspace(0, battery.discharge_kw, _AIMS if windows.keys() - waits.keys() else 1).tolist()
    trials = [
        Aims(peaks_kw={name: max(kw - depth, 0.0) for name, kw in highest.items()} | waits, month=prospect.month)
        for depth in depths
    ]
    best = min(trials, key=cost)
    return dataclasses.replace(best, peaks_kw={**prospect.standing.peaks_kw, **best.peaks_kw}, day=prospect.day)


def aimed(problem: Problem, aims: Aims) -> Problem:
    """Return the problem with demand up to the aims at no cost; a month that has not begun has no other peak yet.

    What may come is in the ways of the load: a margin on demand would guard the same deviation twice.
    """

    def free(charge: DemandCharge) -> DemandCharge:
        free_kw = max(charge.free_kw, aims.peaks_kw.get(charge.name, 0.0))
        so_far_kw = charge.peak_so_far_kw if charge.month == aims.month or charge.name not in aims.peaks_kw else 0.0
        return dataclasses.replace(charge, free_kw=free_kw, peak_so_far_kw=so_far_kw)

    return dataclasses.replace(problem, demand=tuple(free(charge) for charge in problem.demand), margin_on_demand=False)


def aims_told(problem: Problem, before: Aims | None, aims: Aims) -> Iterator[str]:
    """Say in words where something else is aimed at than before; `problem` holds the peaks so far."""
    known = before.peaks_kw if before is not None and before.month == aims.month else {}
    for charge in problem.demand:
        kw = aims.peaks_kw.get(charge.name)
        if kw is None or charge.month != aims.month or abs(kw - known.get(charge.name, 0.0)) <= _TOLD * kw:
            continue
        if kw > charge.floor_kw:
            paid = f", of which {peak_amount(charge.floor_kw)} kW are paid for already" if charge.floor_kw else ""
            yield f"aims to keep the peak of {charge.name!r} at {peak_amount(kw)} kW this month{paid}"
        elif known.get(charge.name, math.inf) > charge.floor_kw:
            paid = f"{peak_amount(charge.floor_kw)} kW this month, which is paid for in any case"
            yield f"aims to keep the peak of {charge.name!r} at {paid}"


def _of_loads(problem: Problem, placed: Plan) -> Iterator[str]:
    """Return the notes of a plan that hold for its loads alone, and why they were placed by rules."""
    broken = price_plan(problem, placed).violations
    for note in placed.notes:
        if note.startswith(_OF_LOADS) or (placed.source == "rules" and note not in broken):
            yield note


def _is_whole(counts: Bools, window: Bools, per_day: int) -> bool:
    """Return whether a charge counts, on some day in view, at every time of day that its window has."""
    at = np.arange(len(counts)) % per_day
    seen, wanted = (np.bincount(at, weights=steps, minlength=per_day) > 0 for steps in (counts, window))
    return bool((seen & wanted).sum() >= _WHOLE * wanted.sum())


def judged(problem: Problem, prospect: Prospect) -> tuple[Problem, Prospect]:
    """Return both in the steps that aims are judged in: intervals of the demand, or longer ones where they are many.

    Loads are a part of the load then, where nobody plans them.
    """
    usual_kw = do_nothing(problem).loads_kw.sum(axis=0)
    problem = dataclasses.replace(problem, load_kw=problem.load_kw + usual_kw, loads=())
    size = math.gcd(*(max(charge.interval_s // problem.step_s, 1) for charge in problem.demand)) or 1
    while problem.steps > size * _MOST_STEPS:
        size *= 2
    if size == 1:
        return problem, prospect
    count = problem.steps // size

    def mean(values: Array) -> Array:
        means: Array = values[..., : count * size].reshape(*values.shape[:-1], count, size).mean(axis=-1)
        return means

    def some(values: Bools) -> Bools:
        found: Bools = values[: count * size].reshape(count, size).max(axis=-1)
        return found

    longer = dataclasses.replace(
        problem,
        step_s=problem.step_s * size,
        demand=tuple(dataclasses.replace(charge, counts=some(charge.counts)) for charge in problem.demand),
        **_each(problem, mean),
    )
    windows = {name: some(window) for name, window in prospect.windows.items()}
    return longer, dataclasses.replace(prospect, windows=windows, **_each(prospect, mean))


def _each(of: Problem | Prospect, change: Callable[[Array], Array]) -> dict[str, Any]:
    """Return its arrays, changed, by name."""
    values = {entry.name: getattr(of, entry.name) for entry in dataclasses.fields(of)}
    return {name: change(value) for name, value in values.items() if isinstance(value, np.ndarray)}


def _ways_kw(median_kw: Array, prospect: Prospect) -> Array:
    """Return paths and days, moved by what the plan's loads draw beside what the forecast holds of them."""
    ways: Array = np.concatenate([prospect.paths_kw, prospect.days_kw]) + (median_kw - prospect.median_kw)
    return ways
