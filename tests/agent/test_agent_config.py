"""The configuration file: every kind of mistake is named with its path, all of them at once."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from agent.config import Config, CsvConfig, SimulatorConfig, load, parse
from agent.contract.errors import ConfigError

GOOD = """
[device]
id = "d1"
state_dir = "state"
socket = "agent.sock"
[plant]
zone = "Europe/Berlin"
slot_minutes = 15
power_channel = "power"
[[channel]]
name = "power"
unit = "kW"
[[source]]
kind = "simulator"
channels = ["power"]
"""


def complaints(text: str, folder: Path = Path("/")) -> str:
    with pytest.raises(ConfigError) as caught:
        parse(text, folder=folder, where="agent.toml")
    assert caught.value.exit_code == 78
    return str(caught.value)


def test_reads_the_least_file_with_defaults() -> None:
    config = parse(GOOD, folder=Path("/plant"))
    assert config.device.state_dir == Path("/plant/state")
    assert config.plant.slot_s == 900
    assert config.horizon == 96
    assert config.tariff is None
    assert config.clock is None
    assert isinstance(config.source[0], SimulatorConfig)
    assert config.update.shadow_days == 7


def test_example_file_loads_with_its_tariff(tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "firmware-configs" / "agent.toml").read_text()
    (tmp_path / "tariffs").mkdir()
    (tmp_path / "tariffs" / "victoria-large-business.toml").touch()
    config = parse(text, folder=tmp_path)
    assert config.tariff is not None
    assert config.tariff.file == tmp_path / "tariffs" / "victoria-large-business.toml"


def test_commented_defaults_of_the_example_are_the_real_ones(tmp_path: Path) -> None:
    (tmp_path / "tariffs").mkdir()
    (tmp_path / "tariffs" / "victoria-large-business.toml").touch()
    text = (Path(__file__).parents[2] / "firmware-configs" / "agent.toml").read_text()
    lines = [
        line.removeprefix("# ") if " = " in line and "  # " not in line[:3] else line for line in text.splitlines()
    ]
    section, wanted = "", []
    for line in lines:
        if line.startswith("["):
            section = line.strip("[]")
        elif " = " in line and section in {"store", "sync", "update", "loop", "forecast"}:
            key, value = line.split(" = ", 1)
            wanted.append((section, key, value.split("#")[0].strip()))
    config = parse(text, folder=tmp_path)
    optional = {"host", "port", "repository"}
    for name, key, value in wanted:
        if key not in optional:
            assert getattr(getattr(config, name), key) == float(value), (name, key)


def test_all_that_the_example_says_of_alerts_and_peaks_can_be_asked_for(tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "firmware-configs" / "agent.toml").read_text()
    part = text[text.index("[alerts]") : text.index("[store]")]
    lines = [line.removeprefix("# ") for line in part.splitlines()]
    (tmp_path / "t.toml").touch()
    given = '[tariff]\nfile = "t.toml"\n[[channel]]\nname = "voltage"\nunit = "V"\n'
    given += '[[channel]]\nname = "power_factor"\nunit = "1"\n'
    whole = GOOD.replace('["power"]', '["power", "voltage", "power_factor"]') + given + "\n".join(lines)
    config = parse(whole, folder=tmp_path)
    defaults = parse(GOOD + "[alerts.abnormal]\n[alerts.base_load]\n", folder=tmp_path)
    assert config.alerts.limit[0].limit.is_passed(379.9)
    assert config.alerts.power_factor is not None
    assert config.demand_interval_s == defaults.demand_interval_s == 900
    for name in ("frozen_meter", "counter_reset", "model_drift", "most_per_hour", "abnormal", "base_load"):
        assert getattr(config.alerts, name) == getattr(defaults.alerts, name), name


def test_reads_a_replay_with_clock(tmp_path: Path) -> None:
    (tmp_path / "load.csv").write_text("t,v\n")
    source = 'kind = "csv"\npath = "load.csv"\nchannel = "power"\nzone = "+10:00"\ntimestamp_column = "t"\nvalue_column = "v"'
    text = GOOD.replace('kind = "simulator"\nchannels = ["power"]', source)
    config = parse(text + "[clock]\nplant_start = 2014-10-01T00:00:00+10:00\nrate = 3600\n", folder=tmp_path)
    assert isinstance(config.source[0], CsvConfig)
    assert config.source[0].path == tmp_path / "load.csv"
    assert config.clock is not None
    assert config.clock.plant_start_ms == 1412085600000
    assert config.clock.rate == 3600.0
    assert config.clock.anchor_real_ms is None


def test_emission_factors_without_a_tariff_would_be_told_nowhere(tmp_path: Path) -> None:
    (tmp_path / "factors.toml").touch()
    with pytest.raises(ConfigError, match=r"carbon: is told beside costs, and there is no \[tariff\]"):
        parse(GOOD + '[carbon]\nfile = "factors.toml"\n', folder=tmp_path)


def test_the_tree_is_frozen() -> None:
    config = parse(GOOD, folder=Path("/"))
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.plant.zone = "UTC"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (("[plant]", "[plant]\ncolour = 1"), "plant.colour: is unknown; possible here: grace_s, power_channel"),
        (('id = "d1"', ""), "device.id: is missing"),
        (('id = "d1"', 'id = "D 1"'), "device.id: 'D 1' does not have the form"),
        (('id = "d1"', "id = 4"), "device.id: is not a text in quotes"),
        (("[plant]", '[carbon]\nfile = "/dev/null"\n[plant]'), "carbon.file: file /dev/null does not exist"),
        (("slot_minutes = 15", "slot_minutes = 7"), "plant.slot_minutes: 7 is not one of 5, 10, 15, 30, 60"),
        (("slot_minutes = 15", "slot_minutes = true"), "plant.slot_minutes: is not a whole number"),
        (("slot_minutes = 15", "slot_minutes = 15.0"), "plant.slot_minutes: is not a whole number"),
        (("Europe/Berlin", "Europe/Atlantis"), "plant.zone: time zone 'Europe/Atlantis' is unknown"),
        (('power_channel = "power"', 'power_channel = "heat"'), "plant.power_channel: 'heat' is not defined"),
        (('unit = "kW"', 'unit = "degC"'), "plant.power_channel: is a gauge in degC"),
        (('unit = "kW"', 'unit = "kW"\nkind = "wheel"'), "channel[0].kind: 'wheel' is not one of counter, gauge"),
        (('unit = "kW"', 'unit = "kW"\nrollover = 5'), "channel[0]: channel power: only a counter rolls over"),
        (('kind = "simulator"', 'kind = "psychic"'), "source[0].kind: 'psychic' is unknown; possible: csv, simulator"),
        (('kind = "simulator"', ""), "source[0].kind: is missing; possible: csv, simulator"),
        (('channels = ["power"]', "channels = []"), "source[0].channels: is empty"),
        (('channels = ["power"]', 'channels = "power"'), "source[0].channels: is not a list"),
        (('channels = ["power"]', 'channels = ["power", 3]'), "source[0].channels[1]: is not a text"),
        (('channels = ["power"]', 'channels = ["power", "heat"]'), "source[0]: feeds channel 'heat', which is not"),
        (("[[source]]", "[source]"), "source: is not [[...]] tables"),
        (("[plant]", "[forecast]\nevery_minutes = 25\n[plant]"), "forecast.every_minutes: 25 must divide a day"),
        (("[plant]", "[update]\nshadow_days = 0\n[plant]"), "update.shadow_days: 0 is outside 1..90"),
        (("[plant]", "[loop]\ntick_ms = nan\n[plant]"), "loop.tick_ms: is not a whole number"),
        (("[plant]", "[store]\ncommit_window_s = inf\n[plant]"), "store.commit_window_s: is not a number"),
        (("[plant]", "[alerts]\nquantile = 0.7\n[plant]"), "alerts.quantile: 0.7 is not 0.5 or 0.9"),
        (("[plant]", "[alerts]\nclear_below_kw = 7\n[plant]"), "alerts.clear_below_kw: must be below alerts.peak_kw"),
        (("[plant]", "[alerts]\nmonth_budget = 9\n[plant]"), "alerts.month_budget: needs [tariff]"),
        (("[plant]", "[peak]\ninterval_minutes = 20\n[plant]"), "peak.interval_minutes: 20 is not one of 15, 30, 60"),
        (("[plant]", "[alerts.abnormal]\nslots = 9\n[plant]"), "alerts.abnormal: 9 of 8 slots is no choice"),
        (("[plant]", "[alerts.base_load]\nfrom_hour = 5\n[plant]"), "alerts.base_load: from_hour must be before"),
        (("[plant]", "[alerts.power_factor]\nbelow = 0.9\n[plant]"), "alerts.power_factor: give channel or reactive"),
        (
            ("[plant]", '[alerts.power_factor]\nbelow = 0.9\nchannel = "pf"\n[plant]'),
            "alerts.power_factor.channel: 'pf' is not defined",
        ),
        (("[plant]", '[[alerts.limit]]\nname = "x"\n[plant]'), "alerts.limit[0]: give above or below"),
        (("[plant]", '[[alerts.limit]]\nname = "x"\nabove = 0\n[plant]'), "alerts.limit[0]: alerts.limit: clear must"),
        (
            ("[plant]", '[[alerts.limit]]\nname = "x"\nabove = 5\nclear = 6\n[plant]'),
            "clear must lie below the limit of 5",
        ),
        (
            ("[plant]", '[[alerts.limit]]\nname = "x"\nabove = 5\nfor_minutes = 3\n[plant]'),
            "for_minutes is for a channel; use slots and among",
        ),
        (
            ("[plant]", '[[alerts.limit]]\nname = "x"\nabove = 5\nchannel = "power"\nslots = 2\namong = 3\n[plant]'),
            "slots and among are for the load; use for_minutes",
        ),
        (
            ("[plant]", '[[alerts.limit]]\nname = "x"\nabove = 5\n[[alerts.limit]]\nname = "x"\nbelow = 5\n[plant]'),
            "alerts.limit[1].name: 'x' stands twice",
        ),
        (("[plant]", "[clock]\nplant_start = 2014-10-01T00:00:00\n[plant]"), "clock.plant_start: has no offset"),
        (("[plant]", '[clock]\nplant_start = "yesterday"\n[plant]'), "clock.plant_start: is not a date and time"),
        (("[plant]", '[tariff]\nfile = "nowhere.toml"\n[plant]'), "tariff.file: file /nowhere.toml does not exist"),
        (("[plant]", "store = 3\n[plant]"), "device.store: is unknown"),
        (("[device]", "store = 3\n[device]"), "store: is not a table"),
        (("[plant]", "[plant"), "is not valid TOML"),
        (
            ("[[source]]", '[[channel]]\nname = "power"\nunit = "kW"\n[[source]]'),
            "channel[1].name: 'power' stands twice",
        ),
        (
            ("[[source]]", '[[channel]]\nname = "heat"\nunit = "kW"\n[[source]]'),
            "channel[1]: 'heat' is fed by no source",
        ),
        (("[[source]]", '[[source]]\nkind = "simulator"\nchannels = ["power"]\n[[source]]'), "another source feeds"),
    ],
)
def test_names_the_path_of_a_mistake(change: tuple[str, str], expected: str) -> None:
    assert change[0] in GOOD
    text = complaints(GOOD.replace(change[0], change[1], 1))
    assert text.startswith("agent.toml: ")
    assert expected in text


def test_a_billing_interval_must_hold_whole_slots() -> None:
    text = complaints(GOOD.replace("slot_minutes = 15", "slot_minutes = 60") + "[peak]\ninterval_minutes = 30\n")
    assert "peak.interval_minutes: 30 is not a multiple of plant.slot_minutes = 60" in text
    assert parse(GOOD.replace("slot_minutes = 15", "slot_minutes = 10"), folder=Path("/")).demand_interval_s == 1800


def test_tells_all_mistakes_at_once() -> None:
    bad = GOOD.replace('id = "d1"', "colour = 1").replace("[plant]", "[loop]\ntick_ms = 1\n[plant]")
    text = complaints(bad.replace('kind = "simulator"', 'kind = "psychic"'))
    assert "4 problems" in text
    for part in (
        "device.colour: is unknown",
        "device.id: is missing",
        "loop.tick_ms: 1 is outside 5..10000",
        "source[0].kind",
    ):
        assert part in text


def test_tells_all_contradictions_at_once() -> None:
    bad = GOOD.replace("Europe/Berlin", "Mars/Base").replace("slot_minutes = 15", "slot_minutes = 14")
    text = complaints(bad)
    assert "plant.zone" in text
    assert "plant.slot_minutes" in text


def test_a_file_that_is_missing_says_how_to_name_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"does not exist.*--config"):
        load(tmp_path / "agent.toml")


def test_a_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "agent.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="cannot be read"):
        load(tmp_path / "agent.toml")


def test_a_file_that_is_huge_is_refused_before_it_is_read(tmp_path: Path) -> None:
    with (tmp_path / "agent.toml").open("wb") as file:
        file.truncate(2 << 20)
    with pytest.raises(ConfigError, match="larger than"):
        load(tmp_path / "agent.toml")


def test_every_section_is_in_the_example() -> None:
    text = (Path(__file__).parents[2] / "firmware-configs" / "agent.toml").read_text()
    for field in dataclasses.fields(Config):
        assert f"[{field.name}]" in text


@pytest.mark.parametrize("value", ["[" * 100_000, "9" * 10_000])
def test_nesting_and_numbers_beyond_reason_are_no_toml(value: str) -> None:
    assert "is not valid TOML" in complaints(f"{GOOD}\n[sync]\nport = {value}\n")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (GOOD.replace('"agent.sock"', f'"{"x" * 120}"'), "device.socket"),
        (GOOD.replace('"state"', r'"st\u0000ate"'), "device.state_dir: has characters that cannot be printed"),
        (GOOD + "[alerts]\npeak_kw = 0\n", "alerts.peak_kw: 0 is outside"),
        (GOOD + "[clock]\nplant_start = 9999-12-31T23:59:59-14:00\n", "clock.plant_start"),
        (GOOD + "[clock]\nplant_start = 0001-01-01T00:00:00+14:00\n", "clock.plant_start"),
    ],
)
def test_what_could_only_fail_at_the_start_is_told_by_the_check(text: str, complaint: str) -> None:
    assert complaint in complaints(text)


def test_a_byte_order_mark_does_no_harm(tmp_path: Path) -> None:
    (tmp_path / "agent.toml").write_text(GOOD, encoding="utf-8-sig")
    assert load(tmp_path / "agent.toml").device.id == "d1"
