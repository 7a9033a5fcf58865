"""A battery's day as round trips: which energy was charged when, and used when.

Decides the matching: what was charged last is used first, so that a full day's cycle is not mixed with what was there
before; what was used from before is then matched with what was charged and not used (put back).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from agent.planning.schedule.parts import Array
from agent.planning.schedule.problem import Plan, Problem

_DUST_KWH = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class Trip:
    """Energy charged in one phase and used in another, as spans of steps; None where that lies outside the plan.

    Attributes:
        in_kwh, out_kwh: at the battery's terminals.
        in_price, out_price: what a kWh taken in costs, and what one given out is worth, at the meter.
        saving: worth of what was given out, less cost of what was taken in and wear.
        refill: used first, put back later.
    """

    charged: tuple[int, int] | None
    used: tuple[int, int] | None
    in_kwh: float
    out_kwh: float
    in_price: float
    out_price: float
    saving: float
    refill: bool = False


@dataclass(slots=True)
class _Phase:
    """Steps of one direction; `left_kwh` of stored energy is not matched yet."""

    start: int
    end: int
    stored_kwh: float
    terminal_kwh: float
    money: float
    wear: float
    left_kwh: float


def trips(problem: Problem, plan: Plan, saving: Array) -> list[Trip]:
    """Return the round trips; their savings sum to `saving` (of each step, wear not counted) less the wear."""
    if problem.battery is None:
        return []
    phases = _phases(problem, plan, saving)
    found: list[Trip] = []
    pool: list[_Phase] = []
    before: list[_Phase] = []
    for phase in phases:
        if phase.stored_kwh > 0:
            pool.append(phase)
            continue
        while pool and phase.left_kwh > _DUST_KWH:
            _match(found, pool[-1], phase, refill=False)
            if pool[-1].left_kwh <= _DUST_KWH:
                pool.pop()
        if phase.left_kwh > _DUST_KWH:
            before.append(phase)
    for phase in before:
        for charged in pool:
            _match(found, charged, phase, refill=True)
    found += [_alone(phase, charged=False) for phase in before if phase.left_kwh > _DUST_KWH]
    found += [_alone(phase, charged=True) for phase in pool if phase.left_kwh > _DUST_KWH]
    return found


def _phases(problem: Problem, plan: Plan, saving: Array) -> list[_Phase]:
    """Cut the plan where the battery turns round; idle steps at the edges of a phase are left out."""
    battery = problem.battery
    assert battery is not None  # noqa: S101
    power = plan.charge_kw - plan.discharge_kw
    busy = np.flatnonzero(np.abs(power) * problem.step_h > _DUST_KWH)
    phases = []
    for steps in np.split(busy, np.flatnonzero(np.diff(np.sign(power[busy]))) + 1) if len(busy) else []:
        kwh = float(power[steps].sum()) * problem.step_h
        stored = kwh * battery.efficiency_charge if kwh > 0 else kwh / battery.efficiency_discharge
        wear = battery.wear_per_kwh * max(-kwh, 0.0)
        money = float(saving[steps].sum())
        phases.append(_Phase(int(steps[0]), int(steps[-1]) + 1, stored, abs(kwh), money, wear, abs(stored)))
    return phases


def _match(found: list[Trip], charged: _Phase, used: _Phase, *, refill: bool) -> None:
    stored = min(charged.left_kwh, used.left_kwh)
    if stored <= _DUST_KWH:
        return
    charged.left_kwh -= stored
    used.left_kwh -= stored
    into, out = stored / abs(charged.stored_kwh), stored / abs(used.stored_kwh)
    found.append(
        Trip(
            charged=(charged.start, charged.end),
            used=(used.start, used.end),
            in_kwh=into * charged.terminal_kwh,
            out_kwh=out * used.terminal_kwh,
            in_price=-charged.money / charged.terminal_kwh,
            out_price=used.money / used.terminal_kwh,
            saving=into * charged.money + out * (used.money - used.wear),
            refill=refill,
        )
    )


def _alone(phase: _Phase, *, charged: bool) -> Trip:
    part = phase.left_kwh / abs(phase.stored_kwh)
    span, kwh = (phase.start, phase.end), part * phase.terminal_kwh
    return Trip(
        charged=span if charged else None,
        used=None if charged else span,
        in_kwh=kwh if charged else 0.0,
        out_kwh=0.0 if charged else kwh,
        in_price=-phase.money / phase.terminal_kwh if charged else 0.0,
        out_price=0.0 if charged else phase.money / phase.terminal_kwh,
        saving=part * (phase.money - phase.wear),
    )
