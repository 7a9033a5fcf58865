"""Replay: each row of a file once, when its interval is over, over any number of restarts."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.contract.channels import Channel, Kind
from agent.contract.errors import ConfigError
from agent.sources.csv_file import read_load_csv
from agent.sources.csv_replay import CsvReplay

HALF_HOUR = 1_800_000
LOAD = Channel("load_kw", "kW", decimals=1, interval_s=1800)
START = 1_388_498_400_000  # 2014-01-01 00:00+10:00


def write(folder: Path, *rows: str) -> Path:
    path = folder / "load.csv"
    path.write_text("timestamp,load\n" + "\n".join(rows) + "\n")
    return path


@pytest.fixture
def path(tmp_path):
    stamps = [f"2014-01-01 {slot // 2:02}:{slot % 2 * 30:02},{slot}.5" for slot in range(48)]
    return write(tmp_path, *stamps)


def replay(path: Path, **more) -> CsvReplay:
    return CsvReplay(path, LOAD, zone="+10:00", **more)


def test_a_row_is_given_when_its_interval_is_over(path):
    source = replay(path)
    assert source.poll(START + HALF_HOUR - 1) == []
    assert source.poll(START + HALF_HOUR) == [("load_kw", START, 0.5, 0)]
    assert source.poll(START + HALF_HOUR) == []


def test_a_momentary_channel_is_given_at_its_time(path):
    source = CsvReplay(path, Channel("load_kw", "kW"), zone="+10:00")
    assert source.poll(START) == [("load_kw", START, 0.5, 0)]


def test_the_file_ends(path):
    source = replay(path)
    assert len(source.poll(START + 48 * HALF_HOUR)) == 48
    assert source.exhausted
    assert source.stats().sampled == 48


def test_only_rows_in_the_range_are_played(path):
    source = replay(path, start_ms=START + 2 * HALF_HOUR, end_ms=START + 4 * HALF_HOUR)
    assert source.first_ms == START + 2 * HALF_HOUR
    assert [row.value for row in source.poll(START + 100 * HALF_HOUR)] == [2.5, 3.5]


def test_a_clock_that_stands_before_the_last_poll_gives_nothing(path):
    source = replay(path)
    source.poll(START + 10 * HALF_HOUR)
    assert source.poll(START) == []


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(-3, 60), st.booleans()), max_size=30))
def test_over_any_restarts_each_row_is_given_once(tmp_path_factory, steps):
    """Polls at any times; a restart resumes after what was stored."""
    folder = tmp_path_factory.mktemp("replay")
    target = write(folder, *[f"2014-01-01 {slot // 2:02}:{slot % 2 * 30:02},{slot}" for slot in range(48)])
    source, stored = replay(target), []
    for at, restart in [*steps, (60, True), (60, False)]:
        stored += source.poll(START + at * HALF_HOUR)
        if restart:
            source = replay(target)
            source.resume({row.channel: row.time_ms for row in stored})
    assert [row.value for row in stored] == [float(slot) for slot in range(48)]


def test_gaps_are_counted_and_empty_cells_skipped(tmp_path):
    source = replay(write(tmp_path, "2014-01-01 00:00,1", "2014-01-01 00:30,", "2014-01-01 02:00,3"))
    assert [row.value for row in source.poll(START + 100 * HALF_HOUR)] == [1.0, 3.0]
    assert source.stats().skipped == 1
    assert source.report.gap_count == 1


@pytest.mark.parametrize(
    ("rows", "channel", "words"),
    [
        (["2014-01-01 00:00,1", "2014-01-01 00:10,1"], LOAD, r"load.csv line 3: row begins before the 1800 s"),
        (["2014-01-01 00:00,9.5e14"], LOAD, "load.csv line 2: value 9.*0 is too large.*Check the scale"),
        (
            ["2014-01-01 00:00,-1"],
            Channel("e", "kWh", kind=Kind.COUNTER),
            "line 2: value -1.0 is negative on a counter",
        ),
        (["2014-01-01 00:00,x"], LOAD, "load.csv line 2: load 'x' is not a number"),
    ],
)
def test_refuses_values_that_cannot_be_the_channels(tmp_path, rows, channel, words):
    with pytest.raises(ConfigError, match=words):
        CsvReplay(write(tmp_path, *rows), channel, zone="+10:00")


def test_refuses_an_empty_range(path):
    with pytest.raises(ConfigError, match="no row in the range"):
        replay(path, start_ms=START + 1000 * HALF_HOUR)


def test_a_missing_file_and_a_folder_are_named(tmp_path):
    for target in (tmp_path / "none.csv", tmp_path):
        with pytest.raises(ConfigError, match=f"{target}: cannot be read"):
            read_load_csv(target, zone="UTC")


def test_bytes_that_are_no_text_are_named(tmp_path):
    (tmp_path / "x.csv").write_bytes(b"timestamp,load\n2014-01-01 00:00,\xff\xfe\n")
    with pytest.raises(ConfigError, match=r"x\.csv: is not UTF-8"):
        read_load_csv(tmp_path / "x.csv", zone="UTC")
