"""Why a plan does what it does: each action in words, with what it saves against doing nothing.

Decides how the saving is shared out, so that the parts sum to the whole. Energy is priced step by step; where two
actions meet in a step across the meter's zero, what they save together is shared by the Shapley value (the mean over
every order in which they could have been decided). A peak is no one's alone: each demand charge is an
action of its own. What is left in the battery at the end counts by what charging it costs, where that is cheapest.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterator

import numpy as np

from agent.planning.schedule.explainwords import battery_words, left_words, load_words, peak_words, pv_words
from agent.planning.schedule.parts import Array
from agent.planning.schedule.pricing import TOLERANCE_KWH, grid_kw, price_plan
from agent.planning.schedule.problem import Plan, Problem
from agent.planning.schedule.prospect import Aims
from agent.planning.schedule.rules import do_nothing
from agent.planning.schedule.trips import trips
from agent.planning.schedule.words import amount, peak_amount

_MOST_SHARED = 8  # players of an exact Shapley value: 2^8 grids
_DUST_KW = 1e-6
_DUST_MONEY = 5e-3
_KEPT = 0.05  # of the capacity: less is not told as kept
_NO_AIMS = Aims()


@dataclasses.dataclass(frozen=True, slots=True)
class Action:
    """Something that the plan does; `saving` is against doing nothing, negative where it costs."""

    what: str
    text: str
    saving: float


@dataclasses.dataclass(frozen=True, slots=True)
class Explanation:
    """A plan explained: the savings of the actions sum to `saving`.

    Attributes:
        actions: dearest saving first.
        cost, cost_of_nothing: in money, until the end of the plan.
        demand_cost: part of `cost`, for peaks above what is paid for so far.
        left_kwh: how much more is stored at the end than with doing nothing; below 0: less.
        left_over: what that is worth, in money.
        notes: what the plan says of itself, what doing nothing would break, and why a plan costs more than that.
    """

    actions: tuple[Action, ...]
    cost: float
    cost_of_nothing: float
    demand_cost: float
    left_kwh: float
    left_over: float
    notes: tuple[str, ...]

    @property
    def saving(self) -> float:
        """What doing nothing costs more, with what is stored at the end counted alike."""
        return self.cost_of_nothing - self.cost + self.left_over


def explain(problem: Problem, plan: Plan, aims: Aims = _NO_AIMS) -> Explanation:
    """Explain a plan.

    Args:
        problem: as it is: demand above the peaks so far, and what is paid for anyway, costs.
        plan: of this problem, or of the one with the aims in it.
        aims: peaks that the plan may come to; none where it guards no peak.
    """
    nothing = do_nothing(problem)
    priced, before = price_plan(problem, plan), price_plan(_without_wish(problem), nothing)
    moves = list(plan.loads_kw - nothing.loads_kw)
    battery, curtail = plan.charge_kw - plan.discharge_kw, plan.curtail_kw - nothing.curtail_kw
    without = grid_kw(problem, nothing)
    *moved, stored, held = _shares(problem, without, [*moves, battery, curtail])
    actions = [
        Action(
            "load", load_words(problem, load, nothing.loads_kw[index], plan.loads_kw[index]), float(moved[index].sum())
        )
        for index, load in enumerate(problem.loads)
        if np.abs(moves[index]).max() > _DUST_KW
    ]
    actions += [Action("battery", battery_words(problem, trip), trip.saving) for trip in trips(problem, plan, stored)]
    for more in (curtail > _DUST_KW, curtail < -_DUST_KW):
        if more.any():
            actions.append(Action("pv", pv_words(problem, np.where(more, curtail, 0.0)), float(held[more].sum())))
    left_kwh, left_over = _left(problem, plan, nothing, without)
    if left_kwh:
        actions.append(Action("battery", left_words(left_kwh, left_over), left_over))
    for charge, old, new in zip(problem.demand, before.peaks_kw, priced.peaks_kw, strict=True):
        saving = charge.per_kw * (old - new)
        if abs(saving) > _DUST_MONEY:
            words = peak_words(charge, old, new, aims.peaks_kw.get(charge.name, 0.0))
            actions.append(Action("demand", words, saving))
    ranked = tuple(sorted(actions, key=lambda action: -action.saving))
    told = Explanation(ranked, priced.total, before.total, sum(priced.demand), left_kwh, left_over, plan.notes)
    broken = tuple(f"without the plan: {violation}" for violation in before.violations)
    return dataclasses.replace(told, notes=(*plan.notes, *_why_dearer(problem, plan, aims, told), *broken))


def _without_wish(problem: Problem) -> Problem:
    """Return the problem whose battery may end empty: at rest it wishes nothing, and what it lacks is priced."""
    battery = problem.battery
    if battery is None:
        return problem
    return dataclasses.replace(problem, battery=dataclasses.replace(battery, final_soc=battery.min_soc))


def sentence(action: Action, currency: str = "") -> str:
    """Return the action with its saving."""
    if abs(action.saving) < _DUST_MONEY:
        return f"{action.text}: costs nothing"
    verb = "saves" if action.saving >= 0 else "costs"
    return f"{action.text}: {verb} {abs(action.saving):.2f} {currency}".rstrip()


def outcome(saving: float, currency: str) -> str:
    """Return what a plan comes to against doing nothing, in words."""
    if abs(saving) < _DUST_MONEY:
        return "costs the same as doing nothing"
    money = f"{abs(saving):.2f} {currency}".rstrip()
    return f"saves {money} against doing nothing" if saving > 0 else f"costs {money} more than doing nothing"


def _left(problem: Problem, plan: Plan, nothing: Plan, grid: Array) -> tuple[float, float]:
    """Return how many kWh more than with doing nothing a plan leaves stored, and what charging them costs.

    That is in the cheapest steps of the plan, at full power, on top of what the site then draws of the grid.
    """
    battery = problem.battery
    more_kwh = 0.0 if battery is None else float(plan.stored_kwh[-1] - nothing.stored_kwh[-1])
    if battery is None or abs(more_kwh) <= TOLERANCE_KWH:
        return 0.0, 0.0
    step_kwh = battery.charge_kw * battery.efficiency_charge * problem.step_h
    cost = np.sort(np.maximum(_cost(problem, grid + battery.charge_kw) - _cost(problem, grid), 0.0))
    steps = abs(more_kwh) / step_kwh
    part = np.clip(steps - np.arange(problem.steps), 0.0, 1.0)
    part[-1] += max(steps - problem.steps, 0.0)
    return more_kwh, math.copysign(float(part @ cost), more_kwh)


def _why_dearer(problem: Problem, plan: Plan, aims: Aims, told: Explanation) -> Iterator[str]:
    """Say why a plan that guards peaks costs more than doing nothing where the load comes as forecast."""
    if told.saving > -_DUST_MONEY or plan.source != "policy" or (battery := problem.battery) is None:
        return
    risen = sum(action.saving for action in told.actions if action.what == "demand" and action.saving < 0)
    if risen <= told.saving / 2:
        yield "it costs more because it lets a peak rise that the month is expected to come to in any case"
        return
    names = {charge.name: None for charge in problem.demand if charge.name in aims.peaks_kw}
    peaks = " and ".join(f"{name!r} at {peak_amount(_held(problem, aims, name))} kW" for name in names)
    purpose = f", to keep the peak of {peaks}" if peaks else ""
    kept_kwh = float(plan.stored_kwh.min()) - battery.range_kwh[0]
    kept = f"; {amount(kept_kwh)} kWh stay stored for it" if kept_kwh > _KEPT * battery.capacity_kwh else ""
    yield f"it costs more because it is ready for load above the forecast{purpose}{kept}"


def _held(problem: Problem, aims: Aims, name: str) -> float:
    """Return what a charge's peak is kept at: the aim, or what is paid for already."""
    paid = (charge.floor_kw for charge in problem.demand if charge.name == name)
    return max(aims.peaks_kw[name], next(paid))


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
