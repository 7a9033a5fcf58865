"""Fixtures that every part of the tests may use."""

from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from tests.support.broker import Mosquitto, running_mosquitto

# The same cases on every machine, and no test that fails because a machine is slow.
hypothesis.settings.register_profile("edgewatt", deadline=None, derandomize=True)
hypothesis.settings.load_profile("edgewatt")


@pytest.fixture
def mosquitto(tmp_path: Path) -> Iterator[Mosquitto]:
    """A real Mosquitto of this test's own: ``.host``, ``.port``, ``.stop()``, ``.start()``, ``.log``."""
    folder = tmp_path / "broker"
    folder.mkdir()
    with running_mosquitto(folder) as broker:
        yield broker
