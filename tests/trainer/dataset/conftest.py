"""A central database of its own for each test, and all that an import may have changed in it."""

import pytest
import sqlalchemy as sa

from trainer.dataset import tables
from trainer.dataset.importing import Request, keep, read_file
from trainer.dataset.reading import Source
from trainer.fleet.database import open_database, read

_OF_REQUEST = {"plant", "zone", "holidays", "replace"}


@pytest.fixture
def engine(tmp_path):
    engine = open_database(f"sqlite:///{tmp_path / 'centre.db'}")
    yield engine
    engine.dispose()


@pytest.fixture
def held(engine):
    """Everything that the database holds of plants."""

    def everything():
        with read(engine) as connection:
            return [
                [tuple(row) for row in connection.execute(sa.select(table))]
                for table in (tables.plant, tables.plant_series, tables.plant_covariate, tables.plant_flag)
            ]

    return everything


@pytest.fixture
def request_for():
    """Make the request to import a file into the plant `works`, with fields of request or source changed."""

    def make(path, **changes):
        own = {name: value for name, value in changes.items() if name in _OF_REQUEST}
        source = {name: value for name, value in changes.items() if name not in _OF_REQUEST}
        return Request(
            Source(path, **{"frame": "+10:00", **source}),
            **{"plant": "works", "zone": "Australia/Melbourne", **own},
        )

    return make


@pytest.fixture
def import_(engine, request_for):
    """Import a file into the central database."""

    def run(path, **changes):
        request = request_for(path, **changes)
        return keep(engine, request, read_file(request))

    return run


@pytest.fixture
def csv(tmp_path):
    return tmp_path / "load.csv"
