"""`edgewatt config`: is the configuration right? Needs neither agent nor network."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from agent.cli.output import Payload, emit, json_option
from agent.cli.session import Session, pass_session
from agent.contract.errors import ConfigError

if TYPE_CHECKING:
    from agent.config import Config


@click.group()
def config() -> None:
    """Check the configuration.

    \b
    Example:
      edgewatt config check agent.toml
    """


@config.command()
@click.argument("file", required=False, type=click.Path(path_type=Path))
@json_option
@pass_session
def check(session: Session, file: Path | None, as_json: bool) -> None:
    """Check FILE, or the file of --config, with the tariff, the emission factors and the data files it names.

    Names everything that is wrong, each with its path in the file.

    \b
    Example:
      edgewatt config check agent.toml
    """
    from agent.config import load

    path = file or session.config_path
    loaded = load(path)
    _check_named_files(loaded)
    answer: dict[str, Any] = {
        "ok": True,
        "file": str(path),
        "device": loaded.device.id,
        "channels": sorted(loaded.channels),
        "slot_minutes": loaded.plant.slot_minutes,
    }
    emit(answer, as_json, _human)


def _check_named_files(loaded: Config) -> None:
    from agent.daemon.configured import make_factors, make_sources, make_tariff

    problems: list[ConfigError] = []
    for make in (make_tariff, make_factors, make_sources):
        try:
            make(loaded)
        except ConfigError as exc:
            problems.append(exc)
    if len(problems) == 1:
        raise problems[0]
    if problems:
        raise ConfigError(f"{len(problems)} problems" + "".join(f"\n  {problem}" for problem in problems))


def _human(answer: Payload) -> str:
    channels = ", ".join(answer["channels"])
    return f"{answer['file']} is right: device {answer['device']}, channels {channels}."
