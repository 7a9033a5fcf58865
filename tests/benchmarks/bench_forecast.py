"""The int8 student against boosting, ridge, their ensemble and naive on nine real series; frozen models, a day ahead.

    make bench BENCH=forecast
    BENCH_SERIES=steel_15min,aep_hourly make bench BENCH=forecast     # a few: the file says so
    BENCH_POOL=1 make bench BENCH=forecast                            # each series learns from the others, too

Series, protocol and baselines are those of `../shared/bench` (or BENCH_DATA); `baselines.py` there runs the baselines
and scores every forecast, ours too. Each series is trained in a process of its own by `edgewatt-trainer backtest`, with
the options of a user: what is measured is what is installed. Nothing here may be used to choose a model.

The README's table and picture: `python -m tests.benchmarks.forecast_table`, and build/bench/forecast_fans.svg to docs/.
"""

import json
import os
import shutil
import statistics
import sys
from pathlib import Path
from time import monotonic

from agent.contract.errors import UnavailableError
from converter import modeldir
from converter.modeldir import ModelDir
from tests.benchmarks import forecast_series
from tests.benchmarks.forecast_picture import draw_week
from tests.benchmarks.forecast_series import check_learnt, learning_part, score
from tests.benchmarks.measured import run_measured

OUT = Path("build/bench/forecast")
PICTURE = Path("build/bench/forecast_fans.svg")
PICTURED = "steel_15min"
TFLITE_PYTHON = Path(".venv-tflite/bin/python")
BASELINES = ("sn7", "ridge", "lgbm", "ens")
OURS = ("teacher", "student_float", "student_int8", "student_int8_calibrated")
LONG_DAYS = 200  # coverage is promised for series of at least so many days


def run():
    """Measure all series, or those of BENCH_SERIES."""
    begin = monotonic()
    names = forecast_series.all_names()
    wanted = [name for name in os.environ.get("BENCH_SERIES", "").split(",") if name] or names
    unknown = set(wanted) - set(names)
    if unknown:
        raise SystemExit(f"no such series: {', '.join(sorted(unknown))}; there are: {', '.join(names)}")
    pooled = bool(os.environ.get("BENCH_POOL"))
    prepared = {name: forecast_series.prepare(name, _fresh(OUT / name)) for name in (names if pooled else wanted)}
    parts = {name: learning_part(series, OUT / name) for name, series in prepared.items()} if pooled else {}
    figures = {}
    for name in wanted:
        pool = [part for other, part in parts.items() if other != name]
        figures[name] = measure(prepared[name], OUT / name, pool)
        (OUT / "so_far.json").write_text(json.dumps(figures, indent=2) + "\n")  # hours may be lost otherwise
        print(f"{name}: {_in_short(figures[name])}", flush=True)
    return {
        "series_wanted": len(names),
        "series_measured": len(figures),
        "whole": set(figures) == set(names),
        "pooled": pooled,
        **summary(figures),
        "bench_s": round(monotonic() - begin, 1),
        "series": figures,
    }


def measure(series, folder, pool):
    """Train, forecast and score one series, without weather and, where there is temperature, with it."""
    plain, work = _backtest(series, folder, "plain", pool)
    record = ModelDir(work / "model").read_json(modeldir.TRAINING)
    files = {name: work / f"forecasts-{name}.csv" for name in OURS} | {"student_int8": folder / "plain.csv"}
    scores = {name: score(series, path, folder / f"score-{name}.json") for name, path in files.items()}
    figures = {
        "days": series.days,
        "test_start": series.test_start,
        "origins": plain["origins"],
        "learnt_to_ms": record["data_to_ms"],
        **{name: _kept(series.baselines[name]) for name in BASELINES},
        **{name: _kept(scores[name]) for name in OURS},
        "baseline_fit_s": {name: series.baselines[name]["fit_s"] for name in BASELINES},
        "baseline_predict_ms": {name: series.baselines[name]["pred_ms"] for name in BASELINES},
        "by_source": plain["by_source"],
        "refused_by_devices": bool(plain["refused"]),
        "peak_own_output": plain["scores"]["peak"],
        "student_bytes": plain["student_bytes"],
        "runtimes": _runtimes(work / "model"),
        "forecast_whole_ms_p50": plain["forecast_ms_p50"],
        "train_s": plain["train_s"],
        "stage_s": plain["seconds"],
        "process_s": plain["process_s"],
        "train_rss_mib": plain["rss_mib"],
    }
    if series.weather:
        figures["weather"] = _weather(series, folder, pool)
    if series.name == PICTURED:
        draw_week(series, folder / "plain.csv", PICTURE)
    return figures


def _weather(series, folder, pool):
    """The same with the true temperature as a forecast, as the baseline `lgbm_wx` has it; None where it is not used."""
    figures = {"lgbm_wx": _kept(series.baselines["lgbm_wx"]), "student_int8": None}
    summary, _ = _backtest(series, folder, "weather", pool, "--temperature-column", "temperature")
    if summary["uses_temperature"]:
        scored = score(series, folder / "weather.csv", folder / "score-weather.json")
        figures |= {"student_int8": _kept(scored), "train_s": summary["train_s"]}
    return figures


def summary(figures):
    """The figures over all series."""
    every = figures.values()
    pinball = {name: [one[name]["pinball"] for one in every] for name in (*BASELINES, "student_float", "student_int8")}
    best = [min(values) for values in zip(*(pinball[name] for name in BASELINES), strict=True)]
    to_float = [a / b for a, b in zip(pinball["student_int8"], pinball["student_float"], strict=True)]
    calibrated = [one["student_int8_calibrated"]["coverage80"] for one in every if one["days"] >= LONG_DAYS]
    runtimes = {}
    for one in every:
        for name, run in one["runtimes"].items():
            runtimes.setdefault(name, []).append(run["forecast_ms_p50"])
    result = {
        "geomean_pinball_ratio_int8_vs_lightgbm": _geomean(pinball["student_int8"], pinball["lgbm"]),
        "geomean_pinball_ratio_int8_vs_best_baseline": _geomean(pinball["student_int8"], best),
        "int8_vs_float_pinball_ratio": statistics.geometric_mean(to_float),
        "int8_vs_float_pinball_ratio_max": max(to_float),
        "student_bytes_max": max(one["student_bytes"] for one in every),
        "forecast_ms_p50": {name: max(times) for name, times in runtimes.items()},
        "forecast_whole_ms_p50_max": max(one["forecast_whole_ms_p50"] for one in every),
        "coverage80_min": min(calibrated, default=None),
        "coverage80_max": max(calibrated, default=None),
        "coverage80_raw": {name: one["student_int8"]["coverage80"] for name, one in figures.items()},
        "coverage80_calibrated": {name: one["student_int8_calibrated"]["coverage80"] for name, one in figures.items()},
        "pinball_calibrated": {name: one["student_int8_calibrated"]["pinball"] for name, one in figures.items()},
        "train_s": {name: one["train_s"] for name, one in figures.items()},
        "train_s_max": max(one["train_s"] for one in every),
        "train_rss_mib_max": max(one["train_rss_mib"] for one in every),
        "base_pretraining_s": 0.0,  # there is no base: each series is trained from nothing
    }
    weather = [one["weather"] for one in every if one.get("weather", {}).get("student_int8")]
    ours, peers = ([one[name]["pinball"] for one in weather] for name in ("student_int8", "lgbm_wx"))
    result["weather_geomean_pinball_ratio_int8_vs_lgbm_wx"] = _geomean(ours, peers) if weather else None
    return result


def _backtest(series, folder, name, pool, *options):
    """Run the command as a user does; return its summary, with what it took, and its working folder."""
    work = folder / f"work-{name}"
    given = ["--holidays", series.holidays] if series.holidays else []
    for part in pool:
        given += ["--pool", part]
    ran = run_measured(
        *("-m", "trainer.cli.main", "backtest", "--csv", series.path, "--timestamps-in", series.frame),
        *("--timezone", series.zone, "--train-end", series.test_start, "--origins", series.origins),
        *("--out", folder / f"{name}.csv", "--work-dir", work, "--json", *given, *options),
        where=f"backtest of {series.name}",
    )
    check_learnt(series, ModelDir(work / "model").read_json(modeldir.TRAINING))
    return {**json.loads(ran.stdout), "process_s": ran.seconds, "rss_mib": ran.rss_mib}, work


def _runtimes(model):
    """Latency and loss of the int8 model on each runtime; tflite-runtime in an environment and process of its own."""
    other = ["--tflite-python", TFLITE_PYTHON] if TFLITE_PYTHON.exists() else []
    try:
        ran = run_measured("-m", "converter.cli", "verify", model, "--json", *other, where=f"verification of {model}")
    except UnavailableError as exc:  # the figures of accuracy stand without it; its absence is seen in the file
        print(exc, file=sys.stderr, flush=True)
        return {}
    return {
        run["runtime"].rpartition(" ")[0]: {
            "version": run["runtime"].rpartition(" ")[2],
            "forecast_ms_p50": run["median_ms"],
            "max_int8_steps_from_litert": run["max_steps"],
            "share_above_one_step": run["above_one"],
        }
        for run in json.loads(ran.stdout)["runtimes"]
    }


def _kept(figures):
    """Of the figures of `baselines.py`, those that are published; in the unit of the series."""
    return {
        "pinball": figures["pinball"],
        "mae": figures["MAE"],
        "coverage80": figures["cov80"],
        "peak_error_share": figures["peakMAE"],
    }


def _geomean(ours, others):
    return statistics.geometric_mean([a / b for a, b in zip(ours, others, strict=True)])


def _in_short(figures):
    losses = {name: figures[name]["pinball"] for name in (*BASELINES, "student_int8")}
    best = min(losses[name] for name in BASELINES)
    return (
        f"pinball {losses['student_int8']:.4g}, {losses['student_int8'] / losses['lgbm']:.3f} x LightGBM, "
        f"{losses['student_int8'] / best:.3f} x best baseline, trained in {figures['train_s']:.0f} s"
    )


def _fresh(folder):
    """An empty folder: what a run before left there must not be taken for this one's."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder
