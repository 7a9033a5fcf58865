"""Times of files in their frame, origins in, forecasts out."""

import csv
import datetime as dt
import zoneinfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.contract.errors import ConfigError, StorageError
from tests.support.plants import write_origins
from trainer.backtest.forecast_files import HEADER, read_origins, write_forecasts
from trainer.backtest.frames import Frame

BERLIN = "Europe/Berlin"
QUARTER_S = 900


def ms(text):
    return round(dt.datetime.fromisoformat(text).timestamp() * 1000)


class TestFrame:
    @pytest.mark.parametrize(
        ("text", "instant"),
        [
            ("2018-10-20", "2018-10-20T00:00+01:00"),
            ("2018-10-20 12:30", "2018-10-20T12:30+01:00"),
            ("2018-10-20T12:30:00", "2018-10-20T12:30+01:00"),
            ("2018-10-20 12:30:00+01:00", "2018-10-20T12:30+01:00"),
        ],
    )
    def test_reads_dates_and_times_of_a_fixed_offset(self, text, instant):
        assert Frame("+01:00").instant(text, "here") == ms(instant)

    def test_a_time_that_clocks_show_twice_is_its_first_pass_until_the_second_is_asked_for(self):
        first = Frame(BERLIN).instant("2018-10-28 02:30", "here")
        assert first == ms("2018-10-28T02:30+02:00")
        assert Frame(BERLIN).instant("2018-10-28 02:30", "here", after_ms=first) == ms("2018-10-28T02:30+01:00")

    def test_refuses_a_time_that_clocks_skip(self):
        with pytest.raises(ConfigError, match=r"here.*does not exist in Europe/Berlin"):
            Frame(BERLIN).instant("2018-03-25 02:30", "here")

    @pytest.mark.parametrize("text", ["", "20.10.2018", "2018-13-01", "2018-10-20T25:00", "2018-10-20 12:00+02:00"])
    def test_refuses_what_is_no_time_of_the_frame(self, text):
        with pytest.raises(ConfigError, match="here"):
            Frame("+01:00").instant(text, "here")

    def test_refuses_an_unknown_zone_by_the_name_of_its_option(self):
        with pytest.raises(ConfigError, match="--timestamps-in"):
            Frame("Mars/Olympus")

    @given(
        st.integers(0, 2**31), st.sampled_from(["UTC", "+05:45", "-03:30", "Asia/Seoul", BERLIN, "Australia/Lord_Howe"])
    )
    def test_a_stamp_reads_back_as_the_instant_or_its_first_pass(self, seconds, name):
        time_ms = seconds // 300 * 300_000
        frame = Frame(name)
        back = frame.instant(frame.stamp(time_ms), "here")
        again = frame.instant(frame.stamp(time_ms), "here", after_ms=back)
        assert time_ms in {back, again}


class TestOrigins:
    def test_reads_any_slot_in_any_order_as_written_by_hand_or_by_a_table_library(self, tmp_path):
        path = tmp_path / "o.csv"
        path.write_text("\ufefforigin,remark\n2018-10-21,\n2018-10-20 12:15:00,noon\n\n2018-10-20T23:45,\n")
        expected = [ms(f"{text}+09:00") for text in ("2018-10-21T00:00", "2018-10-20T12:15", "2018-10-20T23:45")]
        assert read_origins(path, Frame("Asia/Seoul")) == expected

    def test_the_second_of_two_equal_origins_is_the_second_pass_of_the_clock(self, tmp_path):
        path = write_origins(tmp_path / "o.csv", "2018-10-28T02:00", "2018-10-28T02:00")
        assert np.diff(read_origins(path, Frame(BERLIN))).tolist() == [3_600_000]

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            ("", "no single column 'origin'"),
            ("time\n2018-10-20\n", "no single column 'origin'"),
            ("origin\n", "no origin"),
            ("origin\n2018-10-20\n2018-10-20T00:00\n", "line 3: origin .* stands twice"),
            ("origin\nnoon\n", "line 2"),
            ("remark,origin\nx\n", "line 2"),
            ("origin\n" + "1" * 200_000 + "\n", "line 2: is not CSV"),
            ('origin\n2018-10-20\n"2018-10-21\n', "line 3: is not CSV"),
        ],
    )
    def test_refuses_files_that_name_no_origins(self, tmp_path, content, message):
        path = tmp_path / "o.csv"
        path.write_text(content)
        with pytest.raises(ConfigError, match=message):
            read_origins(path, Frame("UTC"))

    def test_refuses_what_is_no_text_or_not_there(self, tmp_path):
        path = tmp_path / "o.csv"
        with pytest.raises(ConfigError, match="cannot be read"):
            read_origins(path, Frame("UTC"))
        path.write_bytes(b"origin\n\xff\xfe\n")
        with pytest.raises(ConfigError, match="UTF-8"):
            read_origins(path, Frame("UTC"))


class TestForecasts:
    def test_numbers_keep_all_their_digits_and_times_stand_in_the_frame(self, tmp_path):
        power = np.random.default_rng(1).normal(size=(2, 4, 3))
        origins = [ms("2018-10-20T00:00+09:00"), ms("2018-10-20T12:15+09:00")]
        write_forecasts(tmp_path / "f.csv", Frame("Asia/Seoul"), origins, QUARTER_S, power)
        text = (tmp_path / "f.csv").read_text()
        assert text.startswith(HEADER + "\n")
        rows = list(csv.reader(text.splitlines()))[1:]
        assert [row[:2] for row in rows[3:6]] == [
            ["2018-10-20T00:00", "2018-10-20T00:45"],
            ["2018-10-20T12:15", "2018-10-20T12:15"],
            ["2018-10-20T12:15", "2018-10-20T12:30"],
        ]
        assert (np.array([row[2:] for row in rows], dtype=float).reshape(2, 4, 3) == power).all()

    @pytest.mark.parametrize(
        ("origin", "expected"),
        [
            ("2018-10-28T01:00", ["01:00", "01:30", "02:00", "02:30", "02:00", "02:30", "03:00"]),
            ("2018-03-25T01:00", ["01:00", "01:30", "03:00", "03:30", "04:00", "04:30", "05:00"]),
        ],
    )
    def test_over_a_change_of_the_clocks_the_wall_time_is_written_in_order_of_time(self, tmp_path, origin, expected):
        frame = Frame(BERLIN)
        write_forecasts(tmp_path / "f.csv", frame, [frame.instant(origin, "here")], 1800, np.ones((1, 7, 3)))
        rows = list(csv.reader((tmp_path / "f.csv").read_text().splitlines()))[1:]
        assert [row[1][-5:] for row in rows] == expected
        # Read back in order, they are the very instants again: a reader needs no more than the frame.
        previous, steps = -1, []
        for row in rows:
            previous = frame.instant(row[1], "here", after_ms=previous)
            steps.append(previous)
        assert set(np.diff(steps)) == {1_800_000}

    def test_all_zones_of_the_machine_write_times_that_they_read(self):
        for name in sorted(zoneinfo.available_timezones() & {"Asia/Kathmandu", "America/St_Johns", "Pacific/Apia"}):
            frame = Frame(name)
            assert frame.instant(frame.stamp(1_500_000_300_000), "here") == 1_500_000_300_000

    def test_a_folder_that_is_not_there_leaves_nothing(self, tmp_path):
        with pytest.raises(StorageError):
            write_forecasts(tmp_path / "no" / "f.csv", Frame("UTC"), [0], 3600, np.ones((1, 24, 3)))
        assert list(tmp_path.iterdir()) == []
