"""The `edgewatt-trainer` command: the group; each module beside it brings its commands."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from agent.contract.exits import run_command
from converter.cli_support import CONTEXT
from trainer.cli import backtest, broker, carried, data, device, fleet, keys, learn, profiles, report, search, transfer
from trainer.cli.home import Home

_FOLDER = click.Path(file_okay=False, path_type=Path)


@click.group(context_settings=CONTEXT)
@click.option(
    "--home",
    type=_FOLDER,
    envvar="EDGEWATT_HOME",
    default=Path("centre"),
    show_default=True,
    show_envvar=True,
    help="The centre's folder.",
)
@click.option("--offline-keys", type=_FOLDER, help="Folder of the keys that are kept off line; else in --home.")
@click.option("--database", envvar="EDGEWATT_DATABASE", show_envvar=True, help="URL; else SQLite in --home.")
@click.version_option(package_name="edgewatt", prog_name="edgewatt-trainer")
@click.pass_context
def trainer(context: click.Context, home: Path, offline_keys: Path | None, database: str | None) -> None:
    """Run the centre: import load curves, train models, publish them to devices, take in what devices send.

    \b
    Exit codes: 0 done, 2 wrong usage, 65 untrusted or damaged data, 70 internal error, 74 disk or database failed,
    75 not available now (try again), 78 input or configuration is wrong.

    \b
    Example:
      edgewatt-trainer --home centre init
    """
    context.obj = Home.of(home, offline_keys, database)


for _command in (
    *data.commands,
    *learn.commands,
    *search.commands,
    *transfer.commands,
    *backtest.commands,
    *fleet.commands,
    *device.commands,
    *carried.commands,
    *broker.commands,
    *keys.commands,
    *profiles.commands,
    *report.commands,
):
    trainer.add_command(_command)


def main() -> None:
    """Run the command line and exit."""
    sys.exit(run_command(trainer, sys.argv[1:], "edgewatt-trainer"))


if __name__ == "__main__":
    main()
