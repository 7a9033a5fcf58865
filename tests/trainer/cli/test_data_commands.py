"""`import` and `quality` as an operator types them."""

import json

import numpy as np
import pytest

from agent.contract.exits import run_command
from tests.support.bundles import START_MS, plant_history
from tests.support.loadcurves import write_csv
from trainer.cli.main import trainer


@pytest.fixture
def run(tmp_path, capsys):
    def command(*arguments, code=0):
        given = ["--home", str(tmp_path / "centre"), *(str(argument) for argument in arguments)]
        assert run_command(trainer, given, "edgewatt-trainer") == code
        return capsys.readouterr()

    return command


@pytest.fixture
def csv(tmp_path):
    return tmp_path / "load.csv"


FRAME = ("--plant", "works", "--timestamps-in", "+10:00", "--timezone", "Australia/Melbourne")


def test_quality_tells_what_import_and_cleaning_found(run, csv):
    power = plant_history(20)
    power[500], power[700:710] = 5000, np.nan

    def change(rows):
        rows.insert(101, [rows[100][0], "7"])
        for row in rows:
            row[1] = row[1].replace("nan", "")

    said = run("import", "--csv", write_csv(csv, power=power, change=change), *FRAME, "--repair", "--json")
    assert "line 103: time 2014-01-02T16:00:00Z stands twice (duplicate)" in said.err
    found = json.loads(run("quality", "--plant", "works", "--json").out)
    assert (found["schema"], found["plant"], found["slots"], found["known"]) == (1, "works", 960, 950)
    findings = {finding["flag"]: finding for finding in found["findings"]}
    assert {flag: (finding["count"], finding["slots"]) for flag, finding in findings.items()} == {
        "gap": (1, 10),
        "spike": (1, 1),
        "duplicate": (1, 1),
    }
    assert findings["spike"]["first"] == [{"start_ms": START_MS + 500 * 1_800_000, "slots": 1}]
    assert findings["gap"]["share"] == pytest.approx(10 / 960)
    text = run("quality", "--plant", "works").out.splitlines()
    assert text[0].startswith("950 slots, 2013-12-31T14:00:00Z to ")
    assert "1 x spike far beyond all other load, not learnt from: 1 slots (0.10%), first 2014-01-11T00:00:00Z" in text


def test_a_register_with_weather_and_pv_is_imported(run, csv):
    write_csv(csv, power=np.arange(480) * 10.0, change=lambda rows: [row.extend(["20", "1"]) for row in rows],
              header="timestamp,load,temp,pv")  # fmt: skip
    said = run(
        *("import", "--file", csv, *FRAME, "--unit", "kWh", "--counter", "--rollover", 100_000),
        *("--covariate", "temperature_c=temp", "--pv-column", "pv"),
    )
    assert "479 added, 0 changed, 0 held already, temperature_c in 480, pv_kw in 479" in said.out


@pytest.mark.parametrize("wrong", [("--value-column", "kW"), ("--holidays", "Atlantis"), ("--plant", "No Name")])
def test_an_import_that_is_refused_makes_no_centre(run, csv, tmp_path, wrong):
    run("import", "--csv", write_csv(csv, 3), *FRAME, *wrong, code=78)
    assert not (tmp_path / "centre").exists()


@pytest.mark.parametrize(
    ("frame", "zone", "wrong"),
    [
        ("Mars", "UTC", "--timestamps-in: time zone 'Mars'"),
        ("UTC", "Mars", "--timezone: time zone 'Mars'"),
        ("UTC", "", "--timezone: time zone ''"),
    ],
)
def test_a_wrong_zone_is_named_by_its_option(run, csv, frame, zone, wrong):
    given = ("--plant", "works", "--timestamps-in", frame, "--timezone", zone)
    assert wrong in run("import", "--csv", write_csv(csv, 3), *given, code=78).err


@pytest.mark.parametrize("given", ["temperature_c", "temperature_c=", "=temp"])
def test_a_covariate_without_name_or_column_is_refused(run, csv, given):
    said = run("import", "--csv", write_csv(csv, 3), *FRAME, "--covariate", given, code=78)
    assert "--covariate" in said.err


def test_a_covariate_given_twice_is_refused(run, csv):
    both = ("--covariate", "wind=a", "--covariate", "wind=b")
    assert "is given twice" in run("import", "--csv", write_csv(csv, 3), *FRAME, *both, code=78).err


def test_quality_of_an_unknown_plant_names_the_known_ones(run, csv):
    run("import", "--csv", write_csv(csv, 3), *FRAME)
    assert "Known plants: works" in run("quality", "--plant", "mill", code=78).err
