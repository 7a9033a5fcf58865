"""A plan by rules, where no optimiser can be had: deterministic, safe, made in milliseconds.

Decides by the habits of a good operator: each load at its cheapest place that keeps the limits, heaviest first; the
battery takes what PV gives too much and charges in cheap steps, gives in dear ones and above the peak so far. It looks
at one thing after the other, and so misses what only pays together.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from agent.planning.schedule.parts import Array, Battery, Deferrable, Load
from agent.planning.schedule.pricing import peak_kw, price_plan
from agent.planning.schedule.problem import Plan, Problem, plan_of

_OVER_PER_KWH = 1e6  # beyond the site limit is worse than any price
_BANDS = ((0.0, 1.0), (0.2, 0.8), (0.35, 0.65))  # shares of the steps that count as cheap, and from which as dear


def do_nothing(problem: Problem) -> Plan:
    """Return the plan without a planner: battery idle, each load from its usual (or earliest) step on."""
    return _finish(problem, _stack(problem, [_at(load, first_start(load), problem.steps) for load in problem.loads]))


def rule_plan(problem: Problem, *notes: str) -> Plan:
    """Return the plan by rules; `notes` say why it was asked for.

    It is never dearer than doing nothing, unless that would pass a limit further or leave the battery emptier than
    asked. What it breaks, where that cannot be helped by these rules, is added to the notes.
    """
    loads = _place(problem)
    plans = [_finish(problem, loads), do_nothing(problem)]
    if problem.battery is not None:
        for low, high in _BANDS:
            charge, discharge = _operate(problem, problem.battery, plans[0].grid_kw, low, high)
            plans.append(_finish(problem, loads, charge, discharge))
    best = min(plans, key=lambda plan: (*_shortcomings_kwh(problem, plan), plan.objective))
    return dataclasses.replace(best, notes=(*notes, *price_plan(problem, best).violations))


def cheaper_by_rules(problem: Problem, plan: Plan) -> Plan:
    """Return the plan, or a cheaper one by rules (or doing nothing) that breaks nothing."""
    for other in (rule_plan(problem), do_nothing(problem)):
        if other.objective < plan.objective and not price_plan(problem, other).violations:
            plan = dataclasses.replace(other, notes=("the optimiser found no better plan in its time",))
    return plan


def first_start(load: Load) -> int:
    """Return the step at which a load starts if nobody plans."""
    if isinstance(load, Deferrable):
        rest = 0 if load.off_before is None else load.min_off - load.off_before
        return 0 if load.on_before else max(load.earliest if load.usual is None else load.usual, rest)
    return 0 if load.running else load.earliest if load.usual is None else load.usual


def unbroken_kw(load: Load) -> Array:
    """Return the load's power step by step when it runs without needless pauses."""
    if isinstance(load, Deferrable):
        return np.full(load.steps, load.power_kw)
    pieces = [np.array(load.stages[0].profile_kw)]
    for stage in load.stages[1:]:
        pieces += [np.zeros(stage.min_gap), np.array(stage.profile_kw)]
    return np.concatenate(pieces)


def _at(load: Load, start: int, steps: int) -> Array:
    profile = unbroken_kw(load)[: max(steps - start, 0)]
    power = np.zeros(steps)
    power[start : start + len(profile)] = profile
    return power


def _stack(problem: Problem, loads: list[Array]) -> Array:
    return np.array(loads).reshape(len(problem.loads), problem.steps)


def _finish(problem: Problem, loads: Array, charge: Array | float = 0.0, discharge: Array | float = 0.0) -> Plan:
    """Make the plan; PV is held back only where it may be and the export limit or a negative price asks for it."""
    plan = plan_of(problem, loads, charge, discharge, source="rules")
    if problem.curtailable:
        allowed = np.where(problem.export_per_kwh < 0, 0.0, problem.export_limit_kw)
        held = np.clip(-plan.grid_kw - allowed, 0, problem.pv_kw)
        plan = plan_of(problem, loads, charge, discharge, held, source="rules")
    return dataclasses.replace(plan, objective=price_plan(problem, plan).total)


def _shortcomings_kwh(problem: Problem, plan: Plan) -> tuple[float, float]:
    """Return how far a plan passes the limits, and how much the battery then lacks at the end."""
    battery = problem.battery
    lacking = 0.0 if battery is None else battery.end_soc * battery.capacity_kwh - float(plan.stored_kwh[-1])
    return round(_excess_kwh(problem, plan.grid_kw), 6), max(round(lacking, 3), 0.0)


def _excess_kwh(problem: Problem, grid: Array) -> float:
    """Return what passes the limits, of import and of export."""
    over = np.maximum(grid + problem.margin_kw - problem.site_limit_kw - 1e-6, 0)
    over = over + np.maximum(-grid - problem.export_limit_kw - 1e-6, 0)
    return float(over.sum()) * problem.step_h


def _cost(problem: Problem, grid: Array) -> float:
    """Cost of a grid power, battery aside."""
    energy = np.where(grid > 0, problem.energy_per_kwh, problem.export_per_kwh) @ grid * problem.step_h
    peaks = sum(charge.per_kw * peak_kw(problem, charge, grid) for charge in problem.demand)
    return float(energy) + peaks + _OVER_PER_KWH * _excess_kwh(problem, grid)


def _place(problem: Problem) -> Array:
    """Put each load, heaviest first, where it costs least beside those that are placed."""
    placed: dict[int, Array] = {}
    grid = problem.load_kw - problem.pv_kw
    for index in sorted(range(len(problem.loads)), key=lambda i: (-unbroken_kw(problem.loads[i]).sum(), i)):
        load = problem.loads[index]
        if isinstance(load, Deferrable) and load.breakable and load.min_on == load.min_off == 1:
            placed[index] = _pieces(problem, load, grid)
        else:
            placed[index] = _whole(problem, load, grid)
        grid = grid + placed[index]
    return _stack(problem, [placed[index] for index in range(len(problem.loads))])


def _whole(problem: Problem, load: Load, grid: Array) -> Array:
    first, last = load.earliest, load.end(problem.steps) - load.steps
    if isinstance(load, Deferrable):
        last = 0 if load.on_before else last
        first = first if load.off_before is None else min(max(first, load.min_off - load.off_before), last)
    elif load.running:
        last = 0
    elif load.start_by is not None:
        last = min(last, load.start_by)
    powers = [_at(load, start, problem.steps) for start in range(first, last + 1)]
    return min(powers, key=lambda power: _cost(problem, grid + power))


def _pieces(problem: Problem, load: Deferrable, grid: Array) -> Array:
    """Take the steps one after the other in which the load costs least."""
    power = np.zeros(problem.steps)
    free = np.arange(load.earliest, load.end(problem.steps))
    extra = np.where(grid > 0, problem.energy_per_kwh, problem.export_per_kwh) * problem.step_h * load.power_kw
    for charge in problem.demand:
        extra = extra + charge.counts * charge.per_kw * np.maximum(grid + load.power_kw - charge.floor_kw, 0)
    extra = extra + _OVER_PER_KWH * np.maximum(grid + problem.margin_kw + load.power_kw - problem.site_limit_kw, 0)
    power[free[np.argsort(extra[free], kind="stable")[: load.steps]]] = load.power_kw
    return power


def _operate(problem: Problem, battery: Battery, grid: Array, low: float, high: float) -> tuple[Array, Array]:
    """Run the battery forward in time against a grid power; return charge and discharge."""
    cheap, dear = np.quantile(problem.energy_per_kwh, (low, high))
    cap = problem.site_limit_kw - problem.margin_kw
    allowed_kw = np.maximum(cap - grid, 0)
    for demand in problem.demand:
        cap = np.where(demand.counts, np.minimum(cap, demand.floor_kw - problem.demand_margin_kw), cap)
    room_kw = np.clip(cap - grid, 0, battery.charge_kw)
    least, most = battery.range_kwh
    gain = battery.efficiency_charge * problem.step_h
    # What must be stored after each step, so that the end can still be reached by charging under the cap, not dearly.
    end = battery.end_soc * battery.capacity_kwh
    later_kwh = np.where((high >= 1) | (problem.energy_per_kwh < dear), room_kw * gain, 0.0)
    needed = np.maximum(end - np.append(np.cumsum(later_kwh[::-1])[::-1][1:], 0.0), least)
    last_dear = int(np.flatnonzero(problem.energy_per_kwh >= dear)[-1])  # what is charged later is not used
    stored = battery.initial_soc * battery.capacity_kwh
    charge, discharge = np.zeros(problem.steps), np.zeros(problem.steps)
    for step in range(problem.steps):
        price = problem.energy_per_kwh[step]
        want = max(-grid[step], 0.0)
        if low > 0 and price <= cheap and step < last_dear:
            want = room_kw[step]
        want = max(want, min((needed[step] - stored) / gain, allowed_kw[step]), 0.0)
        want = min(want, battery.charge_kw, max((most - stored) / gain, 0.0))
        give = max(grid[step] - cap[step], 0.0)
        if high < 1 and price >= dear:
            give = max(grid[step], 0.0)
        elif high >= 1:  # only what PV gave
            give = max(give, min(grid[step], (stored - end) * battery.efficiency_discharge / problem.step_h))
        spare = max(stored - needed[step], 0.0) * battery.efficiency_discharge / problem.step_h
        give = min(give, battery.discharge_kw, spare) if want == 0 else 0.0
        charge[step], discharge[step] = want, give
        stored += want * gain - give * problem.step_h / battery.efficiency_discharge
    return charge, discharge
