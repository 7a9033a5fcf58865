"""The cheapest plan, or the best that the time allows.

Decides how the program is searched. The relaxation is tight, so its bound is good at once and what costs time is a
good plan: the loads are made whole one after the other, heaviest first, the rest staying relaxed. Most often that plan
lies within the gap of the bound, and all is done; else the solver goes on from it.
"""

from __future__ import annotations

import dataclasses
import math
import time

import numpy as np

from agent.planning.schedule.highs import Solved, minimise
from agent.planning.schedule.milp import Indices, Milp
from agent.planning.schedule.model import Model, build, read
from agent.planning.schedule.parts import Array, Deferrable
from agent.planning.schedule.pricing import price_plan
from agent.planning.schedule.problem import Plan, Problem, plan_of
from agent.planning.schedule.relax import relax
from agent.planning.schedule.rules import do_nothing, rule_plan

_LEAST_OF_GAP = 0.1
_CENT_PART = 1e-6
_SHARE_OF_TIME = 1 / 3  # of what is left, for each load: some is always left for the next


def solve(problem: Problem, *, gap: float = 1e-3, limit_s: float = 10.0, threads: int = 1) -> Plan:
    """Return the cheapest plan within a relative gap, or the best found in `limit_s`; building is part of the time.

    Where not all wishes can be met, it is the cheapest plan of what can be met, and its notes say what was given up.
    Where the time was too short for any plan, it is one by rules.
    """
    until = time.monotonic() + limit_s
    status, plan = _search(problem, gap, until, threads)
    notes: tuple[str, ...] = ()
    if status == "infeasible" and problem.reserve_kwh.any():  # what is kept for peaks gives way before any wish
        notes = ("loads and limits leave no room for all that should be kept for peaks",)
        problem = dataclasses.replace(problem, reserve_kwh=np.zeros(()))
        status, plan = _search(problem, gap, until, threads)
    if status != "infeasible":
        if plan is None:
            return rule_plan(problem, *notes, f"the optimiser found no plan in {limit_s:g} s")
        return dataclasses.replace(plan, notes=notes)
    relaxed = relax(problem, limit_s=(until - time.monotonic()) / 2, threads=threads)
    if relaxed is not None:
        _, plan = _search(relaxed.problem, gap, until, threads)
    if relaxed is None or plan is None:
        return rule_plan(problem, "not all wishes can be met, and the time was too short to find which")
    loads = np.zeros((len(problem.loads), problem.steps))
    loads[list(relaxed.kept)] = plan.loads_kw
    return dataclasses.replace(plan, loads_kw=loads, notes=(*relaxed.notes, *notes))


def _search(problem: Problem, gap: float, until: float, threads: int) -> tuple[str, Plan | None]:
    model = build(problem)
    search = _Search(model.milp, gap, until, threads)
    point = search.run([columns for _, columns in sorted(_groups(problem, model), key=lambda entry: -entry[0])])
    if point is None:
        return search.status, None
    plan = _settle(problem, read(problem, model, point))
    total = price_plan(problem, plan).total
    gap = max(total - search.bound, 0.0) / max(abs(total), 1e-9)
    return search.status, dataclasses.replace(plan, objective=total, gap=gap)


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


def _groups(problem: Problem, model: Model) -> list[tuple[float, Indices]]:
    """Return the choices of each load with its weight: what runs whole before what may pause, then by energy."""
    found = []
    for load, columns in zip(problem.loads, model.loads, strict=True):
        breakable = isinstance(load, Deferrable) and load.breakable
        if isinstance(load, Deferrable):
            energy = load.power_kw * load.steps
        else:
            energy = sum(sum(stage.profile_kw) for stage in load.stages)
        found.append((energy - 1e12 * breakable, columns.choices))
    return found


class _Search:
    """Search of one program; `bound` is the best that is proven, `status` as of `Solved`."""

    def __init__(self, milp: Milp, gap: float, until: float, threads: int) -> None:
        self.bound = -math.inf
        self.status = "limit"
        self._milp = milp
        self._gap = gap
        self._until = until
        self._threads = threads

    def run(self, groups: list[Indices]) -> Array | None:
        relaxed = self._minimise(dataclasses.replace(self._milp, integer=np.zeros_like(self._milp.integer)), self._gap)
        if relaxed.status == "infeasible":
            self.status = "infeasible"
            return None
        self.bound = relaxed.bound
        dived = self._dive(groups) if relaxed.point is not None else None
        if dived is not None and dived.objective - self.bound <= self._gap * abs(dived.objective):
            self.status = "optimal"
            return dived.point
        whole = self._minimise(self._milp, self._gap, None if dived is None else dived.point)
        self.status = whole.status
        if whole.point is None:
            return None if dived is None else dived.point
        self.bound = max(self.bound, whole.bound)
        return whole.point if dived is None or whole.objective <= dived.objective else dived.point

    def _dive(self, groups: list[Indices]) -> Solved | None:
        """Make one group after the other whole and keep it; None where that leads nowhere."""
        lower, upper = self._milp.lower.copy(), self._milp.upper.copy()
        rest = self._milp.integer.copy()
        for group in groups:
            rest[group] = False
        solved = None
        for index, group in enumerate([*groups, np.flatnonzero(rest)]):
            if solved is not None and not len(group):
                break
            integer = np.zeros_like(self._milp.integer)
            integer[group] = True
            milp = dataclasses.replace(self._milp, integer=integer, lower=lower, upper=upper)
            solved = self._minimise(milp, self._left(solved), share_of_time=_SHARE_OF_TIME)
            if solved.point is None:
                return None
            if index == 0:
                self.bound = max(self.bound, solved.bound)
            lower[group] = upper[group] = np.round(solved.point[group])
        return solved

    def _left(self, solved: Solved | None) -> float:
        """Return how exact the next part must be: half of the gap that is not used up yet."""
        used = 0.0 if solved is None else (solved.objective - self.bound) / max(abs(solved.objective), 1e-9)
        return max((self._gap - used) / 2, self._gap * _LEAST_OF_GAP)

    def _minimise(self, milp: Milp, gap: float, start: Array | None = None, *, share_of_time: float = 1.0) -> Solved:
        left_s = max(self._until - time.monotonic(), 0.05)
        return minimise(milp, gap=gap, limit_s=left_s * share_of_time, threads=self._threads, start=start)
