"""What the battery does as the load comes: the power that costs least now and in what is then ahead.

Decides between all powers at once: trading, shaving and charging are one question, answered by what stored energy is
worth. The load of the moment is known, what comes after is in the cost to go. Pure.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from agent.planning.schedule.parts import Array, frozen
from agent.planning.schedule.pricing import price_plan
from agent.planning.schedule.problem import Plan, Problem, plan_of
from agent.planning.schedule.value import Rates, levels_kwh, moved_per_h


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Policy:
    """What to do in every case, until the end of the problem.

    Attributes:
        problem: with its battery, and in its demand charges what is aimed at.
        to_go: [steps + 1, levels] cost from the start of each step on, by what is stored; see `value.cost_to_go`.
    """

    problem: Problem
    to_go: Array

    def __post_init__(self) -> None:
        object.__setattr__(self, "to_go", frozen(self.to_go))


def follow(
    policy: Policy, step: int, load_kw: float, stored_kwh: float, left_h: float, export_kw: float = math.inf
) -> float:
    """Return the battery's power until the next call: above 0 it gives, below it takes.

    Meant to be called every few seconds with what the site draws: then the mean over the interval follows. Cost now
    and cost to go are linear between a few powers, so the best is one of these.

    Args:
        policy: to be followed.
        step: of its problem.
        load_kw: what the site would draw without the battery, less its PV.
        stored_kwh: at present.
        left_h: what is left of the step, in hours; nothing is done where nothing is left.
        export_kw: what the battery may lead to, beyond what PV exports.
    """
    problem, battery = policy.problem, policy.problem.battery
    assert battery is not None  # noqa: S101 - there is nothing to follow with
    if left_h <= 0:
        return 0.0
    least, most = battery.range_kwh
    into, out = battery.efficiency_charge * left_h, left_h / battery.efficiency_discharge
    lowest = -min(battery.charge_kw, max(most - stored_kwh, 0.0) / into)
    highest = min(battery.discharge_kw, max(stored_kwh - least, 0.0) / out, max(load_kw + export_kw, 0.0))
    levels, rates = levels_kwh(battery, policy.to_go.shape[1]), Rates(problem)
    change = levels - stored_kwh
    to_level = np.where(change > 0, -change / into, -change / out)
    to_bend = load_kw - np.array(rates.bends_kw(step))
    power = np.clip(np.concatenate([[0.0], to_level, to_bend]), lowest, highest)
    then = stored_kwh - np.where(power > 0, power * out, power * into)
    now = rates.per_h(step, load_kw - power) + moved_per_h(problem, battery, power)
    return float(power[np.argmin(now * left_h + np.interp(then, levels, policy.to_go[step + 1]))])


def reserve_kwh(policy: Policy, step: int) -> float:
    """Return what must be stored before anything of it is given to save the energy that it replaces."""
    problem, battery = policy.problem, policy.problem.battery
    assert battery is not None  # noqa: S101 - there is nothing to keep
    levels = levels_kwh(battery, policy.to_go.shape[1])
    saved = (float(problem.energy_per_kwh[step]) - battery.wear_per_kwh) * battery.efficiency_discharge
    kept = -np.diff(policy.to_go[step + 1]) > saved * np.diff(levels)
    return float(levels[len(kept) if kept.all() else int(np.argmin(kept))])


def limit_kw(problem: Problem, step: int) -> float:
    """Return up to where import passes no limit and raises no demand charge; infinite where there is none."""
    floors = [charge.floor_kw for charge in problem.demand if charge.counts[step] and charge.per_kw]
    return min([*floors, float(problem.site_limit_kw[step])])


def followed_plan(policy: Policy, loads_kw: Array, *notes: str) -> Plan:
    """Return the plan that comes of the policy where the load comes as its median: what is shown is what will be done.

    Args:
        policy: to be followed.
        loads_kw: [loads, steps] power of the loads.
        notes: for people; what the plan breaks is added.
    """
    problem, battery = policy.problem, policy.problem.battery
    assert battery is not None  # noqa: S101 - there is nothing to follow with
    net = problem.load_kw + np.asarray(loads_kw).sum(axis=0) - problem.pv_kw
    power, stored = np.zeros(problem.steps), battery.initial_soc * battery.capacity_kwh
    for step, load_kw in enumerate(net.tolist()):
        given = follow(policy, step, load_kw, stored, problem.step_h)
        stored -= problem.step_h * (
            given / battery.efficiency_discharge if given > 0 else given * battery.efficiency_charge
        )
        power[step] = given
    charge, discharge = np.maximum(-power, 0), np.maximum(power, 0)
    held: Array = np.zeros(problem.steps)
    if problem.curtailable:
        allowed = np.where(problem.export_per_kwh < 0, 0.0, problem.export_limit_kw)
        held = np.clip(power - net - allowed, 0, problem.pv_kw)
    plan = plan_of(problem, loads_kw, charge, discharge, held, source="policy")
    priced = price_plan(problem, plan)
    return dataclasses.replace(plan, objective=priced.total, notes=(*notes, *priced.violations))
