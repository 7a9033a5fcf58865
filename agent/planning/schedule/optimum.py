"""The cheapest plan, or the best that the time allows.

Decides how the program is searched. The relaxation's bound is there soon and what costs time is a good plan: it is
sought first among the plans whose runs begin on the hour, then among those whose runs begin near by. Most often that
plan lies within the gap of the bound, and all is done; else the solver goes on from it.
"""

from __future__ import annotations

import dataclasses
import math
import time

import numpy as np

from agent.planning.schedule.highs import Solved, minimise
from agent.planning.schedule.milp import Milp
from agent.planning.schedule.model import Model, build, read
from agent.planning.schedule.parts import Array
from agent.planning.schedule.pricing import price_plan
from agent.planning.schedule.problem import Plan, Problem, plan_of
from agent.planning.schedule.relax import relax
from agent.planning.schedule.rules import cheaper_by_rules, do_nothing, rule_plan

_CENT_PART = 1e-6
_HOUR_S = 3600
_LEAST_S = 0.05
_SHARE_OF_TIME = 1 / 3  # of what is left, for each part: some is always left for the next
_SHARE_TO_POLISH = 1 / 20  # the same, where the plan lies within the gap already
_PART_OF_GAP = 0.5  # how exactly a part is searched
_POLISHED = 0.1  # part of the gap below which no plan is worth a search


def solve(problem: Problem, *, gap: float = 1e-3, limit_s: float = 10.0, threads: int = 1) -> Plan:
    """Return the cheapest plan within a relative gap, or the best found in `limit_s`; building is part of the time.

    Where not all wishes can be met, it is the cheapest plan of what can be met, and its notes say what was given up.
    Where the time was too short for any plan, it is one by rules.
    """
    until = time.monotonic() + limit_s
    status, plan = _search(problem, gap, until, threads)
    if status != "infeasible":
        return rule_plan(problem, f"the optimiser found no plan in {limit_s:g} s") if plan is None else plan
    relaxed = relax(problem, limit_s=(until - time.monotonic()) / 2, threads=threads)
    if relaxed is not None:
        _, plan = _search(relaxed.problem, gap, until, threads)
    if relaxed is None or plan is None:
        return rule_plan(problem, "not all wishes can be met, and the time was too short to find which")
    loads = np.zeros((len(problem.loads), problem.steps))
    loads[list(relaxed.kept)] = plan.loads_kw
    return dataclasses.replace(plan, loads_kw=loads, notes=(*relaxed.notes, *plan.notes))


def _search(problem: Problem, gap: float, until: float, threads: int) -> tuple[str, Plan | None]:
    model = build(problem)
    search = _Search(model, gap, until, threads)
    point = search.run(max(_HOUR_S // problem.step_s, 2))
    if point is None:
        return search.status, None
    plan = _settle(problem, read(problem, model, point))
    total = price_plan(problem, plan).total
    plan = dataclasses.replace(plan, objective=total, gap=search.gap_of(total))
    if plan.gap is None or plan.gap > gap:
        plan = cheaper_by_rules(problem, plan)
        plan = dataclasses.replace(plan, gap=search.gap_of(plan.objective))
    return search.status, plan


def _settle(problem: Problem, plan: Plan) -> Plan:
    """Leave each load where it usually runs if moving it saves nothing."""
    usual = do_nothing(problem).loads_kw
    priced = price_plan(problem, plan)
    for index in range(len(problem.loads)):
        loads = plan.loads_kw.copy()
        loads[index] = usual[index]
        other = plan_of(problem, loads, plan.charge_kw, plan.discharge_kw, plan.curtail_kw, source=plan.source)
        repriced = price_plan(problem, other)
        if repriced.total <= priced.total + _CENT_PART and len(repriced.violations) <= len(priced.violations):
            plan, priced = other, repriced
    return plan


def _coarse(model: Model, apart: int) -> Milp:
    """Let runs begin and end only every so many steps, counted from the first at which they may."""
    upper = model.milp.upper.copy()
    for load in model.loads:
        for columns, together in load.turns:
            upper[columns[np.arange(len(columns)) % math.gcd(apart, together) > 0]] = 0
    return dataclasses.replace(model.milp, upper=np.maximum(upper, model.milp.lower))


def _near(model: Model, point: Array, most: int) -> Milp:
    """Let runs begin and end only so many steps before or after those of a point."""
    upper = model.milp.upper.copy()
    for load in model.loads:
        for columns, _ in load.turns:
            place = np.arange(len(columns))
            turns = np.flatnonzero(point[columns] > 0.5)
            far = np.abs(place[:, None] - turns).min(axis=1, initial=len(place)) > most
            upper[columns[far]] = 0
    return dataclasses.replace(model.milp, upper=np.maximum(upper, model.milp.lower))


class _Search:
    """Search of one program; `bound` is the best that is proven, `status` as of `Solved`."""

    def __init__(self, model: Model, gap: float, until: float, threads: int) -> None:
        self.bound = -math.inf
        self.status = "limit"
        self._model = model
        self._gap = gap
        self._until = until
        self._threads = threads

    def gap_of(self, objective: float) -> float | None:
        """Return how far a plan may lie from the best; None where nothing is proven."""
        gap = max(objective - self.bound, 0.0) / max(abs(objective), 1e-9)
        return gap if math.isfinite(gap) else None

    def run(self, apart: int) -> Array | None:
        """Return the best point found; its first search has runs begin only every `apart` steps."""
        milp = self._model.milp
        relaxed = self._minimise(dataclasses.replace(milp, integer=np.zeros_like(milp.integer)), self._gap)
        if relaxed.status == "infeasible":
            self.status = "infeasible"
            return None
        self.bound = relaxed.bound
        found = (
            self._parts(apart) if relaxed.point is not None and any(one.turns for one in self._model.loads) else None
        )
        if found is not None and self._within(found, 1.0):
            self.status = "optimal"
            return found.point
        start = None if found is None else found.point
        whole = self._minimise(milp, self._gap, start, dig=found is None)
        self.status = whole.status
        if whole.point is None:
            return start
        self.bound = max(self.bound, whole.bound)
        return whole.point if found is None or whole.objective <= found.objective else start

    def _parts(self, apart: int) -> Solved | None:
        """Search the coarse plans, then those near the best of them."""
        coarse = self._part(_coarse(self._model, apart), None, _PART_OF_GAP, _SHARE_OF_TIME)
        if coarse.point is None or self._within(coarse, _POLISHED):
            return None if coarse.point is None else coarse
        done = self._within(coarse, 1.0)
        part, share = (_POLISHED, _SHARE_TO_POLISH) if done else (_PART_OF_GAP, _SHARE_OF_TIME)
        near = self._part(_near(self._model, coarse.point, apart * 3 // 2), coarse.point, part, share)
        return coarse if near.point is None or near.objective > coarse.objective else near

    def _within(self, solved: Solved, part: float) -> bool:
        return solved.objective - self.bound <= part * self._gap * abs(solved.objective)

    def _part(self, milp: Milp, start: Array | None, part_of_gap: float, share_of_time: float) -> Solved:
        target = self.bound / (1 - math.copysign(_POLISHED * self._gap, self.bound))
        return self._minimise(
            milp, part_of_gap * self._gap, start, share_of_time=share_of_time, target=target, dig=start is not None
        )

    def _minimise(
        self,
        milp: Milp,
        gap: float,
        start: Array | None = None,
        *,
        share_of_time: float = 1.0,
        target: float = -math.inf,
        dig: bool = True,
    ) -> Solved:
        left_s = max(self._until - time.monotonic(), _LEAST_S)
        return minimise(
            milp,
            gap=gap,
            limit_s=left_s * share_of_time,
            threads=self._threads,
            start=start,
            target=target,
            dig=dig,
        )
