"""What a plan does, in words: loads that move, what the battery and PV do, peaks."""

from __future__ import annotations

import numpy as np

from agent.planning.schedule.parts import Array, DemandCharge, Load
from agent.planning.schedule.problem import Problem
from agent.planning.schedule.trips import Trip
from agent.planning.schedule.words import amount, peak_amount, price, runs, span, spans

_MOST_RUNS = 3
_SAME_KW = 1e-3


def load_words(problem: Problem, load: Load, usual: Array, planned: Array) -> str:
    """Say when a load runs, and when it would run if nobody planned."""
    if not planned.any():
        return f"leave {load.name!r} out"
    when = f"run {load.name!r} {_when(problem, planned)}"
    return f"{when} instead of {_when(problem, usual)}" if usual.any() else f"{when}, which would not run otherwise"


def battery_words(problem: Problem, trip: Trip) -> str:
    """Say what of the battery's energy is charged when, and used when."""
    taken = trip.charged and f"{amount(trip.in_kwh)} kWh {span(problem, *trip.charged)} at {price(trip.in_price)}"
    battery = problem.battery
    wear = f" (wear {price(battery.wear_per_kwh)})" if battery is not None and battery.wear_per_kwh else ""
    given = trip.used and f"{span(problem, *trip.used)} at {price(trip.out_price)}{wear}"
    if taken and given and trip.refill:
        return f"use {amount(trip.out_kwh)} kWh from the battery {given}, put back {taken}"
    if taken and given:
        return f"charge {taken}, use it {given}"
    return f"charge {taken} and keep it" if taken else f"use {amount(trip.out_kwh)} kWh of the battery's charge {given}"


def left_words(more_kwh: float, worth: float) -> str:
    """Say how much more or less is stored at the end than with doing nothing."""
    more = "more" if more_kwh > 0 else "less"
    return f"end with {amount(abs(more_kwh))} kWh {more} stored, valued at {price(worth / more_kwh)}"


def pv_words(problem: Problem, held_kw: Array) -> str:
    """Say how much more PV is held back than with doing nothing, or (below 0) how much less."""
    pv = f"{amount(abs(float(held_kw.sum())) * problem.step_h)} kWh of PV {spans(problem, held_kw != 0)}"
    return f"hold back {pv}" if held_kw.sum() > 0 else f"use {pv} instead of holding it back"


def peak_words(charge: DemandCharge, usual_kw: float, kw: float, aim_kw: float = 0.0) -> str:
    """Say what a charge's peak comes to, with doing nothing and with the plan."""
    of, to, usual = f"the peak of {charge.title!r}", peak_amount(kw), peak_amount(usual_kw)
    floor_kw = charge.floor_kw
    if not floor_kw:
        return f"{of} is {to} kW instead of {usual} kW"
    if kw <= floor_kw + _SAME_KW:
        return f"{of} stays at {to} kW instead of rising to {usual} kW"
    instead = "staying at " if usual_kw <= floor_kw + _SAME_KW else ""
    aimed = f"; {peak_amount(aim_kw)} kW are aimed at" if usual_kw < kw <= aim_kw + _SAME_KW else ""
    return f"{of} rises to {to} kW instead of {instead}{usual} kW{aimed}"


def _when(problem: Problem, power: Array) -> str:
    """Return the times of a load's runs, and its mean price of a kWh."""
    places = runs(power > 0)
    times = ", ".join(span(problem, *place) for place in places[:_MOST_RUNS])
    mean = float(power @ problem.energy_per_kwh) / float(np.sum(power))
    return f"{times}{' ...' if len(places) > _MOST_RUNS else ''} at {price(mean)}"
