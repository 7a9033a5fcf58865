"""A model directory that is damaged, altered or of an earlier version is refused with the step to repeat."""

import json
import shutil
from dataclasses import replace

import pytest

from agent.contract.errors import ConfigError, RejectedError, StorageError
from converter import verification as verifying
from converter.bundling import bundle
from converter.conversion import convert
from converter.modeldir import CONVERSION, GOLDEN, INT8, STUDENT, TRAINING, VERIFICATION, ModelDir
from converter.verification import verify
from tests.support.livedplants import lived_plant
from trainer.learning.evaluation import evaluate_held_out
from trainer.learning.options import Options
from trainer.learning.training import train

OPTIONS = replace(Options().quick(), teacher_updates=30, student_updates=400, boosting_rounds=20)
AGAIN = {
    TRAINING: "Train the model again",
    CONVERSION: "edgewatt-converter convert",
    VERIFICATION: "edgewatt-converter verify",
}
# What is inside is for people, or its keys are names: nothing reads it by key.
MAY_LACK = "error_bands"  # bundles of before have none
AS_A_WHOLE = {"config", "teacher_weights", "pool_left_out", "obstacles"}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = ModelDir(tmp_path_factory.mktemp("models") / "works-1")
    train(lived_plant(60, 3600), folder.path, name="works", version=1, options=OPTIONS)
    convert(folder)
    verify(folder)
    return folder


@pytest.fixture
def model(made, tmp_path):
    """A copy to spoil."""
    shutil.copytree(made.path, tmp_path / "works-1")
    return ModelDir(tmp_path / "works-1")


def flip(path, *, places=1):
    data = bytearray(path.read_bytes())
    for number in range(places):
        data[len(data) // 2 + 7 * number] ^= 0xFF
    path.write_bytes(data)


def keys(value, before=()):
    """The path of each key, also of objects in lists."""
    if isinstance(value, list):
        for number, one in enumerate(value[:2]):
            yield from keys(one, (*before, number))
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield (*before, key)
            if key not in AS_A_WHOLE:
                yield from keys(inner, (*before, key))


def spoilt(value, path, how):
    """A copy that lacks a key or has a value of another kind there."""
    copy = json.loads(json.dumps(value))
    at = copy
    for key in path[:-1]:
        at = at[key]
    how(at, path[-1])
    return copy


def drop(at, key):
    del at[key]


def mistype(at, key):
    at[key] = 7 if isinstance(at[key], str) else "seven"


@pytest.mark.parametrize("name", [TRAINING, CONVERSION, VERIFICATION])
@pytest.mark.parametrize("how", [drop, mistype])
def test_each_key_that_is_missing_or_of_another_kind_is_refused_with_the_step_to_repeat(model, name, how):
    bundle(model)
    whole = model.read_json(name)
    every = list(keys(whole))
    assert len(every) > 10
    for path in every:
        if how is drop and path[-1] == MAY_LACK:
            continue
        model.write_json(name, spoilt(whole, path, how))
        with pytest.raises(RejectedError) as caught:
            pytest.fail(f"{path} was taken: {len(bundle(model).model)} bytes of model")
        assert path[0] == "calibration" or AGAIN[name] in caught.value.todo, path


@pytest.mark.parametrize("name", [TRAINING, CONVERSION, VERIFICATION])
@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b'{"version": NaN}'])
def test_a_file_that_is_no_json_is_refused_with_the_step_to_repeat(model, name, content):
    model.file(name).write_bytes(content)
    with pytest.raises(RejectedError, match=AGAIN[name]) as caught:
        bundle(model)
    assert str(model.file(name)) in str(caught.value)


@pytest.mark.parametrize("step", [convert, verify, evaluate_held_out])
@pytest.mark.parametrize("damage", ["flip", "cut", "empty"])
def test_a_damaged_student_is_refused(model, step, damage):
    path = model.file(STUDENT)
    if damage == "flip":
        flip(path, places=40)
    else:
        path.write_bytes(path.read_bytes()[: 5000 if damage == "cut" else 0])
    before = model.read_bytes(INT8)
    with pytest.raises(RejectedError) as caught:
        step(model)
    assert caught.value.where == str(path)
    assert model.read_bytes(INT8) == before


@pytest.mark.parametrize("step", [verify, bundle, evaluate_held_out])
@pytest.mark.parametrize("name", [INT8, STUDENT])
def test_figures_of_another_model_are_not_told_of_this_one(model, step, name):
    flip(model.file(name), places=40)
    golden = model.read_bytes(GOLDEN)
    with pytest.raises(RejectedError) as caught:
        step(model)
    assert caught.value.where == str(model.file(name))
    evaluated_first = name == STUDENT and step is evaluate_held_out
    assert ("Train" if evaluated_first else "edgewatt-converter convert") in caught.value.todo
    assert model.read_bytes(GOLDEN) == golden


def test_a_model_converted_after_it_was_verified_is_not_bundled(model):
    model.write_json(VERIFICATION, {**model.read_json(VERIFICATION), "model_sha256": "ab" * 32})
    with pytest.raises(ConfigError, match="not the model that was verified"):
        bundle(model)


@pytest.mark.parametrize("says", ["", "hello", "{}", "[]", '{"runtime": "x", "median_ms": 1.0}'])
def test_a_python_that_gives_no_answer_is_named(model, tmp_path, says):
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\necho '{says}'\n")
    python.chmod(0o755)
    before = model.read_bytes(VERIFICATION)
    with pytest.raises(RejectedError, match="gave no answer") as caught:
        verify(model, python)
    assert caught.value.where == str(python)
    assert model.read_bytes(VERIFICATION) == before


def test_golden_vectors_are_whole_when_the_disk_is_full(model, monkeypatch):
    def full(*_):
        raise StorageError("the disk is full")

    before = model.read_bytes(GOLDEN)
    monkeypatch.setattr(verifying, "write_durable", full)
    with pytest.raises(StorageError):
        verify(model)
    assert model.read_bytes(GOLDEN) == before


@pytest.mark.parametrize(("slowest_ms", "limit_ms"), [(0.2, 50.0), (1.0, 50.0), (3.0, 150.0)])
def test_the_latency_limit_is_fifty_times_that_of_the_slowest_runtime(model, slowest_ms, limit_ms):
    record = model.read_json(VERIFICATION)
    quick = {**record["runtimes"][0], "median_ms": 0.1}
    model.write_json(VERIFICATION, {**record, "runtimes": [quick, {**quick, "median_ms": slowest_ms}]})
    assert bundle(model).manifest.max_latency_ms == pytest.approx(limit_ms)
