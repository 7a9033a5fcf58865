"""A device's side of a small update repository that holds one model."""

import datetime as dt
from pathlib import Path

import pytest

from agent.contract.assignment import Item
from agent.contract.errors import EdgewattError
from agent.update.fetch import FolderFetcher, Partials, RepositoryFetcher
from agent.update.repository import Repository
from tests.support.small_centre import MemoryFloors
from tests.support.tuf_repository import TufRepository

NOW = dt.datetime.now(dt.UTC)
MODEL = "models/press-1.ewb"
DATA = bytes(range(256)) * 800  # four pieces


class Side:
    """The device's side of one repository; `restart` forgets everything in memory."""

    def __init__(self, tmp_path: Path, repo: TufRepository, fetcher: RepositoryFetcher | None = None):
        self.folder, self.repo, self.floors = tmp_path / "device", repo, MemoryFloors()
        self.now = NOW
        self.partials = Partials(tmp_path / "partials")
        self.fetcher = fetcher or FolderFetcher(repo.folder)
        self.client = self.restart()

    def restart(self) -> Repository:
        self.client = Repository(
            self.folder,
            self.repo.root_bytes,
            self.fetcher,
            self.floors,
            now_ms=lambda: int(self.now.timestamp() * 1000),
            partials=self.partials,
        )
        return self.client

    def fetch(self, item: Item | None = None, least: int = 0) -> bytes:
        try:
            return self.client.fetch(item or self.repo.item(MODEL), least).data
        finally:
            self.client.keep_floors()

    def refuses(self, error: type[EdgewattError], match: str, item: Item | None = None, least: int = 0) -> None:
        before = dict(self.floors.values)
        with pytest.raises(error, match=match):
            self.fetch(item, least)
        assert self.floors.values == before
        targets = self.folder / "targets"
        assert not targets.exists() or list(targets.iterdir()) == []
