"""The bundles that other tests use are what they are said to be."""

import subprocess
import sys
from pathlib import Path

import pytest

from agent.contract.bundle import Bundle
from agent.contract.errors import RejectedError
from agent.inference.forecaster import Model
from tests.support import bundles

ROOT = Path(__file__).resolve().parents[2]


def test_the_committed_bundle_runs_and_gives_its_golden_outputs():
    model = Model.load(bundles.tiny_bytes())
    assert model.label == "tiny-plant@1"
    assert model.check_golden() <= model.manifest.tolerance
    assert len(bundles.tiny_bytes()) < 50_000


def test_another_version_is_the_same_model():
    one, two = Bundle.from_bytes(bundles.tiny_bytes()), Bundle.from_bytes(bundles.with_version(bundles.tiny_bytes(), 2))
    assert (two.manifest.version, two.model) == (2, one.model)


def test_the_bad_model_opens_but_is_not_what_it_says():
    bad = bundles.with_wrong_golden(bundles.tiny_bytes(), version=5)
    assert Bundle.from_bytes(bad).manifest.version == 5
    with pytest.raises(RejectedError):
        Model.load(bad).check_golden()


def test_the_useless_model_is_refused():
    with pytest.raises(RejectedError, match="does not beat seasonal naive"):
        Bundle.from_bytes(bundles.not_better_than_naive(bundles.tiny_bytes()))


def test_tensorflow_makes_the_committed_bundle_anew(tmp_path):
    """In a process of its own, where TensorFlow's warnings are its own affair."""
    out = tmp_path / "made.ewb"
    subprocess.run([sys.executable, "-m", "tests.support.bundles", out], cwd=ROOT, check=True, capture_output=True)
    made, committed = Bundle.from_bytes(out.read_bytes()), Bundle.from_bytes(bundles.tiny_bytes())
    assert made.manifest.feature_spec == committed.manifest.feature_spec
    assert made.manifest.pinball_kw["student_int8"] == pytest.approx(
        committed.manifest.pinball_kw["student_int8"], rel=0.02
    )
    assert Model.load(made).check_golden() <= made.manifest.tolerance
