"""Where a centre keeps its things: the one object that the command group hands to every command; and the real clock."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click
from sqlalchemy.engine import Engine

if TYPE_CHECKING:
    from trainer.fleet.keys import OnlineKeys
    from trainer.fleet.repository import Repository

_DATABASE = "centre.db"


@dataclass(frozen=True)
class Home:
    """The centre's folder and what may lie elsewhere.

    Attributes:
        folder: holds `centre.db`, `keys/`, `repository/`, `models/` and `bases/`.
        offline_keys: keys of root and targets; another folder (a stick) where the operator says so.
        database_url: of the central database.
    """

    folder: Path
    offline_keys: Path
    database_url: str

    @classmethod
    def of(cls, folder: Path, offline_keys: Path | None = None, database_url: str | None = None) -> Home:
        """Fill in what the operator did not say."""
        folder = folder.absolute()
        return cls(
            folder=folder,
            offline_keys=(offline_keys or folder / "keys" / "offline").absolute(),
            database_url=database_url or _sqlite(folder),
        )

    @property
    def repository(self) -> Path:
        """The update repository's folder."""
        return self.folder / "repository"

    @property
    def models(self) -> Path:
        """The folder of model directories, NAME-VERSION."""
        return self.folder / "models"

    @property
    def bases(self) -> Path:
        """The folder of networks that many plants have taught."""
        return self.folder / "bases"

    @property
    def online_keys(self) -> Path:
        """The folder of the keys of the running centre."""
        return self.folder / "keys" / "online"

    @property
    def authority(self) -> Path:
        """The folder of the authority of the broker's clients, where the broker asks for certificates."""
        return self.folder / "keys" / "authority"

    @property
    def broker(self) -> Path:
        """The file that says so."""
        return self.folder / "broker.json"

    def database(self, *, make: bool = False) -> Engine:
        """Open the central database.

        Args:
            make: make the folder and the database where they are missing; a mistyped --home must not do that.

        Raises:
            ConfigError, StorageError: see `trainer.fleet.database.open_database`; ConfigError when there is no centre.
        """
        from agent.contract.errors import ConfigError
        from trainer.fleet.database import open_database

        if make:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        elif self.database_url == _sqlite(self.folder) and not (self.folder / _DATABASE).exists():
            raise ConfigError(
                "there is no centre here",
                where=str(self.folder),
                todo="Make one with `edgewatt-trainer init`, or give --home",
            )
        return open_database(self.database_url)

    def fleet(self) -> tuple[OnlineKeys, Repository]:
        """Open the keys of the running centre, and the update repository.

        Raises:
            ConfigError: when there is no centre.
            StorageError: when they are damaged.
        """
        from trainer.fleet.keys import OnlineKeys
        from trainer.fleet.repository import Repository

        keys = OnlineKeys.open(self.online_keys)
        return keys, Repository(self.repository, keys, now_ms)


def now_ms() -> int:
    """Return the real time, in UTC."""
    return time.time_ns() // 1_000_000


def _sqlite(folder: Path) -> str:
    return f"sqlite:///{folder / _DATABASE}"


pass_home = click.make_pass_decorator(Home)
