"""What the members of a teacher weigh, and that held-out weeks teach none of them."""

import json
import math
from dataclasses import dataclass, replace

import numpy as np
import pytest

from agent.contract.errors import ConfigError, RejectedError
from agent.contract.featurespec import Scaling
from tests.support.livedplants import lived_plant, windows_of
from trainer.learning import ensemble, holdout, teacher, windows
from trainer.learning.levels import Level
from trainer.learning.options import Options
from trainer.learning.training import no_progress

OPTIONS = replace(Options().quick(), teacher_updates=1)  # networks that have learnt nothing yet


@pytest.fixture(scope="module")
def plant():
    return windows_of(lived_plant(60, 3600))


@pytest.fixture(scope="module")
def fitted(plant):
    spec, learnt, held_out = plant
    return teacher.fit(spec, learnt, held_out, OPTIONS, no_progress)


@dataclass
class Says:
    """A member that says the same of every row, or nothing of the daily peaks."""

    quantiles: tuple[float, float, float]
    rows: int = 25

    def predict(self, inputs):
        told = np.full((len(inputs.recent), 25, 3), np.nan, dtype=np.float32)
        told[:, : self.rows] = self.quantiles
        return told


def test_weights_add_up_to_one_and_a_bad_member_weighs_little(fitted):
    assert set(fitted.weights) == {"kernel", "boosting", "networks"}
    assert sum(fitted.weights.values()) == pytest.approx(1)
    assert fitted.weights["networks"] < 0.02
    assert min(fitted.weights["kernel"], fitted.weights["boosting"]) > 0.02


def test_the_kernel_weighs_more_by_each_year_that_it_has_seen_up_to_four():
    alike = dict.fromkeys(("networks", "boosting", "kernel"), 2.0)
    shares = [teacher.weigh(alike, years)["kernel"] for years in (0.1, 1, 2, 3, 4, 9)]
    assert shares == pytest.approx([1 / 8, 1 / 8, 2 / 9, 3 / 10, 4 / 11, 4 / 11])
    third = math.exp(-1)  # what a loss of e to the power of 0.15 as much leaves of a weight
    assert teacher.weigh(alike | {"kernel": 2.0 * math.exp(0.15)}, 1)["kernel"] == pytest.approx(third / (7 + third))
    assert teacher.weigh(alike | {"kernel": 4.0}, 1)["kernel"] < 1e-6


def test_a_teacher_is_hardly_worse_than_its_best_member(plant, fitted):
    spec, _, held_out = plant
    losses = {name: teacher.loss_kw(spec, member, held_out) for name, member in fitted.members.items()}
    assert teacher.loss_kw(spec, fitted, held_out) < 1.03 * min(losses.values())


def test_members_are_weighed_row_by_row_where_they_say_something(plant):
    spec, _, held_out = plant
    members = {"one": Says((-1.0, 0.0, 1.0)), "silent on peaks": Says((-5.0, 4.0, 5.0), rows=24)}
    told = teacher.Teacher(spec, members, {"one": 0.75, "silent on peaks": 0.25}).predict(held_out.inputs)
    assert told[0, 0] == pytest.approx([-2.0, 1.0, 2.0])
    assert told[0, 24] == pytest.approx([-1.0, 0.0, 1.0])


def test_no_quantiles_are_missing_or_out_of_order(plant, fitted):
    _, learnt, held_out = plant
    for of in (learnt, held_out):
        told = fitted.predict(of.inputs)
        assert np.isfinite(told).all()
        assert (np.diff(told, axis=-1) >= 0).all()


def test_what_was_saved_and_read_says_the_same(plant, fitted, tmp_path):
    spec, _, held_out = plant
    fitted.save(tmp_path)
    back = teacher.load(spec, tmp_path)
    assert back.weights == fitted.weights
    assert np.allclose(back.predict(held_out.inputs), fitted.predict(held_out.inputs), atol=1e-5)


def test_networks_learn_each_at_its_level_and_are_read_back_at_it(plant, tmp_path):
    spec, learnt, held_out = plant
    fitted = ensemble.fit_networks(spec, learnt, (), (), None, replace(OPTIONS, teachers=5), no_progress)
    assert [level for level, _ in fitted.models] == [*Level, Level.TRAILING]
    fitted.save(tmp_path)
    levels = [level for level, _ in fitted.models]
    back = ensemble.Networks.load(spec, levels, tmp_path)
    told = fitted.predict(held_out.inputs)
    assert np.allclose(back.predict(held_out.inputs), told, atol=1e-5)
    elsewhere = ensemble.Networks(spec, tuple((Level.TRAILING, model) for _, model in fitted.models))
    assert not np.allclose(elsewhere.predict(held_out.inputs), told, atol=1e-2)
    (tmp_path / "teacher-network-5-trailing.keras").unlink()
    with pytest.raises((OSError, ValueError)):
        ensemble.Networks.load(spec, levels, tmp_path)


def test_a_network_at_the_last_weeks_level_follows_it_wherever_it_lies(plant):
    """Load of twice the spread about another level: the forecast is moved with it."""
    spec, learnt, held_out = plant
    fitted = ensemble.fit_networks(spec, learnt, (), (), None, replace(OPTIONS, teachers=4), no_progress)
    _, model = fitted.models[3]
    network = ensemble.Networks(spec, ((Level.OWN_WEEK, model),))
    inputs, steps = held_out.inputs, held_out.inputs.steps.copy()
    steps[:, :, : spec.load_columns] = 0.5 * steps[:, :, : spec.load_columns] - 0.25
    moved = replace(inputs, recent=0.5 * inputs.recent - 0.25, steps=steps)
    assert np.allclose(network.predict(moved), 0.5 * network.predict(inputs) - 0.25, atol=1e-3)


def test_a_folder_without_a_teacher_is_named(plant, tmp_path):
    with pytest.raises(ConfigError, match="has no teacher") as caught:
        teacher.load(plant[0], tmp_path)
    assert caught.value.where == str(tmp_path)


@pytest.mark.parametrize(
    "name",
    ["teacher.json", "teacher-boosting-1.txt", "teacher-kernel.npz", "teacher-network-1-trailing.keras"],
)
@pytest.mark.parametrize(
    "damage",
    {
        "cut to half": lambda data: data[: len(data) // 2],
        "empty": lambda _: b"",
        "one byte other": lambda data: data[:-9] + bytes([data[-9] ^ 0xFF]) + data[-8:],
        "missing": None,
    }.items(),
    ids=lambda one: one[0],
)
def test_a_damaged_teacher_is_refused_before_it_is_parsed_and_the_file_is_named(
    plant, fitted, tmp_path, name, damage, monkeypatch
):
    fitted.save(tmp_path)
    path = tmp_path / name
    data = path.read_bytes()
    path.unlink()
    if damage[1] is not None:
        path.write_bytes(damage[1](data))
    monkeypatch.setattr(teacher, "_read_member", None)  # LightGBM would end the process
    missing = damage[1] is None and name == "teacher.json"
    with pytest.raises(ConfigError if missing else RejectedError) as caught:
        teacher.load(plant[0], tmp_path)
    assert caught.value.where.startswith(str(tmp_path if missing else path))
    assert "train" in caught.value.todo.lower()


def heads(head):
    """Each way in which `teacher.json` can lack a key or hold one of the wrong kind."""
    for key in head:
        yield {name: value for name, value in head.items() if name != key}
        yield {**head, key: 7}
        if isinstance(head[key], dict):
            for inner in head[key]:
                yield {**head, key: {name: value for name, value in head[key].items() if name != inner}}
                yield {**head, key: {**head[key], inner: None}}
    yield {**head, "weights": {**head["weights"], "oracle": 0.0}}
    yield {**head, "levels": ["upside down"]}


def test_a_teacher_whose_head_lacks_a_key_or_mistypes_one_is_refused(plant, fitted, tmp_path):
    fitted.save(tmp_path)
    path = tmp_path / "teacher.json"
    several = list(heads(json.loads(path.read_text())))
    assert len(several) > 30
    for head in several:
        path.write_text(json.dumps(head))
        with pytest.raises(RejectedError, match="Train the model again"):
            teacher.load(plant[0], tmp_path)


def test_trees_are_guided_by_the_kernel_of_their_own_teacher(fitted):
    assert fitted.members["boosting"]._guide is fitted.members["kernel"]


def test_no_member_learns_from_held_out_weeks(plant, fitted):
    """Other truth in the held-out weeks: other weights, and every member as before."""
    spec, learnt, held_out = plant
    lied = replace(held_out, target=held_out.target * -3, truth_kw=held_out.truth_kw[::-1] * 4)
    other = teacher.fit(spec, learnt, lied, OPTIONS, no_progress)
    for name, member in fitted.members.items():
        assert np.array_equal(
            other.members[name].predict(learnt.inputs), member.predict(learnt.inputs), equal_nan=True
        ), name
    assert other.weights != fitted.weights


def test_a_plant_with_too_little_for_kernel_regression_has_a_teacher_without_it():
    of = lived_plant(28, 3600)
    part = holdout.split(of, 24, 28)
    spec = windows.make_spec(of, 24, Scaling.TRAILING, part)
    learnt, held_out = windows.training_windows(spec, of, part, seed=1), windows.held_out_windows(spec, of, part)
    made = teacher.fit(spec, learnt, held_out, OPTIONS, no_progress)
    assert set(made.weights) == {"boosting", "networks"}
    assert sum(made.weights.values()) == pytest.approx(1)
    assert np.isfinite(made.predict(held_out.inputs)).all()
