"""Why a plan does what it does: each action in words, with what it saves against doing nothing.

Decides how the saving is shared out, so that the parts sum to the whole. Energy is priced step by step; where two
actions meet in a step across the meter's zero, what they save together is shared by the Shapley value (the mean over
every order in which they could have been decided). A peak is no one's alone: each demand charge is an
action of its own.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np

from agent.planning.schedule.parts import Array, Load
from agent.planning.schedule.pricing import grid_kw, price_plan
from agent.planning.schedule.problem import Plan, Problem
from agent.planning.schedule.rules import do_nothing
from agent.planning.schedule.trips import Trip, trips
from agent.planning.schedule.words import runs, span, spans

_MOST_SHARED = 8  # players of an exact Shapley value: 2^8 grids
_DUST_KW = 1e-6
_DUST_MONEY = 5e-3


@dataclass(frozen=True, slots=True)
class Action:
    """Something that the plan does; `saving` is against doing nothing, negative where it costs."""

    what: str
    text: str
    saving: float


@dataclass(frozen=True, slots=True)
class Explanation:
    """A plan explained: the savings of the actions sum to `saving`, what doing nothing costs more than the plan.

    `notes` are what the plan says of itself, and what doing nothing would break.
    """

    actions: tuple[Action, ...]
    cost: float
    cost_of_nothing: float
    notes: tuple[str, ...]

    @property
    def saving(self) -> float:
        """What doing nothing costs more."""
        return self.cost_of_nothing - self.cost


def explain(problem: Problem, plan: Plan) -> Explanation:
    """Explain a plan, dearest saving first."""
    nothing = do_nothing(problem)
    priced, before = price_plan(problem, plan), price_plan(problem, nothing)
    moves = list(plan.loads_kw - nothing.loads_kw)
    battery, curtail = plan.charge_kw - plan.discharge_kw, plan.curtail_kw - nothing.curtail_kw
    *moved, stored, held = _shares(problem, grid_kw(problem, nothing), [*moves, battery, curtail])
    actions = [
        Action(
            "load", _load_words(problem, load, nothing.loads_kw[index], plan.loads_kw[index]), float(moved[index].sum())
        )
        for index, load in enumerate(problem.loads)
        if np.abs(moves[index]).max() > _DUST_KW
    ]
    actions += [Action("battery", _trip_words(problem, trip), trip.saving) for trip in trips(problem, plan, stored)]
    if (mask := np.abs(curtail) > _DUST_KW).any():
        words = f"hold back {float(curtail.sum()) * problem.step_h:.3g} kWh of PV {spans(problem, mask)}"
        actions.append(Action("pv", words, float(held.sum())))
    for charge, old, new in zip(problem.demand, before.peaks_kw, priced.peaks_kw, strict=True):
        saving = charge.per_kw * (old - new)
        if abs(saving) > _DUST_MONEY:
            verb = "keeps" if saving > 0 else "lets"
            words = f"all together {verb} the peak of {charge.title!r} at {new:.4g} kW instead of {old:.4g} kW"
            actions.append(Action("demand", words, saving))
    ranked = sorted(actions, key=lambda action: -action.saving)
    notes = (*plan.notes, *(f"doing nothing: {violation}" for violation in before.violations))
    return Explanation(tuple(ranked), priced.total, before.total, notes)


def sentence(action: Action, currency: str = "") -> str:
    """Return the action with its saving."""
    if abs(action.saving) < _DUST_MONEY:
        return f"{action.text}: costs nothing"
    verb = "saves" if action.saving >= 0 else "costs"
    return f"{action.text}: {verb} {abs(action.saving):.2f} {currency}".rstrip()


def _shares(problem: Problem, grid: Array, players: list[Array]) -> list[Array]:
    """Return of each player what it saves in each step: its mean marginal saving over the orders of all of them."""
    moving = [index for index, power in enumerate(players) if np.abs(power).max() > _DUST_KW]
    shares = [np.zeros(problem.steps) for _ in players]
    count = len(moving)
    if count > _MOST_SHARED:  # two orders that are each other's reverse
        for order in (moving, moving[::-1]):
            at = grid
            for index in order:
                shares[index] += (_cost(problem, at) - _cost(problem, at + players[index])) / 2
                at = at + players[index]
        return shares
    for size in range(count):
        weight = math.factorial(size) * math.factorial(count - size - 1) / math.factorial(count)
        for others in itertools.combinations(moving, size):
            at = grid + sum((players[index] for index in others), np.zeros(problem.steps))
            cost = _cost(problem, at)
            for index in moving:
                if index not in others:
                    shares[index] += weight * (cost - _cost(problem, at + players[index]))
    return shares


def _cost(problem: Problem, grid: Array) -> Array:
    cost: Array = np.where(grid > 0, problem.energy_per_kwh, problem.export_per_kwh) * grid * problem.step_h
    return cost


def _load_words(problem: Problem, load: Load, usual: Array, planned: Array) -> str:
    if not planned.any():
        return f"leave out {load.name!r}"
    texts = []
    for power in (planned, usual):
        price = float(power @ problem.energy_per_kwh) / float(power.sum())
        places = runs(power > 0)
        when = ", ".join(span(problem, *place) for place in places[:3])
        texts.append(f"{when}{' ...' if len(places) > 3 else ''} at {price:.3f}")
    return f"run {load.name!r} {texts[0]} instead of {texts[1]}"


def _trip_words(problem: Problem, trip: Trip) -> str:
    taken = trip.charged and f"{trip.in_kwh:.3g} kWh {span(problem, *trip.charged)} at {trip.in_price:.3f}"
    given = trip.used and f"{span(problem, *trip.used)} at {trip.out_price:.3f}"
    if taken and given and trip.refill:
        return f"use {trip.out_kwh:.3g} kWh from the battery {given}, put back {taken}"
    if taken and given:
        return f"charge {taken}, use it {given}"
    return f"charge {taken} for later" if taken else f"use {trip.out_kwh:.3g} kWh stored before {given}"
