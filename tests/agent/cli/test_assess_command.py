"""`edgewatt assess`: table, picture, JSON, and what it refuses."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from agent.cli.main import run_command
from agent.contract.slots import Slot
from tests.support.assessments import ROOT, TEXT, changed
from tests.support.stores import T0, Bench

EXAMPLES = sorted((ROOT / "firmware-configs" / "assess").glob("*.toml"))
FEW = ["--runs", "200"]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_every_example_is_told_with_bill_and_formulas(capsys: pytest.CaptureFixture[str], example: Path) -> None:
    assert run_command(["assess", str(example), *FEW]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    for words in ("payback", "pays back in its life", "renewable use", "scope 2, marginal", "== Bill by", "J/kWh"):
        assert words in out
    assert "do not balance" in out


def test_the_same_seed_gives_the_same_answer(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    spread = '{ kind = "uniform", low = 80, high = 120 }'
    (tmp_path / "case.toml").write_text(changed(price_per_unit=spread))
    answers = []
    for seed in ("5", "5", "6"):
        assert run_command(["assess", str(tmp_path / "case.toml"), *FEW, "--seed", seed, "--json"]) == 0
        answers.append(json.loads(capsys.readouterr().out)["measures"])
    assert answers[0] == answers[1] != answers[2]


def test_json_is_one_object_with_everything_in_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["assess", str(EXAMPLES[0]), *FEW, "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["schema"] == 1
    for measure in answer["measures"]:
        for name, (low, middle, high) in answer["baseline"].items():
            assert low <= middle <= high, name
        assert 0 <= measure["paid_back_share"] <= 1
        assert measure["change"]["cost"][1] < answer["baseline"]["cost"][1]
    assert float(answer["bill"]["total"]) > 0
    assert set(answer["published"]) == {"predicted_kwh", "renewable_kwh", "saving_cost_j_per_kwh"}


def test_a_payback_that_never_comes_is_null_and_in_words(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "case.toml").write_text(TEXT)
    assert run_command(["assess", str(tmp_path / "case.toml"), *FEW, "--json"]) == 0
    (measure,) = json.loads(capsys.readouterr().out)["measures"]
    assert measure["payback_years"] == [None, None, None]
    assert run_command(["assess", str(tmp_path / "case.toml"), *FEW]) == 0
    assert "over 5 years" in capsys.readouterr().out


def test_the_picture_is_svg_with_every_plant_in_it(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    picture = tmp_path / "out.svg"
    picture.write_text("<svg an older one")
    assert run_command(["assess", str(EXAMPLES[0]), *FEW, "--picture", str(picture)]) == 0
    assert str(picture) in capsys.readouterr().err
    root = ET.parse(picture).getroot()
    words = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    for name in ("as it is", "economiser and insulation", "gas boiler", "heat pump and PV", "years", "t CO2e"):
        assert name in words
    assert "nan" not in picture.read_text()


def test_a_plant_without_any_spread_can_be_drawn(tmp_path: Path) -> None:
    (tmp_path / "case.toml").write_text(
        TEXT.replace("small works", "<small> & works").replace("investment = 10", "investment = 0")
    )
    picture = tmp_path / "out.svg"
    assert run_command(["assess", str(tmp_path / "case.toml"), *FEW, "--picture", str(picture)]) == 0
    assert "nan" not in picture.read_text()
    assert ET.parse(picture).getroot()[0].text.startswith("<small> & works")


def test_a_picture_never_takes_the_place_of_another_file(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    assert run_command(["assess", str(EXAMPLES[0]), *FEW, "--picture", str(tmp_path / "notes.txt")]) == 78
    assert "another kind" in capsys.readouterr().err
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_the_devices_own_slots_are_billed_in_place_of_the_mean_day(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    configuration = (ROOT / "firmware-configs" / "agent.toml").read_text()
    for given, here in (("/var/lib/edgewatt", "state"), ("tariffs/", f"{ROOT}/firmware-configs/tariffs/")):
        configuration = configuration.replace(given, here)
    (tmp_path / "agent.toml").write_text(configuration)
    bench = Bench(tmp_path / "state")
    start_ms = T0 - T0 % 86_400_000
    slots = [Slot(start_ms + hour * 3_600_000, 3600, 250_000, 250.0, 1.0) for hour in range(24)]
    bench.store.append("slots", [slot.to_row() for slot in slots])
    bench.store.close()
    arguments = ["--config", str(tmp_path / "agent.toml"), "assess", str(EXAMPLES[0]), *FEW, "--store", "--json"]
    assert run_command(arguments) == 0
    bill = json.loads(capsys.readouterr().out)["bill"]
    assert bill["imported_kwh"] == 6000
    assert (bill["start_ms"], bill["end_ms"]) == (start_ms, start_ms + 86_400_000)


@pytest.mark.parametrize(
    ("more", "code", "says"),
    [(["--runs", "5"], 78, "runs: 5 is outside"), (["--seed", "-1"], 78, "seed: -1"), (["--store"], 2, "[bill]")],
)
def test_wrong_options_are_named(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, more: list[str], code: int, says: str
) -> None:
    (tmp_path / "case.toml").write_text(TEXT)
    assert run_command(["assess", str(tmp_path / "case.toml"), *more]) == code
    assert says in capsys.readouterr().err


def test_everything_that_is_wrong_in_a_file_is_listed(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "case.toml").write_text(
        TEXT.replace("stack_loss_percent = 12", "stack_loss_percent = 99").replace("= 700", "= nan")
    )
    assert run_command(["assess", str(tmp_path / "case.toml")]) == 78
    err = capsys.readouterr().err
    assert "2 problems" in err
    assert "boiler: the losses can add up to 107 %" in err
    assert "demand.process_heat_kwh: is not a number" in err
