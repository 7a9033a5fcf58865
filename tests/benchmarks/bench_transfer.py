"""Four weeks of a plant and what another plant has learnt, against those four weeks alone.

    make bench BENCH=transfer
    BENCH_TARGETS=steel_15min,aep_hourly make bench BENCH=transfer     # others; the file says which

Six plants of `../shared/bench` (all series of another BENCH_DATA) are a target once. Any series may be the source: the
product chooses it, as for a user, the plant most like those four weeks. Source: the load before its own test part.
Target: the last four weeks before its test part, which alone is judged by. Both models come from the same recipe and
are judged as int8.
"""

import json
import os
import shutil
import statistics
from pathlib import Path
from time import monotonic

from agent.contract.errors import UnavailableError
from converter.modeldir import TRAINING, ModelDir
from tests.benchmarks import forecast_series
from tests.benchmarks.measured import run_measured

OUT = Path("build/bench/transfer")
TARGETS = (
    "steel_15min",
    "manufacturer_draf_15min",
    "furniture_store_15min",
    "school_de_15min",
    "bdg2_building_1_hourly",
    "tetouan_zone1_30min",
)


def run():
    """Measure the six targets, or those of BENCH_TARGETS."""
    begin = monotonic()
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir(parents=True)
    names = forecast_series.all_names()
    wanted = [name for name in os.environ.get("BENCH_TARGETS", "").split(",") if name]
    wanted = wanted or [name for name in TARGETS if name in names] or names
    unknown = set(wanted) - set(names)
    if unknown:
        raise SystemExit(f"no such series: {', '.join(sorted(unknown))}; there are: {', '.join(names)}")
    starts_ms = {name: forecast_series.test_start_ms(name, OUT) for name in names}
    (OUT / "starts.json").write_text(json.dumps(starts_ms))
    pairs = []
    for number, name in enumerate(wanted, 1):
        pairs.append(measure(name, starts_ms))
        (OUT / "so_far.json").write_text(json.dumps(pairs, indent=2) + "\n")  # an hour may be lost otherwise
        print(f"{number} of {len(wanted)}: {_in_short(pairs[-1])}", flush=True)
    return {**summary(pairs), "bench_s": round(monotonic() - begin, 1), "pairs": pairs}


def measure(name, starts_ms):
    """Transfer to one series."""
    folder = OUT / name
    ran = run_measured(
        *("-m", "tests.benchmarks.transfer_pair", name, OUT / "starts.json", folder),
        where=f"transfer to {name}",
    )
    report = json.loads(ran.stdout)
    check_learnt(ModelDir(folder / "model").read_json(TRAINING), starts_ms[name])
    check_learnt(ModelDir(folder / "alone").read_json(TRAINING), starts_ms[name])
    losses, last = report["pinball_kw"], report["steps"][-1]["figures"]
    return {
        "source": report["source"],
        "target": report["target"],
        "distances": report["steps"][0]["figures"]["distances"],
        "days_judged": last["days"],
        "ratio_int8": report["ratio_transfer_vs_scratch"],
        "ratio_teacher": losses["transfer"]["teacher"] / losses["scratch"]["teacher"],
        "pinball": losses,
        "coverage80": {key: value["student_int8"] for key, value in last["coverage"].items()},
        "teacher_weights": report["steps"][5]["figures"]["teacher_weights"],
        "process_s": ran.seconds,
        "rss_mib": ran.rss_mib,
    }


def summary(pairs):
    """The figures over all pairs."""
    ratios = [pair["ratio_int8"] for pair in pairs]
    naive = [pair["pinball"]["transfer"]["student_int8"] / pair["pinball"]["transfer"]["naive"] for pair in pairs]
    alone = [pair["pinball"]["scratch"]["student_int8"] / pair["pinball"]["scratch"]["naive"] for pair in pairs]
    return {
        "pairs_measured": len(pairs),
        "enough_pairs": len(pairs) >= len(TARGETS),
        "geomean_ratio_transfer_vs_scratch_4w": statistics.geometric_mean(ratios),
        "ratio_max": max(ratios),
        "geomean_ratio_teacher": statistics.geometric_mean([pair["ratio_teacher"] for pair in pairs]),
        "geomean_ratio_transfer_vs_naive": statistics.geometric_mean(naive),
        "geomean_ratio_scratch_vs_naive": statistics.geometric_mean(alone),
    }


def check_learnt(record, start_ms):
    """Refuse a model whose own account of its data reaches into the test part.

    Raises:
        UnavailableError: then; no figure may be published.
    """
    if record["data_to_ms"] > start_ms or record["data_to_ms"] - record["data_from_ms"] > 28 * 86_400_000:
        raise UnavailableError("the model has seen more than its four weeks", where=record["plant"])


def _in_short(pair):
    ours, naive = pair["pinball"]["transfer"]["student_int8"], pair["pinball"]["transfer"]["naive"]
    return (
        f"{pair['source']} -> {pair['target']}: {pair['ratio_int8']:.3f} x the four weeks alone, "
        f"{ours / naive:.3f} x naive, {pair['process_s']:.0f} s"
    )
