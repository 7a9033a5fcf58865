"""Small problems of scheduling, and a search of every plan that there is."""

from __future__ import annotations

import dataclasses
import datetime as dt
import itertools
import math
from typing import Any

import numpy as np

from agent.contract.tariff.tariff import Tariff
from agent.planning.schedule.parts import Battery, Deferrable, DemandCharge, Load, Sequence, Stage
from agent.planning.schedule.pricing import price_plan
from agent.planning.schedule.problem import Plan, Problem, plan_of

TARIFF_TEXT = """
name = "test"
zone = "UTC"
currency = "EUR"
[[period]]
name = "day"
price_per_kwh = 0.30
from = "08:00"
to = "20:00"
[[period]]
name = "night"
price_per_kwh = 0.10
[[demand]]
name = "peak"
price_per_kw = 10
interval_minutes = 30
"""
TARIFF = Tariff.from_toml(TARIFF_TEXT)
START_MS = round(dt.datetime(2026, 1, 15, tzinfo=dt.UTC).timestamp() * 1000)


def problem(load_kw: Any, **more: Any) -> Problem:
    """Quarter-hours from 2026-01-01 00:00 UTC at a price of 0.20, unless said otherwise."""
    given = {"start_ms": 1_767_225_600_000, "step_s": 900, "import_per_kwh": 0.20} | more
    return Problem(load_kw=np.asarray(load_kw, dtype=float), **given)


def demand(steps: int, per_kw: float = 10.0, **more: Any) -> DemandCharge:
    given = {"name": "month", "interval_s": 900, "counts": np.ones(steps, bool)} | more
    return DemandCharge(per_kw=per_kw, **given)


def cheapest_of_all(given: Problem) -> float:
    """Cost of the cheapest plan without a battery by trying every one; infinite where none keeps all rules."""
    best = math.inf
    for powers in itertools.product(*(_patterns(load, given.steps) for load in given.loads)):
        priced = price_plan(given, plan_of(given, np.array(powers), source="all"))
        if not priced.violations:
            best = min(best, priced.total)
    return best


def _patterns(load: Load, steps: int) -> list[np.ndarray]:
    """Every power that one load alone might have."""
    alone = problem(np.zeros(steps), loads=(load,))
    if isinstance(load, Deferrable):
        tried = [load.power_kw * np.array(on) for on in itertools.product((0.0, 1.0), repeat=steps)]
    else:
        tried = [_placed(load, starts, steps) for starts in itertools.product(range(steps), repeat=len(load.stages))]
    found = [power for power in tried if not price_plan(alone, plan_of(alone, power, source="all")).violations]
    return list({power.tobytes(): power for power in found}.values())


def _placed(load: Sequence, starts: tuple[int, ...], steps: int) -> np.ndarray:
    power = np.zeros(2 * steps + 20)
    for stage, start in zip(load.stages, starts, strict=True):
        power[start : start + len(stage.profile_kw)] += stage.profile_kw
    return power[:steps] if not power[steps:].any() else np.full(steps, -1.0)


def random_problem(rng: np.random.Generator, steps: int = 7) -> Problem:
    """A problem of two or three loads that a search of all plans can check; some cannot be met."""
    loads: list[Load] = []
    for index in range(int(rng.integers(1, 4))):
        need = int(rng.integers(1, 4))
        low = int(rng.integers(0, steps - need + 1))
        high = int(rng.integers(low + need, steps + 1))
        power = float(rng.integers(5, 30))
        kind = rng.integers(0, 3)
        begun = int(rng.integers(0, 3)) if low == 0 else 0
        if kind == 0:
            loads.append(
                Deferrable(name=f"w{index}", power_kw=power, steps=need, earliest=low, latest=high, on_before=begun)
            )
        elif kind == 1:
            min_on = int(rng.integers(1, need + 1))
            off = None if begun or rng.random() < 0.5 else int(rng.integers(0, 3))
            loads.append(
                Deferrable(
                    name=f"b{index}",
                    power_kw=power,
                    steps=need,
                    earliest=low,
                    latest=high,
                    breakable=True,
                    min_on=min_on,
                    min_off=int(rng.integers(1, 3)),
                    on_before=begun,
                    off_before=off,
                )
            )
        else:
            gap = int(rng.integers(0, 2))
            stages = (
                Stage(profile_kw=(power, 3.0)[: int(rng.integers(1, 3))]),
                Stage(profile_kw=(7.0,), min_gap=gap, max_gap=gap + int(rng.integers(0, 3))),
            )
            loads.append(Sequence(name=f"s{index}", stages=stages, running=begun > 0))
    return problem(
        rng.integers(10, 60, steps),
        loads=tuple(loads),
        pv_kw=rng.integers(0, 60, steps) * (rng.random() < 0.5),
        import_per_kwh=rng.normal(0.2, 0.15, steps),
        export_per_kwh=rng.normal(0.1, 0.1, steps),
        site_limit_kw=float(rng.integers(60, 110)),
        margin_kw=rng.integers(0, 10, steps) * (rng.random() < 0.5),
        demand=(
            demand(
                steps,
                float(rng.integers(0, 8)),
                interval_s=int(rng.choice([900, 1800])),
                counts=rng.random(steps) < 0.7,
                peak_so_far_kw=float(rng.integers(0, 60)),
                so_far_kwh=float(rng.integers(0, 8)),
            ),
        ),
    )


def random_site(seed: int) -> Problem:
    """A problem as `random_problem`, with battery, PV, prices of either sign and tight limits; some cannot be met."""
    rng = np.random.default_rng(seed)
    steps = int(rng.integers(5, 25))
    given = random_problem(rng, steps)
    battery = None
    if rng.random() < 0.8:
        low, high = rng.uniform(0, 0.3), rng.uniform(0.7, 1)
        capacity_kwh, charge_kw, discharge_kw = rng.uniform(2, 40), rng.uniform(1, 40), rng.uniform(1, 40)
        battery = Battery(
            capacity_kwh=capacity_kwh,
            charge_kw=charge_kw,
            discharge_kw=discharge_kw,
            efficiency_charge=rng.uniform(0.6, 1),
            efficiency_discharge=rng.uniform(0.6, 1),
            min_soc=low,
            max_soc=high,
            initial_soc=rng.uniform(0, 1),
            final_soc=None if rng.random() < 0.5 else rng.uniform(low, high),
            wear_per_kwh=float(rng.choice([0, 0.03])),
        )
    return dataclasses.replace(
        given,
        battery=battery,
        curtailable=bool(rng.random() < 0.5),
        export_limit_kw=float(rng.choice([5, 20, 1e9])),
        import_per_kwh=rng.normal(0.1, 0.2, steps),
        export_per_kwh=rng.normal(0.05, 0.2, steps),
        pv_kw=rng.uniform(0, 80, steps) * (rng.random() < 0.6),
        site_limit_kw=rng.uniform(50, 130, steps),
    )


def broken(given: Problem, plan: Plan) -> tuple[str, ...]:
    """What a plan breaks."""
    return price_plan(given, plan).violations
