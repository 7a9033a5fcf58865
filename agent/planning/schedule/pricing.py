"""What a plan costs and which rules it breaks, by the problem alone: the one judge of every plan, whoever made it.

Decides nothing about plans. It reads only their decisions (charge, discharge, loads, curtailment), never what they
say of themselves.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from agent.planning.schedule.parts import Array, Deferrable, DemandCharge, Sequence
from agent.planning.schedule.problem import Plan, Problem
from agent.planning.schedule.words import amount, runs, spans

TOLERANCE_KW = 1e-3
TOLERANCE_KWH = 1e-3


@dataclass(frozen=True, slots=True, kw_only=True)
class Priced:
    """The bill of a plan, in money; `total` is the sum of the parts, with `export_income` taken off.

    Attributes:
        demand: of each charge in the problem's order, what its peak costs more than the peak so far.
        peaks_kw: of each charge, the highest interval mean of plan and month.
        violations: what the plan breaks, in words; empty: it can be run as it is.
    """

    import_cost: float
    export_income: float
    demand: tuple[float, ...]
    wear: float
    carbon: float
    carbon_kg: float
    peaks_kw: tuple[float, ...]
    violations: tuple[str, ...] = ()

    @property
    def total(self) -> float:
        """Everything together."""
        return self.import_cost - self.export_income + sum(self.demand) + self.wear + self.carbon


def price_plan(problem: Problem, plan: Plan) -> Priced:
    """Price a plan and list what it breaks."""
    grid = grid_kw(problem, plan)
    energy_kwh = np.maximum(grid, 0) * problem.step_h
    carbon_kg = float(energy_kwh @ problem.carbon_kg_per_kwh)
    peaks = tuple(peak_kw(problem, charge, grid) for charge in problem.demand)
    wear = 0.0 if problem.battery is None else problem.battery.wear_per_kwh
    return Priced(
        import_cost=float(energy_kwh @ problem.import_per_kwh),
        export_income=float(np.maximum(-grid, 0) @ problem.export_per_kwh) * problem.step_h,
        demand=tuple(
            charge.per_kw * (peak - charge.floor_kw) for charge, peak in zip(problem.demand, peaks, strict=True)
        ),
        wear=float(plan.discharge_kw.sum()) * problem.step_h * wear,
        carbon=carbon_kg * problem.carbon_price_per_kg,
        carbon_kg=carbon_kg,
        peaks_kw=peaks,
        violations=tuple(_violations(problem, plan, grid)),
    )


def grid_kw(problem: Problem, plan: Plan) -> Array:
    """Return the power at the site's meter that the plan's decisions lead to; negative: export."""
    pv = problem.pv_kw - plan.curtail_kw
    power: Array = problem.load_kw + plan.loads_kw.sum(axis=0) + plan.charge_kw - plan.discharge_kw - pv
    return power


def peak_kw(problem: Problem, charge: DemandCharge, grid: Array) -> float:
    """Return the highest mean import of the charge's intervals, not below its floor; with the margin on top."""
    drawn_kw = np.where(charge.counts, np.maximum(grid + problem.demand_margin_kw, 0), 0)
    if problem.step_s >= charge.interval_s:
        return max(charge.floor_kw, float(drawn_kw.max()))
    number = charge.intervals(problem.clock_ms, problem.step_s)
    energy_kwh = np.bincount(number, weights=drawn_kw) * problem.step_h
    energy_kwh[0] += charge.so_far_kwh if charge.counts[0] else 0.0
    return max(charge.floor_kw, float(energy_kwh.max()) * 3600 / charge.interval_s)


def _violations(problem: Problem, plan: Plan, grid: Array) -> Iterator[str]:
    arrays = (plan.charge_kw, plan.discharge_kw, plan.curtail_kw)
    if plan.loads_kw.shape != (len(problem.loads), problem.steps) or any(a.shape != grid.shape for a in arrays):
        yield "its arrays do not have the problem's shape"
        return
    for excess, what in (
        (grid + problem.margin_kw - problem.site_limit_kw, "the site limit is passed by {} kW"),
        (-grid - problem.export_limit_kw, "the export limit is passed by {} kW"),
    ):
        if (over := excess > TOLERANCE_KW).any():
            yield f"{what.format(amount(float(excess.max())))} {spans(problem, over)}"
    held = plan.curtail_kw
    if (wrong := (held < -TOLERANCE_KW) | (held > problem.pv_kw * problem.curtailable + TOLERANCE_KW)).any():
        yield f"PV that cannot be held back is held back {spans(problem, wrong)}"
    yield from _battery(problem, plan)
    for load, power in zip(problem.loads, plan.loads_kw, strict=True):
        yield from _deferrable(problem, load, power) if isinstance(load, Deferrable) else _sequence(load, power)


def _battery(problem: Problem, plan: Plan) -> Iterator[str]:
    charge, discharge, battery = plan.charge_kw, plan.discharge_kw, problem.battery
    if battery is None:
        if max(np.abs(charge).max(), np.abs(discharge).max()) > TOLERANCE_KW:
            yield "it uses a battery that is not there"
        return
    for power, most, what in ((charge, battery.charge_kw, "charges"), (discharge, battery.discharge_kw, "discharges")):
        if (wrong := (power < -TOLERANCE_KW) | (power > most + TOLERANCE_KW)).any():
            yield f"the battery {what} beyond 0 to {most:g} kW {spans(problem, wrong)}"
    if (both := np.minimum(charge, discharge) > TOLERANCE_KW).any():
        yield f"the battery charges and discharges at once {spans(problem, both)}"
    flow = battery.efficiency_charge * charge - discharge / battery.efficiency_discharge
    stored = battery.initial_soc * battery.capacity_kwh + problem.step_h * np.cumsum(flow)
    low, high = battery.range_kwh
    if (wrong := (stored < low - TOLERANCE_KWH) | (stored > high + TOLERANCE_KWH)).any():
        yield f"the battery leaves {low:g} to {high:g} kWh {spans(problem, wrong)}"
    if (short := battery.end_soc * battery.capacity_kwh - float(stored[-1])) > TOLERANCE_KWH:
        yield f"the battery ends {amount(short)} kWh short"


def _deferrable(problem: Problem, load: Deferrable, power: Array) -> Iterator[str]:
    on = power > load.power_kw / 2
    where = f"load {load.name!r}"
    if (np.abs(power - on * load.power_kw) > TOLERANCE_KW).any():
        yield f"{where} runs at a part of its power"
    if int(on.sum()) != load.steps:
        yield f"{where} runs {int(on.sum())} steps instead of {load.steps}"
    outside = on.copy()
    outside[load.earliest : load.end(problem.steps)] = False
    if outside.any():
        yield f"{where} runs outside its window {spans(problem, outside)}"
    if load.on_before and (not load.breakable or load.on_before < load.min_on) and not on[0]:
        yield f"{where} is stopped although it must go on"
    begins, ends = np.array(runs(on), dtype=np.int64).reshape(-1, 2).T
    if not load.breakable:
        if len(begins) > 1:
            yield f"{where} is broken into {len(begins)} runs"
        return
    if not len(begins):
        return
    lengths, pauses = ends - begins, begins[1:] - ends[:-1]
    if load.on_before and on[0]:
        lengths[0] += load.on_before
    elif load.on_before or load.off_before is not None:
        pauses = np.append(pauses, begins[0] + (load.off_before or 0))
    if lengths.min() < load.min_on:
        yield f"{where} runs only {int(lengths.min())} steps without a pause instead of {load.min_on}"
    if len(pauses) and pauses.min() < load.min_off:
        yield f"{where} pauses only {int(pauses.min())} steps instead of {load.min_off}"


def _sequence(load: Sequence, power: Array) -> Iterator[str]:
    """Follow every way in which the stages may lie behind the powers; there must be one."""
    horizon = len(power)
    idle = np.concatenate(([0], np.cumsum(np.abs(power) > TOLERANCE_KW)))  # idle[b] - idle[a]: steps that draw power
    first = load.stages[0]
    latest = 0 if load.running else horizon - 1 if load.start_by is None else load.start_by
    ends = {
        start + len(first.profile_kw)
        for start in range(load.earliest, min(latest, horizon - 1) + 1)
        if idle[start] == 0 and _fits(power, start, first.profile_kw)
    }
    for stage in load.stages[1:]:
        ends = {
            end + gap + len(stage.profile_kw)
            for end in ends
            for gap in range(stage.min_gap, min(stage.max_gap, horizon - end) + 1)
            if idle[end + gap] == idle[end] and _fits(power, end + gap, stage.profile_kw)
        }
    if not any(end <= load.end(horizon) and idle[-1] == idle[end] for end in ends):
        yield f"load {load.name!r} does not run its stages in order, whole, and within its window"


def _fits(power: Array, start: int, profile: tuple[float, ...]) -> bool:
    piece = power[start : start + len(profile)]
    return len(piece) == len(profile) and bool((np.abs(piece - profile) <= TOLERANCE_KW).all())
