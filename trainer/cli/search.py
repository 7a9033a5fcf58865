"""`edgewatt-trainer search`."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from agent.contract.errors import ConfigError
from converter.cli_support import emit, json_option, remark
from converter.quiet import import_tensorflow
from trainer.cli.home import Home, pass_home
from trainer.cli.learn import taken
from trainer.cli.progress import Bar

if TYPE_CHECKING:  # the room is imported when a command runs
    from trainer.learning.options import Options
    from trainer.learning.search import Found, Trial


@click.command()
@click.option("--plant", required=True, help="An imported plant.")
@click.option("--until", metavar="TIME", help="Search on load before it, as 2014-11-01 (the plant's midnight).")
@click.option(
    "--trials",
    type=int,
    default=20,
    show_default=True,
    help="The most that are tried; Ctrl-C ends with the best so far.",
)
@click.option("--minutes", type=float, help="Stop then; the default is tried to its end all the same.")
@click.option("--horizon-hours", type=int, default=24, show_default=True, help="Length of a forecast.")
@click.option("--teachers", type=int, default=4, show_default=True, help="Networks in the teacher's ensemble.")
@click.option("--seed", type=int, default=1, show_default=True, help="Of the search and of each training.")
@click.option("--quick", is_flag=True, help="Small networks, few steps: for a first look.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    help="File of JSON for the chosen options; it must be new.",
)
@json_option
@pass_home
def search(
    home: Home,
    plant: str,
    until: str | None,
    trials: int,
    minutes: float | None,
    horizon_hours: int,
    teachers: int,
    seed: int,
    *,
    quick: bool,
    out: Path,
    as_json: bool,
) -> None:
    """Search options that suit one plant better than the defaults, for `train --options FILE`.

    Each trial trains a teacher and its student; what counts is the student's error on the held-out weeks. Choosing by
    these weeks flatters the choice: it and the default are judged again by weeks that no trial has seen. A trial takes
    as long as a training, or less where it is given up early.

    \b
    Example:
      edgewatt-trainer search --plant works --until 2026-11-01 --minutes 120 --out works.json
    """
    if out.exists():  # hours of trials must not end in this
        raise ConfigError("exists already", where=str(out), todo="Give another --out, or remove the file")
    if out.absolute().parent.is_dir() and not os.access(out.absolute().parent, os.W_OK):
        raise ConfigError("its folder cannot be written", where=str(out), todo="Mend the rights, or give another --out")
    if not out.absolute().parent.is_dir():
        raise ConfigError("its folder does not exist", where=str(out), todo="Make the folder, or give another --out")
    import_tensorflow()
    from trainer.learning import options_file
    from trainer.learning.options import Options
    from trainer.learning.search import search as run

    options = Options(horizon_hours=horizon_hours, teachers=teachers, seed=seed)
    options = options.quick() if quick else options
    snapshot = taken(home, plant, until)
    until_said = "" if until is None else f" --until {until}"
    bar = Bar()
    try:
        found = run(
            snapshot,
            options,
            trials=trials,
            minutes=minutes,
            progress=bar,
            told=lambda trial: _tell(bar, trial),
        )
    finally:
        bar.close()
    record = {
        "plant": plant,
        "data_sha256": snapshot.sha256,
        "data_to_ms": snapshot.end_ms,
        "trials": found.counts(),
        "chosen": found.chosen,
        "judged_kw": found.judged_kw,
        "unseen_kw": found.unseen_kw,
    }
    options_file.write(out, found.options, record)
    if not found.holds:
        remark("on weeks that no trial has seen, the default does better: the choice is likely luck, keep the default")
    emit(
        {"out": str(out), **found.to_json(), "plant": plant},
        as_json,
        _lines(found, options, out, f"{plant}{until_said}"),
    )


def _tell(bar: Bar, trial: Trial) -> None:
    bar.close()
    loss = "" if trial.pinball_kw is None else f", pinball {trial.pinball_kw:.6g} kW"
    remark(f"trial {trial.number} {trial.state}{loss}{' (the default)' if trial.number == 1 else ''}")


def _lines(found: Found, default: Options, out: Path, data: str) -> Iterator[str]:
    from trainer.learning.search_space import values

    yield f"{'pinball, kW':24} {'naive':>10} {'default':>10} {'chosen':>10}"
    for title, losses in (("weeks chosen by", found.judged_kw), ("weeks no trial has seen", found.unseen_kw)):
        told = (math.nan if losses[key] is None else losses[key] for key in ("naive", "default", "chosen"))
        yield " ".join([f"{title:24}", *(f"{loss:10.5g}" for loss in told)])
    before, after = values(default), values(found.options)
    for name, value in after.items():
        if value != before[name]:
            yield f"{name:24} {_short(before[name])} -> {_short(value)}"
    ended = ", ".join(f"{count} {state}" for state, count in found.counts().items())
    yield f"{out}: {f'trial {found.chosen}' if found.chosen > 1 else 'the default'} of {len(found.trials)} ({ended})"
    yield f"Next: edgewatt-trainer train --plant {data} --options {out}"


def _short(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


commands: list[click.Command] = [search]
