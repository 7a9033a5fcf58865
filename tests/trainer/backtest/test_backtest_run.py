"""A whole backtest on a made-up plant of weeks, by the command and by its parts, with networks that learn for moments."""

import csv
import dataclasses
import json
import shutil

import numpy as np
import pytest
from click.testing import CliRunner

from agent.contract.errors import ConfigError
from agent.contract.featurespec import Scaling
from agent.inference.naive import forecast_naive
from agent.inference.tracking import Tracker
from converter import modeldir
from converter.modeldir import ModelDir
from tests.support.livedplants import lived_plant
from tests.support.plants import plant_load, write_origins, write_plant
from trainer.backtest import backtest
from trainer.backtest import scores as judgement
from trainer.backtest.inputs import Request, Source, prepare
from trainer.cli.main import trainer
from trainer.learning import holdout, training, windows
from trainer.learning.options import Options

HOUR_S, DAYS, SEED = 3600, 74, 5
ORIGINS = ("2022-03-04", "2022-03-05T07:00", "2022-03-13", "2022-03-18")  # days 60, 61 (a gap before it), 69, 74


def request_for(folder, load, *origins):
    source = Source(write_plant(folder / "mill.csv", load, HOUR_S), "+01:00", "Europe/Berlin", "DE")
    return Request(source, ORIGINS[0], write_origins(folder / "o.csv", *origins), folder / "f.csv")


def swaying():
    """A plant on which last week is a poor guide, with a gap of two days before the second origin."""
    lost = plant_load(DAYS, HOUR_S, sway=15.0)
    lost[59 * 24 : 61 * 24] = np.nan
    return lost


def command(request, work, *more):
    source = request.source
    return [
        *("backtest", "--csv", source.csv, "--timestamps-in", source.frame, "--timezone", source.zone),
        *("--holidays", source.holidays, "--train-end", request.train_end, "--origins", request.origins),
        *("--out", request.out, "--seed", SEED, "--work-dir", work, "--quick", *more),
    ]


def run(*arguments):
    return CliRunner().invoke(trainer, [str(argument) for argument in arguments])


def read(path):
    rows = list(csv.DictReader(path.read_text().splitlines()))
    return {
        origin: [row for row in rows if row["origin"] == origin] for origin in dict.fromkeys(r["origin"] for r in rows)
    }


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """One backtest by the command: its folder and what it said."""
    folder = tmp_path_factory.mktemp("backtest")
    result = run(*command(request_for(folder, swaying(), *ORIGINS), folder / "work", "--json"))
    assert result.exit_code == 0, result.output
    assert not (folder / "centre").exists()
    return folder, json.loads(
        result.stdout.splitlines()[-1]
    )  # before it: what TensorFlow prints, here in this very process


def test_forecasts_24_hours_from_each_origin_in_the_frame_of_the_file(done):
    folder, result = done
    found = read(folder / "f.csv")
    assert list(found) == ["2022-03-04T00:00", "2022-03-05T07:00", "2022-03-13T00:00", "2022-03-18T00:00"]
    assert [row["timestamp"] for row in found["2022-03-05T07:00"]][::23] == ["2022-03-05T07:00", "2022-03-06T06:00"]
    for rows in found.values():
        assert len(rows) == 24
        power = np.array([[float(row[name]) for name in ("q0.1", "q0.5", "q0.9")] for row in rows])
        assert (np.diff(power, axis=1) >= 0).all()
    assert result["origins"] == 4


def test_where_history_is_too_full_of_gaps_the_device_s_naive_forecasts_and_that_is_told(done):
    folder, result = done
    assert result["by_source"] == {"active": 3, "naive": 1}
    ((reason, count),) = result["reasons"].items()
    assert count == 1
    assert "last 7 days are missing" in reason
    history = swaying()[25 * 24 + 7 : 61 * 24 + 7].round(4)
    naive = forecast_naive(0, history, HOUR_S, 24).power_kw
    written = [
        [float(row[name]) for name in ("q0.1", "q0.5", "q0.9")] for row in read(folder / "f.csv")["2022-03-05T07:00"]
    ]
    assert written == naive.tolist()


def test_gaps_that_were_repaired_are_counted(done):
    _, result = done
    assert result["repaired"] >= 2


def test_judges_every_forecaster_on_the_slots_whose_truth_is_known(done):
    _, result = done
    scores = result["scores"]
    # The first origin lies within the gap, the last at the end of the file.
    assert scores["slots"] == result["slots"] == 24 + 24
    for figures in (scores["pinball"], scores["mae"], scores["coverage"]):
        assert set(figures) == {"naive", "teacher", "student_float", "student_int8", "student_int8_calibrated"}
    assert scores["pinball"]["student_int8"] == pytest.approx(scores["pinball"]["student_float"], rel=0.2)


def test_other_forecasters_are_kept_in_the_same_form(done):
    folder, _ = done
    for name in ("naive", "teacher", "student_float", "student_int8_calibrated"):
        found = read(folder / "work" / f"forecasts-{name}.csv")
        assert list(found) == list(read(folder / "f.csv"))


def test_says_how_long_each_stage_took_and_how_large_the_student_is(done):
    folder, result = done
    assert {"train", "train_student", "convert", "forecast", "judge"} <= set(result["seconds"])
    assert result["train_s"] == pytest.approx(result["seconds"]["train"] + result["seconds"]["convert"], abs=0.01)
    assert result["student_bytes"] == (folder / "work" / "model" / modeldir.INT8).stat().st_size
    assert 50 < result["peak_rss_mib"] < 8000


def test_the_same_seed_gives_the_same_bytes_whatever_happens_after_the_last_origin(done, tmp_path):
    folder, _ = done
    load = swaying()
    load[69 * 24 :] = 1e6 * np.random.default_rng(0).random(5 * 24)
    told = []
    options = Options(seed=SEED).quick()
    prepared = prepare(request_for(tmp_path, load, *ORIGINS[:3]))
    backtest.run(prepared, tmp_path / "work", options, lambda *step: told.append(step))
    assert {stage for stage, _, _ in told} >= {"student"}
    others = [f"work/forecasts-{name}.csv" for name in ("naive", "teacher", "student_float", "student_int8_calibrated")]
    for name in ("f.csv", *others):
        before = (folder / name).read_text().splitlines()[: 1 + 3 * 24]
        assert (tmp_path / name).read_text().splitlines() == before, name


def judged(done, folder, load):
    """Forecast from two origins of one day with the model that was made; the forecasts, and those of the others."""
    model = ModelDir(done[0] / "work" / "model")
    folder.mkdir()
    prepared = prepare(request_for(folder, load, "2022-03-13", "2022-03-13T06:00"))
    forecasts, _ = backtest.replay(model, prepared.plant, prepared.origins)
    return forecasts, judgement.judge(model, prepared, forecasts)[1]


def test_no_forecaster_knows_what_comes_after_its_origin(done, tmp_path):
    load = swaying()
    last = 69 * 24 + 6
    later = np.concatenate([load[:last], 3 * load[last:]])
    _, expected = judged(done, tmp_path / "a", load)
    _, found = judged(done, tmp_path / "b", later)
    assert set(expected) == {"naive", "teacher", "student_float", "student_int8_calibrated"}
    for name, power in expected.items():
        assert found[name].tolist() == power.tolist(), name


def test_calibrated_forecasts_are_those_of_a_tracker_that_begins_with_the_bundle_and_learns_what_is_over(
    done, tmp_path
):
    (first, second), others = judged(done, tmp_path / "a", swaying())
    taught = judgement._first_calibration(ModelDir(done[0] / "work" / "model"))
    tracker = Tracker(HOUR_S, taught)
    expected = [tracker.issue(first)[0].power_kw]
    for number in range(6):
        power = round(float(swaying()[69 * 24 + number]), 4)  # as in the file
        tracker.learn(first.origin_ms + number * HOUR_S * 1000, power)
    expected.append(tracker.issue(second)[0].power_kw)
    assert others["student_int8_calibrated"].tolist() == np.stack(expected).tolist()
    assert expected[0].tolist() != Tracker(HOUR_S).issue(first)[0].power_kw.tolist(), "the bundle taught nothing"
    assert expected[1].tolist() != Tracker(HOUR_S, taught).issue(second)[0].power_kw.tolist(), "nothing was learnt"


def test_a_student_that_does_not_beat_naive_forecasts_and_that_devices_would_refuse_it_is_told(done, tmp_path):
    folder, result = done
    assert result["refused"] == ""
    work = ModelDir(shutil.copytree(folder / "work" / "model", tmp_path / "model"))
    record = work.read_json(modeldir.TRAINING)
    work.write_json(modeldir.TRAINING, {**record, "pinball_kw": {**record["pinball_kw"], "naive": 1e-3}})
    prepared = prepare(request_for(tmp_path, swaying(), *ORIGINS[:1]))
    (forecast,), _ = backtest.replay(work, prepared.plant, prepared.origins)
    assert forecast.source == "active"
    assert "devices would refuse this model" in backtest.refusal(work)


def test_a_working_folder_that_holds_a_model_is_left_as_it_is(done):
    folder, _ = done
    before = (folder / "f.csv").read_bytes()
    request = dataclasses.replace(request_for(folder, swaying(), *ORIGINS), out=folder / "other.csv")
    with pytest.raises(ConfigError, match="exists already"):
        backtest.run(prepare(request), folder / "work", Options())
    assert not (folder / "other.csv").exists()
    assert (folder / "f.csv").read_bytes() == before


def test_a_plant_with_few_days_learns_beside_the_pool_and_says_whom_it_left_out(tmp_path):
    request = request_for(tmp_path, plant_load(DAYS, HOUR_S, sway=15.0), *ORIGINS[:1])
    like = write_plant(tmp_path / "sister.csv", 3 * plant_load(DAYS, HOUR_S, seed=4), HOUR_S)
    fast = write_plant(tmp_path / "young.csv", plant_load(20, HOUR_S), HOUR_S)
    result = run(*command(request, tmp_path / "work", "--json", "--pool", like, "--pool", fast))
    assert result.exit_code == 0, result.output
    record = ModelDir(tmp_path / "work" / "model").read_json(modeldir.TRAINING)
    assert [one["plant"] for one in record["pool"]] == ["sister"]
    assert record["base_model"] is None  # one was made of both, and is kept nowhere
    told = json.loads(result.stdout.splitlines()[-1])
    assert told["seconds"]["train_base"] > 0
    said = told["remarks"]
    assert any("pool plant young is left out: " in text and "at least 28" in text for text in said)


def test_a_plant_with_many_days_learns_alone_and_that_is_told():
    of = lived_plant(120, HOUR_S)
    part = holdout.split(of, 24, 28)
    spec = windows.make_spec(of, 24, Scaling.TRAILING, part)
    learnt = windows.training_windows(spec, of, part, seed=1)
    found = training._beside((lived_plant(60, HOUR_S, plant="sister"),), spec, learnt, Options())
    assert found.plants == ()
    assert "not needed: the plant has" in found.left_out["sister"]
