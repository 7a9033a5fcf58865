"""The benchmark series: where they are, how they are read, and where their test parts begin.

`learning_part` is the only way by which this benchmark hands a series to the training of another one: it writes a file
that ends where that series' own test part begins, and a model that has read anything later is refused by
`check_learnt`. For the series itself, `edgewatt-trainer backtest` cuts at the same instant.
"""

import csv
import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from agent.contract.errors import UnavailableError
from trainer.backtest.frames import Frame

BENCH = Path(os.environ.get("BENCH_DATA", "../shared/bench"))
_TIMEOUT_S = 1800


@dataclass(frozen=True)
class Series:
    """One series and its protocol, as `baselines.py` states it.

    Attributes:
        origins: file of the test origins; the first is the start of the test part.
        test_start: first origin, in the frame.
        days: whole days in the series.
        unit: of the load, for the picture.
        holidays: country, or empty: none, or a column of the file.
    """

    name: str
    path: Path
    frame: str
    zone: str
    holidays: str
    weather: bool
    origins: Path
    test_start: str
    days: int
    unit: str = "kW"
    baselines: dict = field(default_factory=dict)

    @property
    def test_start_ms(self):
        return Frame(self.frame).instant(self.test_start, self.name)


def all_names():
    return list(described())


def prepare(name, folder):
    """Emit the origins of a series and run its baselines, in one process of `baselines.py`."""
    about = described(name)
    path = BENCH / "data" / about["file"]
    weather = "temperature" in about["columns"]
    origins = folder / "origins.csv"
    models = ["sn7", "ridge", "lgbm", "ens", *(["lgbm_wx"] if weather else [])]
    said, figures = run_baselines(
        path, folder / "baselines.json", "--models", ",".join(models), "--emit-origins", origins
    )
    with origins.open() as file:
        first = next(csv.DictReader(file))["origin"]
    holidays = about["holidays"] if about["holidays"] not in {None, "column"} else ""
    days = int(re.search(r"\bdays=(\d+)", said)[1])
    unit = about["unit"].split()[0]
    return Series(
        name, path, about["frame"], about["plant_zone"], holidays, weather, origins, first, days, unit, figures
    )


def test_start_ms(name, folder):
    """The first test origin, as `baselines.py` gives it; without the other baselines."""
    about = described(name)
    path, origins = BENCH / "data" / about["file"], folder / f"{name}-origins.csv"
    run_baselines(path, folder / f"{name}.json", "--models", "sn7", "--emit-origins", origins)
    with origins.open() as file:
        return Frame(about["frame"]).instant(next(csv.DictReader(file))["origin"], name)


def score(series, forecasts, out):
    """The figures of a file of forecasts, by `baselines.py`."""
    return run_baselines(series.path, out, "--models", "", "--forecasts", forecasts)[1]["forecasts"]


def run_baselines(path, out, *arguments):
    """Run `baselines.py` in a process of its own; return what it said and its figures, by model."""
    command = [sys.executable, str(BENCH / "baselines.py"), "--csv", str(path), "--out", str(out), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
    if done.returncode:
        raise UnavailableError(f"failed: {done.stderr.strip()[-400:]}", where=str(BENCH / "baselines.py"))
    return done.stdout, json.loads(out.read_text())[path.stem]


def learning_part(series, folder):
    """Write the rows of a series before its own test part, and return what `--pool` takes: nobody sees more of it."""
    frame, end_ms = Frame(series.frame), series.test_start_ms
    target = folder / f"{series.name}.csv"
    with series.path.open(newline="") as source, target.open("w", newline="") as file:
        rows, out = csv.DictReader(source), None
        for row in rows:
            if frame.instant(row["timestamp"], series.name) >= end_ms:
                break
            out = out or _writer(file, rows.fieldnames)
            out.writerow(row)
    return f"{target}@{series.frame}@{series.zone}@{series.holidays}".rstrip("@")


def check_learnt(series, record):
    """Refuse a model whose own account of its data (`training.json`) reaches into the test part.

    Raises:
        UnavailableError: then; no figure may be published.
    """
    if record["data_to_ms"] > series.test_start_ms:
        raise UnavailableError("the model has seen the test part", where=series.name)


def _writer(file, names):
    out = csv.DictWriter(file, names)
    out.writeheader()
    return out


def described(name=None):
    """What `series.json` says of a series; of all, by name, where none is given."""
    path = BENCH / "data" / "series.json"
    if not path.exists():
        raise UnavailableError(
            "the benchmark data is not there", where=str(path), todo="Give its folder as BENCH_DATA=FOLDER"
        )
    about = json.loads(path.read_text())
    return about if name is None else about[name]
