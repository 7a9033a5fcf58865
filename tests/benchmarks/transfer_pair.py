"""One transfer in a process of its own: `python -m tests.benchmarks.transfer_pair TARGET STARTS.json FOLDER`."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from converter.quiet import import_tensorflow
from tests.benchmarks import forecast_series
from trainer.cli.progress import Bar
from trainer.dataset.cleaning import clean_snapshot
from trainer.dataset.series import read_series


def main(target, starts, folder):
    """Transfer to `target` from whichever other series is most like its last weeks; print the report."""
    import_tensorflow()
    from trainer.learning.options import Options
    from trainer.learning.transfer import run

    starts_ms = json.loads(Path(starts).read_text())
    whole = snapshot(target)
    # Nothing of a source's own test part is learnt from, though it is another plant than the one that is judged.
    sources = [clean_snapshot(snapshot(name).before(end))[0] for name, end in starts_ms.items() if name != target]
    bar = Bar()
    result = run(
        whole,
        sources,
        Path(folder) / "model",
        name=target.replace("_", "-")[:40],
        version=1,
        options=Options(),
        scratch_dir=Path(folder) / "alone",
        until_ms=starts_ms[target],
        progress=bar,
    )
    bar.close()
    print(json.dumps(result.to_json()))


def snapshot(name):
    """A series as a plant, without weather, from its first known slot on."""
    about = forecast_series.described(name)
    holidays = about["holidays"]
    whole = read_series(
        forecast_series.BENCH / "data" / about["file"],
        timestamps_in=about["frame"],
        zone=about["plant_zone"],
        holidays=None if holidays in {None, "column"} else holidays,
        temperature_column=None,
    )
    whole = replace(whole, plant=name, covariates={})
    first = int(np.flatnonzero(np.isfinite(whole.power_kw))[0])
    return whole.since(whole.start_ms + first * whole.slot_s * 1000)


if __name__ == "__main__":
    main(*sys.argv[1:4])
