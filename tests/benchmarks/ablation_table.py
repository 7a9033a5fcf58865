"""The tables of the README from `build/bench/ablation.json`: `python -m tests.benchmarks.ablation_table [FILE]`."""

import json
import sys
from pathlib import Path

DEFAULT = Path("build/bench/ablation.json")
PRODUCT = "distilled_int8"
TEXTS = {
    "naive": "seasonal naive",
    "teacher": "teacher (files, one thread of Python)",
    "truth_float": "student, no teacher, float",
    "truth_noisy_float": "student, no teacher, with the teacher's noise and steps, float",
    "distilled_float": "student, distilled, float",
    "distilled_again_float": "the same from another seed, float",
    PRODUCT: "**student, distilled, int8: the product**",
    "tuned_float": "distilled, tuned further, float",
    "tuned_int8": "distilled, tuned further, int8",
    "pruned_float": "distilled, tuned and half pruned, float",
    "pruned_int8": "distilled, tuned and half pruned, int8",
    "qat_int8": "distilled, tuned quantisation-aware, int8",
}


def tables(figures):
    """Markdown lines, a table a series: loss, loss against the product's, size, size compressed, latency."""
    for number, (series, one) in enumerate(figures["series"].items()):
        if number:
            yield ""
        yield f"| {series}, {one['days_judged']} days | pinball | x product | kB | kB, gzip | ms |"
        yield "|---|" + "---:|" * 5
        product = one["models"][PRODUCT]["pinball"]
        for name, text in TEXTS.items():
            model = one["models"][name]
            cells = [text, f"{model['pinball']:#.4g}".rstrip("."), f"{model['pinball'] / product:.3f}"]
            if "model_bytes" in model:
                cells += [f"{model[size] / 1000:.0f}" for size in ("model_bytes", "gzip_bytes")]
                cells += [f"{float(format(model['forecast_ms_p50'], '.2g')):g}"]  # never in powers of ten
            else:
                cells += [""] * 3
            yield f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    path = Path(sys.argv[1]) if sys.argv[1:] else DEFAULT
    print("\n".join(tables(json.loads(path.read_text()))))
