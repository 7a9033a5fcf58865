"""What a backtest reads and cuts, and what it refuses before anything is trained."""

import dataclasses

import numpy as np
import pytest

from agent.contract.errors import ConfigError
from tests.support.plants import plant_load, write_origins, write_plant
from trainer.backtest.inputs import Request, Source, device_history, known_ahead, parse_pool, prepare

HOUR_S = 3600
TRAIN_END = "2022-03-14"  # day 70


@pytest.fixture
def request_(tmp_path):
    """A good one: 80 days of hours, all but the last ten learnt from, two origins."""
    source = Source(
        write_plant(tmp_path / "Mill 1.csv", plant_load(80, HOUR_S), HOUR_S), "+01:00", "Europe/Berlin", "DE"
    )
    origins = write_origins(tmp_path / "o.csv", "2022-03-14", "2022-03-15T07:00")
    return Request(source, TRAIN_END, origins, tmp_path / "f.csv")


def with_load(request, load, slot_s=HOUR_S, **columns):
    write_plant(request.source.csv, load, slot_s, **columns)
    return request


class TestCut:
    def test_training_is_handed_no_row_from_train_end_on(self, request_):
        prepared = prepare(request_)
        assert prepared.learnt.end_ms == prepared.train_end_ms
        assert len(prepared.learnt.power_kw) == 70 * 24
        assert prepared.learnt.power_kw.base is None, "a view would reach the rows behind it"
        assert len(prepared.plant.power_kw) == 80 * 24

    def test_a_slot_that_is_not_over_by_train_end_is_cut(self, request_):
        prepared = prepare(dataclasses.replace(request_, train_end="2022-03-14T00:30"))
        assert len(prepared.learnt.power_kw) == 70 * 24

    def test_later_rows_change_nothing_that_is_learnt_from(self, request_):
        before = prepare(request_).learnt
        load = plant_load(80, HOUR_S)
        load[70 * 24 :] = 1e6
        assert prepare(with_load(request_, load)).learnt.sha256 == before.sha256

    def test_every_pool_plant_is_cut_at_the_same_instant_whatever_its_frame(self, request_, tmp_path):
        other = write_plant(tmp_path / "other.csv", plant_load(90, 1800, seed=5), 1800)
        pool = (parse_pool(f"{other}@+09:00@Asia/Seoul@KR", request_.source), parse_pool(str(other), request_.source))
        prepared = prepare(dataclasses.replace(request_, pool=pool))
        seoul, berlin = prepared.pool
        assert seoul.end_ms == berlin.end_ms == prepared.train_end_ms
        assert len(seoul.power_kw) - len(berlin.power_kw) == 8 * 2, "eight hours ahead: begun eight hours earlier"
        assert (seoul.zone, berlin.zone) == ("Asia/Seoul", "Europe/Berlin")
        assert "2022-03-01" in seoul.holidays
        assert "2022-03-01" not in berlin.holidays

    def test_a_pool_plant_that_began_later_is_left_out_and_that_is_said(self, request_, tmp_path):
        lines = write_plant(tmp_path / "new.csv", plant_load(3, HOUR_S), HOUR_S).read_text().replace("2022-", "2023-")
        (tmp_path / "new.csv").write_text(lines)
        prepared = prepare(dataclasses.replace(request_, pool=(parse_pool(f"{tmp_path}/new.csv", request_.source),)))
        assert prepared.pool == ()
        assert any("new.csv is left out" in remark for remark in prepared.remarks)

    def test_what_the_meter_got_wrong_is_not_learnt_and_told_but_is_a_device_s_history(self, request_, tmp_path):
        load = plant_load(80, HOUR_S)
        load[50 * 24] = 65535
        other = write_plant(tmp_path / "other.csv", load, HOUR_S)
        pool = (parse_pool(str(other), request_.source),)
        prepared = prepare(dataclasses.replace(with_load(request_, load), pool=pool))
        for learnt in (prepared.learnt, *prepared.pool):
            assert np.flatnonzero(np.isnan(learnt.power_kw)).tolist() == [50 * 24]
        assert prepared.plant.power_kw[50 * 24] == 65535
        assert [remark.split(":")[0] for remark in prepared.remarks] == [str(request_.source.csv), f"--pool {other}"]

    def test_rows_without_a_value_at_either_end_are_no_history(self, request_):
        load = plant_load(80, HOUR_S)
        load[:30] = load[70 * 24 - 5 : 70 * 24] = np.nan
        prepared = prepare(with_load(request_, load))
        assert len(prepared.plant.power_kw) == 80 * 24 - 30
        assert len(prepared.learnt.power_kw) == 70 * 24 - 30 - 5
        assert np.isfinite(prepared.learnt.power_kw[[0, -1]]).all()

    def test_origins_are_slots_in_the_order_of_the_file(self, request_, tmp_path):
        write_origins(tmp_path / "o.csv", "2022-03-15T07:00", "2022-03-14", "2022-03-24")
        assert prepare(request_).origins.tolist() == [71 * 24 + 7, 70 * 24, 80 * 24]

    def test_origins_within_the_data_of_training_are_told(self, request_, tmp_path):
        write_origins(tmp_path / "o.csv", "2022-03-13", "2022-03-14")
        assert any("1 of 2 origins" in remark for remark in prepare(request_).remarks)

    def test_a_holiday_column_wins_over_the_country(self, request_):
        marks = np.zeros(80 * 24)
        marks[24 * 40 : 24 * 41] = 1
        holidays = prepare(with_load(request_, plant_load(80, HOUR_S), holiday=marks)).learnt.holidays
        assert "2022-02-12" in holidays
        assert "2022-01-06" not in holidays


class TestWeather:
    def test_temperature_is_learnt_from_up_to_train_end_and_known_ahead_for_one_horizon(self, request_):
        degrees = np.arange(80 * 24, dtype=float)
        request = with_load(request_, plant_load(80, HOUR_S), degrees=degrees)
        prepared = prepare(dataclasses.replace(request, temperature_column="degrees"))
        assert prepared.learnt.covariates["temperature_c"].tolist() == degrees[: 70 * 24].tolist()
        origin = int(prepared.origins[1])
        start_ms, power_kw = device_history(prepared.plant, origin)
        (ahead,) = known_ahead(prepared.plant, origin, 24).values()
        assert len(ahead) == len(power_kw) + 24 == 37 * 24
        assert ahead[-1] == degrees[origin + 23]
        assert (start_ms - prepared.plant.start_ms) // 3_600_000 == ahead[0] == origin - 36 * 24

    def test_without_the_option_no_column_of_weather_is_read(self, request_):
        request = with_load(request_, plant_load(80, HOUR_S), temperature=np.ones(80 * 24))
        assert prepare(request).plant.covariates == {}


class TestPoolOption:
    def test_a_file_alone_is_read_as_the_plant_is(self, request_):
        source = request_.source
        assert parse_pool("b.csv", source) == dataclasses.replace(source, csv=parse_pool("b.csv", source).csv)

    def test_parts_after_the_file_are_frame_zone_and_holidays(self, request_):
        found = [parse_pool(text, request_.source) for text in ("b.csv@UTC", "b.csv@UTC@Asia/Seoul", "b.csv@UTC@@KR")]
        assert [(one.frame, one.zone, one.holidays) for one in found] == [
            ("UTC", "UTC", ""),
            ("UTC", "Asia/Seoul", ""),
            ("UTC", "UTC", "KR"),
        ]

    def test_a_file_whose_name_has_the_mark_is_found(self, request_, tmp_path):
        path = write_plant(tmp_path / "plant@home.csv", plant_load(2, HOUR_S), HOUR_S)
        assert parse_pool(str(path), request_.source).csv == path

    @pytest.mark.parametrize("text", ["b.csv@", "@UTC", "b.csv@UTC@UTC@DE@x"])
    def test_refuses_other_forms(self, request_, text):
        with pytest.raises(ConfigError, match="--pool"):
            parse_pool(text, request_.source)


class TestBadInput:
    def refused(self, request, message):
        with pytest.raises(ConfigError, match=message):
            prepare(request)
        assert not request.out.exists()

    def test_too_little_history_says_how_much_is_needed(self, request_):
        self.refused(
            dataclasses.replace(request_, train_end="2022-01-27"), "24 days of load where training needs at least 28"
        )

    def test_no_history_at_all(self, request_):
        self.refused(dataclasses.replace(request_, train_end="2021-01-01"), "--train-end")

    def test_origin_with_less_than_15_days_before_it(self, request_, tmp_path):
        write_origins(tmp_path / "o.csv", "2022-03-14", "2022-01-17T23:00")
        self.refused(request_, r"2022-01-17T23:00 has 14.96 days .* needs 15.*2022-01-18T00:00")

    def test_origin_off_the_slot_grid(self, request_, tmp_path):
        write_origins(tmp_path / "o.csv", "2022-03-14T00:15")
        self.refused(request_, "off the grid of 60 min slots")

    def test_origin_beyond_the_end_of_the_load(self, request_, tmp_path):
        write_origins(tmp_path / "o.csv", "2022-03-24T01:00")
        self.refused(request_, "beyond the end of the load, 2022-03-24T00:00")

    def test_unknown_column(self, request_):
        self.refused(dataclasses.replace(request_, temperature_column="degrees"), "'degrees' is missing")
        request_.source.csv.write_text("timestamp,power\n2022-01-01T00:00,1\n2022-01-01T01:00,1\n")
        self.refused(request_, "'load' is missing")

    def test_constant_series(self, request_):
        self.refused(with_load(request_, np.full(80 * 24, 5.0)), "constant")

    def test_a_load_that_never_changes_but_for_rounding_is_constant(self, request_):
        self.refused(with_load(request_, 5e5 + 1e-3 * plant_load(80, HOUR_S)), "constant")

    @pytest.mark.parametrize(
        ("factor", "message"),
        [
            (4e7, r"Mill 1\.csv: column 'load' reaches 4.*e\+09, beyond 1e\+09.*larger unit, such as kW instead of W"),
            (1e-9, r"Mill 1\.csv: column 'load' spreads by .*e-08 only.*smaller unit"),
        ],
    )
    def test_a_unit_that_makes_the_load_too_large_or_too_small(self, request_, factor, message):
        source, load = request_.source.csv, plant_load(80, HOUR_S)
        stamps = [line.split(",")[0] for line in source.read_text().splitlines()[1:]]
        rows = [f"{stamp},{value * factor:.9g}" for stamp, value in zip(stamps, load, strict=True)]
        source.write_text("\n".join(["timestamp,load", *rows]))
        self.refused(request_, message)

    def test_series_without_any_value(self, request_):
        self.refused(with_load(request_, np.full(80 * 24, np.nan)), "no value at all")

    def test_slots_that_do_not_divide_a_day(self, request_):
        self.refused(with_load(request_, plant_load(10, 420), 420), "420 s")

    @pytest.mark.parametrize("slot_s", [60, 420])
    def test_rows_of_another_interval_are_refused_with_advice_that_a_backtest_can_follow(self, request_, slot_s):
        advice = r"Give a file with a row every 5, 10, 15, 30, 60 min; .* import makes slots by --slot-minutes"
        self.refused(with_load(request_, plant_load(2, slot_s), slot_s), advice)

    def test_rows_that_begin_between_minutes(self, request_):
        text = request_.source.csv.read_text()
        request_.source.csv.write_text(text.replace(":00,", ":00:20,"))
        self.refused(request_, "whole minutes")

    def test_hours_of_a_zone_that_is_half_an_hour_off_are_slots(self, request_):
        source = dataclasses.replace(request_.source, frame="Asia/Kolkata", zone="Asia/Kolkata", holidays="IN")
        prepared = prepare(dataclasses.replace(request_, source=source))
        assert prepared.plant.start_ms % 3_600_000 == 1_800_000
        assert prepared.origins[0] == 70 * 24

    def test_negative_load_is_load(self, request_):
        assert prepare(with_load(request_, plant_load(80, HOUR_S) - 200)).learnt.power_kw.max() < 0

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"frame": "Mars"}, "--timestamps-in"),
            ({"zone": "Mars"}, "--timezone"),
            ({"holidays": "XX"}, "holidays of 'XX'"),
        ],
    )
    def test_unknown_zone_or_country(self, request_, change, message):
        self.refused(dataclasses.replace(request_, source=dataclasses.replace(request_.source, **change)), message)

    def test_zone_of_a_pool_file_is_checked(self, request_):
        pool = (Source(request_.source.csv, "UTC", "Mars"),)
        self.refused(dataclasses.replace(request_, pool=pool), "--pool")

    def test_out_that_cannot_be_written_is_found_before_minutes_of_training(self, request_, tmp_path):
        self.refused(dataclasses.replace(request_, out=tmp_path / "no" / "f.csv"), "folder that does not exist")
        with pytest.raises(ConfigError, match="is a folder"):
            prepare(dataclasses.replace(request_, out=tmp_path))

    @pytest.mark.parametrize("option", ["--csv", "--origins", "--pool"])
    def test_out_that_would_overwrite_what_is_read_is_refused(self, request_, tmp_path, option):
        other = write_plant(tmp_path / "other.csv", plant_load(80, HOUR_S), HOUR_S)
        path = {"--csv": request_.source.csv, "--origins": request_.origins, "--pool": other}[option]
        link = tmp_path / "link.csv"
        link.symlink_to(path)
        pool = (parse_pool(str(other), request_.source),)
        before = path.read_bytes()
        for out in (path, link):
            with pytest.raises(ConfigError, match=f"is the file of {option}"):
                prepare(dataclasses.replace(request_, pool=pool, out=out))
        assert path.read_bytes() == before

    def test_training_code_is_not_loaded_for_it(self, request_):
        import subprocess
        import sys

        code = "import sys, trainer.backtest.inputs as b; sys.exit('tensorflow' in sys.modules)"
        assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_an_origin_after_a_gap_longer_than_a_device_remembers_is_refused_before_training(request_, tmp_path):
    load = plant_load(140, HOUR_S)
    load[71 * 24 : 120 * 24] = np.nan
    write_origins(tmp_path / "o.csv", "2022-03-14", "2022-05-02")  # the latter amid the gap, 48 days after its begin
    with pytest.raises(ConfigError, match=r"2022-05-02.* less than a day of load in the 36 days before") as caught:
        prepare(with_load(request_, load))
    assert "Leave this origin out" in caught.value.todo
