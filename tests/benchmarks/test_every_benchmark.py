"""What is measured seldom breaks unseen: every benchmark can be loaded, and a day of the plant's device be lived."""

import importlib
from pathlib import Path

import pytest

from tests.benchmarks.plant_day import PlantDay
from tests.support.centre import make_centre


@pytest.mark.parametrize("path", sorted(Path(__file__).parent.glob("bench_*.py")), ids=lambda path: path.stem)
def test_every_benchmark_can_be_loaded(path):
    assert callable(importlib.import_module(f"tests.benchmarks.{path.stem}").run)


def test_the_device_of_the_wire_benchmark_sends_to_its_centre(tmp_path):
    plant = PlantDay(
        tmp_path, make_centre(tmp_path, f"sqlite:///{tmp_path / 'centre.db'}"), pack_after_s=30.0, health_s=60.0
    )
    plant.run(120)
    plant.close()
    assert plant.up
    assert plant.down
    assert plant.sent_readings()
    assert plant.daemon.troubles.open == {}
