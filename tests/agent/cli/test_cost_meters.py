"""`edgewatt cost bill` with readings of the tariff's other meters: heat, water, gas and steam on one invoice."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from agent.cli.main import run_command
from tests.support.billing import at, steady
from tests.support.costplants import HEAD, NIGHT_AND_DAY, CostPlant

PACK = Path(__file__).parents[3] / "firmware-configs" / "tariffs" / "de-baunatal-heat-and-water.toml"
READINGS = {"heat": (1000, 5000), "water": (0, 100), "gas": (200.5, 700.5), "steam": (1, 11)}


@pytest.fixture
def plant(tmp_path: Path) -> CostPlant:
    plant = CostPlant(tmp_path, NIGHT_AND_DAY)
    (tmp_path / "tariff" / "0.toml").write_text(PACK.read_text())
    plant.store(steady(at(2026, 10, 1), at(2026, 11, 1), 100.0, 3600))
    for name, (first, last) in READINGS.items():
        text = f"time,reading\n2026-10-01 00:00,{first}\n2026-11-01 00:00,{last}\n"
        (tmp_path / f"{name}.csv").write_text(text)
    return plant


def _bill(plant: CostPlant, capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, dict[str, Any], str]:
    code = run_command(plant.command("cost", "bill", "--month", "2026-10", "--json", *words))
    out, err = capsys.readouterr()
    return code, json.loads(out) if code == 0 else {}, err


def _given(plant: CostPlant, *names: str) -> list[str]:
    return [word for name in names for word in ("--meter", f"{name}={plant.folder / name}.csv")]


def test_all_meters_stand_on_one_invoice(plant: CostPlant, capsys: pytest.CaptureFixture[str]) -> None:
    code, answer, _ = _bill(plant, capsys, *_given(plant, *READINGS))
    assert code == 0
    # Worked by hand: 500 m3 of gas are 5600 kWh, and 31 of 365 days of 200 kW at 18.18.
    assert {line["period"]: line["amount"] for line in answer["lines"]} == {
        "heat": "310.52",
        "water": "241.00",
        "sewage": "183.00",
        "gas": "336.00",
        "steam": "450.00",
        "heat-base": "308.81",
        "gas-tax": "30.80",
        "vat-full": "272.86",
        "vat-reduced": "16.87",
    }
    assert answer["amount"] == answer["low"] == answer["high"] == "2149.86"
    assert "gas: readings are up to 31 days apart; what was used between two is spread evenly" in answer["notes"]


def test_a_meter_that_is_not_given_is_left_out_and_said(plant: CostPlant, capsys: pytest.CaptureFixture[str]) -> None:
    _, answer, _ = _bill(plant, capsys, *_given(plant, "water"))
    lines = {line["period"]: line["amount"] for line in answer["lines"]}
    assert (lines["water"], lines["sewage"]) == ("241.00", "183.00")
    assert not lines.keys() & {"heat", "gas", "steam"}
    assert any("gas: left out" in note for note in answer["notes"])


def test_days_that_readings_do_not_cover_are_a_range(plant: CostPlant, capsys: pytest.CaptureFixture[str]) -> None:
    (plant.folder / "water.csv").write_text("time,reading\n2026-10-01 00:00,0\n2026-10-21 00:00,80\n")
    _, answer, _ = _bill(plant, capsys, *_given(plant, "heat", "water", "gas", "steam"))
    assert {line["period"]: line["amount"] for line in answer["lines"]}["water"] == "192.80"
    assert answer["low"] == answer["amount"]  # 265 hours may have been without, or each like the highest: 44.255 m3
    assert float(answer["high"]) - float(answer["low"]) == pytest.approx(44.255 * (2.41 * 1.07 + 1.83), abs=0.02)


def test_what_a_meter_counted_earlier_in_the_year_tells_the_tier(
    plant: CostPlant, capsys: pytest.CaptureFixture[str]
) -> None:
    tiers = 'tiers_per = "year"\ntiers = [{up_to = 1000, price = 0.1}, {price = 0.01}]\n'
    meter = '[[meter]]\nname = "gas"\ncarrier = "gas"\nunit = "kWh"\n[[energy]]\nname = "gas"\nmeter = "gas"\n'
    (plant.folder / "tariff" / "0.toml").write_text(f"{HEAD}{meter}{tiers}")
    (plant.folder / "gas.csv").write_text(
        "time,amount\n2026-01-01 00:00,900\n2026-10-01 00:00,300\n2026-11-01 00:00,0\n"
    )
    _, answer, _ = _bill(plant, capsys, *_given(plant, "gas"))
    assert answer["low"] == answer["amount"] == answer["high"] == "12.00"  # 100 kWh at 0.10, 200 at 0.01


def test_an_invoice_of_all_meters_is_explained(plant: CostPlant, capsys: pytest.CaptureFixture[str]) -> None:
    theirs = plant.folder / "theirs.csv"
    _bill(plant, capsys, *_given(plant, *READINGS), "--csv", str(theirs))
    theirs.write_text(theirs.read_text().replace("241.00", "265.10").replace("16.87", "18.56"))  # 110 m3 of water
    words = ["cost", "reconcile", str(theirs), "--month", "2026-10", "--json", *_given(plant, *READINGS)]
    assert run_command(plant.command(*words)) == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["ours"], answer["theirs"], answer["difference"]) == ("2149.86", "2175.65", "25.79")


def test_what_another_meter_counted_is_not_explained_by_the_plants_slots(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gas = '[[meter]]\nname = "gas"\ncarrier = "gas"\nunit = "kWh"\n[[energy]]\nname = "gas"\nmeter = "gas"\n'
    tiers = "tiers = [{up_to = 500, price = 0.1}, {price = 0.05}]\n"  # two lines of gas, and one of power
    plant = CostPlant(tmp_path, f'{gas}{tiers}[[energy]]\nname = "power"\nprice = 0.2\n')
    plant.store(steady(at(2026, 9, 30), at(2026, 11, 2), 100.0, 3600))
    (tmp_path / "gas.csv").write_text("time,reading\n2026-09-01 00:00,0\n2026-12-01 00:00,2185\n")
    theirs = tmp_path / "theirs.csv"
    _bill(plant, capsys, *_given(plant, "gas"), "--csv", str(theirs))
    theirs.write_text(theirs.read_text().replace("245", "1245").replace("12.25", "62.25"))  # 1000 kWh of gas more
    words = ["cost", "reconcile", str(theirs), "--month", "2026-10", "--json", *_given(plant, "gas")]
    assert run_command(plant.command(*words)) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["difference"] == "50.00"
    assert not [text for text in answer["findings"] if "their energies" in text]


def test_emissions_are_said_to_be_those_of_electricity(plant: CostPlant, capsys: pytest.CaptureFixture[str]) -> None:
    factor = '[[factor]]\nname = "grid"\nledger = "scope-2-location"\nkg_per_unit = 0.4\nsource = "test"\n'
    (plant.folder / "carbon.toml").write_text(f'name = "grid"\nzone = "UTC"\n{factor}')
    plant.config.write_text(plant.config.read_text() + '[carbon]\nfile = "carbon.toml"\n')
    _, answer, _ = _bill(plant, capsys, *_given(plant, "gas"))
    assert "the emissions are those of electricity alone" in answer["notes"]


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--meter", "oil=x.csv"], 2, "is no meter of the tariff. The tariff's are: heat, water, gas, steam."),
        (["--meter", "main=x.csv"], 2, "the device counts the main meter itself"),
        (["--meter", "gas"], 2, "is not NAME=FILE.csv"),
        (["--meter", "gas=gone.csv"], 78, "gone.csv"),
        (["--meter", "gas=FOLDER/both.csv"], 78, "line 1: has both of the columns reading and amount"),
        (["--meter", "gas=FOLDER/early.csv"], 78, "tells nothing of these days"),
        (["--meter", "gas=FOLDER/long.csv"], 78, "long.csv: is larger than 16 MiB. Give one year at a time"),
        (["--meter", "gas=FOLDER/large.csv"], 78, "large.csv line 3: reading 1e+308 is too large"),
    ],
)
def test_what_cannot_be_used_is_said(
    plant: CostPlant, capsys: pytest.CaptureFixture[str], words: list[str], code: int, message: str
) -> None:
    (plant.folder / "both.csv").write_text("time,reading,amount\n2026-10-01 00:00,1,1\n2026-11-01 00:00,2,1\n")
    (plant.folder / "long.csv").touch()
    os.truncate(plant.folder / "long.csv", (16 << 20) + 1)
    (plant.folder / "large.csv").write_text("time,reading\n2026-10-01 00:00,1\n2026-11-01 00:00,1e308\n")
    (plant.folder / "early.csv").write_text("time,amount\n2025-10-01 00:00,1\n2025-10-02 00:00,2\n")
    found, _, err = _bill(plant, capsys, *(word.replace("FOLDER", str(plant.folder)) for word in words))
    assert found == code
    assert message in err
