"""What the battery is to do now: the policy of the plan, followed with what is measured at this moment.

Decides which reading is new enough, and what is assumed where there is none. Advice only: nothing is switched.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from agent.config import Config
from agent.contract.channels import Channel, Kind, Quality, Reading
from agent.contract.zones import parse_zone
from agent.planning.demandmeter import DemandMeter
from agent.planning.peakwatch import Terms
from agent.planning.schedule.parts import Array
from agent.planning.schedule.policy import follow, limit_kw, reserve_kwh, rest_kw
from agent.planning.schedule.problem import Plan, Problem
from agent.planning.schedule.wire import plan_from_json, policy_from_json, problem_from_json

_SOC_AGE_MS = 3_600_000
_LOAD_AGE_MS = 300_000
_COUNTED_MS = 60_000  # over less a counter's own steps are no power
_LEAST_COVERED = 0.9  # of the running interval so far: what has been drawn is known then
_LEAST_LEFT_H = 1 / 60  # of a step: what is to be there at its end cannot all flow in its last second


class Measurements(Protocol):
    """What this module needs of a store."""

    def readings(self, channel: str, start_ms: int, end_ms: int) -> Sequence[Reading]:
        """Return the readings of one channel in [start_ms, end_ms), by time."""
        ...


def setpoint(store: Measurements, config: Config, note: Mapping[str, Any], now_ms: int) -> dict[str, Any] | None:
    """Return what the battery is to do now.

    Args:
        store: has the newest readings.
        config: names load and battery.
        note: the newest plan as it is kept.
        now_ms: plant clock.

    Returns:
        `battery_kw` (above 0 it gives), `load_kw`, `stored_kwh`, `time_ms`, `keep_below_kw` (None: no limit),
        `reserve_kwh` (below it nothing is given at the present price, but to shave; 0: nothing is kept), and in
        `assumed` what was not measured. None where no peak is guarded, or the plan is over.

    Raises:
        RejectedError: when the plan is damaged.
    """
    problem = problem_from_json(note["problem"])
    step, into_ms = divmod(now_ms - problem.start_ms, problem.step_s * 1000)
    battery = problem.battery
    if note.get("to_go") is None or battery is None or not 0 <= step < problem.steps:
        return None
    policy, plan = policy_from_json(problem, note["to_go"]), plan_from_json(problem, note["plan"])
    assumed = []
    load_kw = _load_kw(store, config, now_ms)
    if load_kw is None:
        load_kw = float(plan.grid_kw[step] + plan.discharge_kw[step] - plan.charge_kw[step])
        assumed.append("the load is as forecast: there is no reading of the last minutes")
    elif config.battery is None or config.battery.power_channel is None:
        assumed.append("the battery rests, and the meter shows the load alone: battery.power_channel is not set")
    channel = None if config.battery is None else config.battery.soc_channel
    soc = read_soc(store, channel, now_ms)
    if soc is not None:
        stored_kwh = soc * battery.capacity_kwh
    else:
        stored_kwh = _planned_kwh(problem, plan, step, into_ms / (problem.step_s * 1000))
        why = "battery.soc_channel is not set" if channel is None else f"{channel} told nothing for an hour"
        assumed.append(f"as much is stored as planned: {why}")
    left_h = max(problem.step_h - into_ms / 3_600_000, _LEAST_LEFT_H)
    export_kw = max(-float(plan.grid_kw[step]), 0.0)  # nothing is sold that the plan does not sell
    floors_kw = _floors_kw(store, config.channels[config.plant.power_channel], problem, now_ms)
    power_kw = follow(policy, step, load_kw, stored_kwh, left_h, export_kw, floors_kw)
    return {
        "time_ms": now_ms,
        "battery_kw": round(power_kw, 3) + 0.0,
        "load_kw": round(load_kw, 3),
        "stored_kwh": round(stored_kwh, 3),
        "keep_below_kw": _limit(limit_kw(problem, step, floors_kw)),
        "reserve_kwh": round(reserve_kwh(policy, step), 3),
        "assumed": assumed,
    }


def _floors_kw(store: Measurements, meter: Channel, problem: Problem, now_ms: int) -> Array:
    """Return of each demand charge the import that costs nothing more until its running interval ends.

    Where too little of the interval was measured it is the charge's own floor.
    """
    zone = parse_zone(problem.zone)
    lengths_s = {charge.interval_s for charge in problem.demand}
    known = {length_s: _interval(store, meter, Terms(interval_s=length_s, zone=zone), now_ms) for length_s in lengths_s}
    drawn_kw = [known[charge.interval_s][0] for charge in problem.demand]
    passed_h, left_h = (np.array([known[charge.interval_s][part] for charge in problem.demand]) for part in (1, 2))
    means = [charge.floor_kw if kw is None else kw for kw, charge in zip(drawn_kw, problem.demand, strict=True)]
    return rest_kw(problem, np.array(means) * passed_h, left_h)


def _interval(store: Measurements, meter: Channel, terms: Terms, now_ms: int) -> tuple[float | None, float, float]:
    """Return the mean import of the running interval so far, None where it is not known; hours passed, and left."""
    begin_ms, end_ms = terms.interval(now_ms)
    metered = DemandMeter(meter, terms)
    metered.saw(store.readings(meter.name, metered.since_ms(now_ms), now_ms + 1))
    energy_kwh, covered_ms, _ = metered.measured(now_ms)
    is_known = covered_ms > 0 and covered_ms >= _LEAST_COVERED * (now_ms - begin_ms)
    mean_kw = max(energy_kwh, 0.0) * 3_600_000 / covered_ms if is_known else None
    left_h = max((end_ms - now_ms) / 3_600_000, _LEAST_LEFT_H)
    return mean_kw, terms.interval_s / 3600 - left_h, left_h


def _load_kw(store: Measurements, config: Config, now_ms: int) -> float | None:
    """Return what the meter would show without the battery; None where the newest readings do not tell."""
    meter_kw = read_kw(store, config.channels[config.plant.power_channel], now_ms)
    channel = None if config.battery is None else config.battery.power_channel
    own_kw = 0.0 if channel is None else read_kw(store, config.channels[channel], now_ms)
    return None if meter_kw is None or own_kw is None else meter_kw + own_kw


def read_kw(store: Measurements, channel: Channel, now_ms: int) -> float | None:
    """Return the newest power of a gauge in kW, or of a counter in kWh; None where it is older than some minutes."""
    reach_ms = _LOAD_AGE_MS + 2 * channel.interval_s * 1000  # a mean is known when its interval is over
    known = store.readings(channel.name, now_ms - reach_ms, now_ms + 1)
    readings = [reading for reading in known if reading.quality < Quality.SUSPECT]
    if channel.kind is Kind.GAUGE:
        return readings[-1].value if readings else None
    earlier = sum(reading.time_ms <= readings[-1].time_ms - _COUNTED_MS for reading in readings)
    counted = readings[max(earlier - 1, 0) :]
    falls = any(after.value < before.value for before, after in itertools.pairwise(counted))
    if not counted or falls or counted[0].time_ms == counted[-1].time_ms:
        return None
    before, last = counted[0], counted[-1]
    return (last.value - before.value) * 3_600_000 / (last.time_ms - before.time_ms)


def read_soc(store: Measurements, channel: str | None, now_ms: int) -> float | None:
    """Return the battery's state of charge, 0 to 1, as last read within the hour before."""
    readings = [] if channel is None else store.readings(channel, now_ms - _SOC_AGE_MS, now_ms + 1)
    values = [reading.value for reading in readings if reading.quality < Quality.SUSPECT]
    return min(max(values[-1] / 100, 0.0), 1.0) if values else None


def _planned_kwh(problem: Problem, plan: Plan, step: int, share: float) -> float:
    battery = problem.battery
    assert battery is not None  # noqa: S101 - the caller has looked
    begin = float(plan.stored_kwh[step - 1]) if step else battery.initial_soc * battery.capacity_kwh
    return begin + share * (float(plan.stored_kwh[step]) - begin)


def _limit(kw: float) -> float | None:
    return round(float(kw), 3) if math.isfinite(kw) else None
