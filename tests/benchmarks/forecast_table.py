"""The table of the README from `build/bench/forecast.json`: `python -m tests.benchmarks.forecast_table [FILE]`."""

import json
import sys
from pathlib import Path

DEFAULT = Path("build/bench/forecast.json")
BASELINES = ("sn7", "ridge", "lgbm", "ens")


def table(figures):
    """Markdown lines: pinball loss by series and forecaster, ratios, coverage, time; the best baseline in italics."""
    if not figures["whole"]:
        yield f"{figures['series_measured']} of {figures['series_wanted']} series only: not the benchmark."
        yield ""
    yield (
        "| series | naive | ridge | LightGBM | ensemble | teacher | student | int8 | int8 / LightGBM | int8 / best "
        "| in band, raw | calibrated | training |"
    )
    yield "|---|" + "---:|" * 12
    for name, one in figures["series"].items():
        losses = {model: one[model]["pinball"] for model in (*BASELINES, "teacher", "student_float", "student_int8")}
        best = min(BASELINES, key=losses.__getitem__)
        cells = [f"_{loss:.4g}_" if model == best else f"{loss:.4g}" for model, loss in losses.items()]
        cells += [f"{losses['student_int8'] / losses[model]:.3f}" for model in ("lgbm", best)]
        cells += [f"{one[model]['coverage80']:.0%}" for model in ("student_int8", "student_int8_calibrated")]
        yield " | ".join([f"| {name}", *cells, f"{one['train_s']:.0f} s |"])
    ratios = (figures[f"geomean_pinball_ratio_int8_vs_{peer}"] for peer in ("lightgbm", "best_baseline"))
    yield "| geometric mean | | | | | | | | " + " | ".join(f"**{ratio:.3f}**" for ratio in ratios) + " | | | |"


if __name__ == "__main__":
    path = Path(sys.argv[1]) if sys.argv[1:] else DEFAULT
    print("\n".join(table(json.loads(path.read_text()))))
