"""`edgewatt-trainer profiles` as an operator runs it."""

import dataclasses
import json

import numpy as np
import pytest
from click.testing import CliRunner

from agent.contract.errors import ConfigError
from tests.support.livedplants import hold, lived_plant
from trainer.cli.held import held_plants
from trainer.cli.home import Home
from trainer.cli.profiles import curve, profiles


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    home = Home.of(tmp_path_factory.mktemp("centre"))
    hold(home, lived_plant(60, 3600, plant="mill"))
    hold(home, lived_plant(60, 1800, plant="mill-2", level_kw=4000.0, seed=4))
    hold(home, lived_plant(60, 3600, plant="shop", saturday=1.0, hump_at=16.0))
    hold(home, lived_plant(9, 3600, plant="young"))
    return home


def run(home, *arguments):
    return CliRunner().invoke(profiles, list(arguments), obj=home)


def test_shows_the_day_types_of_a_plant_drawn_and_its_nearest(home):
    result = run(home, "--plant", "mill")
    assert result.exit_code == 0, result.output
    assert "mill: 60 whole days, 3 day types" in result.stdout
    assert "  working day: 4" in result.stdout
    assert "nearest: mill-2 (" in result.stdout
    drawn = [line for line in result.stdout.splitlines() if "█" in line]
    assert any(len(line.split()[0]) == 48 for line in drawn)
    assert "left out: plant young" in result.stderr


def test_shows_all_plants_and_which_are_alike(home):
    result = run(home)
    assert result.exit_code == 0, result.output
    for name in ("mill", "mill-2", "shop"):
        assert f"{name}: 60 whole days" in result.stdout
    assert "  shop, nearest mill" in result.stdout
    assert "young" not in result.stdout


def test_json_is_one_object_with_all_values(home):
    one = json.loads(run(home, "--plant", "mill", "--json").stdout)
    assert one["schema"] == 1
    assert one["nearest"][0]["plant"] == "mill-2"
    assert sum(kind["days"] for kind in one["day_types"]) + len(one["unusual_days"]) == one["days"] == 60
    assert len(one["day_types"][0]["mean_kw"]) == 48
    assert one["features"]["seasonal_swing"] is None
    every = json.loads(run(home, "--json").stdout)
    assert [plant["plant"] for plant in every["plants"]] == ["mill", "mill-2", "shop"]
    assert every["groups"] == [["mill", "mill-2"], ["shop"]]


def test_unknown_plant_young_plant_and_empty_centre_are_configuration_errors(home, tmp_path):
    unknown = run(home, "--plant", "mall").exception
    assert isinstance(unknown, ConfigError)
    assert "Known plants: mill, mill-2, shop, young" in str(unknown)
    young = run(home, "--plant", "young").exception
    assert isinstance(young, ConfigError)
    assert "9 whole days" in str(young)
    empty = Home.of(tmp_path)
    empty.database(make=True).dispose()
    assert "holds no plant" in str(run(empty).exception)


def test_a_plant_of_the_year_9999_is_left_out_and_named_and_stops_no_other(tmp_path):
    home = Home.of(tmp_path)
    hold(home, lived_plant(60, 3600, plant="mill"))
    late = lived_plant(60, 3600, plant="late")
    hold(home, dataclasses.replace(late, start_ms=253_402_300_799_000 // 3_600_000 * 3_600_000 - 86_400_000))
    for arguments in ((), ("--plant", "mill")):
        result = run(home, *arguments)
        assert result.exit_code == 0, result.output
        assert "mill: 60 whole days" in result.stdout
        assert "left out: plant late: holds load of a year after 2199" in result.stderr
    assert [one.plant for one in held_plants(home)] == ["mill"]
    assert isinstance(run(home, "--plant", "late").exception, ConfigError)


def test_curve_goes_from_the_lowest_block_to_the_highest():
    assert curve(np.array([0.0, 5.0, 10.0]), 0.0, 10.0) == "▁▅█"
    assert curve(np.zeros(3), 0.0, 0.0) == "▁▁▁"
