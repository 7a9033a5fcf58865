"""Load curves as CSV: which rows become which instants, and which files are refused with which words."""

from __future__ import annotations

import datetime as dt
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.contract.errors import ConfigError
from agent.contract.loadcsv import LoadTable, parse_load_csv

BERLIN = "Europe/Berlin"


def table(*rows: str, zone: str = "UTC", scale: float = 1.0) -> LoadTable:
    return parse_load_csv("timestamp,load\n" + "\n".join(rows), where="load.csv", zone=zone, scale=scale)


def utc_ms(*parts: int) -> int:
    return round(dt.datetime(*parts, tzinfo=dt.UTC).timestamp() * 1000)


def test_reads_a_fixed_frame_and_scales():
    read = table("2014-01-01 00:00,3.5", "2014-01-01T00:30:00,4", zone="+10:00", scale=1e6)
    assert read.times_ms.tolist() == [utc_ms(2013, 12, 31, 14), utc_ms(2013, 12, 31, 14, 30)]
    assert read.values.tolist() == [3.5e6, 4e6]
    assert read.lines.tolist() == [2, 3]


def test_offsets_in_the_file_are_honoured_where_they_are_the_zones():
    read = table("2014-01-01 00:00+01:00,1", "2014-07-01T00:00:00 +02:00,2", zone=BERLIN)
    assert read.times_ms.tolist() == [utc_ms(2013, 12, 31, 23), utc_ms(2014, 6, 30, 22)]
    assert table("2014-01-01 00:00Z,1").times_ms.tolist() == [utc_ms(2014, 1, 1)]


def test_an_empty_cell_is_no_value_and_gaps_are_reported():
    read = table("2014-01-01 00:00,1", "2014-01-01 00:30,", "2014-01-01 01:00,3", "2014-01-01 03:00,3")
    assert math.isnan(read.values[1])
    report = read.report
    assert (report.rows, report.empty, report.interval_s, report.gap_count, report.missing) == (4, 1, 1800.0, 1, 3)
    assert report.gaps[0].line == 5
    assert "1 gaps (3 rows missing)" in report.summary()


def test_the_doubled_hour_is_resolved_by_order():
    walls = ["01:30", "02:00", "02:30", "02:00", "02:30", "03:00"]
    read = table(*(f"2014-10-26 {wall},1" for wall in walls), zone=BERLIN)
    assert np.diff(read.times_ms).tolist() == [1_800_000] * 5


def test_an_hour_doubled_three_times_is_refused():
    with pytest.raises(ConfigError, match=r"line 5.*lies before the row above"):
        table(*(f"2014-10-26 {wall},1" for wall in ["02:00", "02:30", "02:30", "02:00"]), zone=BERLIN)


def test_semicolons_a_byte_order_mark_and_blank_lines_are_read():
    text = "\ufefftime;other;kW\n\n2014-01-01 00:00;x;1.5\n\n2014-01-01 01:00;y;-2e1\n"
    for source in (text, text.encode(), text.splitlines(keepends=True)):
        read = parse_load_csv(source, where="f", zone="UTC", timestamp_column="time", value_column="kW")
        assert read.values.tolist() == [1.5, -20.0]
        assert read.lines.tolist() == [3, 5]


@pytest.mark.parametrize(
    ("rows", "zone", "words"),
    [
        (["2014-03-30 02:30,1"], BERLIN, "load.csv line 2: time '2014-03-30 02:30' does not exist in Europe/Berlin"),
        (["2014-01-01 00:00+02:00,1"], BERLIN, "line 2: .* has an offset that Europe/Berlin does not have"),
        (["2014-01-01 00:00Z,1"], "+10:00", r"line 2: .* has an offset that \+10:00 does not have"),
        (["2014-01-01 00:00,1"], "Mars/Base", "load.csv: time zone 'Mars/Base' is unknown"),
        (["2014-01-01 00:00,1", "2014-01-01 00:00,2"], "UTC", "line 3: .* stands twice.*Remove one"),
        (["2014-01-01 01:00,1", "2014-01-01 00:00,2"], "UTC", "line 3: .* lies before the row above.*Sort"),
        (["2014-02-30 00:00,1"], "UTC", "line 2: .* does not exist"),
        (["01.02.2014 00:00,1"], "UTC", "line 2: .* is not of the form"),
        (["2014-01-01,1"], "UTC", "line 2: .* is not of the form"),
        (["1969-12-31 00:00,1"], "UTC", "line 2: .* lies before 1970"),
        (["2200-01-01 00:00,1"], "UTC", "line 2: .* lies after 2199.*Correct the year"),
        (["9999-12-31 23:45,1"], "-05:00", "line 2: .* lies after 2199"),
        (["2014-01-01 00:00,NA"], "UTC", "line 2: load 'NA' is not a number.*Leave the cell empty"),
        (["2014-01-01 00:00,nan"], "UTC", "is not a number"),
        (["2014-01-01 00:00,inf"], "UTC", "is not a number"),
        (["2014-01-01 00:00,1e999"], "UTC", "is not a number"),
        (["2014-01-01 00:00,1_000"], "UTC", "is not a number"),
        (["2014-01-01 00:00,1,000"], "UTC", "line 2: has 3 fields where the header has 2"),
        (['2014-01-01 00:00,"1,5"'], "UTC", "Write decimals with a point"),
        (['2014-01-01 00:00,"1'], "UTC", "line 2: is not CSV"),
        ([], "UTC", "has a header but no row"),
    ],
)
def test_refuses_with_file_line_and_what_to_do(rows, zone, words):
    with pytest.raises(ConfigError, match=words):
        table(*rows, zone=zone)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("", "f: is empty"),
        ("time,kW\n2014-01-01 00:00,1\n", "f line 1: column 'timestamp' is missing. The header has: time, kW"),
        ("timestamp,load,load\n", "column 'load' stands twice"),
        (b"timestamp,load\n2014-01-01 00:00,\xff\n", "is not UTF-8"),
    ],
)
def test_refuses_a_file_of_the_wrong_shape(source, words):
    with pytest.raises(ConfigError, match=words):
        parse_load_csv(source, where="f", zone="UTC")


@pytest.mark.parametrize("scale", [0.0, math.nan, math.inf])
def test_refuses_a_scale_that_is_no_factor(scale):
    with pytest.raises(ConfigError, match="scale"):
        table("2014-01-01 00:00,1", scale=scale)


@settings(max_examples=60, deadline=None)
@given(
    start=st.integers(utc_ms(2010, 1, 1) // 1_800_000, utc_ms(2030, 1, 1) // 1_800_000),
    zone=st.sampled_from([BERLIN, "Australia/Melbourne", "+10:00", "America/New_York", "UTC", "Asia/Kolkata"]),
)
def test_local_stamps_of_a_whole_grid_come_back_as_the_same_instants(start, zone):
    """Written in any zone without offsets, ten days of half-hours that begin outside a doubled hour return exactly."""
    from agent.contract.zones import parse_zone, to_local

    times = [(start + step) * 1_800_000 for step in range(480)]
    locals_ = [to_local(time_ms, parse_zone(zone)) for time_ms in times]
    if locals_[0].fold:  # the file would begin in the second pass of the clock, which order cannot tell
        return
    read = table(*(f"{local:%Y-%m-%d %H:%M},{at}" for at, local in enumerate(locals_)), zone=zone)
    assert read.times_ms.tolist() == times
    assert read.report.gap_count == 0


@settings(max_examples=200, deadline=None)
@given(st.one_of(st.binary(max_size=300), st.text(max_size=300).map(lambda text: "timestamp,load\n" + text)))
def test_any_bytes_give_a_table_or_a_config_error(source):
    try:
        read = parse_load_csv(source, where="f", zone=BERLIN)
    except ConfigError:
        return
    assert (np.diff(read.times_ms) > 0).all()


@pytest.mark.parametrize(("value", "scale"), [("1e300", 1.0), ("-1e16", 1.0), ("5", 1e300), ("1e300", 1e300)])
def test_a_value_beyond_reason_is_refused_with_its_line(value: str, scale: float) -> None:
    text = f"timestamp,load\n2026-01-01 00:00,0\n2026-01-01 00:15,{value}\n"
    with pytest.raises(ConfigError, match=r"is too large") as caught:
        parse_load_csv(text, where="load.csv", zone="UTC", scale=scale)
    assert caught.value.where == "load.csv line 3"
