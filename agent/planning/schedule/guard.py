"""What the battery keeps for load that no forecast shows, and which limits it holds.

A plan rests on the median of the load; the peak of a month is set by what deviates from it. So part of the battery is
held back: as much as nine in ten of the paths that the load may take would need to be held at the limit. Pure.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from agent.planning.schedule.parts import Array, Battery, frozen
from agent.planning.schedule.problem import Problem

Bools = npt.NDArray[np.bool_]
_HIGHEST = 13  # limits that are tried between the lowest and the highest
_BEYOND = 1.2  # x the battery's power above the lowest limit: there the battery is of no use
_LIKELY = 0.5  # share of the paths that what is stored must suffice for: to give way early costs more than it saves
_KEPT_FOR = 0.9  # share of the paths that the reserve suffices for: the last ones would end all trading
_DUST_KWH = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Guard:
    """How the peak is guarded from now on; arrays have one value a step.

    Attributes:
        charge_to_kw: import up to which the battery may charge: what is paid for anyway, or aimed at, within the site
            limit. Infinite where neither a demand charge counts nor there is such a limit.
        shave_to_kw: import above which it gives: the lowest that what is stored will most likely hold, within the site
            limit.
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
    limit = np.minimum(limit_kw(problem), problem.site_limit_kw)
    stored = battery.initial_soc * battery.capacity_kwh
    every = np.concatenate([paths_kw, days_kw])
    needed = needed_kwh(every, limit - insured_kw, battery, step_h)
    wanted = np.quantile(needed, _KEPT_FOR, axis=0, method="higher")[1:]
    reserve = _within_reach(problem, wanted, limit, stored)
    raised = limit + np.linspace(0, _BEYOND * battery.discharge_kw, _HIGHEST)[:, None, None]
    likely = is_held(paths_kw, raised, stored, battery, step_h).mean(axis=1)
    enough = np.flatnonzero(likely >= _LIKELY)
    shave = np.minimum(raised[enough[0] if len(enough) else -1, 0], problem.site_limit_kw)
    return Guard(charge_to_kw=limit, shave_to_kw=shave, wanted_kwh=wanted, reserve_kwh=reserve)


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
