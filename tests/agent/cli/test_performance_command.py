"""`edgewatt performance` on a real store, beside a writer: baseline, savings, adjustments, picture."""

from __future__ import annotations

import datetime as dt
import json
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest

from agent.cli.main import run_command
from agent.cli.plot import draw_band
from agent.contract.slots import Slot
from agent.contract.zones import local_day_bounds_ms, parse_zone
from tests.support.configs import device, simulated
from tests.support.plantyears import FIRST, temperatures
from tests.support.stores import Bench

ZONE = "Europe/Berlin"
DAYS, BASE_DAYS = 420, 365  # the year 2025, and 55 days of 2026
CONFIG = device(zone=ZONE, slot_minutes=60) + simulated(power="kW")
YEAR = ["--from", "2025-01-01", "--to", "2025-12-31"]


def energy(temperature: np.ndarray) -> np.ndarray:
    """Daily kWh: heating, noise, and 60 kWh a day saved from 2026 on."""
    load = 480 + 12 * np.maximum(14 - temperature, 0) + np.random.default_rng(4).normal(0, 15, len(temperature))
    load[BASE_DAYS:] -= 60
    return load


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """A device whose store is open for writing, as a running agent's is."""
    folder = tmp_path_factory.mktemp("device")
    (folder / "agent.toml").write_text(CONFIG)
    (folder / "state").mkdir()
    bench = Bench(folder / "state")
    temperature = temperatures(DAYS)
    lines, rows = ["timestamp,temperature"], []
    for number, kwh in enumerate(energy(temperature).tolist()):
        day = FIRST + dt.timedelta(days=number)
        lines.append(f"{day},{temperature[number]:.3f}")
        start_ms, end_ms = local_day_bounds_ms(day, parse_zone(ZONE))
        starts = range(start_ms, end_ms, 3_600_000)
        each_wh = round(kwh * 1000 / len(starts))
        rows += [Slot(at, 3600, each_wh, each_wh / 1000, 1.0).to_row() for at in starts]
    rows = [row for place, row in enumerate(rows) if place not in {1000, 1010, 9000}]  # three slots of three days
    for begin in range(0, len(rows), 2000):
        bench.store.append("slots", rows[begin : begin + 2000])
        bench.pass_time(61)
    (folder / "plant.csv").write_text("\n".join(lines) + "\n")
    return bench


@pytest.fixture
def folder(bench: Bench) -> Path:
    (bench.folder / "performance.json").unlink(missing_ok=True)
    return bench.folder.parent


def run(capsys: pytest.CaptureFixture[str], folder: Path, *arguments: str, code: int = 0) -> str:
    assert run_command(["--config", str(folder / "agent.toml"), "performance", *arguments]) == code
    out, err = capsys.readouterr()
    return out if code == 0 else err


def test_a_baseline_is_fitted_kept_and_measured_against(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    variables = ["--variables", str(folder / "plant.csv")]
    made = json.loads(run(capsys, folder, "baseline", *YEAR, *variables, "--json"))["baseline"]
    assert (made["kind"], made["observations"], made["left_out"]) == ("3PH", 363, {"energy": 2})
    assert made["statistics"]["r2"] > 0.9
    again = json.loads(run(capsys, folder, "baseline", *YEAR, *variables, "--replace", "--json"))["baseline"]
    assert again == made  # the same data give the same baseline

    found = json.loads(run(capsys, folder, "show", "--json"))  # from the store's end, with the same file
    assert found["schema"] == 1
    assert found["period"] == {
        "first": "2026-01-01",
        "last": "2026-02-24",
        "days": 54,
        "days_left_out": 1,
        "left_out": {"energy": 1},
        "extrapolated": 0,
    }
    savings = found["savings"]
    assert savings["low_kwh"] < 54 * 60 < savings["high_kwh"]
    assert savings["proven"]
    assert found["enpi"]["ratio"] < 0.95
    assert [month["month"] for month in found["months"]] == ["2026-01", "2026-02"]
    assert found["cusum"][-1]["cusum_kwh"] == pytest.approx(savings["kwh"])


def test_people_get_tables_a_drawing_and_a_picture(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    told = run(capsys, folder, "baseline", *YEAR, "--variables", str(folder / "plant.csv"))
    assert "Baseline of 2025-01-01 to 2025-12-31: 363 days (days left out: 2 for energy), 3PH" in told
    assert "x heating degree days (base 1" in told
    picture = folder / "savings.svg"
    told = run(capsys, folder, "show", "--plot", "--picture", str(picture))
    assert "EnPI" in told
    assert "proven" in told
    assert "2026-02" in told
    assert any("\u2800" <= character <= "\u28ff" for character in told)
    words = [entry.text or "" for entry in ET.fromstring(picture.read_text()).iter("{http://www.w3.org/2000/svg}text")]
    assert "measured" in words
    assert any(text.startswith("CUSUM of savings") for text in words)
    assert sum(text.startswith("2026-0") for text in words) >= 8  # days below both panels
    other = folder / "notes.txt"
    other.write_text("mine")
    assert "file of another kind" in run(capsys, folder, "show", "--picture", str(other), code=78)
    assert other.read_text() == "mine"


def test_an_adjustment_is_kept_shown_and_removed(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    run(capsys, folder, "baseline", *YEAR, "--variables", str(folder / "plant.csv"))
    before = json.loads(run(capsys, folder, "show", "--json"))["savings"]["kwh"]
    added = ["--from", "2026-02-01", "--kwh-per-day", "100", "--reason", "second oven"]
    assert len(json.loads(run(capsys, folder, "adjust", *added, "--json"))["adjustments"]) == 1
    after = json.loads(run(capsys, folder, "show", "--json"))["savings"]
    assert after["kwh"] - before == pytest.approx(100 * 24)
    assert after["adjusted_kwh"] == pytest.approx(100 * 24)
    assert "second oven" in run(capsys, folder, "show")
    run(capsys, folder, "adjust", "--remove", "1")
    assert json.loads(run(capsys, folder, "show", "--json"))["savings"]["kwh"] == before
    assert "--from and --reason" in run(capsys, folder, "adjust", code=2)


def test_a_baseline_is_not_replaced_by_mistake(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    run(capsys, folder, "baseline", *YEAR)
    kept = (folder / "state" / "performance.json").read_bytes()
    assert "there is a baseline already" in run(capsys, folder, "baseline", *YEAR, code=78)
    # One that is refused leaves the old one, too.
    short = ["--from", "2025-01-01", "--to", "2025-01-20", "--replace"]
    assert "needs 28" in run(capsys, folder, "baseline", *short, code=78)
    assert (folder / "state" / "performance.json").read_bytes() == kept


def test_what_cannot_be_told_is_refused_in_words(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    assert "no baseline yet" in run(capsys, folder, "show", code=75)
    run(capsys, folder, "baseline", *YEAR, "--variables", str(folder / "plant.csv"))
    assert "within the baseline's" in run(capsys, folder, "show", "--from", "2025-12-01", code=78)
    assert "there is no day from" in run(capsys, folder, "show", "--from", "2027-01-01", code=75)
    assert "no whole day" in run(capsys, folder, "show", "--from", "2027-01-01", "--to", "2027-01-31", code=75)
    (folder / "other.csv").write_text("timestamp,pieces\n2026-01-01,5\n")
    assert "'temperature' is missing" in run(capsys, folder, "show", "--variables", str(folder / "other.csv"), code=78)
    config = folder / "agent.toml"
    config.write_text(CONFIG.replace(ZONE, "Asia/Tokyo"))
    assert "those of Europe/Berlin" in run(capsys, folder, "show", code=78)
    config.write_text(CONFIG)


def test_a_period_beyond_reason_is_wrong_usage(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    for first, last in (("2025-12-31", "2025-01-01"), ("0001-01-01", "9999-12-31"), ("1980-01-01", "2025-01-01")):
        assert "Error" in run(capsys, folder, "baseline", "--from", first, "--to", last, code=2)
    run(capsys, folder, "baseline", *YEAR)
    assert "at most 10 years" in run(capsys, folder, "show", "--to", "9999-12-31", code=2)


def test_one_day_can_be_shown_and_drawn(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    run(capsys, folder, "baseline", *YEAR)
    picture = folder / "day.svg"
    day = ["--from", "2026-01-05", "--to", "2026-01-05"]
    assert "2026-01-05, 1 day\n" in run(capsys, folder, "show", *day, "--plot", "--picture", str(picture))
    assert ET.fromstring(picture.read_text()) is not None


def test_nothing_but_the_baselines_own_file_is_written(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    state = folder / "state"

    def files() -> dict[str, int]:
        return {path.name: path.stat().st_mtime_ns for path in state.rglob("*") if not path.name.endswith("-shm")}

    before = files()
    run(capsys, folder, "baseline", *YEAR)
    run(capsys, folder, "show")
    after = files()
    assert after.pop("performance.json")
    assert after == before


def test_a_line_that_leaves_its_band_is_drawn_whole() -> None:
    rise = np.linspace(0, 1000, 50)
    lines = draw_band(-rise / 50, rise, rise / 50, unit="kWh", width=60, height=8, ascii_only=True)
    assert all(len(line) <= 60 for line in lines)
    assert [line.index("*") for line in lines if "*" in line] == sorted(
        (line.index("*") for line in lines if "*" in line), reverse=True
    )
    assert sum("*" in line for line in lines) >= 5
    assert "*" in lines[-1] + lines[-2]
