"""Load curves into the central database: whole, idempotent, and refused with a reason."""

import json

import numpy as np
import pytest

from agent.contract.errors import ConfigError
from tests.support.bundles import START_MS, plant_history
from tests.support.loadcurves import write_csv
from trainer.dataset.flags import Flag
from trainer.dataset.snapshot import read_snapshot, take


def drop_day_five(rows):
    del rows[48 * 4 : 48 * 5]


def test_imports_a_file_and_takes_a_snapshot_of_it(engine, csv, import_):
    result = import_(write_csv(csv, 20), holidays="AU-VIC")
    assert (result.added, result.changed, result.unchanged, result.slot_s) == (960, 0, 0, 1800)
    snapshot = take(engine, "works")
    assert snapshot.start_ms == START_MS
    assert snapshot.zone == "Australia/Melbourne"
    assert np.allclose(snapshot.power_kw, plant_history(20), atol=6e-4)
    assert "2014-11-04" in snapshot.holidays  # Melbourne Cup Day is Victoria's own
    assert any(day.startswith("2017") for day in snapshot.holidays)  # three years ahead


def test_importing_again_changes_nothing(engine, csv, held, import_):
    import_(write_csv(csv, 20))
    before, digest = held(), take(engine, "works").sha256
    result = import_(csv)
    assert (result.added, result.changed, result.unchanged) == (0, 0, 960)
    assert held() == before
    assert take(engine, "works").sha256 == digest


def test_a_longer_file_adds_only_what_is_new(csv, import_):
    import_(write_csv(csv, 20), holidays="AU-VIC")
    result = import_(write_csv(csv, 30))
    assert (result.added, result.unchanged) == (480, 960)
    assert result.holidays > 0  # kept from the first import


@pytest.mark.parametrize(("unit", "factor"), [("W", 1e-3), ("kW", 1), ("MW", 1e3), ("GW", 1e6)])
def test_converts_units_to_kw(engine, csv, unit, factor, import_):
    import_(write_csv(csv, 2), unit=unit)
    assert np.allclose(take(engine, "works").power_kw, factor * np.round(plant_history(2), 3), rtol=1e-12)


def test_gaps_stay_gaps_and_are_reported(engine, csv, import_):
    result = import_(write_csv(csv, 20, change=drop_day_five))
    gaps = result.quality.finding(Flag.GAP)
    assert (gaps.count, gaps.slots, gaps.share) == (1, 48, 0.05)
    power = take(engine, "works").power_kw
    assert len(power) == 960
    assert np.isnan(power[192:240]).all()
    assert np.isfinite(power).sum() == 912


def test_averages_short_intervals_into_slots(engine, csv, import_):
    power = np.arange(3 * 288, dtype=float)
    import_(write_csv(csv, slot_s=300, power=power), slot_s=900)
    assert np.allclose(take(engine, "works").power_kw, power.reshape(-1, 3).mean(axis=1))


def test_reports_spikes_and_frozen_stretches(csv, import_):
    power = plant_history(20)
    power[500] *= 20
    power[600:630] = power[600]
    quality = import_(write_csv(csv, power=power)).quality
    spikes, frozen = quality.finding(Flag.SPIKE), quality.finding(Flag.FROZEN)
    assert (spikes.count, spikes.first[0].start_ms) == (1, START_MS + 500 * 1_800_000)
    assert (frozen.count, frozen.first[0].start_ms, frozen.slots) == (1, START_MS + 601 * 1_800_000, 29)
    json.dumps(quality.to_json())


def test_a_clean_plant_has_no_remarks(csv, import_):
    assert len(import_(write_csv(csv, 30)).quality.lines()) == 1


def doubled(rows):
    rows.insert(10, rows[9])


def swapped(rows):
    rows[10], rows[11] = rows[11], rows[10]


def worded(rows):
    rows[700][1] = "offline"


def shifted(rows):
    for row in rows:
        row[0] = row[0][:-1] + "7"


@pytest.mark.parametrize(
    ("change", "changes", "words"),
    [
        (doubled, {}, "stands twice"),
        (swapped, {}, "before the row above"),
        (worded, {}, "offline"),
        (shifted, {}, "off the grid"),
        (None, {"frame": "Mars/Olympus"}, "unknown"),
        (None, {"zone": "Mars/Olympus"}, "unknown"),
        (None, {"frame": "Europe/Berlin"}, "does not exist in Europe/Berlin"),
        (None, {"value_column": "watts"}, "watts"),
        (None, {"unit": "hp"}, "hp"),
        (None, {"plant": "../etc"}, "not usable"),
        (None, {"holidays": "ZZ-99"}, "not known"),
        (None, {"holidays": "AU-XYZ"}, "not known"),
        (None, {"holidays": "2014-02-30"}, "does not exist"),
        (None, {"slot_s": 2700}, "not supported"),
        (None, {"slot_s": 900}, "does not divide"),
    ],
)
def test_refuses_a_file_with_one_clear_error_and_stores_nothing(csv, change, changes, words, held, import_):
    # 120 days, to the end of April: with a zone of its own the file must meet the change of the clocks.
    write_csv(csv, 120, **({"change": change} if change else {}))
    before = held()
    with pytest.raises(ConfigError, match=words) as caught:
        import_(csv, **changes)
    assert caught.value.todo
    assert held() == before


@pytest.mark.parametrize(("frame", "minutes"), [("+05:30", 30), ("Asia/Kathmandu", 15)])
def test_hours_of_a_zone_off_the_hour_are_refused_with_advice_that_can_be_followed(csv, frame, minutes, import_):
    write_csv(csv, slot_s=3600, power=plant_history(4))
    with pytest.raises(ConfigError, match=f"write each row as {60 // minutes} rows of {minutes} min"):
        import_(csv, frame=frame)
    write_csv(csv, slot_s=minutes * 60, power=np.repeat(plant_history(4), 60 // minutes))
    assert import_(csv, frame=frame).added == len(plant_history(4)) * 60 // minutes


def test_slot_length_must_divide_a_day(csv, import_):
    write_csv(csv, slot_s=420, power=plant_history(4))
    with pytest.raises(ConfigError, match="every 420 s") as caught:
        import_(csv)
    assert "--slot-minutes" in caught.value.todo


def test_refuses_contradicting_values_unless_told(csv, held, import_):
    import_(write_csv(csv, 20))
    before = held()
    write_csv(csv, 25, power=plant_history(25) * 1000)
    with pytest.raises(ConfigError, match="960 slots have other values"):
        import_(csv)
    assert held() == before
    assert import_(csv, replace=True).changed == 960


def test_refuses_another_zone_for_a_known_plant(csv, held, import_):
    import_(write_csv(csv, 20))
    before = held()
    with pytest.raises(ConfigError, match="known with zone Australia/Melbourne"):
        import_(csv, zone="Europe/Berlin")
    assert held() == before


def test_snapshot_of_an_unknown_plant_names_the_known_ones(engine, csv, import_):
    import_(write_csv(csv, 20))
    with pytest.raises(ConfigError, match="Known plants: works"):
        take(engine, "work")


def test_snapshot_ends_before_the_given_time(engine, csv, import_):
    import_(write_csv(csv, 20))
    snapshot = take(engine, "works", START_MS + 3 * 86_400_000)
    assert len(snapshot.power_kw) == 144
    assert snapshot.end_ms == START_MS + 3 * 86_400_000
    with pytest.raises(ConfigError, match="no load before"):
        take(engine, "works", START_MS)


def test_snapshot_file_gives_the_same_snapshot_and_notices_damage(engine, csv, tmp_path, import_):
    import_(write_csv(csv, 20, change=drop_day_five))
    snapshot, path = take(engine, "works"), tmp_path / "s.parquet"
    snapshot.write(path)
    assert read_snapshot(path).sha256 == snapshot.sha256
    assert np.array_equal(read_snapshot(path).power_kw, snapshot.power_kw, equal_nan=True)
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(ConfigError, match="not a readable snapshot"):
        read_snapshot(path)
