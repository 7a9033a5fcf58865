"""What the forecast benchmark must never get wrong: which rows are learnt from, and what its file claims to be."""

import csv
import dataclasses
import datetime as dt
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest

from agent.contract.errors import UnavailableError
from tests.benchmarks.bench_forecast import BASELINES, OURS, summary
from tests.benchmarks.forecast_picture import draw_week
from tests.benchmarks.forecast_series import Series, check_learnt, learning_part
from tests.benchmarks.forecast_table import table
from tests.benchmarks.measured import run_measured
from tests.support.plants import plant_load, stamps, write_plant
from trainer.backtest.inputs import Source, parse_pool

HOUR_S = 3600


@pytest.fixture
def series(tmp_path):
    path = write_plant(tmp_path / "mill.csv", plant_load(30, HOUR_S), HOUR_S, holiday=np.zeros(720))
    return Series("mill", path, "+09:00", "Asia/Seoul", "KR", False, tmp_path / "o.csv", "2022-01-20", 30)


def read(path):
    return list(csv.DictReader(path.read_text().splitlines()))


def test_another_series_is_handed_over_up_to_its_own_test_part_and_no_further(series, tmp_path):
    folder = tmp_path / "parts"
    folder.mkdir()
    part = parse_pool(learning_part(series, folder), Source(series.path, "UTC", "UTC", "DE"))
    assert (part.frame, part.zone, part.holidays) == ("+09:00", "Asia/Seoul", "KR")
    rows = read(part.csv)
    assert rows == read(series.path)[: len(rows)]
    assert rows[-1]["timestamp"] == "2022-01-19T23:00"


def test_a_model_that_read_one_slot_of_the_test_part_ends_the_benchmark(series):
    check_learnt(series, {"data_to_ms": series.test_start_ms})
    with pytest.raises(UnavailableError, match="mill: the model has seen the test part"):
        check_learnt(series, {"data_to_ms": series.test_start_ms + 1})


def figures_of(**pinball):
    one = {"pinball": 2.0, "mae": 3.0, "coverage80": 0.7, "peak_error_share": 0.1}
    return {
        "days": 365,
        **{name: {**one, "pinball": pinball.get(name, 2.0)} for name in (*BASELINES, *OURS)},
        "student_bytes": 99_000,
        "runtimes": {"ai-edge-litert": {"forecast_ms_p50": 0.04}},
        "forecast_whole_ms_p50": 2.0,
        "train_s": 200.0,
        "train_rss_mib": 900.0,
    }


def test_ratios_are_geometric_means_against_each_series_own_best_baseline():
    figures = {
        "a": figures_of(student_int8=1.0, lgbm=2.0, ridge=1.0),
        "b": figures_of(student_int8=1.0, lgbm=2.0, ens=4.0),
        "short": {**figures_of(student_int8=2.0), "days": 120, "train_s": 250.0},
    }
    figures["short"]["student_int8_calibrated"]["coverage80"] = 0.3
    found = summary(figures)
    assert found["geomean_pinball_ratio_int8_vs_lightgbm"] == pytest.approx((0.5 * 0.5 * 1.0) ** (1 / 3))
    assert found["geomean_pinball_ratio_int8_vs_best_baseline"] == pytest.approx((1.0 * 0.5 * 1.0) ** (1 / 3))
    assert (found["coverage80_min"], found["coverage80_max"]) == (0.7, 0.7), "short series promise no coverage"
    assert found["train_s_max"] == 250.0
    assert found["weather_geomean_pinball_ratio_int8_vs_lgbm_wx"] is None


def test_the_table_names_the_best_baseline_and_says_when_series_are_missing():
    figures = {"a": figures_of(student_int8=1.0, ridge=1.5)}
    whole = {"whole": True, "series_measured": 1, "series_wanted": 1, **summary(figures), "series": figures}
    text = list(table(whole))
    assert "_1.5_" in text[2]
    assert {line.count("|") for line in text} == {14}
    assert "1 of 9 series only" in next(iter(table({**whole, "whole": False, "series_wanted": 9})))


def test_the_picture_is_the_first_whole_week_of_the_test_part(series, tmp_path):
    load = plant_load(30, HOUR_S)
    days = range(19, 30)  # from Saturday 22 January on
    all_stamps = stamps(720, HOUR_S)
    lines = [
        f"{all_stamps[24 * day]},{all_stamps[slot]},{load[slot] - 9},{load[slot] - 1},{load[slot] + 9}"
        for day in days
        for slot in range(24 * day, 24 * day + 24)
    ]
    (tmp_path / "f.csv").write_text("\n".join(["origin,timestamp,q0.1,q0.5,q0.9", *lines]) + "\n")
    draw_week(dataclasses.replace(series, test_start="2022-01-22"), tmp_path / "f.csv", tmp_path / "fans.svg")
    root = ET.fromstring((tmp_path / "fans.svg").read_text())
    space = "{http://www.w3.org/2000/svg}"
    assert len(root.findall(f"{space}polygon")) == 7
    assert "2022-01-24" in root.findtext(f"{space}title")
    assert dt.date(2022, 1, 24).weekday() == 0


def test_memory_is_that_of_a_process_and_all_below_it():
    child = "import subprocess, sys, time; a = bytearray(60_000_000); time.sleep(1.5)"
    parent = f"import subprocess, sys; a = bytearray(60_000_000); subprocess.run([sys.executable, '-c', {child!r}])"
    ran = run_measured("-c", parent + "; print('said')", where="here")
    assert ran.stdout == "said\n"
    assert 115 < ran.rss_mib < 400
    with pytest.raises(UnavailableError, match="here: ended with 3"):
        run_measured("-c", "raise SystemExit(3)", where="here")


def test_nothing_of_the_benchmark_data_is_in_the_tree():
    assert not list(Path(__file__).parent.glob("*.csv"))
