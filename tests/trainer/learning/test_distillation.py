"""How the student comes about: made years without held-out days, and a file that plain Keras reads."""

import json
import subprocess
import sys
from dataclasses import replace

import keras
import numpy as np
import pytest

from agent.contract.featurespec import FeatureSpec, Scaling
from converter import modeldir, scoring
from converter.modeldir import ModelDir
from tests.support.livedplants import lived_plant
from trainer.dataset.snapshot import read_snapshot
from trainer.learning import holdout, lessons, teacher, training, windows
from trainer.learning.evaluation import evaluate_held_out
from trainer.learning.options import Options

OPTIONS = replace(Options().quick(), teacher_updates=40, student_updates=60)
# As whoever converts it reads it: with none of our packages at hand.
WITH_PLAIN_KERAS = """
import sys
import keras
import numpy as np
with np.load(sys.argv[2]) as given:
    inputs = {"recent": given["recent"], "steps": given["steps"]}
model = keras.models.load_model(sys.argv[1], compile=False)
np.save(sys.argv[3], model.predict(inputs, verbose=0))
assert "trainer" not in sys.modules
print({type(layer).__module__.split(".")[0] for layer in model.layers})
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    of = lived_plant(60, 3600)
    stages = []
    result = training.train(
        of,
        tmp_path_factory.mktemp("run") / "works-1",
        name="works",
        version=1,
        options=OPTIONS,
        progress=lambda stage, done, total: stages.append((stage, done, total)),
    )
    return of, result, stages


def with_held_out(of, part, value):
    power = of.power_kw.copy()
    power[: part.end][part.mark()] = value
    return replace(of, power_kw=power)


def test_made_years_hold_no_held_out_day():
    of = lived_plant(120, 3600, level_kw=100.0)
    part = holdout.split(of, 24, 28)
    loud = with_held_out(of, part, 5000.0)
    spec = windows.make_spec(loud, 24, Scaling.TRAILING, part)
    learnt = windows.training_windows(spec, loud, part, seed=1)
    assert learnt.inputs.center_kw.max() > 1000  # what really came before a window may be a held-out week
    years = list(lessons.made_windows(spec, loud, part, learnt, replace(OPTIONS, made_years=2)))
    quiet = list(
        lessons.made_windows(spec, with_held_out(of, part, np.nan), part, learnt, replace(OPTIONS, made_years=2))
    )
    assert len(years) == len(quiet) == 2
    for year, other in zip(years, quiet, strict=True):
        assert np.isin(year.origins, learnt.origins).all()
        assert len(year) >= len(learnt) // 2
        held = part.mark()[year.origins[:, None] + np.arange(spec.horizon)]
        assert np.isnan(year.target[:, : spec.horizon][held]).all()
        assert np.isfinite(year.target[:, : spec.horizon][~held]).mean() > 0.95
        assert year.inputs.center_kw.max() < 200
        assert np.array_equal(year.inputs.steps, other.inputs.steps)
        assert np.array_equal(year.inputs.recent, other.inputs.recent)
    assert not np.array_equal(years[0].inputs.recent, years[1].inputs.recent)


def test_made_years_begin_later_within_the_hour_and_the_last_knows_nothing_ahead():
    of = lived_plant(60, 1800)
    of = replace(of, covariates={"temperature_c": np.random.default_rng(1).normal(12, 5, len(of.power_kw))})
    part = holdout.split(of, 24, 28)
    spec = windows.make_spec(of, 24, Scaling.TRAILING, part)
    learnt = windows.training_windows(spec, of, part, seed=1)
    known = spec.step_names.index("temperature_c_known")
    years = list(lessons.made_windows(spec, of, part, learnt, replace(OPTIONS, made_years=2)))
    assert np.isin(years[0].origins, learnt.origins).all()
    later = years[1].origins < part.end - spec.horizon
    assert np.isin(years[1].origins[later] - 1, learnt.origins).all()
    assert [float(year.inputs.steps[..., known].mean()) for year in years] == pytest.approx([1.0, 0.0], abs=0.02)


def test_the_student_is_read_by_plain_keras_and_says_what_was_scored(trained, tmp_path):
    _, result, _ = trained
    folder = ModelDir(result.path)
    arguments = [str(folder.file(name)) for name in (modeldir.STUDENT, modeldir.VALIDATION)]
    ran = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", WITH_PLAIN_KERAS, *arguments, tmp_path / "raw.npy"],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )
    assert ran.stdout.splitlines()[-1] == "{'keras'}"
    arrays = folder.read_arrays(modeldir.VALIDATION, "truth_kw", "center_kw", "scale_kw")
    spec = FeatureSpec.from_json(folder.read_json(modeldir.SPEC))
    raw = np.load(tmp_path / "raw.npy")
    score = scoring.score(spec, raw, arrays["center_kw"], arrays["scale_kw"], arrays["truth_kw"])
    assert score == pytest.approx(result.pinball_kw["student_float"], rel=1e-4)


def test_networks_are_saved_without_noise(trained):
    _, result, _ = trained
    for path in (result.path / modeldir.STUDENT, result.path / "teacher-network-1-trailing.keras"):
        kinds = {type(layer).__name__ for layer in keras.models.load_model(path, compile=False).layers}
        assert not kinds & {"GaussianNoise", "ColumnNoise"}


def test_the_record_tells_weights_scores_and_what_was_held_out(trained):
    of, result, _ = trained
    record = json.loads((result.path / modeldir.TRAINING).read_text())
    assert record["data_sha256"] == of.sha256 == read_snapshot(result.path / modeldir.SNAPSHOT).sha256
    assert sum(record["teacher_weights"].values()) == pytest.approx(1)
    assert record["pinball_kw"] == result.pinball_kw
    assert set(record["pinball_kw"]) == {"naive", "teacher", "student_float"}
    assert record["validation"]["days"] == 7
    assert record["config"]["made_years"] == OPTIONS.made_years
    back = teacher.load(result.spec, result.path)
    assert back.weights == record["teacher_weights"]


def test_every_stage_is_told_to_its_end(trained):
    _, _, stages = trained
    last = {stage: (done, total) for stage, done, total in stages}
    assert list(last) == ["kernel", "boosting", "networks", "labels", "student"]
    assert all(done == total for done, total in last.values())


def test_an_existing_folder_is_left_as_it_is(trained):
    from agent.contract.errors import ConfigError

    of, result, _ = trained
    before = {path.name: path.read_bytes() for path in result.path.iterdir()}
    with pytest.raises(ConfigError, match="exists already"):
        training.train(of, result.path, name="works", version=1, options=OPTIONS)
    assert {path.name: path.read_bytes() for path in result.path.iterdir()} == before


def test_held_out_weeks_are_judged_again_as_training_did(trained):
    of, result, _ = trained
    folder = ModelDir(result.path)
    weeks = folder.read_json(modeldir.TRAINING)["validation"]["weeks_ms"]
    part = holdout.split(of, 24, OPTIONS.validation_days)
    slot_ms = of.slot_s * 1000
    assert weeks == [[of.start_ms + slot * slot_ms for slot in stretch] for stretch in part.held_out]
    found = evaluate_held_out(folder)
    assert found.days == len(folder.validation().recent)
    for name in ("naive", "teacher", "student_float"):
        assert found.pinball_kw[name] == pytest.approx(result.pinball_kw[name], rel=1e-4), name


def test_a_model_is_judged_by_what_a_device_knows_and_says_what_knowing_more_would_give(tmp_path):
    of = lived_plant(60, 3600)
    warmth = np.random.default_rng(1).normal(12, 5, len(of.power_kw))
    of = replace(of, power_kw=of.power_kw + 6 * warmth, covariates={"temperature_c": warmth})
    result = training.train(
        of, tmp_path / "works-1", name="works", version=1, options=replace(OPTIONS, student_updates=60)
    )
    folder = ModelDir(result.path)
    known = result.spec.step_names.index("temperature_c_known")
    for judged in (folder.validation(), folder.parity()):
        assert not judged.steps[:, :, known].any()
    assert folder.calibration()[1][:, :, known].any()
    record = folder.read_json(modeldir.TRAINING)
    assert record["pinball_kw"]["student_float"] != record["pinball_kw_knowing_covariates"]


def test_a_plant_without_a_whole_day_is_learnt_from_without_made_years_and_that_is_recorded(tmp_path):
    of = lived_plant(60, 3600)
    of.power_kw[5::24] = np.nan  # one slot of each day
    result = training.train(of, tmp_path / "works-1", name="works", version=1, options=OPTIONS)
    assert result.made_years == 0 == ModelDir(result.path).read_json(modeldir.TRAINING)["made_years"]
