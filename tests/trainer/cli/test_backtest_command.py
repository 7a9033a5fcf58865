"""`edgewatt-trainer backtest` with wrong input: one line, exit code 78, before anything is trained, and no file."""

import pytest

from agent.contract.exits import run_command
from tests.support.plants import plant_load, write_origins, write_plant
from trainer.cli.main import trainer

HOUR_S = 3600


@pytest.fixture
def given(tmp_path):
    """Good arguments, to be spoilt."""
    return {
        "--csv": write_plant(tmp_path / "mill.csv", plant_load(70, HOUR_S), HOUR_S),
        "--timestamps-in": "+01:00",
        "--timezone": "Europe/Berlin",
        "--train-end": "2022-03-10",
        "--origins": write_origins(tmp_path / "o.csv", "2022-03-11"),
        "--out": tmp_path / "f.csv",
    }


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--csv", "nowhere.csv", "nowhere.csv: cannot be read"),
        ("--timestamps-in", "Mars", "--timestamps-in"),
        ("--timezone", "+25:00", "--timezone"),
        ("--train-end", "yesterday", "--train-end"),
        ("--train-end", "2022-01-20", "training needs at least 28"),
        ("--origins", "nowhere.csv", "nowhere.csv: cannot be read"),
        ("--holidays", "Atlantis", "Atlantis"),
        ("--temperature-column", "degrees", "degrees"),
        ("--temperature-column", "load", "is the load itself"),
        ("--pool", "nowhere.csv@UTC", "nowhere.csv: cannot be read"),
        ("--pool", "mill.csv@", "FILE[@FRAME[@ZONE[@HOLIDAYS]]]"),
    ],
)
def test_wrong_input_is_one_line_that_names_its_place(given, capsys, option, value, message):
    arguments = [str(part) for pair in {**given, option: value}.items() for part in pair]
    assert run_command(trainer, ["backtest", *arguments], "edgewatt-trainer") == 78
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("edgewatt-trainer: ")
    assert said.err.count("\n") == 1
    assert message in said.err
    assert not given["--out"].exists()


def test_needs_no_centre_and_makes_none(given, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    given["--train-end"] = "2022-01-20"
    run_command(trainer, ["backtest", *(str(part) for pair in given.items() for part in pair)], "edgewatt-trainer")
    assert not (tmp_path / "centre").exists()
