"""`edgewatt-trainer train` and `evaluate`."""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from agent.contract.bundle import MODEL_NAME
from agent.contract.errors import ConfigError
from agent.contract.jsonform import MAX_SAFE_INTEGER
from agent.contract.zones import parse_zone
from converter.cli_support import emit, json_option, remark
from converter.quiet import import_tensorflow
from trainer.cli.held import cleaned, held_plants
from trainer.cli.home import Home, pass_home
from trainer.cli.progress import Bar

if TYPE_CHECKING:  # the room is imported when a command runs
    from trainer.dataset.snapshot import Snapshot

VERSION = click.IntRange(1, MAX_SAFE_INTEGER)  # as a bundle takes it


@click.command()
@click.option("--plant", required=True, help="An imported plant.")
@click.option("--until", metavar="TIME", help="Train on load before it, as 2014-11-01 (the plant's midnight).")
@click.option("--name", help="Name of the model; that of the plant where it is not given.")
@click.option("--version", type=VERSION, help="Of the model; the next free one where it is not given.")
@click.option("--horizon-hours", type=int, default=24, show_default=True, help="Length of a forecast.")
@click.option(
    "--validation-days",
    type=click.IntRange(7, 366),
    default=28,
    show_default=True,
    help="Held out, in weeks spread over the data.",
)
@click.option("--base", help="What the networks start from; made by edgewatt-trainer base.")
@click.option(
    "--pool", multiple=True, metavar="PLANT", help="Another plant to learn beside, where there are less than 60 days."
)
@click.option("--teachers", type=int, default=4, show_default=True, help="Networks in the teacher's ensemble.")
@click.option("--seed", type=int, default=1, show_default=True, help="Of everything random.")
@click.option("--quick", is_flag=True, help="Small networks, few steps: seconds, for a first look.")
@click.option(
    "--options",
    "options_file",
    type=click.Path(path_type=Path),
    help="File of options, made by edgewatt-trainer search; what the command line says comes before it.",
)
@click.option(
    "--package-power-w", type=click.FloatRange(0, min_open=True), help="Mean power, where RAPL cannot be read."
)
@click.option("--grid-g-per-kwh", type=click.FloatRange(0), help="CO2 of the grid; unknown where it is not given.")
@json_option
@pass_home
@click.pass_context
def train(
    context: click.Context,
    home: Home,
    plant: str,
    until: str | None,
    name: str | None,
    version: int | None,
    horizon_hours: int,
    validation_days: int,
    base: str | None,
    pool: tuple[str, ...],
    teachers: int,
    seed: int,
    *,
    quick: bool,
    options_file: Path | None,
    package_power_w: float | None,
    grid_g_per_kwh: float | None,
    as_json: bool,
) -> None:
    """Train a teacher and, taught by it, the student that devices run; into HOME/models/NAME-VERSION.

    Figures are of held-out weeks, spread over the data, which nothing has learnt from; `backtest` judges by later
    weeks. What the meter got wrong is left out (edgewatt-trainer quality tells what). Next: edgewatt-converter convert.

    \b
    Example:
      edgewatt-trainer train --plant works --until 2026-11-01
    """
    import_tensorflow()
    from trainer.learning import options_file as files
    from trainer.learning.base import load
    from trainer.learning.options import Options
    from trainer.learning.training import train as run

    if quick and options_file is not None:
        raise ConfigError("would undo --options", where="--quick", todo="Give one of them; search takes --quick, too")
    said: dict[str, Any] = {
        "horizon_hours": horizon_hours,
        "validation_days": validation_days,
        "teachers": teachers,
        "seed": seed,
        "package_power_w": package_power_w,
        "grid_g_per_kwh": grid_g_per_kwh,
    }
    options = Options(**said)
    if options_file is not None:
        typed = {key: value for key, value in said.items() if _was_typed(context, key)}
        options = replace(files.read(options_file, like=options), **typed)
    options = options.quick() if quick else options
    name = name or plant
    if re.fullmatch(MODEL_NAME, name) is None:
        raise ConfigError(f"model name {name!r} is not usable", where="--name", todo="Use a-z, 0-9 and -, at most 48")
    snapshot = taken(home, plant, until)
    until_ms = None if until is None else parse_time(until, snapshot.zone, "--until")
    others = cleaned((one for one in held_plants(home, pool) if one.plant != plant), until_ms) if pool else []
    models = home.models
    version = version or next_version(models, name)
    bar = Bar()
    try:
        result = run(
            snapshot,
            models / f"{name}-{version}",
            name=name,
            version=version,
            options=options,
            progress=bar,
            base=None if base is None else load(home.bases / base),
            pool=others,
        )
    finally:
        bar.close()
    for reason in result.pool_left_out.values():
        remark(f"left out: {reason}")
    if result.made_years < options.made_years:
        remark(
            "no years were made of its days: too few are known in each slot; the student learns from real ones alone"
        )
    naive = result.pinball_kw["naive"]
    footprint = result.footprint
    payload = {
        "model_dir": str(result.path),
        "name": name,
        "version": version,
        "pinball_kw": result.pinball_kw,
        "seconds": footprint.seconds,
        "energy_wh": footprint.energy_wh,
        "energy_source": footprint.source,
        "co2_g": footprint.co2_g,
    }
    energy = "not measured" if footprint.energy_wh is None else f"{footprint.energy_wh:.3g} Wh"
    emit(
        payload,
        as_json,
        [
            *(
                f"pinball {key:14} {loss:12.6g} kW  {loss / max(naive, 1e-12):6.3f} x naive"
                for key, loss in result.pinball_kw.items()
            ),
            f"{result.path}: {footprint.seconds:.0f} s, energy {energy} ({footprint.source})",
        ],
    )


@click.command()
@click.option(
    "--model",
    "model_dir",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    required=True,
    help="The model's folder.",
)
@click.option("--from", "begin", required=True, metavar="TIME", help="First day to judge, as 2014-11-01.")
@click.option("--to", "end", metavar="TIME", help="Day after the last one; all that is held where it is not given.")
@click.option("--plant", help="Whose load; the one it was trained on where it is not given.")
@json_option
@pass_home
def evaluate(home: Home, model_dir: Path, begin: str, end: str | None, plant: str | None, *, as_json: bool) -> None:
    """Judge naive, teacher, student and int8 student on the same days: one forecast a day, from the plant's midnight.

    What the meter got wrong is no truth to judge by and left out.

    \b
    Example:
      edgewatt-trainer evaluate --model centre/models/works-1 --from 2026-11-01 --to 2026-12-01
    """
    import_tensorflow()
    from dataclasses import asdict

    from converter.modeldir import TRAINING, ModelDir
    from trainer.dataset.cleaning import clean_snapshot
    from trainer.dataset.snapshot import take
    from trainer.learning.evaluation import evaluate as run
    from trainer.learning.evaluation import lines

    folder = ModelDir(model_dir)
    engine = home.database()
    try:
        snapshot = take(engine, plant or folder.fields(TRAINING).text("plant"))
    finally:
        engine.dispose()
    snapshot, cleaned = clean_snapshot(snapshot)
    if cleaned.removed:
        remark(cleaned.summary())
    from_ms = parse_time(begin, snapshot.zone, "--from")
    to_ms = None if end is None else parse_time(end, snapshot.zone, "--to")
    if to_ms is not None and to_ms <= from_ms:
        raise ConfigError("lies before --from", where="--to")
    result = run(folder, snapshot, from_ms, to_ms)
    if "student_int8" not in result.pinball_kw:
        remark(f"the int8 student is not judged: run edgewatt-converter convert {model_dir}")
    emit({"model_dir": str(model_dir), **asdict(result)}, as_json, lines(result))


def taken(home: Home, plant: str, until: str | None) -> Snapshot:
    """Return the clean load of a plant, before a time where one is given; what was left out is told on stderr.

    Raises:
        ConfigError: when the plant is unknown or holds nothing before `until`, or that is no time.
    """
    from trainer.dataset.cleaning import clean_snapshot
    from trainer.dataset.snapshot import take

    engine = home.database()
    try:
        snapshot = take(engine, plant)
        if until is not None:
            snapshot = take(engine, plant, parse_time(until, snapshot.zone, "--until"))
    finally:
        engine.dispose()
    snapshot, cleaned = clean_snapshot(snapshot)
    if cleaned.removed:
        remark(f"{cleaned.summary()}; more: edgewatt-trainer quality --plant {plant}")
    return snapshot


def _was_typed(context: click.Context, key: str) -> bool:
    return context.get_parameter_source(key) is ParameterSource.COMMANDLINE


def parse_time(text: str, zone: str, where: str) -> int:
    """Return the instant of a local date, local time, or time with an offset.

    Raises:
        ConfigError: when it is none of these.
    """
    try:
        moment = dt.datetime.fromisoformat(text)
    except ValueError as exc:
        raise ConfigError(f"{text!r} is not a date or time", where=where, todo="Write it as 2014-11-01") from exc
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=parse_zone(zone))
    return round(moment.timestamp() * 1000)


def next_version(models: Path, name: str) -> int:
    """Return the version after the last one of a model."""
    taken = [
        int(found[1])
        for path in models.glob(f"{name}-*")
        if (found := re.fullmatch(rf"{re.escape(name)}-(\d+)", path.name))
    ]
    return max(taken, default=0) + 1


commands: list[click.Command] = [train, evaluate]
