"""Nothing is lost or doubled between a device and its centre, whatever the network does to packets in both directions."""

from pathlib import Path

from tests.support.badline import Harm, Weather
from tests.support.broker import Mosquitto
from tests.support.centre import Centre, make_centre
from tests.support.harmed_plant import faults, run_through
from tests.support.postgres import Postgres


def test_every_row_arrives_once_over_a_network_that_doubles_reorders_delays_cuts_and_goes_deaf(
    centre: Centre, tmp_path: Path, mosquitto: Mosquitto
) -> None:
    weather = Weather(cut_every=40, deaf_at=65), Weather(cut_every=45, deaf_at=70)
    device, harmed = run_through(centre, tmp_path / "device", mosquitto, weather, rounds=24, seed=1, within_s=60)
    assert faults(centre, device) == []
    assert device.holes  # what came early was stored, and what was missing before it named
    assert set(harmed) == set(Harm)


def test_every_row_arrives_once_over_such_a_network_on_postgresql(
    tmp_path: Path, postgres: Postgres, mosquitto: Mosquitto
) -> None:
    centre = make_centre(tmp_path / "centre", postgres.database())
    weather = Weather(cut_every=12), Weather()
    device, harmed = run_through(centre, tmp_path / "device", mosquitto, weather, rounds=7, seed=2, within_s=60)
    assert faults(centre, device) == []
    assert set(harmed) == set(Harm) - {Harm.DEAF}
    centre.engine.dispose()
