"""How a command ends, at the device and at the centre: errors become one line on stderr and an exit code."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Sequence

import click

from agent.contract.errors import EdgewattError, unforeseen

_SIGINT = 130


def run_command(command: click.Command, arguments: Sequence[str], name: str) -> int:
    """Run a command line; return its exit code.

    Args:
        command: with its subcommands.
        arguments: without the program's name.
        name: the program's.
    """
    try:
        result = command.main(list(arguments), prog_name=name, standalone_mode=False)
    except EdgewattError as exc:
        click.echo(f"{name}: {exc}", err=True)
        return exc.exit_code
    except click.ClickException as exc:
        exc.show()
        return exc.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo(f"{name}: interrupted", err=True)
        return _SIGINT
    except BrokenPipeError:
        # The reader of our output has gone (`| head`): nothing is left to say, and nothing is wrong.
        _drop_output()
        return 0
    except Exception as exc:  # noqa: BLE001 - whatever went wrong, people get one line and an exit code
        error = unforeseen(exc)
        click.echo(f"{name}: {error}", err=True)
        if isinstance(exc, OSError):
            _drop_output()
        return error.exit_code
    return result if isinstance(result, int) else 0


def _drop_output() -> None:
    """What could not be written is not tried again when the process ends."""
    with contextlib.suppress(OSError, ValueError):  # no stdout, or one that is no file
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
