"""The demonstration tells the truth: its own figures, and the whole of it in its quick form."""

import csv
import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from demo import data, money, plants
from demo.figures import Centre

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def story(tmp_path_factory):
    """One quick run of the demonstration, in a session of its own so that stray processes can be found."""
    folder = tmp_path_factory.mktemp("demo") / "out"
    run = subprocess.Popen(
        [sys.executable, "-m", "demo", "--quick", "--folder", str(folder)],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    output, _ = run.communicate(timeout=540)
    return run.returncode, output, folder


def summary_of(folder: Path):
    return json.loads((folder / "summary.json").read_text())


def test_the_whole_loop_runs_on_real_data(story):
    code, output, folder = story
    assert code == 0, output
    summary = summary_of(folder)
    assert summary["devices"] == summary["models_activated"] == 3
    assert summary["bad_model_refused"] is True
    assert summary["agents_killed"] >= 1
    assert summary["outage_s"] > 0


def test_every_reading_of_the_three_sources_is_at_the_centre_once(story):
    _, output, folder = story
    summary = summary_of(folder)
    rows = sum(len((folder / device.id / "load.csv").read_text().splitlines()) - 1 for device in plants.DEVICES)
    with sqlite3.connect(folder / "centre" / "centre.db") as database:
        (held,) = database.execute("SELECT count(*) FROM reading").fetchone()
    assert summary["readings_sampled"] == summary["readings_stored_centrally"] == rows == held, output
    assert summary["readings_missing"] == summary["readings_duplicated"] == summary["readings_altered"] == 0


def test_the_student_on_the_device_beats_naive(story):
    _, _, folder = story
    summary = summary_of(folder)
    assert summary["pinball_student_int8"] < summary["pinball_naive"]
    assert summary["student_bytes"] <= 200_000


def test_the_month_is_billed_with_its_peak_and_a_plan_saves(story):
    _, output, folder = story
    summary = summary_of(folder)
    assert all(money.adds_up(figures) for figures in summary["per_device"].values()), output
    highest = max(
        float(row["load_kw"])
        for row in csv.DictReader((folder / summary["plan_device"] / "load.csv").read_text().splitlines())
    )
    assert 0 < summary["month_peak_kw"] <= highest + 0.01
    demand = next(line for line in summary["month_lines"] if line["unit"] == "kW")
    assert demand["amount"] == pytest.approx(16.656 * summary["month_peak_kw"], abs=0.01)
    assert summary["month_end_low"] <= summary["month_end_high"]
    assert summary["plans_made"] > summary["plans_by_rules"]
    money_ahead = summary["plan_cost_next_day_without"] - summary["plan_cost_next_day"]
    assert summary["plan_saving_next_day"] == pytest.approx(money_ahead + summary["plan_left_over_next_day"], abs=0.02)


def test_no_process_is_left(story):
    _, _, folder = story
    left = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                arguments = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if str(folder).encode() in arguments:
                left.append(arguments.replace(b"\0", b" ").decode())
    assert left == []


def test_the_report_stands_alone(story):
    _, _, folder = story
    page = (folder / "report.html").read_text()
    for device in plants.DEVICES:
        assert device.id in page
    assert "<script src=" not in page
    assert "<link" not in page


def test_no_secret_is_in_a_log(story):
    _, _, folder = story
    logs = b"".join(path.read_bytes() for path in (folder / "log").iterdir())
    for device in plants.DEVICES:
        token = json.loads((folder / device.id / "enrolment.json").read_text())["token"]
        assert token.encode() not in logs


def test_the_series_is_half_hours_of_one_year_in_a_fixed_frame(tmp_path):
    assert data.write_elecdemand(tmp_path / "e.csv") == 17_520
    with (tmp_path / "e.csv").open(newline="") as file:
        stamps = [row["timestamp"] for row in csv.DictReader(file)]
    assert (stamps[0], stamps[-1], len(set(stamps))) == ("2014-01-01 00:00", "2014-12-31 23:30", 17_520)


def test_figures_see_rows_that_are_missing_doubled_or_altered(tmp_path):
    replayed = tmp_path / "load.csv"
    replayed.write_text(
        "timestamp,load_kw\n2014-10-15 00:00,1.5\n2014-10-15 00:30,2.5\n2014-10-15 01:00,3.5\n2014-10-15 01:30,4.5\n"
    )
    begin = 1_413_295_200_000
    with sqlite3.connect(tmp_path / "centre.db") as database:
        database.execute("CREATE TABLE device (number INTEGER, name TEXT)")
        database.execute("CREATE TABLE reading (device INTEGER, seq INTEGER, time_ms INTEGER, value REAL)")
        database.execute("INSERT INTO device VALUES (1, 'd')")
        rows = [
            (1, 1, begin, 1.5),
            (1, 2, begin + 1_800_000, 9.9),
            (1, 3, begin + 1_800_000, 9.9),
            (1, 4, begin + 5_400_000, 4.5),
        ]
        database.executemany("INSERT INTO reading VALUES (?, ?, ?, ?)", rows)
    found = Centre(tmp_path).delivery("d", replayed)
    assert (found.sampled, found.stored, found.missing, found.duplicated, found.altered) == (4, 4, 1, 1, 1)


def test_a_bill_whose_lines_miss_its_total_by_a_cent_does_not_add_up():
    lines = [
        {"period": "peak", "energy_wh": 2500, "amount": "0.70"},
        {"period": "fixed", "days": "1", "amount": "12.50"},
    ]
    month = {"scope": "month", "start_ms": 0, "end_ms": 1, "amount": "13.20", "lines": lines}
    end = {"scope": "month_end", "low": "300.00", "high": "310.00"}
    found = money.month([end, month])
    assert money.adds_up(found)
    assert (found["month_lines"][0]["quantity"], found["month_peak_kw"], found["month_end_low"]) == (2.5, 0.0, 300.0)
    assert not money.adds_up(money.month([end, {**month, "amount": "13.21"}]))


def test_advice_is_that_of_the_newest_plan_whoever_made_it():
    first = {"kind": "plan", "cost": 9.0, "cost_of_nothing": 10.0, "saving": 1.0, "source": "highs"}
    found = money.advice([first, {"kind": "boot"}, {**first, "saving": 0.5, "source": "rules"}])
    assert (found["plan_saving_next_day"], found["plan_source"]) == (0.5, "rules")
    assert (found["plans_made"], found["plans_by_rules"], found["plan_saving_most"]) == (2, 1, 1.0)
    assert money.advice([{"kind": "boot"}]) == {}


def test_an_alert_is_open_until_it_is_cleared():
    rows = [{"rule": "peak", "id": "a", "state": state} for state in ("raised", "cleared", "raised", "shelved")]
    found = money.alerts([*rows, {"rule": "frozen", "id": "b", "state": "raised"}])
    assert found == {"alerts_raised": 3, "alerts_by_rule": {"frozen": 1, "peak": 2}, "alerts_open": 2}
