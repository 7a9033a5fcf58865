"""From a forecast, a tariff and the plant's wishes to the problem of a schedule; and how one problem follows another.

Decides what of the load may move: a load with a usual time is a part of the forecast there, and is taken out of it; one
without comes on top. What was advised before is taken as done. Pure.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import math
from collections.abc import Mapping, Sequence

import numpy as np

from agent.contract.rows import Forecast
from agent.contract.slots import Slot
from agent.contract.tariff.tariff import Tariff
from agent.contract.zones import clock_ms
from agent.planning.billing.forward import Earlier
from agent.planning.billing.marginal import DemandTerm, marginal_prices
from agent.planning.pv import PvAhead
from agent.planning.schedule.daily import Daily, Occurrence, occurrences
from agent.planning.schedule.parts import Array, Battery, DemandCharge, Load
from agent.planning.schedule.problem import MAX_LOADS, Plan, Problem
from agent.planning.schedule.replan import has_begun, remaining_loads

_MEDIAN = 0.5


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What the plant has and wants: limits (infinite: none) and the quantile that they are kept for, battery, loads.

    Attributes:
        soc_unknown: why nothing measures the battery's state of charge; empty where something does.
        curtailable: whether PV may be held back.
        zone: of the loads' windows; the tariff's where None.
    """

    site_limit_kw: float = math.inf
    export_limit_kw: float = math.inf
    margin_quantile: float = _MEDIAN
    battery: Battery | None = None
    soc_unknown: str = ""
    loads: tuple[Daily, ...] = ()
    curtailable: bool = False
    carbon_price_per_kg: float = 0.0
    zone: dt.tzinfo | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Advised:
    """What was advised last; `settled` are runs that are over, by name."""

    problem: Problem
    plan: Plan
    settled: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class Task:
    """A problem, what is settled before it, notes on what its loads cannot keep any more, and what was not measured."""

    problem: Problem
    settled: tuple[str, ...]
    notes: tuple[str, ...]
    assumed: tuple[str, ...] = ()


def next_task(
    tariff: Tariff,
    forecast: Forecast,
    slots: Sequence[Slot],
    wishes: Wishes,
    *,
    pv: PvAhead | None = None,
    earlier: Advised | None = None,
    demand_before: Earlier | None = None,
    used_kwh: Mapping[str, float] | None = None,
    carbon_kg_per_kwh: Array | None = None,
) -> Task:
    """Return the problem of the hours that a forecast covers.

    Args:
        tariff: prices at the margin, demand charges.
        forecast: of the plant's gross load: without PV and battery.
        slots: measured, in time order, of the billing month so far: the peaks that are paid for already. Older ones
            do not count, nor does the peak of a slot that was measured by less than half.
        wishes: battery (with its present state of charge) and loads.
        pv: what PV will give in the steps of the forecast; None where there is none.
        earlier: what was advised last.
        demand_before: highest demand (kW) of months before that still counts, by charge and month.
        used_kwh: what charges with tiers by the year counted in the months before.
        carbon_kg_per_kwh: of imported energy; NaN where it is not known counts as none.

    Raises:
        ConfigError: when the tariff has no prices for the span, or the wishes are impossible.
    """
    start_ms, step_s, steps = forecast.origin_ms, forecast.slot_s, len(forecast.power_kw)
    month_ms = max(tariff.month_at(start_ms).start_ms, tariff.begin_ms)
    past = [slot for slot in slots if month_ms <= slot.start_ms < start_ms]
    taken_kwh = sum(max(slot.energy_wh, 0) for slot in past) / 1000
    prices = marginal_prices(
        tariff, start_ms, step_s, steps, taken_kwh=taken_kwh, used_kwh=used_kwh, earlier=demand_before
    )
    median_kw = forecast.level(_MEDIAN)
    margin_kw = np.maximum(forecast.level(wishes.margin_quantile) - median_kw, 0)
    zone = wishes.zone or tariff.zone
    runs = [run for daily in wishes.loads for run in occurrences(daily, zone, start_ms, step_s, steps)]
    names = {daily.name for daily in wishes.loads}
    loads, settled, notes = _loads(runs, names, earlier, start_ms, step_s, steps)
    known = [slot for slot in past if slot.length_s == step_s and slot.known_kw is not None]
    peaks = _peaks_so_far(tariff, known, start_ms, step_s)
    now = tariff.month_at(start_ms).label
    battery, assumed = _charged(wishes, earlier, start_ms)
    problem = Problem(
        start_ms=start_ms,
        step_s=step_s,
        load_kw=_without(median_kw, _usual_kw(runs, {load.name for load in loads} | set(settled), steps)),
        pv_kw=np.zeros(steps) if pv is None else pv.power_kw,
        curtailable=wishes.curtailable,
        import_per_kwh=prices.import_per_kwh,
        export_per_kwh=prices.export_per_kwh,
        demand=tuple(
            _charge(term, *peaks.get(term.name, (0.0, 0.0)), is_now=term.label == now) for term in prices.demand
        ),
        site_limit_kw=np.full(steps, wishes.site_limit_kw),
        export_limit_kw=np.full(steps, wishes.export_limit_kw),
        margin_kw=margin_kw,
        carbon_kg_per_kwh=np.zeros(steps) if carbon_kg_per_kwh is None else np.nan_to_num(carbon_kg_per_kwh),
        carbon_price_per_kg=wishes.carbon_price_per_kg,
        battery=battery,
        loads=loads,
        zone=tariff.zone_name,
        currency=tariff.currency,
    )
    return Task(problem, settled, notes if pv is None or not pv.note else (*notes, pv.note), assumed)


def _charged(wishes: Wishes, earlier: Advised | None, start_ms: int) -> tuple[Battery | None, tuple[str, ...]]:
    """Return the battery with what was planned to be stored by now, where nothing measures it, and a note."""
    battery = wishes.battery
    if battery is None or not wishes.soc_unknown:
        return battery, ()
    soc, whence = None if earlier is None else _planned_soc(earlier, start_ms), "planned before"
    if soc is None:
        soc, whence = battery.initial_soc, "configured (battery.soc)"
    note = f"the battery is taken to be {soc:.0%} full, as {whence}: {wishes.soc_unknown}"
    return dataclasses.replace(battery, initial_soc=soc), (note,)


def _planned_soc(earlier: Advised, at_ms: int) -> float | None:
    """Return what share was planned to be stored at a time; None where the plan does not reach there."""
    problem, battery = earlier.problem, earlier.problem.battery
    step = (at_ms - problem.start_ms) / (problem.step_s * 1000)
    if battery is None or not 0 <= step <= problem.steps:
        return None
    stored_kwh = [battery.initial_soc * battery.capacity_kwh, *earlier.plan.stored_kwh]
    soc = float(np.interp(step, np.arange(problem.steps + 1), stored_kwh)) / battery.capacity_kwh
    return min(max(round(soc, 6), 0.0), 1.0)  # not a trifle outside the battery's range, which would be widened by it


def _charge(term: DemandTerm, peak_kw: float, so_far_kwh: float, *, is_now: bool) -> DemandCharge:
    """A month that has not begun is taken to come to this one's peak: its first hours alone are no reason to shave."""
    return DemandCharge(
        name=term.name,
        month=term.label,
        per_kw=max(term.per_kw, 0.0),  # an excess that costs less than the ordinary price is no reason to pass it
        interval_s=term.interval_s,
        counts=term.counts,
        free_kw=term.free_kw,
        peak_so_far_kw=peak_kw,
        so_far_kwh=so_far_kwh if is_now else 0.0,
    )


def _peaks_so_far(tariff: Tariff, past: Sequence[Slot], start_ms: int, step_s: int) -> dict[str, tuple[float, float]]:
    """Return of each charge this month's highest mean so far, and the kWh of the interval that has begun."""
    if not past:
        return {}
    first_ms = past[0].start_ms
    steps = (start_ms - first_ms) // (step_s * 1000)
    taken_kwh = np.zeros(steps)
    for slot in past:
        taken_kwh[(slot.start_ms - first_ms) // (step_s * 1000)] = max(slot.energy_wh, 0) / 1000
    found, begin_s = {}, clock_ms(start_ms, tariff.zone) // 1000
    for term in marginal_prices(tariff, first_ms, step_s, steps).demand:
        interval_s = max(term.interval_s, step_s)
        number = (begin_s + step_s * np.arange(-steps, 0)) // interval_s
        sums = np.bincount(number - number[0], weights=np.where(term.counts, taken_kwh, 0.0))
        begun_kwh = float(sums[-1]) if number[-1] == begin_s // interval_s else 0.0
        found[term.name] = float(sums.max()) * 3600 / interval_s, begun_kwh
    return found


def _loads(
    runs: list[Occurrence], names: set[str], earlier: Advised | None, start_ms: int, step_s: int, steps: int
) -> tuple[tuple[Load, ...], tuple[str, ...], tuple[str, ...]]:
    """Return the loads still to run, which runs are settled, and notes; `names` are the loads that the plant has."""
    passed = -1 if earlier is None else (start_ms - earlier.problem.start_ms) // (step_s * 1000)
    known = {run.name: run for run in runs}
    left: tuple[Load, ...] = ()
    notes: tuple[str, ...] = ()
    settled = set() if earlier is None else set(earlier.settled)
    if earlier is not None and earlier.problem.step_s == step_s and 0 <= passed <= earlier.problem.steps:
        kept, notes = remaining_loads(earlier.problem, earlier.plan.loads_kw[:, :passed], steps)
        settled |= {load.name for load in earlier.problem.loads} - {load.name for load in kept}
        late = {load.name for load in kept} - known.keys()
        begun = late | {run.name for run in runs if run.has_begun}
        for load in kept:
            if load.name not in late:
                left += (_usual_again(load, known[load.name], steps),)
            elif _daily_of(load.name) not in names:
                continue
            elif has_begun(load) or not any(_is_later(name, load.name) for name in begun):
                left += (load,)
            else:
                notes += (f"load {load.name!r} is given up: the time of its next run has come",)
    named = {load.name for load in left}
    for run in sorted(runs, key=lambda run: run.end):
        # What nobody planned was made at its usual time, if that is over.
        was_made = run.has_begun and run.usual is not None and run.usual < 0
        if run.name in settled | named or was_made:
            continue
        if run.load is not None and len(left) < MAX_LOADS:  # of more, the last ones are planned when their time is near
            left += (run.load,)
        elif run.load is None and run.end <= steps:
            notes += (f"load {run.name!r} is not planned: it needs more than its window, or what is left of it",)
    return left, tuple(sorted(settled & known.keys())), notes


def _is_later(run: str, other: str) -> bool:
    """Whether a run is a later one of the same load."""
    return _daily_of(run) == _daily_of(other) and run > other


def _daily_of(run: str) -> str:
    """Return of which load a run is: its name ends with its date."""
    return run.rpartition(" ")[0]


def _usual_again(load: Load, run: Occurrence, steps: int) -> Load:
    fits = run.usual is not None and load.earliest <= run.usual <= load.end(steps) - load.steps
    return dataclasses.replace(load, usual=run.usual) if fits else load


def _without(median_kw: Array, usual_kw: Array) -> Array:
    """Return the forecast less the runs that it holds.

    Where it is too low to hold them they come on top: a load that is moved leaves no power behind to sell.
    """
    rest: Array = np.maximum(median_kw - usual_kw, np.minimum(median_kw, 0))
    return rest


def _usual_kw(runs: list[Occurrence], gone: set[str], steps: int) -> Array:
    """Return what the forecast holds of runs that are planned or settled: it is no part of what cannot move.

    A run that is not planned yet, because its window's end is not in view, stays in the forecast.
    """
    total = np.zeros(steps)
    for run in runs:
        if run.usual is not None and run.name in gone:
            first, last = max(run.usual, 0), min(run.usual + len(run.unbroken_kw), steps)
            if first < last:
                total[first:last] += run.unbroken_kw[first - run.usual : last - run.usual]
    return total
