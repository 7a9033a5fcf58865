"""The program of a problem: which columns and rows stand for the site, the battery and the demand charges.

Decides where whole numbers are needed at all. Import and export, or charge and discharge, at once never pay while a kWh
less at the meter is worth something; only in the other steps a binary keeps them apart.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from agent.planning.schedule.loadmodel import Give, LoadColumns, add_load
from agent.planning.schedule.milp import Builder, Indices, Milp
from agent.planning.schedule.parts import Array, Battery, Deferrable, DemandCharge, Load
from agent.planning.schedule.problem import Plan, Problem, plan_of

_NONE = np.zeros(0, dtype=np.int64)
_EVEN_H = 1e-3  # a kW by which a limit is passed weighs as much as it being passed by a kW for so long


@dataclass(frozen=True, slots=True, kw_only=True)
class Yields:
    """What may give way when not all wishes can be met, at which price; None: not at all."""

    over_per_kwh: float
    soc_per_kwh: float | None
    loads: Give | None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Model:
    """A program and what its columns mean; `over_in`, `over_out`, `short`: by how much it gives way."""

    milp: Milp
    charge: Indices
    discharge: Indices
    curtail: Indices
    loads: tuple[LoadColumns, ...]
    over_in: Indices
    over_out: Indices
    short: Indices


def build(problem: Problem, yields: Yields | None = None) -> Model:
    """Build the program; its objective is the total of `price_plan`, or with `yields` the weighed giving way alone."""
    builder = Builder()
    steps, step_h = problem.steps, problem.step_h
    net = problem.load_kw - problem.pv_kw
    balance = builder.rows(steps, lower=net, upper=net)
    imported, exported, over_in, over_out = _site(builder, problem, yields)
    builder.add(balance, imported, 1.0)
    builder.add(balance, exported, -1.0)
    curtail = charge = discharge = short = _NONE
    if problem.curtailable:
        curtail = builder.columns(steps, upper=problem.pv_kw)
        builder.add(balance, curtail, -1.0)
    if problem.battery is not None:
        charge, discharge, short = _battery(builder, problem, problem.battery, yields)
        builder.add(balance, charge, -1.0)
        builder.add(balance, discharge, 1.0)
    give = None if yields is None else yields.loads
    loads = tuple(add_load(builder, load, steps, step_h, give) for load in problem.loads)
    for load in loads:
        for step, column, value in load.entries:
            builder.add(balance[step], column, -value)
    if yields is None:
        _apart(builder, problem, imported, exported)
        for demand in problem.demand:
            _demand(builder, problem, demand, imported, exported)
    return Model(
        milp=builder.build(),
        charge=charge,
        discharge=discharge,
        curtail=curtail,
        loads=loads,
        over_in=over_in,
        over_out=over_out,
        short=short,
    )


def read(problem: Problem, model: Model, point: Array) -> Plan:
    """Return the plan of a point, with rounding dust swept off."""
    steps = problem.steps
    whole = np.where(model.milp.integer, np.round(point), point)
    loads = np.array([load.power_kw(whole, steps) for load in model.loads]).reshape(len(model.loads), steps)
    charge, discharge, curtail = (
        np.maximum(whole[columns], 0) if len(columns) else np.zeros(steps)
        for columns in (model.charge, model.discharge, model.curtail)
    )
    if problem.battery is not None:
        charge, discharge = _net(problem.battery, charge, discharge)
    if problem.curtailable:
        all_kw = plan_of(problem, loads, charge, discharge, source="highs").grid_kw
        needed = np.clip(-all_kw - problem.export_limit_kw, 0, problem.pv_kw)
        pays = (problem.energy_per_kwh < 0) | (problem.export_per_kwh < 0)  # else nothing is won by holding back
        curtail = np.where(pays, np.maximum(curtail, needed), needed)
    return plan_of(problem, np.round(loads, 9), charge, discharge, curtail, source="highs")


def _site(builder: Builder, problem: Problem, yields: Yields | None) -> tuple[Indices, Indices, Indices, Indices]:
    """Import and export, within their limits; a margin that reaches beyond the site limit must be exported."""
    steps, step_h = problem.steps, problem.step_h
    room = problem.site_limit_kw - problem.margin_kw
    if yields is None:
        cost_in, cost_out = problem.energy_per_kwh * step_h, -problem.export_per_kwh * step_h
        imported = builder.columns(steps, cost=cost_in, upper=np.maximum(room, 0))
        exported = builder.columns(steps, cost=cost_out, lower=np.maximum(-room, 0), upper=problem.export_limit_kw)
        return imported, exported, _NONE, _NONE
    imported, exported = builder.columns(steps), builder.columns(steps)
    over_in, over_out = (builder.columns(steps, cost=yields.over_per_kwh * step_h) for _ in range(2))
    rows = builder.rows(steps, upper=room)
    for columns, value in ((imported, 1.0), (exported, -1.0), (over_in, -1.0)):
        builder.add(rows, columns, value)
    rows = builder.rows(steps, upper=problem.export_limit_kw)
    for columns, value in ((exported, 1.0), (imported, -1.0), (over_out, -1.0)):
        builder.add(rows, columns, value)
    for over in (over_in, over_out):  # of all ways to pass a limit as little, the one that passes it by the fewest kW
        most = builder.columns(1, cost=yields.over_per_kwh * _EVEN_H)
        rows = builder.rows(steps, upper=0.0)
        builder.add(rows, over, 1.0)
        builder.add(rows, most, -1.0)
    return imported, exported, over_in, over_out


def _battery(
    builder: Builder, problem: Problem, battery: Battery, yields: Yields | None
) -> tuple[Indices, Indices, Indices]:
    """Charge, discharge, and by how much the end comes short."""
    steps, step_h = problem.steps, problem.step_h
    low, high = battery.range_kwh
    wear = battery.wear_per_kwh * step_h if yields is None else 0.0
    charge = builder.columns(steps, upper=battery.charge_kw)
    discharge = builder.columns(steps, upper=battery.discharge_kw, cost=wear)
    stored = builder.columns(steps, lower=low, upper=high)
    initial = np.where(np.arange(steps) == 0, battery.initial_soc * battery.capacity_kwh, 0.0)
    rows = builder.rows(steps, lower=initial, upper=initial)
    builder.add(rows, stored, 1.0)
    builder.add(rows[1:], stored[:-1], -1.0)
    builder.add(rows, charge, -battery.efficiency_charge * step_h)
    builder.add(rows, discharge, step_h / battery.efficiency_discharge)
    end = builder.rows(1, lower=battery.end_soc * battery.capacity_kwh)
    builder.add(end, stored[-1:], 1.0)
    short = _NONE
    if yields is not None and yields.soc_per_kwh is not None:
        short = builder.columns(1, cost=yields.soc_per_kwh)
        builder.add(end, short, 1.0)
    loss = 1 - battery.efficiency_charge * battery.efficiency_discharge
    worth = np.minimum(problem.energy_per_kwh, problem.export_per_kwh)
    pv_kw = 0.0 if problem.curtailable else problem.pv_kw  # else it is held back before anything is burnt
    no_way_out = battery.discharge_kw + pv_kw - problem.load_kw > problem.export_limit_kw
    worn = battery.wear_per_kwh * (1 - loss)  # of a kWh taken in, as much is given out
    burns = (worth * loss + worn < 0) | no_way_out
    _either(builder, charge[burns], battery.charge_kw, discharge[burns], battery.discharge_kw)
    return charge, discharge, short


def _either(builder: Builder, one: Indices, one_most: Array | float, other: Indices, other_most: Array | float) -> None:
    """Let only one of two columns be above 0, in each of their steps."""
    count = len(one)
    if not count:
        return
    chosen = builder.columns(count, upper=1.0, integer=True)
    rows = builder.rows(count, upper=0.0)
    builder.add(rows, one, 1.0)
    builder.add(rows, chosen, -np.asarray(one_most))
    rows = builder.rows(count, upper=other_most)
    builder.add(rows, other, 1.0)
    builder.add(rows, chosen, other_most)


def _net(battery: Battery, charge: Array, discharge: Array) -> tuple[Array, Array]:
    """Where both run at once for nothing, keep what is stored and let only one run."""
    flow = battery.efficiency_charge * charge - discharge / battery.efficiency_discharge
    both = np.minimum(charge, discharge) > 0
    charge = np.where(both, np.maximum(flow, 0) / battery.efficiency_charge, charge)
    discharge = np.where(both, np.maximum(-flow, 0) * battery.efficiency_discharge, discharge)
    return charge, discharge


def _apart(builder: Builder, problem: Problem, imported: Indices, exported: Indices) -> None:
    """Keep import and export apart where buying costs less than selling brings."""
    pays = problem.energy_per_kwh < problem.export_per_kwh
    battery = problem.battery
    most_in = problem.load_kw + sum(_most_kw(load) for load in problem.loads) + (battery.charge_kw if battery else 0)
    most_out = problem.pv_kw - problem.load_kw + (battery.discharge_kw if battery else 0)
    most_in, most_out = np.maximum(most_in, 0)[pays], np.maximum(most_out, 0)[pays]
    _either(builder, imported[pays], most_in, exported[pays], most_out)


def _most_kw(load: Load) -> float:
    if isinstance(load, Deferrable):
        return load.power_kw
    return max(max(stage.profile_kw) for stage in load.stages)


def _demand(builder: Builder, problem: Problem, demand: DemandCharge, imported: Indices, exported: Indices) -> None:
    """The peak is at least the mean import, margin included, of each interval that counts."""
    counted = np.flatnonzero(demand.counts)
    if not len(counted) or not demand.per_kw:
        return
    peak = builder.columns(1, cost=demand.per_kw, lower=demand.floor_kw)
    builder.offset -= demand.per_kw * demand.floor_kw
    share = min(problem.step_s / demand.interval_s, 1.0)
    known, row_of = np.unique(demand.intervals(problem.clock_ms, problem.step_s)[counted], return_inverse=True)
    margin = problem.demand_margin_kw[counted]
    drawn = imported[counted]
    if margin.any():  # what the meter would count if the load were as high as its higher quantile
        drawn = builder.columns(len(counted))
        rows = builder.rows(len(counted), lower=margin)
        for columns, value in ((drawn, 1.0), (imported[counted], -1.0), (exported[counted], 1.0)):
            builder.add(rows, columns, value)
    begun = demand.counts[0] and share < 1
    rows = builder.rows(len(known), lower=(known == 0) * (demand.so_far_kwh * 3600 / demand.interval_s if begun else 0))
    builder.add(rows, peak, 1.0)
    builder.add(rows[row_of], drawn, -share)
