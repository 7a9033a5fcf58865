"""The device that most of these tests begin with."""

from pathlib import Path

import pytest

from tests.support.updating import Device


@pytest.fixture
def device(tmp_path: Path) -> Device:
    return Device(tmp_path)
