"""The problems of the schedule's benchmark: a plant's day with a battery and five loads, as both solvers can say it.

Loads: two that run whole, two that may pause (shortest run and shortest pause), one profile. Horizons: 96 steps of 15 min, 288
of 5 min (a day) and 576 of 5 min (two days, in which each load has a window of its own). Everything is seeded.
"""

import dataclasses

import numpy as np

from agent.planning.schedule.parts import Battery, Deferrable, DemandCharge, Sequence, Stage
from agent.planning.schedule.problem import Problem, plan_of

SIZES = {96: 900, 288: 300, 576: 300}  # steps: seconds of one
TARIFFS = ("two-part", "day-ahead", "peak-window")
START_MS = 1_768_176_000_000  # a Monday, 00:00 UTC
_QUARTER_S = 900
PEAK_SO_FAR_KW = 350.0


def cases():
    """Yield (name, problem) of every size under every tariff."""
    for steps, step_s in SIZES.items():
        for number, tariff in enumerate(TARIFFS):
            yield f"{steps}-{tariff}", make(steps, step_s, tariff, seed=number)


def make(steps, step_s, tariff, *, seed, demand=True):
    """Build one problem: a plant of about 600 kW with PV of 200 kWp."""
    random = np.random.default_rng(seed)
    hour = np.arange(steps) * step_s / 3600
    of_day = hour % 24
    quarter = (np.arange(steps) * step_s) // _QUARTER_S
    noise = random.normal(0, 25, quarter[-1] + 1)[quarter]
    load = np.maximum(120 + 260 * ((of_day >= 6) & (of_day < 22)) - 90 * ((of_day >= 12) & (of_day < 13)) + noise, 20)
    cloud = random.uniform(0.5, 1.0, quarter[-1] + 1)[quarter]
    pv = 200 * np.maximum(np.sin((of_day - 6.5) / 11 * np.pi), 0) ** 1.3 * (of_day > 6.5) * (of_day < 17.5) * cloud
    price, per_kw = _prices(tariff, of_day, random)
    charge = DemandCharge(
        name="demand",
        per_kw=per_kw,
        interval_s=_QUARTER_S,
        counts=np.ones(steps, dtype=bool),
        peak_so_far_kw=PEAK_SO_FAR_KW,
    )
    return Problem(
        start_ms=START_MS,
        step_s=step_s,
        load_kw=load,
        pv_kw=pv,
        import_per_kwh=price,
        export_per_kwh=np.full(steps, 0.04),
        demand=(charge,) if demand else (),
        site_limit_kw=900.0,
        export_limit_kw=300.0,
        battery=Battery(
            capacity_kwh=400.0,
            charge_kw=200.0,
            discharge_kw=200.0,
            efficiency_charge=0.95,
            efficiency_discharge=0.95,
            min_soc=0.1,
            max_soc=0.95,
            initial_soc=0.5,
            final_soc=0.5,
            wear_per_kwh=0.01,
        ),
        loads=_loads(steps, step_s),
    )


def full(steps, step_s):
    """Build a problem with what the peer cannot say, too: stages with a pause, a margin, carbon, PV that may be held back."""
    problem = make(steps, step_s, "peak-window", seed=0)
    *others, dryer = problem.loads
    (profile,) = dryer.stages
    half = len(profile.profile_kw) // 2
    stages = (
        Stage(profile_kw=profile.profile_kw[:half]),
        Stage(profile_kw=profile.profile_kw[half:], max_gap=round(2 * 3600 / step_s)),
    )
    return dataclasses.replace(
        problem,
        margin_kw=25.0,
        carbon_kg_per_kwh=0.3 + 0.1 * np.sin(np.arange(steps) * step_s / 43_200 * np.pi),
        carbon_price_per_kg=0.08,
        curtailable=True,
        loads=(*others, dataclasses.replace(dryer, stages=stages)),
    )


def small(seed):
    """Build a problem of five hours whose best plan is among those that `schedule_brute` tries.

    Even seeds have a battery and no demand charge: lossless, all in whole levels, a network whose corners are whole. Odd
    ones have a demand charge and no battery.
    """
    random = np.random.default_rng(seed)
    steps = 5
    with_battery = seed % 2 == 0
    charge = DemandCharge(
        name="demand", per_kw=float(random.uniform(0, 0.5)), interval_s=3600, counts=np.ones(steps, dtype=bool)
    )
    battery = Battery(
        capacity_kwh=30.0,
        charge_kw=20.0,
        discharge_kw=20.0,
        efficiency_charge=1.0,
        efficiency_discharge=1.0,
        initial_soc=1 / 3,
        wear_per_kwh=0.01,
    )
    return Problem(
        start_ms=START_MS,
        step_s=3600,
        load_kw=10.0 * random.integers(-3, 9, steps),
        import_per_kwh=random.uniform(0.05, 0.4, steps),
        export_per_kwh=np.full(steps, 0.02),
        demand=() if with_battery else (charge,),
        battery=battery if with_battery else None,
        loads=(
            Deferrable(name="whole", power_kw=20.0, steps=2),
            Deferrable(name="pausing", power_kw=10.0, steps=2, breakable=True),
            Sequence(name="profile", stages=(Stage(profile_kw=(20.0, 10.0)),), earliest=1),
        ),
    )


def to_json(name, problem):
    """Return a problem as the peer reads it."""
    battery, (demand,) = problem.battery, problem.demand
    return {
        "name": name,
        "steps": problem.steps,
        **{key: getattr(problem, key) for key in ("start_ms", "step_s")},
        **{key: getattr(problem, key).tolist() for key in ("load_kw", "pv_kw", "import_per_kwh", "export_per_kwh")},
        **{key: float(getattr(problem, key)[0]) for key in ("site_limit_kw", "export_limit_kw")},
        "battery": {key: getattr(battery, key) for key in battery.__dataclass_fields__},
        "demand": {key: getattr(demand, key) for key in ("per_kw", "interval_s", "peak_so_far_kw")},
        "loads": [_load_json(load) for load in problem.loads],
    }


def from_json(problem, plan):
    """Return the peer's plan as one of ours, or None where it found none."""
    if "charge_kw" not in plan:
        return None
    return plan_of(problem, plan["loads_kw"], plan["charge_kw"], plan["discharge_kw"], source="emhass")


def _prices(tariff, of_day, random):
    """Money per kWh of each step, and per kW of the peak: a day's share is what one more kW costs."""
    if tariff == "two-part":
        return np.select([of_day < 8, (of_day >= 18) & (of_day < 20), of_day >= 16], [0.055, 0.145, 0.115], 0.085), 5.8
    if tariff == "day-ahead":
        shape = 0.09 + 0.05 * np.sin((of_day - 13) / 12 * 2 * np.pi) ** 2 - 0.05 * np.exp(-((of_day - 13) ** 2) / 8)
        return shape + random.normal(0, 0.012, 24)[of_day.astype(int)], 3.0
    return np.where((of_day >= 16) & (of_day < 21), 0.162, 0.120), 37.4


def _loads(steps, step_s):
    def at(hours):
        return round(hours * 3600 / step_s)

    days = steps * step_s // 86_400
    last = 24 * (days - 1)  # what may wait, waits to the last day
    return (
        Deferrable(name="furnace", power_kw=180, steps=at(3), earliest=at(0), latest=at(24 + last)),
        Deferrable(name="mill", power_kw=110, steps=at(2), earliest=at(6), latest=at(22 + last)),
        Deferrable(
            name="compressor",
            power_kw=60,
            steps=at(6 * days),
            latest=at(23.5 + last),  # the peer lets a run that the horizon's end cuts be shorter than its shortest
            breakable=True,
            min_on=at(0.5),
            min_off=at(0.5),
        ),
        Deferrable(
            name="pumps",
            power_kw=45,
            steps=at(4 * days),
            earliest=at(5),
            latest=at(20 + last),
            breakable=True,
            min_on=at(0.25),
            min_off=at(0.25),
        ),
        Sequence(
            name="dryer",
            stages=(Stage(profile_kw=(90.0,) * at(0.5) + (50.0,) * at(1) + (30.0,) * at(0.5)),),
            earliest=at(7),
            latest=at(23 + last),
        ),
    )


def _load_json(load):
    window = {"earliest": load.earliest, "latest": load.latest}
    if isinstance(load, Sequence):
        (stage,) = load.stages
        return {**window, "profile_kw": list(stage.profile_kw)}
    return {**window, **{key: getattr(load, key) for key in ("power_kw", "steps", "breakable", "min_on", "min_off")}}
