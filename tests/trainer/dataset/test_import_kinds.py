"""What else than power in a CSV file becomes a load curve: energy, registers, Parquet; and what stands beside it."""

import datetime as dt
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from agent.contract.errors import ConfigError
from tests.support.bundles import START_MS, plant_history
from tests.support.loadcurves import START, write_csv
from trainer.dataset.flags import Flag
from trainer.dataset.snapshot import flags_of, read_snapshot, take

SLOT_MS = 1_800_000


def power(engine):
    return take(engine, "works").power_kw


def parquet(path, stamps, **columns):
    pq.write_table(pa.table({"timestamp": stamps, **columns}), path)
    return path


def naive(count, kind="us"):
    return pa.array([START + index * dt.timedelta(minutes=30) for index in range(count)], pa.timestamp(kind))


# Energy and registers


@pytest.mark.parametrize(("unit", "factor"), [("Wh", 2e-3), ("kWh", 2), ("MWh", 2e3), ("GWh", 2e6)])
def test_the_energy_of_half_an_hour_is_half_the_power(import_, engine, csv, unit, factor):
    import_(write_csv(csv, 3), unit=unit)
    assert np.allclose(power(engine), factor * np.round(plant_history(3), 3), rtol=1e-12)


def test_energy_of_short_rows_adds_up(import_, engine, csv):
    import_(write_csv(csv, slot_s=300, power=np.full(36, 0.5)), unit="kWh", slot_s=900)
    assert np.allclose(power(engine), 6.0)


def register(values, *, start=1000.0):
    return start + np.concatenate([[0.0], np.cumsum(np.round(values, 3) / 2)])


def test_a_register_becomes_the_power_between_its_readings(import_, engine, csv):
    result = import_(write_csv(csv, power=register(plant_history(5))), unit="kWh", counter=True)
    assert np.allclose(power(engine), np.round(plant_history(5), 3), atol=3e-3)  # written to three decimals
    assert result.quality.finding(Flag.RESET) is None


def test_a_register_passes_its_end(import_, engine, csv):
    values = register(plant_history(5), start=90_000.0) % 100_000
    result = import_(write_csv(csv, power=values), unit="kWh", counter=True, rollover=100_000)
    assert np.allclose(power(engine), np.round(plant_history(5), 3), atol=3e-3)
    rollover = result.quality.finding(Flag.ROLLOVER)
    at = int(np.flatnonzero(np.diff(values) < 0)[0])
    assert (rollover.count, rollover.first[0].start_ms) == (1, START_MS + at * SLOT_MS)


def test_a_register_that_starts_anew_leaves_one_slot_unknown_and_flagged(import_, engine, csv):
    values = register(plant_history(5))
    values[100:] -= values[100] - 3.0
    result = import_(write_csv(csv, power=values), unit="kWh", counter=True)
    assert np.flatnonzero(np.isnan(power(engine))).tolist() == [99]
    assert flags_of(engine, "works") == {Flag.RESET: [START_MS + 99 * SLOT_MS]}
    assert result.quality.finding(Flag.RESET).count == 1


def test_readings_of_a_register_need_not_lie_on_the_grid(import_, engine, csv):
    def late(rows):
        for index, row in enumerate(rows):
            row[0] += f":{index % 40:02}"

    import_(write_csv(csv, power=1000 + np.arange(200) * 25.0, change=late), unit="kWh", counter=True)
    assert np.allclose(power(engine), 50, rtol=0.03)


def test_a_gap_in_a_register_is_a_gap(import_, engine, csv):
    import_(write_csv(csv, power=register(plant_history(5)), change=lambda rows: rows.__delitem__(slice(50, 60))),
            unit="kWh", counter=True)  # fmt: skip
    assert np.flatnonzero(np.isnan(power(engine))).tolist() == list(range(49, 60))


@pytest.mark.parametrize("counter", [False, True])
def test_files_cut_within_a_slot_join(import_, engine, tmp_path, counter):
    """Minutes of an afternoon in two files that overlap a little, slots of fifteen: no contradiction at the cut."""
    kind = {"unit": "kWh", "counter": True} if counter else {}
    values = np.cumsum(np.arange(240.0)) / 60 + 1e6 if counter else np.arange(240.0)
    minutes = pa.array([START + index * dt.timedelta(minutes=1) for index in range(240)], pa.timestamp("us"))
    for name, part in (("a", slice(0, 130)), ("b", slice(125, 240))):
        import_(parquet(tmp_path / f"{name}.parquet", minutes[part], load=values[part]), slot_s=900, **kind)
    whole = import_(parquet(tmp_path / "c.parquet", minutes, load=values), slot_s=900, replace=True, **kind)
    assert (whole.added, whole.changed) == (0, 1)  # the slot that both files cut
    assert np.allclose(power(engine), np.arange(240.0).reshape(-1, 15).mean(axis=1) + (0.5 if counter else 0), atol=0.6)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"counter": True}, "a counter counts energy, not kW"),
        ({"counter": True, "unit": "kWh"}, "goes back .* it is no counter"),
        ({"counter": True, "unit": "kWh", "rollover": 100.0}, "beyond its rollover at 100"),
        ({"rollover": 100.0}, "belongs to no register"),
        ({"counter": True, "unit": "kWh", "rollover": -1.0}, "belongs to no register"),
    ],
)
def test_refuses_what_is_no_counter(import_, held, csv, changes, words):
    before = held()
    with pytest.raises(ConfigError, match=words) as caught:
        import_(write_csv(csv, 5), **changes)
    assert caught.value.todo
    assert held() == before


# Parquet


def test_parquet_gives_what_csv_gives(import_, engine, csv, tmp_path):
    import_(write_csv(csv, 5))
    values = np.round(plant_history(5), 3)
    result = import_(parquet(tmp_path / "x.parquet", naive(240), load=values))
    assert (result.added, result.unchanged) == (0, 240)


def test_parquet_is_told_by_its_content_whatever_its_name(import_, tmp_path):
    assert import_(parquet(tmp_path / "x.dat", naive(48), load=plant_history(1))).added == 48


@pytest.mark.parametrize("kind", ["s", "ms", "us", "ns"])
def test_times_with_a_zone_are_instants_whatever_the_frame(import_, engine, tmp_path, kind):
    times = [dt.datetime(2014, 10, 25, tzinfo=dt.UTC) + step * dt.timedelta(minutes=30) for step in range(96)]
    stamps = pa.array(times, pa.timestamp(kind, "Europe/Berlin"))
    import_(parquet(tmp_path / "x.parquet", stamps, load=np.arange(96.0)), frame="+10:00")
    snapshot = take(engine, "works")
    assert snapshot.start_ms == round(times[0].timestamp() * 1000)
    assert np.array_equal(snapshot.power_kw, np.arange(96.0))


def test_naive_times_bridge_the_doubled_hour(import_, engine, tmp_path):
    begin = dt.datetime(2014, 10, 25, tzinfo=dt.UTC)
    walls = [
        (begin + step * dt.timedelta(minutes=30)).astimezone(ZoneInfo("Europe/Berlin")).replace(tzinfo=None)
        for step in range(96)
    ]
    import_(parquet(tmp_path / "x.parquet", walls, load=np.arange(96.0)), frame="Europe/Berlin", zone="Europe/Berlin")
    assert np.array_equal(power(engine), np.arange(96.0))


def test_text_integers_decimals_and_nulls_are_read(import_, engine, tmp_path):
    stamps = [f"{START + index * dt.timedelta(minutes=30):%Y-%m-%d %H:%M}" for index in range(4)]
    import_(parquet(tmp_path / "a.parquet", stamps, load=pa.array([1, None, 3, 4], pa.int32())))
    assert np.array_equal(power(engine), [1, np.nan, 3, 4], equal_nan=True)
    import_(parquet(tmp_path / "b.parquet", stamps, load=["1", "2", "", "4.0"]))
    assert np.array_equal(power(engine), [1, 2, 3, 4])
    decimals = pa.array([1, 2, 3, 4], pa.decimal128(9, 3))
    assert import_(parquet(tmp_path / "c.parquet", stamps, load=decimals)).unchanged == 4


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"load": [1.0, 2.0], "stamps": [START, START]}, "row 2: time .* stands twice"),
        ({"load": [1.0, 2.0], "stamps": [START, None]}, "row 2: has no time"),
        ({"load": [1.0, np.inf], "stamps": naive(2)}, "row 2: load 'inf' is not a number"),
        ({"load": [1.0, 2.0], "stamps": [1, 2]}, "'timestamp' holds int64, not times"),
        ({"load": [START, START], "stamps": naive(2)}, "'load' holds timestamp.*, not numbers"),
        ({"kW": [1.0, 2.0], "stamps": naive(2)}, "'load' is missing. The file has: timestamp, kW"),
        ({"load": [1.0, 2.0], "stamps": pa.array([2**60, 2**61], pa.timestamp("ms"))}, "row 1: time"),
        ({"load": pa.array([], pa.float64()), "stamps": naive(0)}, "no row"),
    ],
)
def test_refuses_a_parquet_file_by_the_same_rules(import_, held, tmp_path, columns, words):
    before = held()
    with pytest.raises(ConfigError, match=words):
        import_(parquet(tmp_path / "x.parquet", columns.pop("stamps"), **columns))
    assert held() == before


@pytest.mark.parametrize("content", [b"timestamp,load\n", b"PAR1", b"PAR1garbagePAR1", b""])
def test_refuses_what_is_named_parquet_and_is_not(import_, held, tmp_path, content):
    path = tmp_path / "x.parquet"
    path.write_bytes(content)
    before = held()
    with pytest.raises(ConfigError, match="arquet"):
        import_(path)
    assert held() == before


def test_a_truncated_parquet_file_is_refused(import_, held, tmp_path):
    path = parquet(tmp_path / "x.parquet", naive(480), load=plant_history(10))
    path.write_bytes(path.read_bytes()[:-100])
    before = held()
    with pytest.raises(ConfigError, match="not readable Parquet"):
        import_(path)
    assert held() == before


# Beside the load


def beside(path, days=5):
    count = days * 48
    mark = [float((START + index * dt.timedelta(minutes=30)).day in {2, 4}) for index in range(count)]
    return parquet(
        path,
        naive(count),
        load=plant_history(days),
        temp=np.where(np.arange(count) == 7, np.nan, np.arange(count) / 10),
        sun=np.arange(count) * 1.0,
        holiday=mark,
    )


def test_covariates_are_held_beside_the_load_and_stand_in_the_snapshot(import_, engine, tmp_path):
    path = beside(tmp_path / "x.parquet")
    result = import_(path, unit="MW", covariates={"temperature_c": "temp"}, pv_column="sun")
    assert result.covariates == {"temperature_c": 239, "pv_kw": 240}
    snapshot = take(engine, "works")
    assert list(snapshot.covariates) == ["pv_kw", "temperature_c"]
    assert np.allclose(snapshot.covariates["pv_kw"], np.arange(240) * 1000)  # in the unit of the load
    temperature = snapshot.covariates["temperature_c"]
    assert np.isnan(temperature[7])
    assert temperature[8] == 0.8
    assert import_(path, unit="MW", covariates={"temperature_c": "temp"}, pv_column="sun").added == 0


def test_a_snapshot_file_keeps_covariates_and_its_hash_covers_them(import_, engine, tmp_path):
    import_(beside(tmp_path / "x.parquet"))
    bare = take(engine, "works")
    assert dict(bare.covariates) == {}
    import_(tmp_path / "x.parquet", covariates={"temperature_c": "temp"})
    snapshot, path = take(engine, "works"), tmp_path / "s.parquet"
    assert snapshot.sha256 != bare.sha256
    snapshot.write(path)
    again = read_snapshot(path)
    assert again.sha256 == snapshot.sha256
    assert np.array_equal(again.covariates["temperature_c"], snapshot.covariates["temperature_c"], equal_nan=True)


def test_a_covariate_that_contradicts_is_refused_with_the_load_untouched(import_, held, tmp_path):
    import_(beside(tmp_path / "x.parquet"), covariates={"temperature_c": "temp"})
    before = held()
    with pytest.raises(ConfigError, match="temperature_c in the file"):
        import_(beside(tmp_path / "y.parquet", 6), covariates={"temperature_c": "sun"})
    assert held() == before


def test_a_covariate_is_replaced_where_that_is_asked(import_, engine, tmp_path):
    path = beside(tmp_path / "x.parquet")
    import_(path, covariates={"temperature_c": "temp"})
    assert import_(path, covariates={"temperature_c": "sun"}, replace=True).changed == 0  # of the load
    assert np.array_equal(take(engine, "works").covariates["temperature_c"], np.arange(240.0))


@pytest.mark.parametrize("name", ["Temp", "", "power_kw", "time_ms", "a" * 33, "a-b"])
def test_refuses_the_name_of_a_covariate(import_, held, tmp_path, name):
    before = held()
    with pytest.raises(ConfigError, match="not usable"):
        import_(beside(tmp_path / "x.parquet"), covariates={name: "temp"})
    assert held() == before


@pytest.mark.parametrize("changes", [{"covariates": {"temperature_c": "load"}}, {"pv_column": "load"}])
def test_the_load_is_not_known_beside_itself(import_, held, csv, changes):
    before = held()
    with pytest.raises(ConfigError, match="column 'load' is the load itself and cannot be"):
        import_(write_csv(csv, 5), **changes)
    assert held() == before


def test_pv_is_asked_for_once(import_, tmp_path):
    with pytest.raises(ConfigError, match="pv_kw is asked for twice"):
        import_(beside(tmp_path / "x.parquet"), covariates={"pv_kw": "sun"}, pv_column="sun")


def test_holidays_of_the_column_last_and_a_country_follows_them(import_, engine, tmp_path):
    path = beside(tmp_path / "x.parquet")
    assert import_(path, holidays="column", holiday_column="holiday").holidays == 2
    assert take(engine, "works").holidays == ("2014-01-02", "2014-01-04")
    # The next file says nothing of its holidays, and those that are known stay.
    import_(path, holiday_column="holiday")
    assert take(engine, "works").holidays == ("2014-01-02", "2014-01-04")
    import_(path, holidays="column+AU-VIC", holiday_column="holiday")
    assert take(engine, "works").holidays[:3] == ("2014-01-02", "2014-01-04", "2014-01-27")


def test_refuses_a_holiday_column_that_is_not_there(import_, held, csv):
    before = held()
    with pytest.raises(ConfigError, match="has no column 'holiday'"):
        import_(write_csv(csv, 5), holidays="column", holiday_column="holiday")
    assert held() == before


# Rows whose interval changes


def mixed(path, *parts):
    """Rows one after the other: (count, minutes, value) for each part."""
    times, values, at = [], [], START
    for count, minutes, value in parts:
        for _ in range(count):
            times.append(at)
            values.append(value)
            at += dt.timedelta(minutes=minutes)
    return parquet(path, pa.array(times, pa.timestamp("us")), load=values)


def test_hours_after_quarter_hours_are_held_and_the_change_is_told(import_, engine, tmp_path):
    result = import_(mixed(tmp_path / "a.parquet", (20 * 96, 15, 4.0), (19 * 24, 60, 7.0)), slot_s=3600)
    assert power(engine).tolist() == [4.0] * 480 + [7.0] * 456
    assert result.notes == ("row 1921: from here on a row every 60 min, not 15 min",)


def test_energy_of_hours_after_quarter_hours_is_the_power_of_each(import_, engine, tmp_path):
    import_(mixed(tmp_path / "a.parquet", (192, 15, 1.0), (24, 60, 5.0)), slot_s=3600, unit="kWh")
    assert power(engine).tolist() == [4.0] * 48 + [5.0] * 24


def test_a_gap_among_rare_rows_is_one_slot(import_, engine, tmp_path):
    path = mixed(tmp_path / "a.parquet", (192, 15, 4.0), (12, 60, 7.0), (1, 120, 7.0), (11, 60, 7.0))
    import_(path, slot_s=3600)
    assert np.flatnonzero(np.isnan(power(engine))).tolist() == [48 + 13]


def test_a_few_missing_rows_are_no_other_interval_and_rows_without_a_slot_are_counted(import_, engine, tmp_path):
    path = mixed(tmp_path / "a.parquet", (192, 15, 4.0), (4, 60, 7.0), (192, 15, 4.0), (3, 60, 7.0))
    result = import_(path, slot_s=3600)
    assert np.flatnonzero(np.isnan(power(engine))).tolist() == [48, 49, 50, 51]
    assert result.notes == ("7 rows gave no slot, since they cover less than half of it; the first: row 193",)


def test_quarter_hours_after_many_hours_are_refused_with_a_way_out(import_, held, tmp_path):
    before = held()
    with pytest.raises(ConfigError, match=r"row 482: .*off the grid of 3600 s.*where the interval changes, give two"):
        import_(mixed(tmp_path / "a.parquet", (480, 60, 4.0), (96, 15, 7.0)))
    assert held() == before
