"""Bills: a year of quarter-hours billed, and what a battery planned on our forecast saves at two plants.

    make bench BENCH=bill

Plants, protocol and test part are those of `../shared/bench` (see `bench_forecast`); the battery has a quarter of the highest load
of the training part in power, two hours of that in energy, 90 % there and back. Models are trained here by
`edgewatt-trainer backtest` on the training part alone, then asked each hour of the test part. The saving is that of
the bill's total against no battery, from the begin of the first month; the ratio is to the cheapest operation of all, which
knows the whole test part from the start. `day_ahead` knows the next 24 hours. `rules` carries out the plan by rules on our
forecast as it stands; the others are carried out by the same `follow`. Nothing here may be used to choose anything.
"""

import csv
import dataclasses
import os
import re
import shutil
import statistics
import sys
from pathlib import Path
from time import monotonic, perf_counter

import numpy as np

from agent.contract.tariff.tariff import Tariff
from converter.modeldir import TRAINING, ModelDir
from tests.benchmarks import forecast_series
from tests.benchmarks.battery_replay import DAY, STEP_S, Plant, Replay, battery_for, naive, truth
from tests.benchmarks.forecast_series import check_learnt
from tests.benchmarks.measured import run_measured
from trainer.backtest.frames import Frame

OUT = Path("build/bench/bill")
PLANTS = ("steel_15min", "manufacturer_draf_15min")
TARIFFS = ("cn-hubei-two-part", "us-pge-b19-secondary")  # the first one gives the headline
_FOLDER = Path("firmware-configs/tariffs")
_REPEATS = 5
# Of the Chinese tariff, what its customer's own contract says: these plants are charged by the month's highest demand.
_CONTRACT = "contracted_kw|minimum_share|excess_from_share|excess_price_per_kw|reduced|capacity_kva|price_per_kva"


def run():
    """Measure all."""
    begin = monotonic()
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir(parents=True)
    wanted = [name for name in os.environ.get("BENCH_SERIES", "").split(",") if name] or PLANTS
    figures, years = {}, {}
    for name in wanted:
        series, start_ms, load = read(name)
        medians = forecasts(series, start_ms, load)
        for tariff in TARIFFS:
            plant = plant_under(tariff, series, start_ms, load)
            years[f"{name}, {tariff}"] = year_ms(plant)
            figures.setdefault(tariff, {})[name] = savings(plant, medians)
    head = figures[TARIFFS[0]]
    return {
        "whole": set(wanted) == set(PLANTS),
        "bill_year_ms": statistics.median(years.values()),
        "bill_year_ms_by_plant": years,
        "tariff": TARIFFS[0],
        "realised_saving_ratio": {name: one["plans"]["ours"]["ratio"] for name, one in head.items()},
        "realised_saving_ratio_best_plant": max(one["plans"]["ours"]["ratio"] for one in head.values()),
        "above_naive": all(one["plans"]["ours"]["saving"] > one["plans"]["naive"]["saving"] for one in head.values()),
        "tariffs": figures,
        "bench_s": round(monotonic() - begin, 1),
    }


def read(name):
    """Return a series and its load from the first stamp on, step by step."""
    about = forecast_series.described(name)
    path = forecast_series.BENCH / "data" / about["file"]
    frame = Frame(about["frame"])
    with path.open(newline="") as file:
        rows = [(frame.instant(row["timestamp"], name), float(row["load"])) for row in csv.DictReader(file)]
    start_ms = rows[0][0]
    if [at for at, _ in rows] != list(range(start_ms, start_ms + len(rows) * STEP_S * 1000, STEP_S * 1000)):
        raise SystemExit(f"{name}: the replay needs quarter-hours without gaps")
    test_ms = forecast_series.test_start_ms(name, OUT)
    holidays = about["holidays"] if about["holidays"] not in {None, "column"} else ""
    series = forecast_series.Series(
        name=name,
        path=path,
        frame=about["frame"],
        zone=about["plant_zone"],
        holidays=holidays,
        weather=False,
        origins=OUT / f"{name}-hours.csv",
        test_start=frame.stamp(test_ms),
        days=len(rows) // DAY,
    )
    return series, start_ms, np.array([load for _, load in rows])


def forecasts(series, start_ms, load):
    """Train as a user does, and return the medians from each hour of the test part: [hours, DAY]."""
    hours = Plant(series.name, start_ms, load, _first(series, start_ms), None).hours
    frame, out = Frame(series.frame), OUT / f"{series.name}.csv"
    stamps = [frame.stamp(start_ms + hour * STEP_S * 1000) for hour in hours.tolist()]
    series.origins.write_text("\n".join(["origin", *stamps]) + "\n")
    print(f"  {series.name}: trains, then forecasts {len(hours)} hours ...", file=sys.stderr, flush=True)
    work = OUT / f"{series.name}-work"
    run_measured(
        *("-m", "trainer.cli.main", "backtest", "--csv", series.path, "--timestamps-in", series.frame),
        *("--timezone", series.zone, "--train-end", series.test_start, "--origins", series.origins),
        *("--out", out, "--work-dir", work, "--json", *(["--holidays", series.holidays] if series.holidays else [])),
        where=f"backtest of {series.name}",
    )
    check_learnt(series, ModelDir(work / "model").read_json(TRAINING))
    with out.open(newline="") as file:
        medians = np.array([float(row["q0.5"]) for row in csv.DictReader(file)])
    return medians.reshape(len(hours), DAY)


def plant_under(tariff, series, start_ms, load):
    """Return the plant with the tariff at its own local time."""
    text = (_FOLDER / f"{tariff}.toml").read_text()
    text = re.sub(r"(?m)^zone = .*$", f'zone = "{series.zone}"', text)
    text = re.sub(rf"(?m)^({_CONTRACT}) = .*\n", "", text)
    return Plant(series.name, start_ms, load, _first(series, start_ms), Tariff.from_toml(text, tariff))


def year_ms(plant):
    """Median time of billing the whole load, slots given."""
    whole = Replay(dataclasses.replace(plant, first=0), battery_for(plant.load_kw))
    slots, span = whole.slots()
    times = []
    for _ in range(_REPEATS):
        begin = perf_counter()
        whole.bill(slots, span)
        times.append((perf_counter() - begin) * 1000)
    return statistics.median(times)


def savings(plant, medians):
    """Replay every plan; savings in the tariff's currency."""
    replay = Replay(plant, battery_for(plant.load_kw[: plant.first]))
    unplanned = replay.cost()
    runs = {
        "best": replay.best,
        "day_ahead": lambda: replay.run(truth(plant), perfect=True),
        "ours": lambda: replay.run(medians),
        "naive": lambda: replay.run(naive(plant)),
        "rules": lambda: replay.by_rules(medians),
    }
    plans = {}
    for name, plan in runs.items():
        begin = monotonic()
        bill = replay.cost(plan())
        saving = float(unplanned.total - bill.total)
        energy = _energy(unplanned) - _energy(bill)
        plans[name] = {
            "saving": saving,
            "of_energy": energy,
            "of_demand": saving - energy,
            "ratio": saving / plans.get("best", {"saving": saving})["saving"],
            "demand_kw": _peaks(bill),
            "replay_s": round(monotonic() - begin, 1),
        }
        print(f"{plant.name:<24} {plant.tariff.currency} {name:<10} {_in_short(plans[name])}", flush=True)
    return {
        "currency": plant.tariff.currency,
        "bill_without_battery": float(unplanned.total),
        "demand_kw_without_battery": _peaks(unplanned),
        "battery_kw": replay.battery.charge_kw,
        "battery_kwh": replay.battery.capacity_kwh,
        "test_days": (len(plant.load_kw) - plant.first) / DAY,
        "plans": plans,
    }


def _first(series, start_ms):
    return (series.test_start_ms - start_ms) // (STEP_S * 1000)


def _energy(bill):
    return sum(float(line.amount) for line in bill.lines if line.unit == "kWh")


def _peaks(bill):
    return {
        invoice.label: {line.period: float(line.quantity) for line in invoice.lines if line.unit == "kW"}
        for invoice in bill.invoices
    }


def _in_short(one):
    return f"saves {one['saving']:>10.2f} ({one['of_demand']:.2f} of it demand), ratio {one['ratio']:.3f}"
