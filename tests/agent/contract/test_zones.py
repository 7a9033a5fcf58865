"""Zones: by name or offset, the same on every machine."""

import datetime as dt
import subprocess
import sys

import pytest

from agent.contract.errors import ConfigError
from agent.contract.jsonform import MAX_TIME_MS
from agent.contract.zones import parse_zone, to_local, utc_iso

T = 1_764_000_000_000


@pytest.mark.parametrize(
    ("text", "hours"), [("UTC", 0), ("+10:00", 10), ("-03:30", -3.5), ("+14:00", 14), ("Asia/Kolkata", 5.5)]
)
def test_names_and_offsets_are_understood(text, hours):
    assert to_local(T, parse_zone(text)).utcoffset() == dt.timedelta(hours=hours)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "Mars/Olympus",
        "europe/../etc",
        "/etc/localtime",
        "../zone",
        "Europe",
        ".",
        "\0",
        "\ud800",
        "x" * 1000,
        "+14:01",
        "+10",
        "+10:60",
        "+1:00",
        "+\u0661\u0660:\u0660\u0660",
        "10:00",
        "Europe/Berlin\n",
        "localtime",
        "posixrules",
        "right/UTC",
        "posix/UTC",
    ],
)
def test_what_is_no_zone_of_a_place_is_refused(text):
    with pytest.raises(ConfigError):
        parse_zone(text)


def test_local_time_follows_the_clocks():
    berlin = parse_zone("Europe/Berlin")
    change = 1_774_746_000_000  # 2026-03-29T01:00Z
    assert to_local(change - 1, berlin).strftime("%H:%M:%S") == "01:59:59"
    assert to_local(change, berlin).strftime("%H:%M:%S") == "03:00:00"


def test_every_instant_that_is_read_has_a_local_time():
    for time_ms in (0, MAX_TIME_MS):
        for zone in ("UTC", "+14:00", "-14:00", "Europe/Berlin"):
            assert to_local(time_ms, parse_zone(zone)).tzinfo is not None
    assert utc_iso(T) == "2025-11-24T16:00:00Z"
    assert utc_iso(MAX_TIME_MS) == "9999-01-01T00:00:00Z"


def test_a_machine_without_zone_data_is_told_apart_from_a_mistyped_zone():
    """Neither the system's files nor the tzdata package: only fixed offsets and UTC are left."""
    program = """
import sys
sys.modules["tzdata"] = None
from agent.contract.errors import ConfigError
from agent.contract.zones import parse_zone
print(parse_zone("UTC"), parse_zone("+01:00"))
try:
    parse_zone("Europe/Berlin")
except ConfigError as exc:
    print(exc)
"""
    environment = {"PYTHONTZPATH": "", "PYTHONPATH": ":".join(path for path in sys.path if path)}
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment, check=True)
    assert run.stdout.splitlines()[0] == "UTC UTC+01:00"
    assert "this machine has no time zone data. Install it (pip install tzdata" in run.stdout
    with pytest.raises(ConfigError, match=r"'Europe/Berlinn' is unknown.*tzdata"):
        parse_zone("Europe/Berlinn")
