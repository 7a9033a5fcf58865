"""The `edgewatt` command: the group, whose commands are loaded when they are asked for."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import click

from agent.cli.session import Session
from agent.contract import exits

_DEFAULT = Path("/etc/edgewatt/agent.toml")
_COMMANDS = (  # each in the module of its name
    "alerts",
    "assess",
    "buffer",
    "config",
    "cost",
    "enroll",
    "forecast",
    "model",
    "peak",
    "performance",
    "plan",
    "run",
    "status",
    "sync",
    "tariff",
)


class _Commands(click.Group):
    """Loads a command when it is asked for: nobody waits for what the others need, and the daemon does not carry it."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - as click calls it
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - likewise
        if cmd_name not in _COMMANDS:
            return None
        found: click.Command = getattr(importlib.import_module(f"agent.cli.{cmd_name}"), cmd_name)
        return found


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option(
    "--config",
    "config_path",
    type=click.Path(path_type=Path),
    envvar="EDGEWATT_CONFIG",
    default=_DEFAULT,
    show_default=True,
    show_envvar=True,
    help="Configuration file.",
)
@click.version_option(package_name="edgewatt", prog_name="edgewatt")
@click.pass_context
def edgewatt(context: click.Context, config_path: Path) -> None:
    """Forecast a plant's electric load and its cost on this device.

    Commands read and change through the running agent; while it is down they read what it stored.

    \b
    Exit codes: 0 done, 2 wrong usage, 65 untrusted or damaged data, 74 disk or database failed,
    75 not available now (try again), 78 configuration or input is wrong, 70 internal error.

    \b
    Example:
      edgewatt --config agent.toml status
    """
    context.obj = Session(config_path)


def main() -> None:
    """Run the command line and exit."""
    sys.exit(run_command(sys.argv[1:]))


def run_command(arguments: list[str]) -> int:
    """Run one command; return its exit code."""
    return exits.run_command(edgewatt, arguments, "edgewatt")


if __name__ == "__main__":
    main()
