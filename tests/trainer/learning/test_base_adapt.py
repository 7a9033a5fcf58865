"""A base says in a plant's network what it says itself, whatever else the plant knows; it is kept whole or not at all."""

import contextlib
import json
from dataclasses import replace

import keras
import numpy as np
import pytest

from agent.contract.errors import ConfigError, RejectedError
from agent.contract.features import Inputs
from agent.contract.featurespec import Covariate, FeatureSpec
from tests.support.livedplants import lived_plant
from trainer.learning import base as bases
from trainer.learning import fitting, networks, pool, training
from trainer.learning.options import Options

LIKE = FeatureSpec(3600, 24, "UTC")
OPTIONS = replace(Options().quick(), base_updates=5)
WARM = (Covariate("temperature_c", 10.0, 5.0),)


def nothing(_stage, _done, _total):
    pass


def gathered(like=LIKE, *plants):
    return pool.gather(plants or [lived_plant(60, 3600, plant="mill")], like, validation_days=7, seed=1)


@pytest.fixture(scope="module")
def base():
    return bases.pretrain(gathered(), "common", OPTIONS, nothing)


@pytest.fixture(scope="module")
def warm_base():
    """One that knows the temperature: no weight of any column is zero."""
    return bases.pretrain(gathered(replace(LIKE, covariates=WARM)), "warm", OPTIONS, nothing)


def drawn(spec, count=5):
    random = np.random.default_rng(1)
    steps = random.normal(size=(count, spec.horizon, len(spec.step_names))).astype(np.float32)
    recent = random.normal(size=(count, spec.recent_size)).astype(np.float32)
    return Inputs(recent, steps, np.zeros(count), np.ones(count))


def columns(inputs, spec, names):
    """The same inputs with other columns: those of the same name, and zeros."""
    steps = np.zeros((*inputs.steps.shape[:2], len(names)), np.float32)
    for number, name in enumerate(names):
        if name in spec.step_names:
            steps[:, :, number] = inputs.steps[:, :, spec.step_names.index(name)]
    return replace(inputs, steps=steps)


@pytest.mark.parametrize(
    "spec",
    [
        LIKE,
        replace(LIKE, seasonal=True),
        replace(LIKE, covariates=WARM),
        replace(LIKE, seasonal=True, covariates=WARM, zone="Asia/Seoul"),
    ],
)
def test_a_plants_network_says_at_first_what_the_base_says(base, spec):
    inputs = drawn(spec)
    adapted = bases.adapt(base, spec, OPTIONS.teacher, seed=4)
    expected = fitting.predict(base.model, columns(inputs, spec, base.step_names))
    assert np.allclose(fitting.predict(adapted, inputs), expected, atol=1e-5)


@pytest.mark.parametrize(
    "spec", [LIKE, replace(LIKE, covariates=(Covariate("humidity", 50.0, 9.0),)), replace(LIKE, seasonal=True)]
)
def test_features_that_the_plant_lacks_are_dropped(warm_base, spec):
    inputs = drawn(spec)
    adapted = bases.adapt(warm_base, spec, OPTIONS.teacher, seed=4)
    expected = fitting.predict(warm_base.model, columns(inputs, spec, warm_base.step_names))
    assert np.allclose(fitting.predict(adapted, inputs), expected, atol=1e-5)


def test_noise_and_dropout_may_differ_but_not_the_size(base):
    calm = replace(OPTIONS.teacher, noise=0.0, dropout=0.5)
    bases.adapt(base, LIKE, calm, seed=1)
    with pytest.raises(ConfigError, match="not of the size"):
        bases.adapt(base, LIKE, networks.TEACHER, seed=1)


@pytest.mark.parametrize(
    ("spec", "said", "todo"),
    [
        (FeatureSpec(1800, 48, "UTC"), "slots of 60 min, the plant has 30 min", "--slot-minutes 30"),
        (FeatureSpec(3600, 48, "UTC"), "horizon of 24 h, the plant has 48 h", "--horizon-hours 48"),
    ],
)
def test_a_base_of_other_slots_or_horizon_is_refused(base, spec, said, todo):
    before = base.model.get_weights()
    with pytest.raises(ConfigError, match=said) as caught:
        bases.adapt(base, spec, OPTIONS.teacher, seed=1)
    assert todo in caught.value.todo
    assert all(np.array_equal(a, b) for a, b in zip(before, base.model.get_weights(), strict=True))


@pytest.mark.parametrize("change", [{"name": "context_before"}, {"use_bias": False}])
def test_a_base_of_another_version_of_the_network_is_refused(base, change):
    def cloned(layer):
        changed = change if layer.name == "context" else {}
        return type(layer).from_config(layer.get_config() | changed)

    old = replace(base, model=keras.models.clone_model(base.model, clone_function=cloned))
    with pytest.raises(ConfigError, match="another form") as caught:
        bases.adapt(old, LIKE, OPTIONS.teacher, seed=1)
    assert "again" in caught.value.todo


def test_the_same_seed_gives_the_same_base(base):
    again, other = (bases.pretrain(gathered(), "common", replace(OPTIONS, seed=seed), nothing) for seed in (1, 2))
    assert bases.lineage(again) == bases.lineage(base)
    assert bases.lineage(other) != bases.lineage(base)


def test_a_saved_base_is_read_back(base, tmp_path):
    bases.save(base, tmp_path / "bases" / "common")
    found = bases.load(tmp_path / "bases" / "common")
    assert (found.name, found.shape, found.step_names) == (base.name, base.shape, base.step_names)
    assert bases.lineage(found) == bases.lineage(base)
    inputs = drawn(LIKE)
    assert np.array_equal(fitting.predict(found.model, inputs), fitting.predict(base.model, inputs))
    adapted = bases.adapt(found, replace(LIKE, seasonal=True), OPTIONS.teacher, seed=1)
    assert adapted.count_params() > found.parameters


def test_a_base_replaces_no_other(base, tmp_path):
    bases.save(base, tmp_path / "common")
    before = (tmp_path / "common" / "base.json").read_bytes()
    with pytest.raises(ConfigError, match="exists already"):
        bases.save(base, tmp_path / "common")
    assert (tmp_path / "common" / "base.json").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["common"]


def test_a_missing_or_damaged_base_is_refused(base, tmp_path):
    with pytest.raises(ConfigError, match="holds no base"):
        bases.load(tmp_path / "none")
    bases.save(base, tmp_path / "common")
    record = tmp_path / "common" / "base.json"
    changed = json.loads(record.read_text()) | {"weights_sha256": "0" * 64}
    record.write_text(json.dumps(changed))
    with pytest.raises(RejectedError, match="not the weights"):
        bases.load(tmp_path / "common")
    (tmp_path / "common" / "base.keras").write_bytes(b"nothing")
    with pytest.raises(RejectedError, match="is damaged"):
        bases.load(tmp_path / "common")


def test_a_base_with_bytes_that_are_others_is_refused(base, tmp_path):
    bases.save(base, tmp_path / "common")
    path = tmp_path / "common" / "base.keras"
    data = path.read_bytes()
    for place in range(0, len(data), len(data) // 40):
        path.write_bytes(data[:place] + bytes([data[place] ^ 0xFF]) + data[place + 1 :])
        with contextlib.suppress(RejectedError):  # a byte that means nothing may change
            assert bases.load(tmp_path / "common").parameters == base.parameters
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(RejectedError, match="Make the base again"):
        bases.load(tmp_path / "common")


def test_a_pool_of_which_nothing_can_be_learnt_is_refused_with_the_reasons():
    young = gathered(LIKE, lived_plant(20, 3600, plant="young"))
    assert "20 days of load" in young.left_out["young"]
    with pytest.raises(ConfigError, match="20 days of load"):
        bases.pretrain(young, "common", OPTIONS, nothing)


def test_a_base_that_does_not_fit_is_refused_before_anything_is_trained(base, tmp_path):
    stages = []
    with pytest.raises(ConfigError, match="not of the size wanted") as caught:
        training.train(
            lived_plant(60, 3600),
            tmp_path / "works-1",
            name="works",
            version=1,
            options=replace(OPTIONS, teacher=networks.TEACHER),
            progress=lambda stage, _done, _total: stages.append(stage),
            base=base,
        )
    assert "--quick" in caught.value.todo
    assert stages == []
