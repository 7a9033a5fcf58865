"""From a CSV file to a bundle that a device runs: real training, real conversion, both runtimes."""

import hashlib
import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from agent.contract import features
from agent.contract.bundle import Bundle
from agent.contract.errors import ConfigError, RejectedError
from agent.contract.exits import run_command
from agent.contract.featurespec import QUANTILES, Covariate
from agent.inference import calibration
from agent.inference.forecaster import Model
from converter import scoring
from converter.bundling import _card, bundle
from converter.cli import converter
from converter.conversion import check_form, convert, load_student, to_int8, to_unbiased_int8
from converter.modeldir import (
    CALIBRATION,
    CONVERSION,
    INT8,
    PARITY,
    SNAPSHOT,
    SPEC,
    STUDENT,
    TRAINING,
    VALIDATION,
    VERIFICATION,
    ModelDir,
)
from converter.verification import verify
from tests.support.bundles import START_MS, plant_history
from tests.support.loadcurves import write_csv
from trainer.cli.main import trainer
from trainer.dataset.snapshot import read_snapshot

ROOT = Path(__file__).resolve().parents[2]
TFLITE_PYTHON = ROOT / ".venv-tflite" / "bin" / "python"  # made by `make test`
CASES = ROOT / "tests" / "agent" / "inference" / "cases"
DAYS = 90
# As a device does it: opens the bundle, takes the runtime that is installed, runs one window after the other.
ON_ONE_RUNTIME = """
import sys
import numpy as np
from agent.contract.bundle import Bundle
from agent.inference.runtime import load_runtime
bundle, inputs, out = sys.argv[1:]
with open(bundle, "rb") as file:
    runtime = load_runtime(Bundle.from_bytes(file.read()).model)
with np.load(inputs) as given:
    recent, steps = given["recent"], given["steps"]
np.save(out, np.concatenate([runtime.run(recent[i : i + 1], steps[i : i + 1]) for i in range(len(recent))]))
assert "tensorflow" not in sys.modules
print(runtime.name)
"""


@pytest.fixture(scope="module")
def centre(tmp_path_factory):
    """A centre with 90 days of a plant, and a model of it: trained, converted, verified, bundled by the commands."""
    folder = tmp_path_factory.mktemp("centre")
    home, csv = folder / "home", write_csv(folder / "load.csv", DAYS)
    model, out = home / "models" / "works-1", folder / "works.ewb"
    for command, arguments in (
        (trainer, ["import", "--csv", csv, "--plant", "works", "--timestamps-in", "+10:00", "--holidays", "AU-VIC"]),
        (trainer, ["train", "--plant", "works", "--until", "2014-03-22", "--quick", "--package-power-w", "65"]),
        (converter, ["convert", model]),
        (converter, ["verify", model, "--tflite-python", TFLITE_PYTHON]),
        (converter, ["bundle", model, "--out", out]),
    ):
        where = ["--home", home] if command is trainer else []
        assert run_command(command, [str(part) for part in (*where, *arguments)], "test") == 0
    return folder


@pytest.fixture
def model(centre, tmp_path):
    """A copy of the model directory to spoil."""
    shutil.copytree(centre / "home" / "models" / "works-1", tmp_path / "works-1")
    return ModelDir(tmp_path / "works-1")


def edit(folder, name, **fields):
    folder.write_json(name, {**folder.read_json(name), **fields})


def run(capsys, command, *arguments):
    code = run_command(command, [str(part) for part in arguments], "edgewatt-test")
    said = capsys.readouterr()
    return code, said.out, said.err


def test_the_int8_student_beats_naive_and_stays_close_to_float(centre):
    scores = Bundle.from_bytes((centre / "works.ewb").read_bytes()).manifest.pinball_kw
    assert scores["student_int8"] < 0.9 * scores["naive"]
    assert scores["teacher"] < scores["naive"]
    assert scores["student_int8"] < 1.03 * scores["student_float"]


def test_the_bundle_forecasts_by_the_devices_own_code(centre):
    model = Model.load((centre / "works.ewb").read_bytes())
    power = plant_history(DAYS)[: 83 * 48]
    forecast = model.forecast(1_388_498_400_000, power)
    truth = plant_history(DAYS)[83 * 48 : 84 * 48]
    assert np.abs(forecast.level(0.5) - truth).mean() < 0.5 * np.abs(truth - truth.mean()).mean()
    assert model.check_golden() <= model.manifest.tolerance


def test_the_same_bundle_gives_the_same_on_both_runtimes_each_in_its_own_process(centre, tmp_path):
    """At most 3 int8 steps apart, at most 1 in 99.9 % of outputs, and 0.1 % of the loss."""
    bundle_bytes = (centre / "works.ewb").read_bytes()
    parsed = Bundle.from_bytes(bundle_bytes)
    spec = parsed.manifest.feature_spec
    power = plant_history(DAYS)
    origins = np.arange(20 * 48, len(power) - spec.horizon, 7)
    inputs = features.compute(spec, START_MS, power, origins)
    (tmp_path / "works.ewb").write_bytes(bundle_bytes)
    np.savez(tmp_path / "inputs.npz", recent=inputs.recent, steps=inputs.steps)
    names, raws = [], []
    for number, python in enumerate((sys.executable, TFLITE_PYTHON)):
        out = tmp_path / f"raw-{number}.npy"
        command = [python, "-c", ON_ONE_RUNTIME, tmp_path / "works.ewb", tmp_path / "inputs.npz", out]
        ran = subprocess.run(
            command,
            env={"PYTHONPATH": str(only_ours(tmp_path / f"path-{number}"))},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
        )
        names.append(ran.stdout.split()[0])
        raws.append(np.load(out))
    assert names == ["ai-edge-litert", "tflite-runtime"]
    step = ModelDir(centre / "home" / "models" / "works-1").read_json(VERIFICATION)["output_step"]
    steps_apart = np.rint(np.abs(raws[0] - raws[1]) / step)
    assert steps_apart.size > 40_000
    assert steps_apart.max() <= 3
    assert (steps_apart <= 1).mean() >= 0.999
    truth = power[origins[:, None] + np.arange(spec.horizon)]
    lite, other = (scoring.score(spec, raw, inputs.center_kw, inputs.scale_kw, truth) for raw in raws)
    assert other == pytest.approx(lite, rel=0.001)


def only_ours(path):
    """A path with links to our packages alone: the other environment must not see this one's libraries."""
    path.mkdir()
    for name in ("agent", "converter"):
        (path / name).symlink_to(ROOT / name)
    return path


class Calibration(NamedTuple):
    """What `ModelDir.calibration` gives, by name."""

    recent: Any
    steps: Any


def test_int8_is_not_shifted_in_the_mean_and_the_student_is_left_as_it_is(model):
    spec, of = model.spec(), Calibration(*model.calibration())
    student = load_student(model, spec)
    before = [weights.copy() for weights in student.get_weights()]
    in_float = np.asarray(student({"recent": of.recent, "steps": of.steps}, training=False))[:, : spec.horizon]
    shifts = {}
    for make in (to_int8, to_unbiased_int8):
        runtime = check_form(make(student, spec, of.recent, of.steps), spec)
        in_int8 = scoring.run_all(runtime, of.recent, of.steps)[:, : spec.horizon]
        shifts[make] = np.abs((in_int8 - in_float).mean(axis=(0, 1)))
    step = model.read_json(VERIFICATION)["output_step"]
    assert (shifts[to_unbiased_int8] < 0.1 * step).all()
    assert shifts[to_unbiased_int8].sum() < 0.5 * shifts[to_int8].sum()
    assert all(np.array_equal(one, other) for one, other in zip(before, student.get_weights(), strict=True))


def test_a_student_without_a_layer_for_its_slots_is_quantised_as_it_is(model):
    import keras

    spec, of = model.spec(), Calibration(*model.calibration())
    whole = load_student(model, spec)
    inside = keras.Model(whole.inputs, whole(whole.inputs), name="wrapped")
    assert "sum" not in {layer.name for layer in inside.layers}
    some = of.recent[:20], of.steps[:20]
    one, other = (  # their bytes hold names that Keras counts up
        scoring.run_all(check_form(make(inside, spec, *some), spec), *some) for make in (to_unbiased_int8, to_int8)
    )
    assert np.array_equal(one, other)


def test_each_runtime_is_measured_in_a_process_of_its_own(centre):
    found = ModelDir(centre / "home" / "models" / "works-1").read_json(VERIFICATION)
    lite, other = found["runtimes"]
    assert lite["runtime"].startswith("ai-edge-litert")
    assert other["runtime"] == "tflite-runtime 2.14.0"
    for runtime in (lite, other):
        assert 0 < runtime["median_ms"] < 1000
        assert 0 < runtime["resident_growth_kib"] < 65_536
    assert (lite["max_steps"], lite["differing"]) == (0, 0)
    assert other["above_one"] <= other["differing"] < 0.1
    assert 0 < found["arena_bytes"] < 65_536
    assert (found["windows"], found["runtime_windows"]) == (7, 289)


def test_the_daily_peak_stands_in_the_card_with_bias_and_band(centre, capsys):
    card = Bundle.from_bytes((centre / "works.ewb").read_bytes()).card
    for name in ("student_float", "student_int8"):
        peaks = card["metrics"]["daily_peaks"][name]
        assert peaks["days"] == card["metrics"]["validation"]["days"]
        assert abs(peaks["bias"]) < 0.1
        assert peaks["path_bias"] < peaks["bias"] + 0.05
        assert 0 <= peaks["coverage"] <= 1
    assert "daily peak: bias " in run(capsys, converter, "inspect", centre / "works.ewb")[1]


def test_the_card_says_what_the_model_knows_how_far_it_looks_and_how_it_was_judged(model):
    card = bundle(model).card
    assert "for 24 h" in card["purpose"]
    assert "weeks amid the data" in card["metrics"]["protocol"]
    assert any("load and calendar only" in limit for limit in card["limits"])
    spec = replace(model.spec(), horizon=96, covariates=(Covariate("temperature_c", 10.0, 5.0),))
    files = (model.read_json(name) for name in (TRAINING, CONVERSION, VERIFICATION))
    warm = _card(*files, {}, {}, spec)
    assert "for 48 h" in warm["purpose"]
    assert any("temperature_c" in limit for limit in warm["limits"])
    assert not any("load and calendar only" in limit for limit in warm["limits"])


def test_the_card_names_the_parents_of_the_model(centre):
    lineage = Bundle.from_bytes((centre / "works.ewb").read_bytes()).card["lineage"]
    folder = ModelDir(centre / "home" / "models" / "works-1")
    teacher = ("teacher.json", "teacher-kernel.npz", "teacher-network-1-trailing.keras")
    trees = tuple(f"teacher-boosting-{number}.txt" for number in range(1, 3 * len(QUANTILES) + 1))  # at three levels
    assert lineage["parents"] == {
        name: hashlib.sha256(folder.read_bytes(name)).hexdigest() for name in (STUDENT, *teacher, *trees)
    }
    assert lineage["model_sha256"] == hashlib.sha256(folder.read_bytes(INT8)).hexdigest()
    assert lineage["data_sha256"] == read_snapshot(folder.file(SNAPSHOT)).sha256
    assert {"base_model", "pool"} <= set(lineage)


def test_base_model_and_pool_of_the_training_run_stand_in_the_card(model):
    base, pool = {"name": "base-1", "sha256": "ab" * 32}, [{"plant": "other", "data_sha256": "cd" * 32}]
    edit(model, TRAINING, base_model=base, pool=pool)
    lineage = bundle(model).card["lineage"]
    assert (lineage["base_model"], lineage["pool"]) == (base, pool)


def test_the_bundle_brings_what_the_held_out_days_taught_about_its_band(centre):
    manifest = Bundle.from_bytes((centre / "works.ewb").read_bytes()).manifest
    slots, peaks = calibration.states(manifest.calibration, manifest.feature_spec.slot_s)
    assert {name: part["days"] for name, part in manifest.calibration.items()} == {"slots": 7, "peaks": 7}  # held out
    assert slots.teaches
    assert peaks.teaches


def test_every_operator_runs_in_int8_everywhere(centre):
    found = ModelDir(centre / "home" / "models" / "works-1").read_json(CONVERSION)
    for operator in found["operators"]:
        assert operator["obstacles"] == {"Edge TPU": [], "tflite-runtime 2.14": [], "LiteRT 2": []}
        assert operator["version"] >= 1
        assert all(text.startswith("INT8[") for text in operator["outputs"])
    assert {"CONV_2D", "FULLY_CONNECTED"} <= {op["name"] for op in found["operators"]}
    assert found["model_bytes"] <= 200_000


def test_the_card_names_data_configuration_and_energy(centre, capsys):
    code, out, _ = run(capsys, converter, "inspect", centre / "works.ewb", "--json")
    answer = json.loads(out)
    assert (code, answer["schema"]) == (0, 1)
    card, manifest = answer["card"], answer["manifest"]
    assert card["lineage"]["data_sha256"] == manifest["training"]["data_sha256"]
    assert manifest["training"]["rows"] == 80 * 48
    assert card["footprint"]["energy_source"] in {"stated 65 W", "measured (RAPL, whole package)"}
    assert card["footprint"]["energy_wh"] > 0
    assert set(card["metrics"]["pinball_kw"]) == {"naive", "teacher", "student_float", "student_int8"}
    assert run(capsys, converter, "inspect", centre / "works.ewb")[1].count("x naive") == 4


def test_judges_all_four_on_days_that_training_never_saw(centre, capsys):
    folder = centre / "home" / "models" / "works-1"
    code, out, _ = run(
        capsys, trainer, "--home", centre / "home", "evaluate", "--model", folder, "--from", "2014-03-22", "--json"
    )
    answer = json.loads(out)
    assert (code, answer["days"], answer["slots"], answer["seen"]) == (0, 10, 480, False)
    assert list(answer["pinball_kw"]) == ["naive", "teacher", "student_float", "student_int8"]
    assert answer["pinball_kw"]["student_int8"] < 0.9 * answer["pinball_kw"]["naive"]
    code, out, _err = run(
        capsys, trainer, "--home", centre / "home", "evaluate", "--model", folder, "--from", "2014-03-20"
    )
    assert "flatter" in out


def test_the_same_seed_gives_the_same_student(centre, tmp_path):
    from trainer.learning.options import Options
    from trainer.learning.training import train

    snapshot = read_snapshot(centre / "home" / "models" / "works-1" / SNAPSHOT)
    snapshot = replace(snapshot, power_kw=snapshot.power_kw[: 40 * 48])
    options = replace(Options().quick(), teacher_updates=15, student_updates=15, boosting_rounds=4)
    runs = [train(snapshot, tmp_path / name, name=name, version=1, options=options) for name in ("once", "again")]
    assert runs[0].pinball_kw == runs[1].pinball_kw
    students = [load_student(ModelDir(run.path), run.spec).get_weights() for run in runs]
    assert students[0]
    assert all(np.array_equal(once, again) for once, again in zip(*students, strict=True))


def test_refuses_to_bundle_a_student_that_does_not_beat_naive(model, tmp_path, capsys):
    naive = model.read_json(TRAINING)["pinball_kw"]["naive"]
    edit(model, CONVERSION, pinball_int8_kw=naive * 1.001)
    code, _, err = run(capsys, converter, "bundle", model.path, "--out", tmp_path / "x.ewb")
    assert code == RejectedError.exit_code
    assert "does not beat seasonal naive" in err
    assert not (tmp_path / "x.ewb").exists()


def test_refuses_to_bundle_another_model_than_the_verified_one(model):
    content = bytearray(model.read_bytes(INT8))
    content[-1] ^= 1
    model.file(INT8).write_bytes(content)
    edit(model, CONVERSION, model_sha256=hashlib.sha256(content).hexdigest())
    with pytest.raises(ConfigError, match="not the model that was verified"):
        bundle(model)


def test_verification_refuses_a_model_that_is_not_its_student(model):
    with np.load(model.file(VALIDATION)) as kept:
        arrays = dict(kept)
    content = model.file(VERIFICATION).read_bytes()
    import keras

    student = keras.models.load_model(model.file("student.keras"), compile=False)
    for weight in student.trainable_variables:
        weight.assign(weight * 0.5)
    student.save(model.file("student.keras"))
    edit(model, CONVERSION, student_sha256=hashlib.sha256(model.read_bytes(STUDENT)).hexdigest())
    # Truth is what the halved student says: in float it is perfect, and int8 is another model.
    from trainer.learning import fitting

    inputs = type("Inputs", (), {"recent": arrays["recent"], "steps": arrays["steps"]})
    raw = fitting.predict(student, inputs)[:, : model.spec().horizon]
    arrays["truth_kw"] = raw[..., 0] * arrays["scale_kw"][:, None] + arrays["center_kw"][:, None]
    np.savez(model.file(VALIDATION), **arrays)
    with pytest.raises(RejectedError, match=r"loses .* against float"):
        verify(model)
    assert model.file(VERIFICATION).read_bytes() == content


def test_verification_names_a_python_that_cannot_run_it(model, tmp_path):
    with pytest.raises(ConfigError, match="not a Python interpreter"):
        verify(model, tmp_path / "nowhere" / "python")
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\necho no tflite here >&2\nexit 3\n")
    broken.chmod(0o755)
    with pytest.raises(RejectedError, match="no tflite here"):
        verify(model, broken)


def spoil(folder, name, **arrays):
    """Overwrite arrays of a file of the model directory."""
    with np.load(folder.file(name)) as kept:
        np.savez(folder.file(name), **{**kept, **arrays})


@pytest.mark.parametrize(
    ("name", "key", "change", "words"),
    [
        (VALIDATION, "steps", lambda a: np.where(np.arange(a.shape[1])[:, None] == 3, np.nan, a), "not finite"),
        (VALIDATION, "recent", lambda a: a[:, :-1], "has shape"),
        (VALIDATION, "truth_kw", lambda a: np.full_like(a, np.nan), "no true load"),
        (VALIDATION, "truth_kw", lambda a: np.concatenate([a, a[:, :1]], axis=1), "has shape"),
        (VALIDATION, "scale_kw", lambda a: a * 0, "not positive"),
        (VALIDATION, "center_kw", lambda a: a + np.inf, "not finite"),
        (VALIDATION, "center_kw", lambda a: a[:-1], "has shape"),
        (CALIBRATION, "recent", lambda a: a * np.nan, "not finite"),
        (CALIBRATION, "steps", lambda a: a[:0], "has shape"),
        (PARITY, "steps", lambda a: a[:, 1:], "has shape"),
        (PARITY, "truth_kw", lambda a: np.full_like(a, np.nan), "no true load"),
    ],
)
def test_arrays_that_no_training_run_writes_are_refused(model, name, key, change, words):
    before = model.read_bytes(INT8)
    with np.load(model.file(name)) as arrays:
        array = arrays[key]
    spoil(model, name, **{key: change(array)})
    for step in {CALIBRATION: (convert,), PARITY: (verify,), VALIDATION: (convert, verify)}[name]:
        with pytest.raises(RejectedError, match=words) as caught:
            step(model)
        assert name in caught.value.where
    assert model.read_bytes(INT8) == before


def test_a_student_without_rows_for_the_daily_peaks_is_refused(model):
    import keras

    before = model.read_bytes(INT8)
    student = keras.models.load_model(model.file(STUDENT), compile=False)
    slots = keras.layers.Cropping1D((0, 1))(student.output)
    keras.Model({tensor.name: tensor for tensor in student.inputs}, slots).save(model.file(STUDENT))
    with pytest.raises(RejectedError, match="48 slots and 1 daily peaks"):
        convert(model)
    assert model.read_bytes(INT8) == before


def test_an_int8_model_of_another_form_is_not_verified(model):
    before = model.read_bytes(VERIFICATION)
    quarters = Bundle.from_bytes((CASES / "quarter-hours.ewb").read_bytes()).model
    for content in (quarters, (CASES / "without-peaks.tflite").read_bytes()):
        model.file(INT8).write_bytes(content)
        edit(model, CONVERSION, model_sha256=hashlib.sha256(content).hexdigest())
        with pytest.raises(RejectedError, match="where its feature spec says"):
            verify(model)
    assert model.read_bytes(VERIFICATION) == before


def test_each_step_names_the_one_that_is_missing(model, capsys):
    model.file(PARITY).unlink()  # a folder of an earlier version
    code, _, err = run(capsys, converter, "verify", model.path)
    assert (code, "Train the model again" in err) == (78, True)
    model.file(VERIFICATION).unlink()
    code, _, err = run(capsys, converter, "bundle", model.path, "--out", model.path / "x.ewb")
    assert (code, "edgewatt-converter verify" in err) == (78, True)
    model.file(INT8).unlink()
    code, _, err = run(capsys, converter, "verify", model.path)
    assert (code, "edgewatt-converter convert" in err) == (78, True)
    model.file(SPEC).unlink()
    code, _, err = run(capsys, converter, "convert", model.path)
    assert (code, "edgewatt-trainer train" in err) == (78, True)


def test_damaged_files_are_rejected_not_crashed_on(model, capsys):
    model.file("student.keras").write_bytes(b"PK not a model")
    code, _, err = run(capsys, converter, "convert", model.path)
    assert (code, "not a readable Keras model" in err) == (65, True)
    model.file(VALIDATION).write_bytes(b"PK")
    code, _, err = run(capsys, converter, "convert", model.path)
    assert (code, "is damaged" in err) == (65, True)
    model.file("x.ewb").write_bytes(b"not a bundle")
    assert run(capsys, converter, "inspect", model.file("x.ewb"))[0] == 65
    assert run(capsys, converter, "inspect", model.file("y.ewb"))[0] == 78


def test_training_refuses_too_little_data_and_leaves_no_folder(centre, tmp_path, capsys):
    arguments = ["train", "--plant", "works", "--until", "2014-01-26", "--quick", "--name", "short"]
    code, _, err = run(capsys, trainer, "--home", centre / "home", *arguments)
    assert (code, "25 days" in err, "at least 28" in err) == (78, True, True)
    assert not list((centre / "home" / "models").glob("*short*"))
    code, _, err = run(capsys, trainer, "--home", centre / "home", "train", "--plant", "works", "--version", "1")
    assert (code, "exists already" in err) == (78, True)
