"""A file of load as a snapshot: whole, gaps as NaN, in its own frame and with its own holidays."""

import datetime as dt

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from agent.contract.errors import ConfigError
from tests.support.bundles import START_MS, plant_history
from tests.support.loadcurves import write_csv
from trainer.dataset.series import read_series


@pytest.fixture
def csv(tmp_path):
    return tmp_path / "North Works (2).csv"


def read(path, **changes):
    return read_series(path, **{"timestamps_in": "+10:00", "zone": "Australia/Melbourne", **changes})


def test_reads_the_whole_file_as_kw(csv):
    snapshot = read(write_csv(csv, 20), holidays="AU-VIC")
    assert (snapshot.start_ms, snapshot.slot_s, snapshot.zone) == (START_MS, 1800, "Australia/Melbourne")
    assert np.allclose(snapshot.power_kw, plant_history(20), atol=6e-4)
    assert (snapshot.plant, dict(snapshot.covariates)) == ("north-works-2", {})
    assert "2014-11-04" in snapshot.holidays


def test_gaps_and_empty_cells_are_nan_and_both_ends_stay(csv):
    def change(rows):
        del rows[100:103]
        for index in (0, 50, -1):
            rows[index][1] = ""

    power = read(write_csv(csv, 20, change=change)).power_kw
    assert len(power) == 960
    assert np.flatnonzero(np.isnan(power)).tolist() == [0, 50, 100, 101, 102, 959]


@pytest.mark.parametrize("slot_s", [300, 600, 900, 1800, 3600])
def test_finds_the_slot_length(csv, slot_s):
    assert read(write_csv(csv, 3, slot_s=slot_s)).slot_s == slot_s


def test_slots_begin_where_the_rows_do(csv):
    """Hourly data of a zone with half an hour in its offset lies between the hours of UTC."""
    snapshot = read(write_csv(csv, 3, slot_s=3600), timestamps_in="Asia/Kolkata", zone="Asia/Kolkata")
    assert snapshot.start_ms % 3_600_000 == 1_800_000
    assert np.isfinite(snapshot.power_kw).all()


def marked(csv, days, marks, **changes):
    """A file with a column `holiday` and the weather; `marks` are dates on which the column is 1."""
    write_csv(csv, days)
    lines = csv.read_text().splitlines()
    rows = [f"{line},{int(line[:10] in marks)},{index / 10}" for index, line in enumerate(lines[1:])]
    csv.write_text("\n".join([f"{lines[0]},holiday,temp", *rows]) + "\n")
    return read(csv, **changes)


def test_a_holiday_column_is_used_and_a_country_from_where_it_ends(csv):
    assert marked(csv, 20, {"2014-01-03", "2014-01-15"}).holidays == ("2014-01-03", "2014-01-15")
    both = marked(csv, 20, {"2014-01-03"}, holidays="AU-VIC").holidays
    assert both[:2] == ("2014-01-03", "2014-01-27")  # Australia Day, observed; the 1st is not marked


@pytest.mark.parametrize("words", [("True", "False"), ("TRUE", "FALSE"), ("1.0", "0.0"), ("1", "")])
def test_a_holiday_column_may_say_true_and_false(csv, words):
    def change(rows):
        for index, row in enumerate(rows):
            row.append(words[0] if 48 <= index < 96 else words[1])

    write_csv(csv, 3, change=change, header="timestamp,load,holiday")
    assert read(csv, zone="+10:00").holidays == ("2014-01-02",)


def test_a_column_that_changes_at_the_midnight_of_its_frame_marks_the_same_days(csv):
    """In summer the frame's midnight is one o'clock in Melbourne."""
    assert marked(csv, 20, {"2014-01-03"}, zone="Australia/Melbourne").holidays == ("2014-01-03",)


def test_refuses_a_holiday_column_that_holds_something_else(csv):
    write_csv(csv, 3, power=np.full(144, 7.0), header="timestamp,holiday")
    with pytest.raises(ConfigError, match="marked by 7"):
        read(csv, value_column="holiday")


def test_temperature_is_read_where_it_is_asked_for(csv):
    assert dict(marked(csv, 3, set()).covariates) == {}
    temperature = marked(csv, 3, set(), temperature_column="temp").covariates["temperature_c"]
    assert np.allclose(temperature, np.arange(144) / 10)
    with pytest.raises(ConfigError, match="'wind' is missing"):
        read(csv, temperature_column="wind")


def test_parquet_gives_the_same_snapshot(csv, tmp_path):
    def change(rows):
        rows[7][1] = ""

    write_csv(csv, 20, change=change)
    rows = [line.split(",") for line in csv.read_text().splitlines()[1:]]
    naive = [dt.datetime.fromisoformat(stamp) for stamp, _ in rows]
    table = pa.table(
        {"timestamp": pa.array(naive, pa.timestamp("ns")), "load": [float(v) if v else None for _, v in rows]}
    )
    path = tmp_path / "x.parquet"
    pq.write_table(table, path)
    assert read(path, plant="p").sha256 == read(csv, plant="p").sha256


def test_a_local_frame_bridges_both_changes_of_the_clocks(csv):
    """Quarter-hours of a year of Berlin, written as its clocks show them."""
    from zoneinfo import ZoneInfo

    start = dt.datetime(2015, 1, 1, tzinfo=dt.UTC)
    times = [start + dt.timedelta(minutes=15 * step) for step in range(96 * 365)]
    rows = [f"{time.astimezone(ZoneInfo('Europe/Berlin')):%Y-%m-%d %H:%M},{index}" for index, time in enumerate(times)]
    csv.write_text("timestamp,load\n" + "\n".join(rows) + "\n")
    snapshot = read(csv, timestamps_in="Europe/Berlin", zone="Europe/Berlin")
    assert snapshot.start_ms == round(start.timestamp() * 1000)
    assert np.array_equal(snapshot.power_kw, np.arange(96 * 365))


def test_refuses_a_file_without_any_value(csv):
    write_csv(csv, 3, change=lambda rows: [row.__setitem__(1, "") for row in rows])
    with pytest.raises(ConfigError, match="no value at all in column 'load'"):
        read(csv)


def test_cut_before_an_instant_keeps_holidays_and_covariates(csv):
    snapshot = marked(csv, 20, {"2014-01-15"}, temperature_column="temp")
    cut = snapshot.before(START_MS + 3 * 86_400_000 + 60_000)
    assert (len(cut.power_kw), len(cut.covariates["temperature_c"]), cut.holidays) == (144, 144, ("2014-01-15",))
    with pytest.raises(ConfigError, match="no load before"):
        snapshot.before(START_MS)
