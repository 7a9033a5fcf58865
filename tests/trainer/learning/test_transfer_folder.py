"""A transfer leaves a whole model with its report, or nothing, wherever it ends."""

from types import SimpleNamespace

import pytest

from agent.contract.errors import ConfigError, StorageError
from tests.support.livedplants import lived_plant
from trainer.learning import transfer
from trainer.learning.options import Options

STEPS = ("save", "_fine_tuned", "convert", "_judge", "_tested", "write_json", "rename")


@pytest.fixture
def stages(monkeypatch, tmp_path):
    """Steps that take no time; each is told whether the model is at its place, and may fail."""
    out = tmp_path / "models" / "annexe-1"
    of = SimpleNamespace(out=out, scratch=tmp_path / "alone-1", fails="", seen={})

    def step(name, does=lambda *_: None):
        def run(*given, **_):
            if "alone-1" not in str(given[0]):
                of.seen[name] = out.exists()
                if of.fails == name:
                    raise StorageError("the disk is full")
            return does(*given)

        return run

    def train(_, folder, **given):
        folder.mkdir(parents=True)
        (folder / "student.keras").write_bytes(b"s")
        assert ("base" in given) == (folder.parent != tmp_path)

    def save(_, folder):
        folder.mkdir()
        (folder / "base.json").write_text("{}")

    def judge(*_):
        return SimpleNamespace(pinball_kw={"student_int8": 1.0})

    monkeypatch.setattr(transfer.training, "train", train)
    monkeypatch.setattr(transfer.bases, "save", step("save", save))
    monkeypatch.setattr(transfer, "_judge", step("_judge", judge))
    for name in ("_fine_tuned", "convert", "_tested"):
        monkeypatch.setattr(transfer, name, step(name))
    for name in ("_spec", "_source_model", "_transfer_network"):
        monkeypatch.setattr(transfer, name, lambda *_: None)
    write_json, rename = transfer.ModelDir.write_json, transfer.Path.rename
    monkeypatch.setattr(transfer.ModelDir, "write_json", step("write_json", write_json))
    monkeypatch.setattr(transfer.Path, "rename", step("rename", rename))
    return of


def run(of):
    return transfer.run(
        lived_plant(30, 3600, plant="annexe"),
        [lived_plant(30, 3600, plant="works")],
        of.out,
        name="annexe",
        version=1,
        options=Options(),
        scratch_dir=of.scratch,
    )


def test_the_model_appears_when_the_report_is_in_it(stages):
    assert run(stages).path == stages.out
    assert stages.seen == dict.fromkeys(STEPS, False)
    assert sorted(path.name for path in stages.out.iterdir()) == ["source-model", "student.keras", "transfer.json"]
    assert list(stages.out.parent.iterdir()) == [stages.out]


@pytest.mark.parametrize("name", STEPS)
def test_a_step_that_fails_leaves_nothing(stages, name):
    stages.fails = name
    with pytest.raises(StorageError):
        run(stages)
    assert list(stages.out.parent.iterdir()) == []


def test_what_is_there_is_left_as_it_is(stages):
    stages.out.mkdir(parents=True)
    with pytest.raises(ConfigError, match="exists already"):
        run(stages)
    assert list(stages.out.iterdir()) == []
