"""The peer: solves problems with `emhass`, in the environment `.venv-emhass`; a process of its own.

    .venv-emhass/bin/python tests/benchmarks/peer_emhass.py < problems.json > plans.json

Reads a list of problems (see `schedule_cases.to_json`), solves the first once to warm up, then each as often as asked, and
writes a plan and times for each. A time is that of making its `Optimization`, building and solving; that of making its
table of results is left out. Its options are its own but these: gap, time limit and threads are ours, every load
runs at its power or not at all (`treat_deferrable_load_as_semi_cont`), and what is not in the problem is off. Its limits on
power count before losses for discharging, so that limit is given as the AC limit over the efficiency.
"""

import json
import logging
import os
import sys
import time
from importlib.metadata import version

import numpy as np
import pandas as pd
from emhass.optimization import Optimization

_W = 1000.0


def main():
    """Solve everything on stdin."""
    logging.disable(logging.CRITICAL)
    asked = json.load(sys.stdin)
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever the solver says, too
    solve(asked["problems"][0], asked)
    plans = []
    for problem in asked["problems"]:
        runs = [solve(problem, asked) for _ in range(asked["repeats"])]
        last = runs[-1][0]
        plans.append({**last, "runs": [times for _, times in runs]})
        took = ", ".join(f"{times['total_ms']:.0f}" for _, times in runs)
        print(f"  emhass: {problem['name']}: {took} ms ({last['status']})", file=sys.stderr, flush=True)
    json.dump({"version": version("emhass"), "solver": f"HiGHS {version('highspy')}", "plans": plans}, out)
    out.close()


def solve(problem, asked):
    """Build and solve one problem; return its plan in kW, and what it took in ms."""
    step = pd.Timedelta(seconds=problem["step_s"])
    index = pd.date_range(pd.Timestamp(problem["start_ms"], unit="ms", tz="UTC"), periods=problem["steps"], freq=step)
    load, pv = (np.array(problem[name]) * _W for name in ("load_kw", "pv_kw"))
    table = pd.DataFrame({"sensor.load": load, "sensor.pv": pv}, index=index)
    battery, demand = problem["battery"], problem["demand"]
    stages = {}
    begin = time.perf_counter()
    optimization = Optimization(
        {
            "optimization_time_step": step,
            "time_zone": "UTC",
            "sensor_power_photovoltaics": "sensor.pv",
            "sensor_power_load_no_var_loads": "sensor.load",
        },
        {**_loads(problem), **_options(asked, demand, problem, battery)},
        _plant(problem, battery),
        "unit_load_cost",
        "unit_prod_price",
        "profit",
        {},
        logging.getLogger("emhass"),
        num_timesteps=problem["steps"],
    )
    made = time.perf_counter()
    result = optimization.perform_optimization(
        table,
        pv,
        load,
        np.array(problem["import_per_kwh"]),
        np.array(problem["export_per_kwh"]),
        soc_init=battery["initial_soc"],
        soc_final=battery["final_soc"],
        current_period_peak=demand["peak_so_far_kw"] * _W,
        stage_times=stages,
    )
    build, solving = stages["optim_solve.build"] + made - begin, stages["optim_solve.solve"]
    times = {"total_ms": 1000 * (build + solving), "build_ms": 1000 * build, "solve_ms": 1000 * solving}
    return _plan(problem, optimization, result), times


def _options(asked, demand, problem, battery):
    return {
        "lp_solver": "HIGHS",
        "lp_solver_mip_rel_gap": asked["gap"],
        "lp_solver_timeout": asked["limit_s"],
        "num_threads": asked["threads"],
        "set_use_pv": True,
        "set_use_battery": True,
        "set_nocharge_from_grid": False,
        "set_nodischarge_to_grid": False,
        "set_battery_dynamic": False,
        "set_total_pv_sell": False,
        "weight_battery_discharge": battery["wear_per_kwh"],
        "weight_battery_charge": 0.0,
        "capacity_cost_per_kw": demand["per_kw"],
        "capacity_charge_interval_timesteps": demand["interval_s"] // problem["step_s"],
        "delta_forecast_daily": problem["steps"] * problem["step_s"] / 86400,
    }


def _loads(problem):
    loads = problem["loads"]
    count = len(loads)
    step_h = problem["step_s"] / 3600
    powers = [
        [power * _W for power in load["profile_kw"]] if "profile_kw" in load else load["power_kw"] * _W
        for load in loads
    ]
    return {
        "number_of_deferrable_loads": count,
        "nominal_power_of_deferrable_loads": powers,
        "minimum_power_of_deferrable_loads": [0.0] * count,
        "operating_hours_of_each_deferrable_load": [load.get("steps", 0) * step_h for load in loads],
        "start_timesteps_of_each_deferrable_load": [load["earliest"] for load in loads],
        "end_timesteps_of_each_deferrable_load": [load["latest"] for load in loads],
        "treat_deferrable_load_as_semi_cont": ["profile_kw" not in load for load in loads],
        "set_deferrable_load_single_constant": ["steps" in load and not load["breakable"] for load in loads],
        "set_deferrable_startup_penalty": [0.0] * count,
        "set_deferrable_max_startups": [0] * count,
        "def_minimum_on_time": [load.get("min_on", 0) if load.get("breakable") else 0 for load in loads],
        "def_minimum_off_time": [load.get("min_off", 0) if load.get("breakable") else 0 for load in loads],
        "deferrable_load_max_cost": [0.0] * count,
    }


def _plant(problem, battery):
    return {
        "maximum_power_from_grid": problem["site_limit_kw"] * _W,
        "maximum_power_to_grid": problem["export_limit_kw"] * _W,
        "inverter_is_hybrid": False,
        "compute_curtailment": False,
        "number_of_batteries": 1,
        "battery_nominal_energy_capacity": battery["capacity_kwh"] * _W,
        "battery_charge_power_max": battery["charge_kw"] * _W,
        "battery_discharge_power_max": battery["discharge_kw"] * _W / battery["efficiency_discharge"],
        "battery_charge_efficiency": battery["efficiency_charge"],
        "battery_discharge_efficiency": battery["efficiency_discharge"],
        "battery_minimum_state_of_charge": battery["min_soc"],
        "battery_maximum_state_of_charge": battery["max_soc"],
        "battery_target_state_of_charge": battery["final_soc"],
        "battery_stress_cost": 0.0,
        "battery_soc_deficit_cost": 0.0,
        "battery_soc_surplus_cost": 0.0,
        "battery_soc_deficit_threshold": 0.0,
        "battery_soc_surplus_threshold": 1.0,
    }


def _plan(problem, optimization, result):
    """The decisions, from its variables: its table rounds nothing, but has no gap."""
    stats = getattr(optimization.prob.solver_stats, "extra_stats", None)
    plan = {"status": str(optimization.optim_status), "gap": getattr(stats, "mip_gap", None)}
    if "P_grid" not in result:
        return plan
    flow = result["P_batt"].to_numpy() / _W
    loads = [result[f"P_deferrable{number}"].to_numpy() / _W for number in range(len(problem["loads"]))]
    return {
        **plan,
        "charge_kw": np.maximum(-flow, 0).tolist(),
        "discharge_kw": np.maximum(flow, 0).tolist(),
        "loads_kw": [load.tolist() for load in loads],
    }


if __name__ == "__main__":
    main()
