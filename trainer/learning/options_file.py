"""Files of options: how a search hands what it chose to a training run.

Decides the form: an object of `schema`, `options` (all of `Options.to_json` or a part of it) and, where a search made
it, `search`: what was judged by what, for whoever finds the file later. Nothing reads that.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agent.contract import jsonform
from agent.contract.durable import write_durable
from agent.contract.errors import ConfigError, RejectedError
from agent.contract.givenfiles import read_file
from trainer.learning.options import Options

_SCHEMA = 1
_MAX_BYTES = 1 << 20
_TODO = "Give a file made by edgewatt-trainer search"


def write(path: Path, options: Options, search: Mapping[str, Any]) -> None:
    """Write a file.

    Raises:
        StorageError: when the disk is full or the folder cannot be written.
    """
    value = {"schema": _SCHEMA, "options": options.to_json(), "search": dict(search)}
    write_durable(path, (json.dumps(value, indent=1, allow_nan=False) + "\n").encode())


def read(path: Path, *, like: Options) -> Options:
    """Read a file; `like` has what it does not say.

    Raises:
        ConfigError: when it cannot be read, is no such file, or says what cannot be; with the file and the key.
    """
    where = str(path)
    try:
        data = read_file(path, _MAX_BYTES, wanted="a file of options", todo=_TODO)
        value = jsonform.loads(data, where=where, max_bytes=_MAX_BYTES)
    except RejectedError as exc:
        raise ConfigError(exc.what, where=where, todo=_TODO) from exc
    given = jsonform.Fields(value, where, ConfigError)
    given.integer("schema", _SCHEMA, _SCHEMA)
    for key in value:
        if key not in ("schema", "options", "search"):
            given.fail(key, "is unknown")
    return Options.from_json(given.raw("options"), where=f"{where}.options", like=like)
