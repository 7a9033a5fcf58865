"""`edgewatt-trainer search` and `train --options` as an operator runs them."""

import json
import subprocess
import sys

import pytest
from click.testing import CliRunner

from agent.contract.errors import ConfigError, RejectedError
from converter.modeldir import TRAINING, ModelDir
from tests.support.livedplants import hold, lived_plant
from trainer.cli.home import Home
from trainer.cli.learn import evaluate, train
from trainer.cli.search import search
from trainer.learning.options import Options


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    home = Home.of(tmp_path_factory.mktemp("centre"))
    hold(home, lived_plant(60, 3600))
    return home


@pytest.fixture(scope="module")
def searched(home):
    out = home.folder / "works.json"
    arguments = ["--plant", "works", "--trials", "2", "--seed", "4", "--quick", "--json", "--out", str(out)]
    result = CliRunner().invoke(search, arguments, obj=home, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout.splitlines()[-1]), out, result.stderr


def run(command, home, *arguments):
    return CliRunner().invoke(command, list(map(str, arguments)), obj=home, catch_exceptions=False)


def refused(command, home, *arguments):
    with pytest.raises(ConfigError) as caught:
        run(command, home, *arguments)
    return str(caught.value)


def test_a_search_tells_both_judgements_and_writes_the_choice(searched):
    told, out, progress = searched
    written = json.loads(out.read_text())
    assert told["options"] == written["options"]
    assert written["search"]["judged_kw"] == told["judged_kw"]
    assert written["search"]["unseen_kw"] == told["unseen_kw"]
    assert told["judged_kw"]["chosen"] <= told["judged_kw"]["default"]
    assert Options.from_json(written["options"], where="options").seed == 4
    assert "(the default)" in progress
    assert [trial["number"] for trial in told["trials"]] == [1, 2]


def test_training_takes_the_file_and_the_model_card_records_it(searched, home):
    told, out, _ = searched
    result = run(train, home, "--plant", "works", "--options", out, "--seed", 7, "--json")
    assert result.exit_code == 0, result.output
    config = ModelDir(home.models / "works-1").read_json(TRAINING)["config"]
    assert config == {**told["options"], "seed": 7}  # what was typed comes before the file


def test_a_wrong_file_is_refused_and_nothing_is_trained(home, tmp_path):
    path = tmp_path / "works.json"
    for options, complaint in [
        ({"teachers": 0}, "teachers: 0 is outside 1..9"),
        ({"rounds": 3}, "rounds: is no option"),
    ]:
        path.write_text(json.dumps({"schema": 1, "options": options}))
        said = refused(train, home, "--plant", "works", "--name", "wrong", "--options", path)
        assert said.startswith(f"{path}.options.{complaint}")
    assert "cannot be read" in refused(train, home, "--plant", "works", "--name", "wrong", "--options", tmp_path / "no")
    assert "--quick" in refused(train, home, "--plant", "works", "--name", "wrong", "--quick", "--options", path)
    assert not list(home.models.glob("*wrong*"))


@pytest.mark.parametrize("option", ["--package-power-w", "--grid-g-per-kwh"])
@pytest.mark.parametrize("value", ["nan", "inf", "1e9"])
def test_a_figure_that_is_none_is_refused_before_training(home, option, value):
    said = refused(train, home, "--plant", "works", "--name", "wrong", "--quick", option, value)
    assert said.startswith(f"{option}: {float(value)} is outside")
    assert not list(home.models.glob("*wrong*"))


def test_a_model_whose_record_names_no_plant_is_refused(home, tmp_path):
    (tmp_path / TRAINING).write_text('{"schema": 1}')
    with pytest.raises(RejectedError, match=r"plant: is missing\. Train the model again"):
        run(evaluate, home, "--model", tmp_path, "--from", "2022-02-01")


def test_an_existing_file_is_left_as_it_is(home, tmp_path):
    out = tmp_path / "works.json"
    out.write_text("mine")
    assert "exists already" in refused(search, home, "--plant", "works", "--quick", "--out", out)
    assert out.read_text() == "mine"


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--trials", "0"], "--trials: 0 is not a positive number"),
        (["--minutes", "0"], "--minutes: 0.0 is not a positive number"),
        (["--minutes", "nan"], "--minutes: nan is not a positive number"),
        (["--until", "2022-02-10"], "38 days of load where a choice needs at least 55"),
        (["--until", "2022-01-20"], "17 days of load where training needs at least"),
        (["--plant", "none"], "plant 'none' is unknown"),
    ],
)
def test_what_cannot_be_is_refused_and_writes_nothing(home, tmp_path, arguments, complaint):
    out = tmp_path / "works.json"
    assert complaint in refused(search, home, "--plant", "works", "--quick", "--out", out, *arguments)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_there_is_refused_before_the_search(home, tmp_path):
    assert "folder does not exist" in refused(search, home, "--plant", "works", "--out", tmp_path / "none" / "a.json")


def test_without_optuna_the_command_to_type_is_told():
    code = (
        "import sys; sys.modules['optuna'] = None\n"
        "from agent.contract.errors import ConfigError\n"
        "import trainer.cli.main\n"  # which every command needs
        "try:\n    import trainer.learning.search\n"
        "except ConfigError as exc:\n    print(exc)\n"
    )
    ran = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True)
    assert "pip install 'optuna>=4,<5'" in ran.stdout
