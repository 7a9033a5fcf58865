"""What the centre's command lines share: errors to exit codes, answers as one JSON object, remarks on stderr."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import click

from agent.contract.errors import EdgewattError, unforeseen

CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 110}
_SIGINT = 130

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text.")


def emit(payload: Mapping[str, Any], as_json: bool, text: Iterable[str]) -> None:
    """Print an answer on stdout: one JSON object with `"schema": 1`, or lines for people."""
    if as_json:
        click.echo(json.dumps({"schema": 1, **payload}, ensure_ascii=False, allow_nan=False))
        return
    for line in text:
        click.echo(line)


def remark(text: str) -> None:
    """Say something that is not the answer."""
    click.echo(text, err=True)


def run_command(command: click.Command, arguments: Sequence[str], name: str) -> int:
    """Run a command line; return its exit code. Errors of ours become one line on stderr."""
    try:
        result = command.main(list(arguments), prog_name=name, standalone_mode=False)
    except EdgewattError as exc:
        remark(f"{name}: {exc}")
        return exc.exit_code
    except click.ClickException as exc:
        exc.show()
        return exc.exit_code
    except (click.Abort, KeyboardInterrupt):
        remark(f"{name}: interrupted")
        return _SIGINT
    except BrokenPipeError:
        # The reader of our output has gone (`| head`): nothing is left to say, and nothing is wrong.
        _drop_output()
        return 0
    except Exception as exc:  # noqa: BLE001 - whatever went wrong, people get one line and an exit code
        error = unforeseen(exc)
        remark(f"{name}: {error}")
        if isinstance(exc, OSError):
            _drop_output()
        return error.exit_code
    return result if isinstance(result, int) else 0


def _drop_output() -> None:
    """What could not be written is not tried again when the process ends."""
    with contextlib.suppress(OSError, ValueError):  # no stdout, or one that is no file
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
