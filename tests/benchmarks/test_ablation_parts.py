"""The ablation: the copy in Keras 2 is the same network, what is judged was not learnt, the table says it all."""

from dataclasses import replace

import numpy as np
import pytest

from agent.contract.features import Inputs
from agent.contract.featurespec import FeatureSpec, Scaling
from agent.inference.runtime import load_runtime
from converter import scoring
from tests.benchmarks import ablation_models, bench_ablation
from tests.benchmarks.ablation_table import PRODUCT, TEXTS, tables
from tests.benchmarks.ablation_tuning import Tuning, read_weights, write_weights
from tests.support.plants import plant_load
from trainer.dataset.snapshot import Snapshot
from trainer.learning import fitting, networks
from trainer.learning.lessons import Lessons
from trainer.learning.options import Options

HOUR_S = 3600
SPEC = FeatureSpec(HOUR_S, 24, "UTC", (), Scaling.TRAILING, center_kw=0.0, scale_kw=1.0)
OPTIONS = Options().quick()


def made_lessons(count):
    random = np.random.default_rng(1)
    sizes = ((SPEC.recent_size,), (SPEC.horizon, len(SPEC.step_names)))
    recent, steps = (random.normal(size=(count, *size)).astype(np.float32) for size in sizes)
    inputs = Inputs(recent, steps, np.zeros(count), np.ones(count))
    taught = np.sort(random.normal(size=(count, SPEC.output_size, 3)).astype(np.float32))
    return Lessons(inputs, taught[..., 1], taught, np.full(count, 1 / count))


def student():
    return networks.build(SPEC, OPTIONS.student.plain, name="student", seed=1)


def test_keras_2_tunes_the_very_student_that_it_is_given(tmp_path):
    before, of = student(), made_lessons(40)
    tuning = Tuning(updates=20, sparsity=0.6)
    tuned = ablation_models.tune(SPEC, before, of, of.inputs, OPTIONS, tuning, tmp_path / "job")
    told = {name: fitting.predict(tuned[name], of.inputs) for name in ("tuned", "pruned")}
    raw = fitting.predict(before, of.inputs)
    with np.load(tmp_path / "job" / "twin.npz") as twin:
        assert np.abs(twin["raw"] - raw).max() < 1e-4
    assert np.abs(told["tuned"] - raw).max() > 1e-3, "it has learnt something"
    assert ablation_models.zero_share(tuned["tuned"]) < 0.01
    assert ablation_models.zero_share(tuned["pruned"]) == pytest.approx(0.6, abs=0.01)
    runtime = load_runtime(tuned["qat"])
    assert runtime.int8
    in_int8 = scoring.run_all(runtime, of.inputs.recent, of.inputs.steps)
    assert np.corrcoef(in_int8.ravel(), told["tuned"].ravel())[0, 1] > 0.9


def test_weights_go_by_the_name_of_their_layer_and_none_may_be_missing(tmp_path):
    one, other = student(), networks.build(SPEC, OPTIONS.student.plain, name="student", seed=2)
    write_weights(tmp_path / "weights.npz", one)
    read_weights(tmp_path / "weights.npz", other)
    inputs = made_lessons(3).inputs
    assert np.array_equal(fitting.predict(one, inputs), fitting.predict(other, inputs))
    deeper = networks.build(SPEC, replace(OPTIONS.student.plain, blocks=2), name="student", seed=2)
    with pytest.raises((KeyError, ValueError)):
        read_weights(tmp_path / "weights.npz", deeper)


def test_the_last_fifth_is_judged_and_not_learnt_from():
    plant = Snapshot("mill", "UTC", HOUR_S, (), 1_641_168_000_000, plant_load(50, HOUR_S))
    learnt, first = bench_ablation.learning_share(plant)
    assert first == 40 * 24
    assert np.array_equal(learnt.power_kw, plant.power_kw[:first], equal_nan=True)


def figures(**pinball):
    one = {"pinball": 2.0, "model_bytes": 99_400, "gzip_bytes": 70_000, "forecast_ms_p50": 0.0123}
    models = {name: {**one, "pinball": pinball.get(name, 2.0)} for name in TEXTS}
    models["naive"] = {"pinball": 3.0}
    models["teacher"] |= {"pinball": 1234.5, "forecast_ms_p50": 123.4}
    return {"days_judged": 43, "models": models}


def test_each_series_has_a_table_of_all_models_against_the_product():
    lines = list(tables({"series": {"mill": figures(qat_int8=1.9), "dairy": figures()}}))
    assert len(lines) == 2 * (2 + len(TEXTS)) + 1
    assert {line.count("|") for line in lines} == {7, 0}
    assert lines[0].startswith("| mill, 43 days |")
    assert f"| {TEXTS[PRODUCT]} | 2.000 | 1.000 | 99 | 70 | 0.012 |" in lines
    assert f"| {TEXTS['qat_int8']} | 1.900 | 0.950 | 99 | 70 | 0.012 |" in lines
    assert f"| {TEXTS['teacher']} | 1234 | 617.250 | 99 | 70 | 120 |" in lines
    assert "| seasonal naive | 3.000 | 1.500 |  |  |  |" in lines
