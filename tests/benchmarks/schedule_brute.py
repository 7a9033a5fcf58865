"""The best of all plans of a small problem, by trying every placing of its loads and every move of its battery.

The battery moves by whole levels of stored energy, so that a best plan is among them where `schedule_cases.small` says. Knows
nothing of programs or solvers, and prices by its own few lines.
"""

import itertools

import numpy as np

from agent.planning.schedule.parts import Deferrable

LEVEL_KWH = 10.0


def brute_force(problem):
    """Return the lowest total."""
    placings = itertools.product(*(_placings(load, problem.steps) for load in problem.loads))
    loads = np.array([np.sum(placing, axis=0) for placing in placings])
    charge, discharge = _flows(problem)
    grid = problem.load_kw + loads[:, None] + (charge - discharge)[None]
    energy = np.maximum(grid, 0) @ problem.import_per_kwh - np.maximum(-grid, 0) @ problem.export_per_kwh
    wear = 0.0 if problem.battery is None else discharge.sum(axis=-1) * problem.step_h * problem.battery.wear_per_kwh
    peaks = sum(charge.per_kw * np.maximum(grid.max(axis=-1), 0) for charge in problem.demand)
    return float((energy * problem.step_h + wear + peaks).min())


def _placings(load, steps):
    earliest, end = load.earliest, load.end(steps)
    if isinstance(load, Deferrable) and load.breakable:
        chosen = itertools.combinations(range(earliest, end), load.steps)
        return [load.power_kw * np.isin(np.arange(steps), on) for on in chosen]
    profile = (load.power_kw,) * load.steps if isinstance(load, Deferrable) else load.stages[0].profile_kw
    return [_put(steps, start, profile) for start in range(earliest, end - load.steps + 1)]


def _put(steps, start, profile):
    power = np.zeros(steps)
    power[start : start + len(profile)] = profile
    return power


def _flows(problem):
    """Charge and discharge of every way through the battery's levels: [ways, steps] each."""
    battery = problem.battery
    if battery is None:
        return np.zeros((1, problem.steps)), np.zeros((1, problem.steps))
    levels = np.arange(0, battery.capacity_kwh + LEVEL_KWH / 2, LEVEL_KWH)
    ways = np.array(list(itertools.product(levels, repeat=problem.steps)))
    begin = np.full((len(ways), 1), battery.initial_soc * battery.capacity_kwh)
    change = np.diff(np.hstack([begin, ways]), axis=1) / problem.step_h
    fits = (change <= battery.charge_kw + 1e-9).all(axis=1) & (change >= -battery.discharge_kw - 1e-9).all(axis=1)
    change = change[fits & (ways[:, -1] >= battery.end_soc * battery.capacity_kwh - 1e-9)]
    return np.maximum(change, 0), np.maximum(-change, 0)
