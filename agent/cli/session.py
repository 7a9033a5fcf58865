"""What every command shares: which configuration, and whether the daemon or only its store can be asked."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from agent.cli.output import remark
from agent.contract.errors import UnavailableError
from agent.control import Operation, ask

if TYPE_CHECKING:
    from agent.config import Config
    from agent.daemon.views import View


class Session:
    """One run of the command line."""

    def __init__(self, config_path: Path) -> None:
        self.config_path = config_path

    @cached_property
    def config(self) -> Config:
        """The configuration, read when a command first needs it."""
        from agent.config import load

        return load(self.config_path)

    def ask(self, operation: Operation, **arguments: Any) -> dict[str, Any]:
        """Ask the daemon; there is no other way to change something.

        Raises:
            UnavailableError: when it is down.
        """
        return ask(self.config.device.socket, operation, **arguments)

    def read(self, operation: Operation, offline: Callable[[View], dict[str, Any]], **arguments: Any) -> dict[str, Any]:
        """Ask the daemon, or look into its store when it is down, and say so.

        Raises:
            StorageError: when the store cannot be read either.
        """
        try:
            return {"live": True, **self.ask(operation, **arguments)}
        except UnavailableError as exc:
            from agent.daemon.offline import open_offline_store
            from agent.daemon.views import View

            with open_offline_store(self.config) as (store, identity):
                answer = offline(View(store, self.config, identity.enrolment))
            remark(f"{exc.what} ({exc.where}): read from the store instead, as it was left")
            return {"live": False, **answer}


pass_session = click.make_pass_decorator(Session)
