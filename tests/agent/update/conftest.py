"""What most of these tests begin with: a device, or a repository and the side of it that is on the device."""

from pathlib import Path

import pytest

from tests.support.tuf_repository import TufRepository
from tests.support.update_side import DATA, MODEL, NOW, Side
from tests.support.updating import Device


@pytest.fixture
def device(tmp_path: Path) -> Device:
    return Device(tmp_path)


@pytest.fixture
def repo(tmp_path: Path) -> TufRepository:
    made = TufRepository(tmp_path / "repo", now=NOW)
    made.publish({MODEL: DATA})
    return made


@pytest.fixture
def side(tmp_path: Path, repo: TufRepository) -> Side:
    return Side(tmp_path, repo)
