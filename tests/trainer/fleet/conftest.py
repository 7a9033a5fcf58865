"""A centre on SQLite or on a real PostgreSQL."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.centre import Centre, make_centre
from tests.support.postgres import Postgres, running_postgres


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    with running_postgres() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database of either kind: what uses it is the contract of the database layer."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'centre.db'}"
    server: Postgres = request.getfixturevalue("postgres")
    return server.database()


@pytest.fixture
def centre(tmp_path: Path) -> Iterator[Centre]:
    """A centre on SQLite."""
    made = make_centre(tmp_path, f"sqlite:///{tmp_path / 'centre.db'}")
    yield made
    made.engine.dispose()


@pytest.fixture
def current(centre: Centre) -> Centre:
    """A centre whose clock is the machine's, because python-tuf's client takes no other."""
    centre.clock.ms = time.time_ns() // 1_000_000
    for path in (centre.folder / "repository" / "metadata").iterdir():
        path.unlink()
    centre.repository.create(centre.offline)
    return centre


@pytest.fixture
def any_centre(tmp_path: Path, database_url: str) -> Iterator[Centre]:
    """A centre on SQLite, and again on PostgreSQL."""
    made = make_centre(tmp_path, database_url)
    yield made
    made.engine.dispose()
