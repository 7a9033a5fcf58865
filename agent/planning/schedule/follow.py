"""Between two plans: what the battery does as the load comes, and what it keeps for load that no forecast shows.

A plan rests on the median of the load; the peak of a month is set by what deviates from it. So part of the battery is
held back: as much as nine in ten of the paths that the load may take would need to be held at the limit. Trading uses
only the rest, shaving may use all. Pure.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from agent.planning.schedule.parts import Array, Battery, frozen
from agent.planning.schedule.problem import Plan, Problem

Bools = npt.NDArray[np.bool_]
_HIGHEST = 13  # limits that are tried between the lowest and the highest
_BEYOND = 1.2  # x the battery's power above the lowest limit: there the battery is of no use
_AIMS = 6
_LIKELY = 0.5  # share of the paths that what is stored must suffice for: to give way early costs more than it saves
_INSURED = (0.5, 0.25)  # of the battery's power
_KEPT_FOR = 0.9  # share of the paths that the reserve suffices for: the last ones would end all trading
_PREMIUM = 0.1  # of the demand at stake, in a month
_DUST_KWH = 1e-6
_SHAVING_KW = 0.1  # planned import so near the limit: what the battery gives is to shave


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Guard:
    """How the peak is guarded from now on; arrays have one value a step.

    Attributes:
        charge_to_kw: import up to which the battery may charge: what is paid for anyway, or aimed at. Infinite where
            no demand charge counts.
        shave_to_kw: import above which it gives: the lowest that what is stored will most likely hold.
        wanted_kwh: stored energy at the end of each step that is to be kept for shaving.
        reserve_kwh: of that, what can be there by then.
    """

    charge_to_kw: Array
    shave_to_kw: Array
    wanted_kwh: Array
    reserve_kwh: Array

    def __post_init__(self) -> None:
        for entry in dataclasses.fields(self):
            object.__setattr__(self, entry.name, frozen(getattr(self, entry.name)))


def paths_kw(median_kw: Array, errors_kw: Array, days_kw: Array) -> Array:
    """Return how the load may come: [paths, steps]. It stays within what the plant drew on the days past.

    Args:
        median_kw: [steps] of the forecast.
        errors_kw: [paths, steps] load less median, of earlier forecasts from the same time of day.
        days_kw: [days, steps] net load of days past.
    """
    highest = max(float(days_kw.max()), float(median_kw.max()))
    paths: Array = np.clip(median_kw + errors_kw, min(float(days_kw.min()), float(median_kw.min())), highest)
    return paths


def limit_kw(problem: Problem) -> Array:
    """Return up to where import raises no demand charge: one value a step, infinite where none counts."""
    limit = np.full(problem.steps, math.inf)
    for charge in problem.demand:
        limit[charge.counts] = np.minimum(limit[charge.counts], charge.floor_kw)
    return limit


def needed_kwh(paths_kw: Array, limits_kw: Array, battery: Battery, step_h: float) -> Array:
    """Return what must be stored at the start of each step, and at the end, to hold a limit from there on.

    What lies above the battery's power cannot be held and is not counted. Room below the limit recharges.

    Args:
        paths_kw: [..., steps] net load.
        limits_kw: [..., steps], broadcast against it; infinite where nothing is to be held.
        battery: its limits.
        step_h: length of a step in hours.
    """
    give, take = _flows_kwh(paths_kw - limits_kw, battery, step_h)
    least, most = battery.range_kwh
    needed = np.zeros((*give.shape[:-1], give.shape[-1] + 1))
    for step in reversed(range(give.shape[-1])):
        needed[..., step] = np.clip(needed[..., step + 1] + give[..., step] - take[..., step], 0, most - least)
    return needed + least


def is_held(paths_kw: Array, limits_kw: Array, stored_kwh: float, battery: Battery, step_h: float) -> Bools:
    """Return of each path whether what is stored suffices to hold a limit, with what recharges on the way: [...].

    Args:
        paths_kw: as of `needed_kwh`; what lies above the battery's power is not counted.
        limits_kw: as of `needed_kwh`.
        stored_kwh: at the start.
        battery: its limits.
        step_h: length of a step in hours.
    """
    give, take = _flows_kwh(paths_kw - limits_kw, battery, step_h)
    least, most = battery.range_kwh
    stored = np.full(give.shape[:-1], stored_kwh)
    enough = np.ones(give.shape[:-1], dtype=np.bool_)
    for step in range(give.shape[-1]):
        stored = np.minimum(stored + take[..., step] - give[..., step], most)
        enough &= stored >= least - _DUST_KWH
    return enough


def holdable_kw(problem: Problem, days_kw: Array) -> dict[str, float]:
    """Return the lowest peaks, by demand charge, that a battery full at the start of each day could have held.

    All lie below the highest load of their window by the same: the battery serves all charges at once.

    Args:
        problem: of the day ahead; its demand charges say which steps count.
        days_kw: [days, steps] net load of days past, each beginning at the hour of the problem.
    """
    battery, step_h = problem.battery, problem.step_h
    assert battery is not None  # noqa: S101 - there is nothing to hold with
    highest = {charge.name: float(days_kw[:, charge.counts].max()) for charge in problem.demand if charge.counts.any()}
    low, high = 0.0, battery.discharge_kw
    for _ in range(16):
        depth = (low + high) / 2
        limit = np.full(problem.steps, math.inf)
        for charge in problem.demand:
            limit[charge.counts] = np.minimum(limit[charge.counts], highest[charge.name] - depth)
        holds = bool(is_held(days_kw, limit, battery.range_kwh[1], battery, step_h).all())
        low, high = (depth, high) if holds else (low, depth)
    return {name: kw - low for name, kw in highest.items()}


def guard(problem: Problem, paths_kw: Array, days_kw: Array, *, insured_kw: float = 0.0) -> Guard:
    """Return how the peak is guarded while the next plan holds.

    Args:
        problem: of the next plan, with its battery; peaks so far in its demand charges, or what is aimed at.
        paths_kw: [paths, steps] net load as it may come, see `paths_kw`.
        days_kw: [days, steps] net load of days past, from the same hour on; what happened may happen again.
        insured_kw: so much higher than these the load may come and still find its reserve.
    """
    battery, step_h = problem.battery, problem.step_h
    assert battery is not None  # noqa: S101 - there is nothing to guard with
    limit = limit_kw(problem)
    stored = battery.initial_soc * battery.capacity_kwh
    every = np.concatenate([paths_kw, days_kw])
    needed = needed_kwh(every, limit - insured_kw, battery, step_h)
    wanted = np.quantile(needed, _KEPT_FOR, axis=0, method="higher")[1:]
    reserve = _within_reach(problem, wanted, limit, stored)
    raised = limit + np.linspace(0, _BEYOND * battery.discharge_kw, _HIGHEST)[:, None, None]
    likely = is_held(paths_kw, raised, stored, battery, step_h).mean(axis=1)
    enough = np.flatnonzero(likely >= _LIKELY)
    shave = raised[enough[0] if len(enough) else -1, 0]
    return Guard(charge_to_kw=limit, shave_to_kw=shave, wanted_kwh=wanted, reserve_kwh=reserve)


@dataclass(frozen=True, slots=True)
class Aims:
    """What is worth aiming at in the rest of a billing month.

    Attributes:
        peaks_kw: highest import by demand charge.
        insured_kw: how much higher than these paths the load may come and still find its reserve.
    """

    peaks_kw: Mapping[str, float]
    insured_kw: float = 0.0


def choose_aims(
    problem: Problem,
    paths_kw: Array,
    days_kw: Array,
    days_left: float,
    solve: Callable[[Problem], Plan | None],
) -> Aims:
    """Return aims for the rest of the month. The lower they are, the less is left for trading.

    What peaks cost is their demand charges, and on each day left what the reserve for them takes from trading on the
    day ahead. The reserve is insured as far as that takes little from trading, measured by the demand at stake. To be
    asked once a day.

    Args:
        problem: of the day ahead; its demand charges hold the peaks so far.
        paths_kw: as of `guard`.
        days_kw: as of `guard`.
        days_left: of the billing month.
        solve: makes plans.
    """
    battery = problem.battery
    assert battery is not None  # noqa: S101 - there is nothing to aim with
    first = {charge.name: charge for charge in reversed(problem.demand)}  # of the months of a charge the first counts

    def cost(aims: Aims) -> float:
        trial = aimed(problem, aims.peaks_kw)
        watch = guard(trial, paths_kw, days_kw, insured_kw=aims.insured_kw)
        plan = solve(dataclasses.replace(trial, reserve_kwh=watch.reserve_kwh))
        if plan is None:
            return math.inf
        energy = float(np.maximum(plan.grid_kw, 0) @ trial.energy_per_kwh) * trial.step_h
        peaks = (first[name].per_kw * max(kw, first[name].floor_kw) for name, kw in aims.peaks_kw.items())
        return days_left * energy + sum(peaks)

    lowest = holdable_kw(problem, days_kw)
    useless = max((float(days_kw[:, first[name].counts].max()) - kw for name, kw in lowest.items()), default=0.0)
    raised = np.linspace(0, useless, _AIMS).tolist()  # up to where nothing is left to shave
    trials = [Aims({name: kw + more for name, kw in lowest.items()}) for more in raised]
    costs = [cost(trial) for trial in trials]
    best = int(np.argmin(costs))
    at_stake = battery.discharge_kw * sum(charge.per_kw for charge in first.values())
    for share in _INSURED:
        insured = dataclasses.replace(trials[best], insured_kw=share * battery.discharge_kw)
        if cost(insured) <= costs[best] + _PREMIUM * at_stake:
            return insured
    return trials[best]


def aimed(problem: Problem, aims_kw: Mapping[str, float]) -> Problem:
    """Return the problem with demand up to the aims, by charge, at no cost."""
    demand = tuple(
        dataclasses.replace(charge, free_kw=max(charge.free_kw, aims_kw.get(charge.name, 0.0)))
        for charge in problem.demand
    )
    return dataclasses.replace(problem, demand=demand)


def follow(
    guard: Guard, plan: Plan, step: int, load_kw: float, stored_kwh: float, battery: Battery, step_h: float
) -> float:
    """Return the battery's power until the next call: above 0 it gives, below it takes.

    Meant to be called every few seconds with what the site draws: then the mean over the interval follows. Trading goes
    as planned, but for the reserve, for export that was not planned, and for charging beyond `charge_to_kw`.

    Args:
        guard: of the plan.
        plan: whose step it is.
        step: of the plan.
        load_kw: what the site would draw without the battery, less its PV.
        stored_kwh: at present.
        battery: its limits.
        step_h: what is left of the step, in hours.
    """
    least, most = battery.range_kwh
    power = float(plan.discharge_kw[step] - plan.charge_kw[step])
    room = float(guard.charge_to_kw[step]) - load_kw
    if power > 0:
        if plan.grid_kw[step] >= guard.charge_to_kw[step] - _SHAVING_KW:  # it was to shave, not to trade
            power = min(power, max(-room, 0.0))
        tradable = (stored_kwh - float(guard.reserve_kwh[step])) * battery.efficiency_discharge / step_h
        power = min(power, max(tradable, 0.0))
    elif power < 0:
        power = min(0.0, max(power, -room))
    lacking = (float(guard.wanted_kwh[step]) - stored_kwh) / (battery.efficiency_charge * step_h)
    if room > 0 and lacking > 0:
        power = min(power, -min(lacking, room))
    if load_kw > guard.shave_to_kw[step]:
        power = max(power, load_kw - float(guard.shave_to_kw[step]))
    power = min(power, max(load_kw - min(float(plan.grid_kw[step]), 0.0), 0.0))
    if power > 0:
        return min(power, battery.discharge_kw, max(stored_kwh - least, 0.0) * battery.efficiency_discharge / step_h)
    return -min(-power, battery.charge_kw, max(most - stored_kwh, 0.0) / (battery.efficiency_charge * step_h))


def _within_reach(problem: Problem, wanted_kwh: Array, limit: Array, stored_kwh: float) -> Array:
    """Return of what should be stored at the end of each step that which can be, by the median, within the limit."""
    battery, step_h = problem.battery, problem.step_h
    assert battery is not None  # noqa: S101 - the caller has looked
    least, most = battery.range_kwh
    give, take = _flows_kwh(problem.load_kw - problem.pv_kw - limit, battery, step_h)
    held, found = stored_kwh, np.zeros(problem.steps)
    for step, change in enumerate((take - give).tolist()):
        held = min(max(held + change, least), most)
        found[step] = min(wanted_kwh[step], held * (1 - 1e-6))
    return found


def _flows_kwh(over_kw: Array, battery: Battery, step_h: float) -> tuple[Array, Array]:
    """Return what leaves the store to shave what is over, and what may enter where there is room, in each step."""
    give = np.clip(over_kw, 0, battery.discharge_kw) * (step_h / battery.efficiency_discharge)
    take = np.clip(-over_kw, 0, battery.charge_kw) * (step_h * battery.efficiency_charge)
    return give, take
