"""`edgewatt-trainer backtest`."""

from __future__ import annotations

import tempfile
import time
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from converter.cli_support import emit, json_option, remark
from converter.quiet import import_tensorflow
from trainer.cli.progress import Bar

if TYPE_CHECKING:
    from trainer.backtest.backtest import Backtest

_FILE = click.Path(dir_okay=False, path_type=Path)
_GIVEN = click.Path(path_type=Path)  # what it is, is said by whoever reads it


@click.command()
@click.option("--csv", "csv_path", type=_GIVEN, required=True, help="Load of the plant: columns timestamp and load.")
@click.option(
    "--timestamps-in",
    "frame",
    required=True,
    metavar="FRAME",
    help="Zone or fixed offset of all times in the files and options, as UTC, +01:00 or Asia/Seoul.",
)
@click.option("--timezone", "zone", required=True, metavar="ZONE", help="The plant's zone or offset, for its calendar.")
@click.option("--train-end", required=True, metavar="T", help="Nothing from this time on is learnt from.")
@click.option("--origins", type=_GIVEN, required=True, help="CSV file with a column origin: when to forecast from.")
@click.option("--out", type=_FILE, required=True, help="Forecasts to write: origin,timestamp,q0.1,q0.5,q0.9.")
@click.option("--holidays", default="", metavar="CC", help="Country or part of it as AU-VIC, or dates.")
@click.option(
    "--temperature-column",
    metavar="C",
    help="Column whose values at the forecast slots stand for a weather forecast.",
)
@click.option(
    "--pool",
    "pool",
    multiple=True,
    metavar="FILE[@FRAME[@ZONE[@CC]]]",
    help="Another plant, to learn beside where the plant has less than 60 days to learn from; cut at the same instant; "
    "a file alone is read as --csv is. May be repeated.",
)
@click.option("--seed", type=int, default=1, show_default=True, help="Of everything random.")
@click.option(
    "--work-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="Keep the model, and the forecasts of teacher, float student and naive, in this folder.",
)
@click.option("--quick", is_flag=True, help="Small networks, few steps: seconds, for a first look.")
@json_option
def backtest(
    csv_path: Path,
    frame: str,
    zone: str,
    train_end: str,
    origins: Path,
    out: Path,
    holidays: str,
    temperature_column: str | None,
    pool: tuple[str, ...],
    seed: int,
    work_dir: Path | None,
    *,
    quick: bool,
    as_json: bool,
) -> None:
    """Train on the rows before T, then forecast 24 h from each origin with the int8 student, as a device would.

    The load is in any unit in which it stays within 1e9 and spreads by 1e-4 or more; forecasts come in the same. A
    column `holiday` (0 or 1) wins over --holidays. Rows from T on are used as a device would use them: as history of
    later origins. The same seed gives the same file. No centre is needed: --home is not looked at.

    \b
    Example:
      edgewatt-trainer backtest --csv a.csv --timestamps-in UTC --timezone UTC --train-end 2026-08-01 --origins o.csv --out f.csv
    """  # noqa: E501 - an example is one line, to be copied
    from trainer.backtest.inputs import Request, Source, parse_pool, prepare

    begun = time.monotonic()
    source = Source(csv_path, frame, zone, holidays)
    prepared = prepare(
        Request(
            source=source,
            train_end=train_end,
            origins=origins,
            out=out,
            temperature_column=temperature_column,
            pool=tuple(parse_pool(text, source) for text in pool),
        )
    )
    for text in prepared.remarks:
        remark(text)
    import_tensorflow()
    from trainer.backtest.backtest import run
    from trainer.learning.options import Options

    options = Options(seed=seed)

    bar = Bar()
    with ExitStack() as stack:
        stack.callback(bar.close)
        folder = work_dir or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="edgewatt-backtest-")))
        folder.mkdir(parents=True, exist_ok=True)
        result = run(prepared, folder, options.quick() if quick else options, bar)
    for text in result.remarks[len(prepared.remarks) :]:
        remark(text)
    emit(
        {
            "out": str(out),
            "seed": seed,
            "quick": quick,
            **asdict(result),
            "elapsed_s": round(time.monotonic() - begun, 1),
        },
        as_json,
        _lines(out, result),
    )


def _lines(out: Path, result: Backtest) -> list[str]:
    from trainer.backtest.scores import lines

    by = ", ".join(f"{count} by {source}" for source, count in sorted(result.by_source.items()))
    text = [f"{out}: {result.origins} forecasts ({by}; {result.repaired} from repaired history)"]
    if result.refused:
        text.append(result.refused)
    text += [f"{count} times naive: {why}" for why, count in result.reasons.items()]
    text += ["no truth is known yet: nothing is judged"] if result.scores is None else lines(result.scores)
    stages = ", ".join(f"{name.replace('_', ' ')} {seconds:.1f} s" for name, seconds in result.seconds.items())
    size = f"student {result.student_bytes} bytes, {result.forecast_ms_p50:.2f} ms a forecast"
    return [*text, stages, f"{size}; memory at most {result.peak_rss_mib:.0f} MiB"]


commands: list[click.Command] = [backtest]
