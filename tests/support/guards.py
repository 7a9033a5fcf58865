"""Quarter-hours of a plant with a battery and one demand charge."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path
from typing import Any

import numpy as np

from agent.config import Config, load
from agent.daemon.history import History
from agent.daemon.planning import Kept, Planning
from agent.planning.advice import Task, Wishes
from agent.planning.schedule.aims import guarded_plan
from agent.planning.schedule.child import Made
from agent.planning.schedule.optimum import solve
from agent.planning.schedule.parts import Battery, DemandCharge
from agent.planning.schedule.problem import Problem
from agent.planning.schedule.prospect import Prospect
from tests.support.configs import device, simulated
from tests.support.schedules import START_MS, TARIFF, TARIFF_TEXT

DAY = 96


def battery(**changed: Any) -> Battery:
    """200 kWh, full, 100 kW, without losses."""
    given = {"capacity_kwh": 200.0, "charge_kw": 100.0, "discharge_kw": 100.0, "final_soc": 0.0, "initial_soc": 1.0}
    return Battery(**{"efficiency_charge": 1.0, "efficiency_discharge": 1.0, **given, **changed})


def problem(
    load_kw: Any,
    *,
    per_kw: float = 10.0,
    peak_kw: float = 0.0,
    price: Any = 0.1,
    counts: Any = None,
    month: str = "",
    **changed: Any,
) -> Problem:
    """From 1970-01-01 00:00 UTC; `changed` is of the battery."""
    steps = len(load_kw)
    counts = np.ones(steps, dtype=bool) if counts is None else counts
    charge = DemandCharge(
        name="demand", per_kw=per_kw, interval_s=900, counts=counts, peak_so_far_kw=peak_kw, month=month
    )
    return Problem(
        start_ms=0,
        step_s=900,
        load_kw=np.array(load_kw, dtype=float),
        import_per_kwh=price,
        export_limit_kw=0.0,
        demand=(charge,),
        battery=battery(**changed),
    )


def two_peaks() -> np.ndarray:
    """A day of 150 kW with a shift of 250 kW and an hour of 320 kW."""
    load = np.full(DAY, 150.0)
    load[32:64] = 250.0
    load[40:44] = 320.0
    return load


def prospect(load_kw: np.ndarray, ways_kw: np.ndarray | None = None, **more: Any) -> Prospect:
    """Of a load that comes as forecast, or in one of these ways, and came so for a week."""
    ways = load_kw[None] if ways_kw is None else ways_kw
    return Prospect(median_kw=load_kw, paths_kw=ways, days_kw=np.tile(ways, (7, 1)), **{"days_left": 20.0} | more)


CONFIG = """
[tariff]
file = "tariff.toml"
[battery]
capacity_kwh = 200
charge_kw = 100
discharge_kw = 100
"""


def configured(folder: Path, *, soc_channel: bool = True, power_channel: bool = False) -> Config:
    """A device with a battery, that does not run."""
    (folder / "tariff.toml").write_text(TARIFF_TEXT)
    more = 'soc_channel = "charged"\n' * soc_channel + 'power_channel = "own"\n' * power_channel
    (folder / "agent.toml").write_text(device() + simulated(power="kW", charged="%", own="kW") + CONFIG + more)
    return load(folder / "agent.toml")


def keep_plan(store: Kept) -> dict[str, Any]:
    """Keep a plan from `START_MS` on, half full, that shaves alone and guards a peak of 280 kW so far; return its event."""
    given, made = _made()
    planning = Planning(store, History(900), TARIFF, lambda _: Wishes())
    return planning._take(START_MS, Task(given, (), ()), made)


@functools.cache
def _made() -> tuple[Problem, Made]:
    load_kw = two_peaks()
    given = problem(load_kw, per_kw=40.0, peak_kw=280.0, month="2026-01", initial_soc=0.5, wear_per_kwh=0.5)
    given = dataclasses.replace(given, start_ms=START_MS, currency="EUR")
    ahead = prospect(load_kw, day="2026-01-15", month="2026-01", days_left=17.0)
    made = guarded_plan(given, ahead, solve)
    return given, Made(made.policy.problem, made.plan, 0.1, aims=made.aims, policy=made.policy)
