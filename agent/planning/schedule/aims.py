"""Which peak is worth aiming at in the rest of a billing month: the lower it is, the less is left for trading.

Decides once a local day; between, what was aimed at stands. Every plan is then made with what is aimed at, and with the
reserve that its guard keeps. Pure, but for the solver that it is given.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from agent.planning.schedule.guard import Guard, guard, is_held
from agent.planning.schedule.parts import Array, DemandCharge
from agent.planning.schedule.pricing import price_plan
from agent.planning.schedule.problem import Plan, Problem
from agent.planning.schedule.prospect import Aims, Prospect

_AIMS = 6
_INSURED = (0.5, 0.25)  # of the battery's power
_PREMIUM = 0.1  # of the demand at stake, in a month
_TOLD = 0.01  # of an aim: what changes by less is not told
_DAY_S = 86_400
MOST_SOLVED = _AIMS + len(_INSURED) + 1  # problems for one guarded plan, its own included


@dataclass(frozen=True, slots=True, eq=False)
class Guarded:
    """A plan whose peak is guarded, the problem that it answers (aims and reserve in it), and what that rests on."""

    problem: Problem
    plan: Plan
    aims: Aims
    guard: Guard


def guarded_plan(problem: Problem, prospect: Prospect, solve: Callable[[Problem], Plan]) -> Guarded:
    """Make a plan that keeps the reserve of its guard; where aims are due they are chosen before.

    Args:
        problem: with its battery; its demand charges hold the peaks so far.
        prospect: how the load may come.
        solve: makes plans.
    """
    aims = choose_aims(problem, prospect, solve) if is_due(problem, prospect) else prospect.standing
    return plan_aimed(problem, prospect, aims, solve)


def is_due(problem: Problem, prospect: Prospect) -> bool:
    """Return whether aims are to be chosen: once a local day, so with each month; and for a charge without one yet."""
    aims = prospect.standing
    new = any(charge.month == prospect.month and charge.name not in aims.peaks_kw for charge in problem.demand)
    return new or aims.day != prospect.day


def plan_aimed(problem: Problem, prospect: Prospect, aims: Aims, solve: Callable[[Problem], Plan]) -> Guarded:
    """Make a plan that keeps the reserve of its guard, on given aims; see `guarded_plan`."""
    aimed_at = aimed(problem, aims)
    watch = guard(aimed_at, prospect.paths_kw, prospect.days_kw, insured_kw=aims.insured_kw)
    kept = keeping(aimed_at, watch)
    return Guarded(kept, solve(kept), aims, watch)


def choose_aims(problem: Problem, prospect: Prospect, solve: Callable[[Problem], Plan]) -> Aims:
    """Return aims for the rest of the month. The lower they are, the less is left for trading.

    What peaks cost is their demand charges, and on each day left what the reserve for them takes from trading on the
    days ahead. The reserve is insured as far as that takes little from trading, measured by the demand at stake. A
    charge that is not in view keeps what was aimed at this month.

    Args:
        problem: of the days ahead, as of `guarded_plan`.
        prospect: as of `guarded_plan`.
        solve: makes plans.
    """
    battery, days_kw = problem.battery, prospect.days_kw
    assert battery is not None  # noqa: S101 - there is nothing to aim with
    first = {charge.name: charge for charge in reversed(problem.demand)}  # of the months of a charge the first counts
    days_ahead = problem.steps * problem.step_s / _DAY_S

    def cost(aims: Aims) -> float:
        trial = aimed(problem, aims)
        trial = keeping(trial, guard(trial, prospect.paths_kw, days_kw, insured_kw=aims.insured_kw))
        priced = price_plan(trial, solve(trial))
        energy = priced.import_cost - priced.export_income + priced.wear + priced.carbon
        peaks = (first[name].per_kw * max(kw, first[name].floor_kw) for name, kw in aims.peaks_kw.items())
        return prospect.days_left / days_ahead * energy + sum(peaks)

    lowest = holdable_kw(problem, days_kw)
    useless = max((float(days_kw[:, first[name].counts].max()) - kw for name, kw in lowest.items()), default=0.0)
    raised = np.linspace(0, useless, _AIMS).tolist()  # up to where nothing is left to shave
    trials = [Aims(peaks_kw={name: kw + more for name, kw in lowest.items()}, month=prospect.month) for more in raised]
    costs = [cost(trial) for trial in trials]
    best = trials[int(np.argmin(costs))]
    at_stake = battery.discharge_kw * sum(charge.per_kw for charge in first.values())
    for share in _INSURED:
        insured = dataclasses.replace(best, insured_kw=share * battery.discharge_kw)
        if cost(insured) <= min(costs) + _PREMIUM * at_stake:
            best = insured
            break
    peaks_kw = {**prospect.standing.peaks_kw, **best.peaks_kw}
    return dataclasses.replace(best, peaks_kw=peaks_kw, day=prospect.day)


def holdable_kw(problem: Problem, days_kw: Array) -> dict[str, float]:
    """Return the lowest peaks, by demand charge, that a battery full at the start of each day could have held.

    All lie below the highest load of their window by the same: the battery serves all charges at once.

    Args:
        problem: of the days ahead; its demand charges say which steps count.
        days_kw: [days, steps] net load of days past, each beginning at the hour of the problem.
    """
    battery, step_h = problem.battery, problem.step_h
    assert battery is not None  # noqa: S101 - there is nothing to hold with
    highest: dict[str, float] = {}
    for charge in problem.demand:
        if charge.counts.any():
            highest[charge.name] = max(highest.get(charge.name, -math.inf), float(days_kw[:, charge.counts].max()))
    low, high = 0.0, battery.discharge_kw
    for _ in range(16):
        depth = (low + high) / 2
        limit = np.full(problem.steps, np.inf)
        for charge in problem.demand:
            limit[charge.counts] = np.minimum(limit[charge.counts], highest[charge.name] - depth)
        holds = bool(is_held(days_kw, limit, battery.range_kwh[1], battery, step_h).all())
        low, high = (depth, high) if holds else (low, depth)
    return {name: kw - low for name, kw in highest.items()}


def aimed(problem: Problem, aims: Aims) -> Problem:
    """Return the problem with demand up to the aims at no cost; a month that has not begun has no other peak yet."""

    def free(charge: DemandCharge) -> DemandCharge:
        free_kw = max(charge.free_kw, aims.peaks_kw.get(charge.name, 0.0))
        so_far_kw = charge.peak_so_far_kw if charge.month == aims.month or charge.name not in aims.peaks_kw else 0.0
        return dataclasses.replace(charge, free_kw=free_kw, peak_so_far_kw=so_far_kw)

    return dataclasses.replace(problem, demand=tuple(free(charge) for charge in problem.demand))


def keeping(problem: Problem, watch: Guard) -> Problem:
    """Return the problem with the reserve of its guard, which stands in for a margin on the demand."""
    return dataclasses.replace(problem, reserve_kwh=watch.reserve_kwh, margin_on_demand=False)


def aims_told(problem: Problem, before: Aims | None, aims: Aims) -> Iterator[str]:
    """Say in words where something else is aimed at than before; `problem` holds the peaks so far."""
    known = before.peaks_kw if before is not None and before.month == aims.month else {}
    for charge in problem.demand:
        kw = aims.peaks_kw.get(charge.name)
        if kw is None or charge.month != aims.month or abs(kw - known.get(charge.name, 0.0)) <= _TOLD * kw:
            continue
        if kw > charge.floor_kw:
            paid = f"{charge.floor_kw:.4g} kW are paid for already"
            yield f"aims at {kw:.4g} kW of {charge.name!r} this month: {paid}"
        elif known.get(charge.name, math.inf) > charge.floor_kw:
            yield f"holds {charge.floor_kw:.4g} kW of {charge.name!r} this month, which is paid for anyway"
