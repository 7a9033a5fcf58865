"""Energy of training: measured, stated, or honestly unknown."""

import pytest

from trainer.learning.footprint import Meter


def write_package(folder, microjoules, span=1_000_000_000, number=0, name="package-0"):
    package = folder / f"intel-rapl:{number}"
    package.mkdir(exist_ok=True)
    (package / "name").write_text(f"{name}\n")
    (package / "energy_uj").write_text(f"{microjoules}\n")
    (package / "max_energy_range_uj").write_text(f"{span}\n")


def test_is_unknown_where_nothing_tells_it(tmp_path):
    footprint = Meter(powercap=tmp_path / "none", grid_g_per_kwh=300).stop()
    assert (footprint.energy_wh, footprint.co2_g, footprint.source) == (None, None, "not measured")


def test_follows_from_a_stated_power_and_says_so(tmp_path):
    footprint = Meter(powercap=tmp_path, package_power_w=65, grid_g_per_kwh=400).stop()
    assert footprint.energy_wh == pytest.approx(65 * footprint.seconds / 3600)
    assert footprint.co2_g == pytest.approx(footprint.energy_wh * 0.4)
    assert footprint.source == "stated 65 W"


def test_reads_the_processors_counters_across_their_wrap(tmp_path):
    write_package(tmp_path, 999_000_000)
    meter = Meter(powercap=tmp_path, package_power_w=65)
    write_package(tmp_path, 17_000_000)
    meter.sample()
    write_package(tmp_path, 35_000_000)
    footprint = meter.stop()
    assert footprint.energy_wh == pytest.approx(36 / 3600)
    assert footprint.source.startswith("measured")


def test_counters_that_vanish_leave_the_energy_unknown(tmp_path):
    write_package(tmp_path, 1)
    meter = Meter(powercap=tmp_path)
    (tmp_path / "intel-rapl:0" / "energy_uj").unlink()
    assert meter.stop().energy_wh is None


def test_a_zone_that_counts_the_packages_again_is_left_out(tmp_path):
    write_package(tmp_path, 0)
    write_package(tmp_path, 0, number=1, name="psys")
    meter = Meter(powercap=tmp_path)
    write_package(tmp_path, 36_000_000)
    write_package(tmp_path, 90_000_000, number=1, name="psys")
    assert meter.stop().energy_wh == pytest.approx(36 / 3600)
