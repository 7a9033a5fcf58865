"""`edgewatt-trainer base` and `transfer`: what other plants know helps one that has little data."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

import click

from agent.contract.bundle import MODEL_NAME
from agent.contract.errors import ConfigError
from agent.contract.slots import SLOT_LENGTHS_S
from converter.cli_support import emit, json_option, remark
from converter.quiet import import_tensorflow
from trainer.cli.held import cleaned, cleaned_apart, held_plants
from trainer.cli.home import Home, pass_home
from trainer.cli.learn import VERSION, next_version, parse_time
from trainer.cli.progress import Bar

_AUTO = "auto"


@click.command()
@click.option("--name", required=True, help="Of the base; into HOME/bases/NAME.")
@click.option("--plant", "plants", multiple=True, help="An imported plant; again for each. All where none is given.")
@click.option(
    "--slot-minutes",
    type=click.Choice([str(slot_s // 60) for slot_s in SLOT_LENGTHS_S]),
    default="15",
    show_default=True,
    help="Of the plants that will start from it; shorter slots are averaged, longer ones left out.",
)
@click.option("--horizon-hours", type=int, default=24, show_default=True, help="Length of a forecast.")
@click.option("--seed", type=int, default=1, show_default=True, help="Of everything random.")
@click.option("--quick", is_flag=True, help="A small network, few steps: seconds, for a first look.")
@json_option
@pass_home
def base(
    home: Home,
    name: str,
    plants: tuple[str, ...],
    slot_minutes: str,
    horizon_hours: int,
    seed: int,
    *,
    quick: bool,
    as_json: bool,
) -> None:
    """Teach one network by many plants, for `train --base NAME` to start from.

    Each plant is drawn as often as any other, in units of its own load, with its own zone and holidays.

    \b
    Example:
      edgewatt-trainer base --name common --plant works --plant office
    """
    import_tensorflow()
    from agent.contract.featurespec import FeatureSpec
    from trainer.learning import base as bases
    from trainer.learning.options import Options
    from trainer.learning.pool import gather

    folder = home.bases / _usable(name, "--name")
    if folder.exists():  # minutes of training must not end in this
        raise ConfigError("exists already", where=str(folder), todo="Give another --name, or remove the folder")
    options = Options(horizon_hours=horizon_hours, seed=seed)
    slot_s = int(slot_minutes) * 60
    like = FeatureSpec(slot_s, horizon_hours * 3600 // slot_s, "UTC")
    pool = gather(cleaned(held_plants(home, plants)), like, validation_days=options.validation_days, seed=seed)
    for reason in pool.left_out.values():
        remark(f"left out: {reason}")
    bar = Bar()
    try:
        made = bases.pretrain(pool, name, options.quick() if quick else options, bar)
    finally:
        bar.close()
    bases.save(made, folder)
    losses = made.record["pinball_kw"]
    emit(
        {"base_dir": str(folder), **{key: value for key, value in made.record.items() if key != "schema"}},
        as_json,
        [
            *(
                f"{plant:20} pinball {loss['base']:11.5g} kW  {loss['base'] / max(loss['naive'], 1e-12):6.3f} x naive"
                for plant, loss in losses.items()
            ),
            f"{folder}: {len(losses)} plants, {made.record['windows']} windows, {made.record['seconds']:.0f} s",
        ],
    )


@click.command()
@click.option("--source", default=_AUTO, show_default=True, help="The plant to learn from; auto: the most alike.")
@click.option("--target", required=True, help="The plant with little load.")
@click.option("--weeks", type=click.IntRange(4, 52), default=4, show_default=True, help="Of the target's load.")
@click.option("--until", metavar="TIME", help="Learn from load before it; judge by what follows. All where not given.")
@click.option("--name", help="Name of the model; that of the target where it is not given.")
@click.option("--version", type=VERSION, help="Of the model; the next free one where it is not given.")
@click.option("--horizon-hours", type=int, default=24, show_default=True, help="Length of a forecast.")
@click.option("--seed", type=int, default=1, show_default=True, help="Of everything random.")
@click.option("--quick", is_flag=True, help="Small networks, few steps: for a first look.")
@json_option
@pass_home
def transfer(
    home: Home,
    source: str,
    target: str,
    weeks: int,
    until: str | None,
    name: str | None,
    version: int | None,
    horizon_hours: int,
    seed: int,
    *,
    quick: bool,
    as_json: bool,
) -> None:
    """Give a plant with a few weeks of load what another plant has learnt, in seven steps, each reported.

    The model lies in HOME/models/NAME-VERSION, converted, with the report as transfer.json. The same run trains on the
    target's weeks alone and says what the transfer gained.

    \b
    Example:
      edgewatt-trainer transfer --source works --target annexe
    """
    import_tensorflow()
    from trainer.learning.options import Options
    from trainer.learning.transfer import lines, run

    name = _usable(name or target, "--name")
    if source == target:
        raise ConfigError("is the target itself", where="--source", todo="Name another plant, or auto")
    options = Options(horizon_hours=horizon_hours, seed=seed)
    plants = held_plants(home, () if source == _AUTO else (source, target))
    wanted = [one for one in plants if one.plant == target] or held_plants(home, (target,))
    until_ms = None if until is None else parse_time(until, wanted[0].zone, "--until")
    # Sources end there, too: what happens later to a neighbour may tell of the weather that the target is judged by.
    sources = cleaned((one for one in plants if one.plant != target), until_ms)
    models = home.models
    version = version or next_version(models, name)
    bar = Bar()
    with tempfile.TemporaryDirectory() as scratch:
        try:
            result = run(
                cleaned_apart(wanted[0], until_ms),
                sources,
                models / f"{name}-{version}",
                name=name,
                version=version,
                options=options.quick() if quick else options,
                scratch_dir=Path(scratch) / "alone-1",
                weeks=weeks,
                until_ms=until_ms,
                progress=bar,
            )
        finally:
            bar.close()
    emit({"model_dir": str(result.path), "name": name, "version": version, **result.to_json()}, as_json, lines(result))


def _usable(name: str, where: str) -> str:
    if re.fullmatch(MODEL_NAME, name) is None:
        raise ConfigError(f"name {name!r} is not usable", where=where, todo="Use a-z, 0-9 and -, at most 48")
    return name


commands: list[click.Command] = [base, transfer]
