"""`edgewatt forecast` from files alone: no device, a bundle and a history; and how a forecast is drawn."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agent.cli.main import run_command
from agent.cli.plot import draw_fan
from agent.contract.rows import Forecast, ForecastSource
from agent.contract.zones import parse_zone
from tests.support.bundles import TINY, write_history_csv
from tests.support.forecasts import peaks_of


def failed(capsys: pytest.CaptureFixture[str], code: int, *arguments: str) -> str:
    assert run_command([*arguments]) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert "Traceback" not in err
    return err


def test_forecasts_from_files_alone(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    history = write_history_csv(tmp_path / "load.csv", days=20)
    arguments = ["forecast", "--bundle", str(TINY), "--history", str(history), "--timestamps-in", "+10:00"]
    assert run_command([*arguments, "--json"]) == 0
    out, err = capsys.readouterr()
    answer = json.loads(out)
    assert answer["schema"] == 1
    assert answer["model"] == "tiny-plant@1"
    assert len(answer["power_kw"]) == 48
    ((low, middle, high),) = answer["peak_kw"]
    assert low <= middle <= high
    assert 0.8 < middle / max(step[1] for step in answer["power_kw"]) < 1.3
    assert all(low <= middle <= high for low, middle, high in answer["power_kw"])
    assert "960 rows" in err
    for more in ([], ["--plot"]):
        assert run_command([*arguments, *more]) == 0
        text = capsys.readouterr().out
        assert f": {middle:,.1f} kW ({low:,.1f} to {high:,.1f} kW)." in text
        assert text.count("Peak near ") == 1


def test_finer_history_is_averaged_into_the_model_slots(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    coarse = write_history_csv(tmp_path / "coarse.csv", days=20)
    head, *lines = coarse.read_text().splitlines()
    fine = [head]
    for line in lines:
        stamp, value = line.split(",")
        later = stamp[:14] + ("15" if stamp[14:16] == "00" else "45")
        fine += [f"{stamp},{float(value) - 1:.3f}", f"{later},{float(value) + 1:.3f}"]
    (tmp_path / "fine.csv").write_text("\n".join(fine) + "\n")
    answers = []
    for name in ("coarse.csv", "fine.csv"):
        arguments = ["forecast", "--bundle", str(TINY), "--history", str(tmp_path / name), "--timestamps-in", "+10:00"]
        assert run_command([*arguments, "--json"]) == 0
        answers.append(json.loads(capsys.readouterr().out))
    assert answers[0]["origin_ms"] == answers[1]["origin_ms"]
    assert answers[0]["power_kw"] == answers[1]["power_kw"]


@pytest.mark.parametrize("frame", ["+05:45", "+05:30", "-00:10"])
def test_a_forecast_begins_where_the_history_ends_whatever_the_zone(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, frame: str
) -> None:
    history = write_history_csv(tmp_path / "load.csv", days=20)
    arguments = ["forecast", "--bundle", str(TINY), "--history", str(history), "--timestamps-in", frame, "--json"]
    assert run_command(arguments) == 0
    ends = dt.datetime.fromisoformat(f"2014-01-21T00:00{frame}")
    assert json.loads(capsys.readouterr().out)["origin_ms"] == ends.timestamp() * 1000


@pytest.mark.parametrize(
    ("rows", "code", "expected"),
    [
        ("2014-01-01T00:00,5\n2014-01-01T00:30,x\n", 78, "line 3"),
        ("2014-01-01T00:00,5\n2014-01-01T00:00,6\n", 78, "stands twice"),
        ("2014-01-01T00:00,5\n2014-01-01T02:00,6\n", 78, "finer history"),
        ("2014-01-01T00:00,5\n2014-01-01T00:30,6\n", 75, "days of history"),
    ],
)
def test_a_history_that_does_not_do_is_named(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, rows: str, code: int, expected: str
) -> None:
    (tmp_path / "load.csv").write_text("timestamp,load\n" + rows)
    arguments = ["forecast", "--bundle", str(TINY), "--history", str(tmp_path / "load.csv")]
    assert expected in failed(capsys, code, *arguments)


def test_a_damaged_bundle_is_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    data = bytearray(TINY.read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "bad.ewb").write_bytes(data)
    history = write_history_csv(tmp_path / "load.csv", days=20)
    failed(capsys, 65, "forecast", "--bundle", str(tmp_path / "bad.ewb"), "--history", str(history))
    failed(capsys, 78, "forecast", "--bundle", str(tmp_path / "none.ewb"), "--history", str(history))


def fan(slots: int = 48, slot_s: int = 1800, **more: Any) -> Forecast:
    middle = 100 + 50 * np.sin(np.arange(slots) / slots * 6.28)
    power_kw = np.stack([middle - 10, middle, middle + 10], axis=-1)
    peak_kw = peaks_of(power_kw, slot_s)
    return Forecast(1_412_085_600_000, slot_s, (0.1, 0.5, 0.9), power_kw, peak_kw, ForecastSource.ACTIVE, "m@1", **more)


@pytest.mark.parametrize("width", [20, 76, 120])
def test_the_drawing_keeps_to_its_width_and_shows_local_hours(width: int) -> None:
    drawing = draw_fan(fan(), parse_zone("Australia/Melbourne"), width=width, height=10)
    lines = drawing.splitlines()
    assert len(lines) == 11
    assert all(len(line) <= width for line in lines)
    if width > 20:
        assert "00:00" in lines[-1]


def test_a_terminal_without_braille_gets_ascii() -> None:
    drawing = draw_fan(fan(), parse_zone("UTC"), ascii_only=True)
    assert drawing.isascii()
    assert "*" in drawing
    assert ":" in drawing


@pytest.mark.parametrize(("slots", "slot_s"), [(1, 3600), (2016, 300), (168, 3600)])
def test_any_horizon_can_be_drawn(slots: int, slot_s: int) -> None:
    assert draw_fan(fan(slots, slot_s), parse_zone("UTC"))
