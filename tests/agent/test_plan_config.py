"""The sections `[site]`, `[battery]`, `[pv]` and `[[load]]`: what they mean, and everything that is wrong at once."""

import re
from pathlib import Path

import pytest

from agent.config import parse
from agent.contract.errors import ConfigError

BASE = """
[device]
id = "d1"
[plant]
zone = "Europe/Berlin"
power_channel = "power"
[[channel]]
name = "power"
unit = "kW"
[[source]]
kind = "simulator"
channels = ["power"]
[tariff]
file = "tariff.toml"
"""
WHOLE = """
[site]
import_limit_kw = 400
[battery]
capacity_kwh = 200
charge_kw = 100
discharge_kw = 100
round_trip_efficiency = 0.81
[[load]]
name = "mill"
power_kw = 35
minutes = 180
earliest = "06:00"
latest = "22:00"
usual = "08:00"
weekdays = ["mon", "tue"]
[[load]]
name = "batch"
[[load.stage]]
power_kw = 45
minutes = 60
[[load.stage]]
power_kw = 15
minutes = 90
min_pause_minutes = 15
max_pause_minutes = 60
"""


def _parse(text: str, folder: Path):
    (folder / "tariff.toml").touch()
    return parse(BASE + text, folder=folder)


def test_a_whole_configuration_becomes_battery_and_loads(tmp_path: Path) -> None:
    config = _parse(WHOLE, tmp_path)
    assert config.site.import_limit_kw == 400
    assert config.battery is not None
    battery = config.battery.battery(soc=0.3)
    assert (battery.efficiency_charge, battery.initial_soc, battery.end_soc) == (pytest.approx(0.9), 0.3, 0.5)
    mill, batch = (load.daily() for load in config.load)
    assert (mill.from_min, mill.to_min, mill.usual_min, mill.weekdays) == (360, 1320, 480, {0, 1})
    assert batch.run_min == 60 + 15 + 90


def test_without_the_sections_there_is_nothing_to_plan(tmp_path: Path) -> None:
    config = _parse("", tmp_path)
    assert config.battery is None
    assert config.load == ()


@pytest.mark.parametrize(
    ("wrong", "word"),
    [
        ("round_trip_efficiency = 0.81", "round_trip_efficiency = 1.2"),
        ("capacity_kwh = 200", "capacity_kwh = 0"),
        ("charge_kw = 100", "charge_kw = 100\nmin_soc = 0.6\nmax_soc = 0.5"),
        ("charge_kw = 100", "charge_kw = 100\nsoc = 0.95"),
        ("charge_kw = 100", 'charge_kw = 100\nsoc_channel = "power"'),
        ("minutes = 180", "minutes = 1200"),
        ('usual = "08:00"', 'usual = "21:00"'),
        ('earliest = "06:00"', 'earliest = "6"'),
        ('weekdays = ["mon", "tue"]', 'weekdays = ["monday"]'),
        ("power_kw = 35\n", ""),
        ('name = "batch"', 'name = "mill"'),
        ('name = "batch"', 'name = "batch"\nbreakable = true'),
        ("max_pause_minutes = 60", "max_pause_minutes = 5"),
        ("power_kw = 15", "power_kw = 0"),
        ("power_kw = 35", "power_kw = 1e-9"),
        ("import_limit_kw = 400", "margin_quantile = 0.7"),
        ("import_limit_kw = 400", "carbon_price_per_kg = 0.1"),
    ],
)
def test_refuses_what_cannot_be(wrong: str, word: str, tmp_path: Path) -> None:
    assert wrong in WHOLE
    with pytest.raises(ConfigError):
        _parse(WHOLE.replace(wrong, word, 1), tmp_path)


def test_tells_all_at_once_with_paths(tmp_path: Path) -> None:
    text = WHOLE.replace("capacity_kwh = 200", "capacity_kwh = -1").replace("minutes = 180", "minutes = 1200")
    with pytest.raises(ConfigError) as caught:
        _parse(text, tmp_path)
    assert "battery.capacity_kwh" in str(caught.value)
    assert "load[0]" in str(caught.value)
    assert "only 960 min" in str(caught.value)


def test_a_battery_without_prices_is_refused(tmp_path: Path) -> None:
    (tmp_path / "tariff.toml").touch()
    text = (BASE + WHOLE).replace('[tariff]\nfile = "tariff.toml"\n', "")
    with pytest.raises(ConfigError, match="no \\[tariff\\]"):
        parse(text, folder=tmp_path)


MEASURED = """
[battery]
capacity_kwh = 200
charge_kw = 100
discharge_kw = 100
power_channel = "battery"
[pv]
power_channel = "pv"
[[channel]]
name = "battery"
unit = "kW"
[[channel]]
name = "pv"
unit = "kW"
[[source]]
kind = "simulator"
channels = ["battery", "pv"]
"""


def test_pv_and_battery_are_measured_by_channels_of_their_own(tmp_path: Path) -> None:
    config = _parse(MEASURED, tmp_path)
    assert [channel and channel.name for channel in config.own_channels] == ["pv", "battery"]
    assert config.is_gross
    assert config.pv is not None
    assert not config.pv.curtailable
    assert not _parse(WHOLE, tmp_path).is_gross


@pytest.mark.parametrize(
    ("wrong", "word", "told"),
    [
        ('power_channel = "pv"', 'power_channel = "sun"', "pv.power_channel: 'sun' is not defined"),
        ('power_channel = "pv"', 'power_channel = "power"', "'power' is plant.power_channel already"),
        ('power_channel = "pv"', 'power_channel = "battery"', "'battery' is battery.power_channel already"),
        ('name = "pv"\nunit = "kW"', 'name = "pv"\nunit = "W"', "'pv' is a gauge in W; needed is a gauge in kW"),
        (
            'name = "battery"\nunit = "kW"',
            'name = "battery"\nunit = "kWh"\nkind = "counter"',
            "battery.power_channel: 'battery' is a counter in kWh; needed is a gauge in kW",
        ),
        ('power_channel = "pv"', "curtailable = true", "pv.power_channel: is missing"),
        ('name = "pv"', 'name = "pv"\ninterval_s = 3600', "'pv' speaks every 3600 s, when slots of 900 s are closed"),
    ],
)
def test_a_channel_that_cannot_measure_pv_or_battery_is_named(wrong: str, word: str, told: str, tmp_path: Path) -> None:
    assert wrong in MEASURED
    with pytest.raises(ConfigError, match=re.escape(told)):
        _parse(MEASURED.replace(wrong, word, 1), tmp_path)
