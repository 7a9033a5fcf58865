"""Which peak is worth aiming at in the rest of a billing month: the lower it is, the less is left for trading.

Decides once a local day; between, what was aimed at stands. The battery of every plan is then run by what stored
energy is worth under these aims. Pure, but for the solver that it is given.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from agent.planning.schedule.parts import Array, DemandCharge
from agent.planning.schedule.policy import Policy, followed_plan
from agent.planning.schedule.pricing import price_plan
from agent.planning.schedule.problem import Plan, Problem
from agent.planning.schedule.prospect import Aims, Prospect
from agent.planning.schedule.rules import do_nothing
from agent.planning.schedule.value import cost_to_go, levels_kwh
from agent.planning.schedule.words import peak_amount

_AIMS = 9
_TOLD = 0.01  # of an aim: what changes by less is not told
_DAY_S = 86_400
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
    """Return whether aims are to be chosen: once a local day, so with each month; and for a charge without one yet."""
    aims = prospect.standing
    new = any(charge.month == prospect.month and charge.name not in aims.peaks_kw for charge in problem.demand)
    return new or aims.day != prospect.day


def plan_aimed(problem: Problem, prospect: Prospect, aims: Aims, solve: Callable[[Problem], Plan]) -> Guarded:
    """Make a plan whose battery follows a policy, on given aims; see `guarded_plan`."""
    given = aimed(problem, aims)
    placed = solve(given) if given.loads else do_nothing(given)
    policy = Policy(given, cost_to_go(given, _ways_kw(given, placed.loads_kw, prospect)))
    return Guarded(followed_plan(policy, placed.loads_kw, *_of_loads(given, placed)), aims, policy)


def choose_aims(problem: Problem, prospect: Prospect) -> Aims:
    """Return aims for the rest of the month: those of which demand and the days that are left cost least together.

    A day costs what the cost to go grows by over a day; load above the aims is in it. All aims lie below the highest
    load of their window on the days past by the same: the battery serves all charges at once. A charge that is not in
    view keeps what was aimed at this month.

    Args:
        problem: of the days ahead, as of `guarded_plan`.
        prospect: as of `guarded_plan`.
    """
    battery = problem.battery
    assert battery is not None  # noqa: S101 - there is nothing to aim with
    ways_kw = _ways_kw(problem, do_nothing(problem).loads_kw, prospect)
    days_kw = ways_kw[len(prospect.paths_kw) :]
    first = {charge.name: charge for charge in reversed(problem.demand)}  # of the months of a charge the first counts
    highest: dict[str, float] = {}
    for charge in problem.demand:
        if charge.counts.any():
            highest[charge.name] = max(highest.get(charge.name, -math.inf), float(days_kw[:, charge.counts].max()))
    times = prospect.days_left / (problem.steps * problem.step_s / _DAY_S)
    levels, stored = levels_kwh(battery), battery.initial_soc * battery.capacity_kwh

    def cost(aims: Aims) -> float:
        to_go = cost_to_go(aimed(problem, aims), ways_kw)
        peaks = (first[name].per_kw * max(kw, first[name].floor_kw) for name, kw in aims.peaks_kw.items())
        return times * float(np.interp(stored, levels, to_go[0] - to_go[-1])) + sum(peaks)

    depths = np.linspace(0, battery.discharge_kw, _AIMS).tolist()
    trials = [
        Aims(peaks_kw={name: max(kw - depth, 0.0) for name, kw in highest.items()}, month=prospect.month)
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


def _ways_kw(problem: Problem, loads_kw: Array, prospect: Prospect) -> Array:
    """Return paths and days, moved by what the plan's loads draw beside what the forecast holds of them."""
    moved = problem.load_kw + loads_kw.sum(axis=0) - problem.pv_kw - prospect.median_kw
    ways: Array = np.concatenate([prospect.paths_kw, prospect.days_kw]) + moved
    return ways
