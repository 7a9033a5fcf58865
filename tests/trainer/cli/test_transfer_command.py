"""`edgewatt-trainer base`, `train --base` and `transfer` as an operator runs them."""

import datetime as dt
import json
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner

from agent.contract.errors import ConfigError
from agent.contract.jsonform import MAX_SAFE_INTEGER
from converter.modeldir import INT8, TRAINING, ModelDir
from tests.support.livedplants import hold, lived_plant
from trainer.cli.held import cleaned, cleaned_apart
from trainer.cli.home import Home
from trainer.cli.learn import train
from trainer.cli.transfer import base, transfer
from trainer.learning import options_file
from trainer.learning.options import Options
from trainer.learning.transfer import TITLES

UNTIL = "2022-08-29"  # four weeks from the first day of the annexe


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    home = Home.of(tmp_path_factory.mktemp("centre"))
    hold(home, lived_plant(140, 3600, plant="works", start=dt.date(2022, 5, 2)))
    annexe = lived_plant(42, 3600, plant="annexe", start=dt.date(2022, 8, 1), level_kw=40.0, seed=5)
    hold(home, annexe)
    hold(home, lived_plant(60, 3600, plant="shop", start=dt.date(2022, 5, 2), saturday=1.0, hump_at=18.0, sunday=0.8))
    hold(home, lived_plant(30, 1800, plant="finer", hump_at=3.0, sunday=1.0))
    return home


@pytest.fixture(scope="module")
def moved(home):
    arguments = ["--target", "annexe", "--until", UNTIL, "--quick", "--json"]
    result = CliRunner().invoke(transfer, arguments, obj=home, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def common(home):
    arguments = ["--name", "common", "--plant", "works", "--slot-minutes", "60", "--quick", "--json"]
    result = CliRunner().invoke(base, arguments, obj=home, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout.splitlines()[-1])


def refused(command, home, *arguments):
    with pytest.raises(ConfigError) as caught:
        CliRunner().invoke(command, list(arguments), obj=home, catch_exceptions=False)
    return caught.value


def test_a_transfer_beats_four_weeks_alone_on_the_days_after_them(moved):
    assert moved["source"] == "works"  # the nearest, not the first by name
    assert moved["ratio_transfer_vs_scratch"] < 0.95
    last = moved["steps"][6]["figures"]
    assert last["days"] == 14
    assert not last["held_out_week"]


def test_each_of_the_seven_steps_reports(moved):
    assert [step["title"] for step in moved["steps"]] == list(TITLES)
    assert all(step["text"] for step in moved["steps"])
    figures = [step["figures"] for step in moved["steps"]]
    assert next(iter(figures[0]["distances"])) == "works"
    assert set(figures[0]["distances"]) == {"works", "shop", "finer"}
    assert figures[1]["source"]["to_ms"] == figures[1]["target"]["to_ms"]  # a neighbour's later days tell nothing
    assert figures[3]["pinball_kw"]["base"] > 0
    assert figures[4]["from_source"] == figures[4]["parameters"]
    assert sum(figures[5]["teacher_weights"].values()) == pytest.approx(1.0)


def test_the_model_is_usable_and_knows_where_it_comes_from(moved, home):
    folder = ModelDir(home.models / "annexe-1")
    assert moved["model_dir"] == str(folder.path)
    assert folder.file(INT8).exists()
    record = folder.read_json(TRAINING)
    assert [one["plant"] for one in record["pool"]] == ["works"]
    source = json.loads((folder.path / "source-model" / "base.json").read_text())
    assert record["base_model"] == {"name": "annexe-source", "sha256": source["weights_sha256"]}
    assert record["data_to_ms"] <= moved["steps"][6]["figures"]["from_ms"]
    kept = folder.read_json("transfer.json")
    assert kept["steps"] == moved["steps"]


def test_a_base_is_kept_and_a_plant_trains_from_it(common, home):
    assert [one["plant"] for one in common["plants"]] == ["works"]
    arguments = ["--plant", "annexe", "--base", "common", "--name", "from-base", "--quick", "--json"]
    result = CliRunner().invoke(train, arguments, obj=home, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    record = ModelDir(home.models / "from-base-1").read_json(TRAINING)
    assert record["base_model"] == {"name": "common", "sha256": common["weights_sha256"]}


def test_a_base_replaces_no_other(common, home):
    record = home.bases / "common" / "base.json"
    before = record.read_bytes()
    assert "exists already" in str(refused(base, home, "--name", "common", "--quick"))
    assert record.read_bytes() == before


def test_what_cannot_be_is_refused_before_training(home):
    assert "itself" in str(refused(transfer, home, "--source", "works", "--target", "works"))
    assert "unknown" in str(refused(transfer, home, "--target", "none"))
    assert "slots of 30 min or shorter" in str(refused(transfer, home, "--source", "works", "--target", "finer"))
    assert "not usable" in str(refused(base, home, "--name", "Not so"))
    assert "holds no base" in str(refused(train, home, "--plant", "works", "--base", "none", "--name", "nothing"))
    assert not (home.models / "nothing-1").exists()


@pytest.mark.parametrize(("command", "plant"), [(train, "--plant"), (transfer, "--target")])
def test_a_version_that_no_bundle_takes_is_refused_before_training(home, command, plant):
    arguments = [plant, "annexe", "--quick", "--name", "late", "--version", str(MAX_SAFE_INTEGER + 1)]
    result = CliRunner().invoke(command, arguments, obj=home, catch_exceptions=False)
    assert (result.exit_code, "--version" in result.output) == (2, True)
    assert not list(home.models.glob("*late*"))


def test_too_little_load_is_refused_and_leaves_nothing(home):
    caught = refused(transfer, home, "--target", "annexe", "--until", "2022-08-20", "--name", "early")
    assert "19 days of load" in str(caught)
    assert not (home.models / "early-1").exists()


def test_a_plant_with_little_load_is_trained_beside_others_where_they_are_named(home, tmp_path):
    arguments = ["--plant", "annexe", "--until", UNTIL, "--name", "beside", "--pool", "works", "--pool", "finer"]
    few = dict.fromkeys(("teacher_updates", "base_updates", "adapt_updates", "student_updates"), 12)
    options = tmp_path / "options.json"  # who learns beside whom is the matter, not what is learnt
    options_file.write(options, replace(Options().quick(), boosting_rounds=4, **few), {})
    arguments += ["--options", str(options), "--json"]
    result = CliRunner().invoke(train, arguments, obj=home, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    record = ModelDir(home.models / "beside-1").read_json(TRAINING)
    assert [one["plant"] for one in record["pool"]] == ["works", "finer"]
    assert record["base_model"] is None  # one was made of the pool, and is kept nowhere


def test_what_comes_later_does_not_decide_what_is_the_meters_error_before():
    of = lived_plant(100, 3600)
    of.power_kw[50 * 24 : 50 * 24 + 30] = of.power_kw[50 * 24]  # a standstill, or a frozen meter
    until_ms = of.start_ms + 60 * 86_400_000
    before = cleaned([of], until_ms)[0]
    wild = replace(of, power_kw=np.concatenate([of.power_kw[: 60 * 24], of.power_kw[60 * 24 :] * 50]))
    for whole in (of, wild):
        found = cleaned_apart(whole, until_ms)
        assert len(found.power_kw) == len(whole.power_kw)
        assert np.array_equal(found.power_kw[: 60 * 24], before.power_kw, equal_nan=True)
    assert cleaned([of], of.start_ms) == []
