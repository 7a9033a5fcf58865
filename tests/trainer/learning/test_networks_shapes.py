"""Networks fit the contract's shapes, and the student the smallest boards, at every slot length."""

import numpy as np
import pytest

from agent.contract.errors import ConfigError
from agent.contract.features import assemble
from agent.contract.featurespec import FeatureSpec
from agent.contract.slots import SLOT_LENGTHS_S
from trainer.learning import fitting, networks
from trainer.learning.options import Options


def spec_of(slot_s):
    return FeatureSpec(slot_s, 86_400 // slot_s, "UTC")


@pytest.mark.parametrize("slot_s", SLOT_LENGTHS_S)
def test_the_student_stays_below_200_kilobytes(slot_s):
    spec = spec_of(slot_s)
    model = networks.build(spec, networks.STUDENT, name="student", seed=1)
    assert model.output_shape == (None, spec.output_size, 3)
    assert model.count_params() < 160_000  # a byte each, and room for biases, scales and the graph


def test_the_same_seed_gives_the_same_weights():
    one, same, other = (
        networks.build(spec_of(3600), networks.STUDENT, name="student", seed=seed).get_weights() for seed in (1, 1, 2)
    )
    assert all(np.array_equal(a, b) for a, b in zip(one, same, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def test_the_loss_sees_the_quantiles_that_devices_assemble():
    raw = np.random.default_rng(1).normal(size=(4, 24, 3)).astype(np.float32)
    expected = assemble(raw, np.zeros(4), np.ones(4))
    assert np.allclose(fitting._quantiles(raw).numpy(), expected, atol=1e-6)


def test_missing_targets_weigh_nothing():
    raw = np.random.default_rng(1).normal(size=(4, 24, 3)).astype(np.float32)
    truth = np.random.default_rng(2).normal(size=(4, 24)).astype(np.float32)
    quantiles = fitting._quantiles(raw)
    gappy = truth.copy()
    gappy[2:] = np.nan
    assert float(fitting._pinball(quantiles, gappy)) == pytest.approx(
        float(fitting._pinball(quantiles[:2], truth[:2])), rel=1e-5
    )
    assert float(fitting._pinball(quantiles, np.full_like(truth, np.nan))) == 0.0


@pytest.mark.parametrize("wrong", [{"horizon_hours": 0}, {"horizon_hours": 169}, {"teachers": 0}, {"seed": -1}])
def test_refuses_options_beyond_reason(wrong):
    with pytest.raises(ConfigError):
        Options(**wrong)
