"""What the centre's command lines share: answers as one JSON object, remarks on stderr."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

import click

CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 110}

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
