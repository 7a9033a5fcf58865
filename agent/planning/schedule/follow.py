"""Between two plans: what the battery does as the load comes.

Trading uses only what is not kept for peaks, shaving may use all. Pure.
"""

from __future__ import annotations

from agent.planning.schedule.guard import Guard
from agent.planning.schedule.parts import Battery
from agent.planning.schedule.problem import Plan

_SHAVING_KW = 0.1  # planned import so near the limit: what the battery gives is to shave


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
