"""`edgewatt-trainer report` as an operator runs it."""

import json

import pytest
from click.testing import CliRunner

from agent.contract.errors import ConfigError, RejectedError, StorageError
from agent.contract.exits import run_command
from converter.cli import converter
from tests.support import bundles, fleetdata
from trainer.cli.home import Home
from trainer.cli.report import report


@pytest.fixture
def home(tmp_path):
    engine = fleetdata.empty(tmp_path)
    writer = fleetdata.DeviceWriter(engine, "plant-north")
    writer.readings([1000, 2000])
    engine.dispose()
    return Home.of(tmp_path)


def run(home, *arguments):
    return CliRunner().invoke(report, [str(argument) for argument in arguments], obj=home)


def test_writes_the_page_and_prints_one_json_object(home, tmp_path):
    out = tmp_path / "report.html"
    result = run(home, "--out", out, "--devices", "plant-north", "--bundle", bundles.TINY, "--json")
    assert result.exit_code == 0, result.output
    value = json.loads(result.stdout)
    assert value["schema"] == 1
    assert value["devices"][0]["readings_held"] == 2
    assert value["report_bytes"] == out.stat().st_size
    assert out.read_text().startswith("<!DOCTYPE html>")


def test_without_json_stdout_stays_empty(home, tmp_path):
    result = run(home, "--out", tmp_path / "report.html")
    assert result.exit_code == 0
    assert result.stdout == ""
    assert "1 devices" not in result.stderr
    assert "1 device," in result.stderr


def test_refuses_a_bundle_that_does_not_beat_naive_and_keeps_the_old_page(home, tmp_path):
    out, bad = tmp_path / "report.html", tmp_path / "bad.ewb"
    out.write_text("the old page")
    bad.write_bytes(bundles.not_better_than_naive(bundles.tiny_bytes()))
    result = run(home, "--out", out, "--bundle", bad)
    assert isinstance(result.exception, RejectedError)
    assert out.read_text() == "the old page"


@pytest.mark.parametrize("data", [b"not a bundle", bundles.tiny_bytes()[:-100], bundles.tiny_bytes() + b"x" * 50])
def test_a_damaged_bundle_is_named(home, tmp_path, data, capsys):
    bad = tmp_path / "bad.ewb"
    bad.write_bytes(data)
    caught = run(home, "--out", tmp_path / "report.html", "--bundle", bad).exception
    assert isinstance(caught, RejectedError)
    assert caught.where == str(bad)
    assert run_command(converter, ["inspect", str(bad)], "edgewatt-converter") == 65
    assert f"edgewatt-converter: {bad}: " in capsys.readouterr().err


def test_unknown_device_or_zone_is_a_configuration_error(home, tmp_path):
    out = tmp_path / "report.html"
    assert isinstance(run(home, "--out", out, "--devices", "plant-south").exception, ConfigError)
    assert isinstance(run(home, "--out", out, "--zone", "Mars").exception, ConfigError)
    assert not out.exists()


def test_folder_that_cannot_be_written_is_a_storage_error(home, tmp_path):
    assert isinstance(run(home, "--out", tmp_path / "nowhere" / "report.html").exception, StorageError)


def test_a_mistyped_home_is_an_error_and_makes_nothing(tmp_path):
    result = run(Home.of(tmp_path / "nowhere"), "--out", tmp_path / "report.html")
    assert isinstance(result.exception, ConfigError)
    assert "there is no centre here" in str(result.exception)
    assert list(tmp_path.iterdir()) == []
