"""What each step from teacher to int8 student costs, and what pruning and quantisation-aware training would give.

    make bench BENCH=ablation
    BENCH_SERIES=steel_15min make bench BENCH=ablation     # others; the file says which

Of each series of `../shared/bench` (or BENCH_DATA) only the load before its test part is touched: models learn from its
first 80 % and are judged on the rest, one forecast a day from local midnight, so that what follows from the figures is
not chosen on test parts. All students are of one seed, but one that shows what a seed makes of the same recipe. Each
runs as a device runs it: LiteRT, one thread, a process of its own. Pruning and quantisation-aware training start from
the distilled student, as does a plain control that is tuned as long: see `ablation_tuning`.

The README's tables: `python -m tests.benchmarks.ablation_table`.
"""

import gzip
import json
import os
import shutil
import sys
from pathlib import Path
from time import monotonic

import numpy as np

from agent.contract.featurespec import QUANTILES
from agent.inference.scoring import pinball
from converter import scoring
from converter.quiet import import_tensorflow
from converter.timing import median_ms
from tests.benchmarks import forecast_series
from tests.benchmarks.ablation_tuning import Tuning
from tests.benchmarks.measured import run_measured
from tests.benchmarks.transfer_pair import snapshot
from trainer.dataset.cleaning import clean_snapshot

OUT = Path("build/bench/ablation")
SERIES = ("bdg2_building_1_hourly", "tetouan_zone1_30min")
LEARNT_SHARE = 0.8
_TIMINGS = 3  # the least of their medians counts: other work on the machine only adds


def run():
    """Measure the two series, or those of BENCH_SERIES."""
    begin = monotonic()
    import_tensorflow()
    from trainer.learning.options import Options

    names = forecast_series.all_names()
    wanted = [name for name in os.environ.get("BENCH_SERIES", "").split(",") if name]
    wanted = wanted or [name for name in SERIES if name in names] or names
    unknown = set(wanted) - set(names)
    if unknown:
        raise SystemExit(f"no such series: {', '.join(sorted(unknown))}; there are: {', '.join(names)}")
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir(parents=True)
    figures = {}
    for name in wanted:
        before = snapshot(name).before(forecast_series.test_start_ms(name, OUT))
        figures[name] = measure(before, OUT / name, Options(), Tuning())
        (OUT / "so_far.json").write_text(json.dumps(figures, indent=2) + "\n")
        print(f"{name}: done after {monotonic() - begin:.0f} s", file=sys.stderr, flush=True)
    return {"sparsity_wanted": Tuning().sparsity, "tuning_updates": Tuning().updates, "series": figures}


def measure(plant, folder, options, tuning):
    """Make and judge all models of one plant, whose load ends where its test part begins."""
    from tests.benchmarks import ablation_models
    from trainer.learning import teacher as teachers
    from trainer.learning import windows

    begin = monotonic()
    learnt, first = learning_share(plant)
    spec, teacher, seen, made = ablation_models.teach(learnt, options)
    judged = windows.daily_windows(spec, plant, first, len(plant.power_kw))
    naive_kw = windows.naive_quantiles(spec, plant, judged.origins)
    folder.mkdir(parents=True, exist_ok=True)
    models, zeros = ablation_models.make_students(spec, teacher, seen, made, options, tuning, folder / "tuning")
    np.savez(folder / "inputs.npz", recent=judged.inputs.recent, steps=judged.inputs.steps)
    result = {name: _judge(spec, folder, name, model, judged) for name, model in models.items()}
    one = windows.make(spec, plant, judged.origins[:1]).inputs
    teachers_folder = folder / "teacher"
    teachers_folder.mkdir()
    teacher.save(teachers_folder)
    files = [path.read_bytes() for path in sorted(teachers_folder.iterdir())]
    result["teacher"] = {
        "pinball": teachers.loss_kw(spec, teacher, judged),
        "model_bytes": sum(map(len, files)),
        "gzip_bytes": sum(map(_gzip_bytes, files)),
        "forecast_ms_p50": min(median_ms(lambda: teacher.predict(one)) for _ in range(_TIMINGS)),
    }
    result["naive"] = {"pinball": pinball(naive_kw, judged.truth_kw, QUANTILES)}
    shutil.rmtree(folder / "tuning")  # hundreds of megabytes
    return {
        "days_learnt": len(learnt.power_kw) // learnt.per_day,
        "days_judged": len(judged),
        "learnt_to_ms": learnt.end_ms,
        "judged_to_ms": plant.end_ms,
        "pruned_zero_share": zeros,
        "teacher_weights": dict(teacher.weights),
        "elapsed_s": round(monotonic() - begin, 1),
        "models": result,
    }


def learning_share(plant):
    """Return what may be learnt from, without the meter's errors, and the slot at which it ends."""
    first = int(LEARNT_SHARE * len(plant.power_kw))
    return clean_snapshot(plant.before(plant.start_ms + first * plant.slot_s * 1000))[0], first


def _judge(spec, folder, name, model, judged):
    path, said = folder / f"{name}.tflite", folder / f"{name}.npz"
    path.write_bytes(model)
    arguments = ("litert", path, folder / "inputs.npz", said)
    runs = [
        run_measured("-m", "converter.runtime_child", *arguments, where=f"{name} on LiteRT") for _ in range(_TIMINGS)
    ]
    with np.load(said) as arrays:
        raw = arrays["raw"]
    return {
        "pinball": scoring.score(spec, raw, judged.inputs.center_kw, judged.inputs.scale_kw, judged.truth_kw),
        "model_bytes": len(model),
        "gzip_bytes": _gzip_bytes(model),
        "forecast_ms_p50": min(json.loads(ran.stdout)["median_ms"] for ran in runs),
    }


def _gzip_bytes(data):
    return len(gzip.compress(data, 9, mtime=0))
