"""Where a centre keeps its things: the one object that the command group hands to every command."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import click
from sqlalchemy.engine import Engine


@dataclass(frozen=True)
class Home:
    """The centre's folder and what may lie elsewhere.

    Attributes:
        folder: holds `centre.db`, `keys/`, `repository/` and `models/`.
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
            database_url=database_url or f"sqlite:///{folder / 'centre.db'}",
        )

    @property
    def repository(self) -> Path:
        """The update repository's folder."""
        return self.folder / "repository"

    @property
    def online_keys(self) -> Path:
        """The folder of the keys of the running centre."""
        return self.folder / "keys" / "online"

    def database(self) -> Engine:
        """Open the central database; the folder is made where it is missing.

        Raises:
            ConfigError, StorageError: see `trainer.fleet.database.open_database`.
        """
        from trainer.fleet.database import open_database

        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return open_database(self.database_url)


pass_home = click.make_pass_decorator(Home)
