"""What the battery does as the load comes: the power that costs least now and in what is then ahead.

Decides between all powers at once: trading, shaving and charging are one question, answered by what stored energy is
worth. The load of the moment is known, what comes after is in the cost to go. Pure.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from agent.planning.schedule.parts import Array, Battery, frozen
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

    @property
    def battery(self) -> Battery:
        """The battery that follows it."""
        assert self.problem.battery is not None  # noqa: S101 - there is nothing to follow with
        return self.problem.battery

    @property
    def levels_kwh(self) -> Array:
        """Stored energies that `to_go` is known at; an earlier version kept as many as it liked, evenly apart."""
        levels, count = levels_kwh(self.battery), self.to_go.shape[1]
        return levels if len(levels) == count else np.linspace(*self.battery.range_kwh, count)


def follow(
    policy: Policy,
    step: int,
    load_kw: float,
    stored_kwh: float,
    left_h: float,
    export_kw: float = math.inf,
    floors_kw: Array | None = None,
) -> float:
    """Return the battery's power until the next call: above 0 it gives, below it takes.

    Meant to be called every few seconds with what the site draws: then the mean over the interval follows. Of what is
    measured the site limit is kept without the margin.

    Args:
        policy: to be followed.
        step: of its problem.
        load_kw: what the site would draw without the battery, less its PV.
        stored_kwh: at present.
        left_h: what is left of the step, in hours; nothing is done where nothing is left.
        export_kw: what the battery may lead to, beyond what PV exports.
        floors_kw: of each demand charge, the import that costs nothing more; see `rest_kw`. None: as the charges say.
    """
    return _Follower(policy).power_kw(step, load_kw, stored_kwh, left_h, export_kw=export_kw, floors_kw=floors_kw)


def rest_kw(problem: Problem, drawn_kwh: Array, left_h: Array) -> Array:
    """Return of each demand charge the steady import that ends its running interval at the charge's floor.

    Args:
        problem: with the charges.
        drawn_kwh: [charges] imported in the running interval so far.
        left_h: [charges] of it.
    """
    whole_h = np.array([charge.interval_s / 3600 for charge in problem.demand])
    floors = np.array([charge.floor_kw for charge in problem.demand])
    rest: Array = np.maximum((floors * whole_h - drawn_kwh) / left_h, 0.0)
    return rest


def reserve_kwh(policy: Policy, step: int) -> float:
    """Return what must be stored before anything of it is given to save the energy that it replaces.

    0 where nothing is kept but the least that must always be stored.
    """
    problem, battery, levels = policy.problem, policy.battery, policy.levels_kwh
    saved = (float(problem.energy_per_kwh[step]) - battery.wear_per_kwh) * battery.efficiency_discharge
    kept = -np.diff(policy.to_go[step + 1]) > saved * np.diff(levels)
    return float(levels[len(kept) if kept.all() else int(np.argmin(kept))]) if kept[0] else 0.0


def limit_kw(problem: Problem, step: int, floors_kw: Array | None = None) -> float:
    """Return up to where import passes no limit and raises no demand charge; infinite where there is none.

    Where an interval has drawn more so far than it may, `floors_kw` (see `rest_kw`) are lower, and hold.
    """
    floors = [charge.floor_kw for charge in problem.demand]
    lower: list[float] = floors if floors_kw is None else np.minimum(floors, floors_kw).tolist()
    held = [kw for kw, charge in zip(lower, problem.demand, strict=True) if charge.counts[step] and charge.per_kw]
    return min([*held, float(problem.site_limit_kw[step])])


def followed_plan(policy: Policy, loads_kw: Array, *notes: str) -> Plan:
    """Return the plan that comes of the policy where the load comes as its median: what is shown is what will be done.

    Args:
        policy: to be followed.
        loads_kw: [loads, steps] power of the loads.
        notes: for people; what the plan breaks is added.
    """
    problem, battery = policy.problem, policy.battery
    follower, meters = _Follower(policy), _Meters(problem)
    net = problem.load_kw + np.asarray(loads_kw).sum(axis=0) - problem.pv_kw
    power, stored = np.zeros(problem.steps), battery.initial_soc * battery.capacity_kwh
    for step, load_kw in enumerate(net.tolist()):
        margin_kw, floors_kw = float(problem.margin_kw[step]), meters.floors_kw()
        given = follower.power_kw(step, load_kw, stored, problem.step_h, margin_kw=margin_kw, floors_kw=floors_kw)
        stored -= problem.step_h * (
            given / battery.efficiency_discharge if given > 0 else given * battery.efficiency_charge
        )
        power[step] = given
        meters.count(step, load_kw - given)
    charge, discharge = np.maximum(-power, 0), np.maximum(power, 0)
    held: Array = np.zeros(problem.steps)
    if problem.curtailable:
        allowed = np.where(problem.export_per_kwh < 0, 0.0, problem.export_limit_kw)
        held = np.clip(power - net - allowed, 0, problem.pv_kw)
    plan = plan_of(problem, loads_kw, charge, discharge, held, source="policy")
    priced = price_plan(problem, plan)
    return dataclasses.replace(plan, objective=priced.total, notes=(*notes, *priced.violations))


class _Follower:
    """A policy, with what is the same in all its steps looked up once."""

    def __init__(self, policy: Policy) -> None:
        self._policy, self._levels, self._rates = policy, policy.levels_kwh, Rates(policy.problem)

    def power_kw(
        self,
        step: int,
        load_kw: float,
        stored_kwh: float,
        left_h: float,
        *,
        margin_kw: float = 0.0,
        export_kw: float = math.inf,
        floors_kw: Array | None = None,
    ) -> float:
        """See `follow`. Cost now and to go are linear between a few powers, so the best is one of these."""
        if left_h <= 0:
            return 0.0
        policy, battery, rates, levels = self._policy, self._policy.battery, self._rates, self._levels
        least, most = battery.range_kwh
        into, out = battery.efficiency_charge * left_h, left_h / battery.efficiency_discharge
        lowest = -min(battery.charge_kw, max(most - stored_kwh, 0.0) / into)
        if -load_kw > policy.problem.export_limit_kw[step]:
            export_kw = 0.0  # PV passes the limit by itself: to burn energy in a cycle would be the lesser evil
        highest = min(battery.discharge_kw, max(stored_kwh - least, 0.0) / out, max(load_kw + export_kw, 0.0))
        change = levels - stored_kwh
        to_level = np.where(change > 0, -change / into, -change / out)
        to_bend = load_kw - np.array(rates.bends_kw(step, margin_kw, floors_kw))
        power = np.clip(np.concatenate([[0.0], to_level, to_bend]), lowest, highest)
        then = stored_kwh - np.where(power > 0, power * out, power * into)
        now = rates.per_h(step, load_kw - power, margin_kw, floors_kw) + moved_per_h(policy.problem, battery, power)
        return float(power[np.argmin(now * left_h + np.interp(then, levels, policy.to_go[step + 1]))])


class _Meters:
    """What the running interval of each demand charge has drawn, step after step of a plan."""

    def __init__(self, problem: Problem) -> None:
        charges, step_s = problem.demand, problem.step_s
        self._problem = problem
        self._length_s = np.array([max(charge.interval_s, step_s) for charge in charges], dtype=np.int64)
        # Whole steps: an interval is what the steps draw that begin in it (`DemandCharge.intervals`).
        self._into_s = problem.clock_ms // 1000 % self._length_s // step_s * step_s
        self._drawn_kwh = np.array([charge.so_far_kwh if charge.counts[0] else 0.0 for charge in charges])
        self._drawn_kwh[self._into_s == 0] = 0.0

    def floors_kw(self) -> Array:
        """Return the floors of the step that comes; see `rest_kw`."""
        rest = rest_kw(self._problem, self._drawn_kwh, (self._length_s - self._into_s) / 3600)
        own = [charge.floor_kw for charge in self._problem.demand]
        return np.where(self._length_s > self._problem.step_s, rest, own)

    def count(self, step: int, grid_kw: float) -> None:
        """Count what the step has drawn, and go on to the next."""
        counts = np.array([charge.counts[step] for charge in self._problem.demand], dtype=bool)
        self._drawn_kwh += max(grid_kw, 0.0) * self._problem.step_h * counts
        self._into_s = (self._into_s + self._problem.step_s) % self._length_s
        self._drawn_kwh[self._into_s == 0] = 0.0
