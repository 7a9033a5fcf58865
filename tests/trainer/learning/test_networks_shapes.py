"""Networks fit the contract's shapes, and the student the smallest boards, at every slot length."""

import math

import numpy as np
import pytest

from agent.contract.errors import ConfigError
from agent.contract.features import Inputs, assemble
from agent.contract.featurespec import Covariate, FeatureSpec
from converter.conversion import MAX_STUDENT_BYTES, to_int8
from trainer.learning import fitting, networks
from trainer.learning.fitting import Schedule
from trainer.learning.options import Options

SMALL = networks.Shape(context=8, context_channels=2, channels=8, noise=0.1, level_noise=0.2)
COVARIATES = tuple(Covariate(f"covariate_{number}", 0.0, 1.0) for number in range(8))


def spec_of(slot_s):
    return FeatureSpec(slot_s, 86_400 // slot_s, "UTC")


@pytest.mark.parametrize("slot_s", [900, 1800, 3600])
def test_a_student_for_a_day_is_as_wide_as_it_is_meant_to_be(slot_s):
    spec = spec_of(slot_s)
    assert networks.slim(spec, networks.STUDENT) == networks.STUDENT
    model = networks.build(spec, networks.STUDENT, name="student", seed=1)
    assert model.output_shape == (None, spec.output_size, 3)


@pytest.mark.parametrize(
    ("slot_s", "days"), [(300, 1), (600, 1), (900, 1), (900, 2), (900, 7), (1800, 3), (1800, 7), (3600, 7)]
)
def test_an_int8_student_of_any_horizon_stays_below_200_kilobytes(slot_s, days):
    spec = FeatureSpec(slot_s, days * 86_400 // slot_s, "UTC", covariates=COVARIATES)
    shape = networks.slim(spec, networks.STUDENT)
    student = networks.build(spec, shape, name="student", seed=1)
    random = np.random.default_rng(1)
    recent = random.normal(size=(3, spec.recent_size)).astype(np.float32)
    steps = random.normal(size=(3, spec.horizon, len(spec.step_names))).astype(np.float32)
    size = len(to_int8(student, spec, recent, steps))
    assert size <= MAX_STUDENT_BYTES
    assert size > 150_000 or shape == networks.STUDENT  # no narrower than needed


def test_a_horizon_that_no_student_can_serve_is_refused_at_once():
    with pytest.raises(ConfigError, match="2016 slots of 5 min") as caught:
        networks.slim(FeatureSpec(300, 2016, "UTC"), networks.STUDENT)
    assert "shorter horizon" in caught.value.todo


@pytest.mark.parametrize("seed", [0, 2**31 - 1])
def test_a_network_learns_with_any_seed_that_options_allow(seed):
    spec, seed = spec_of(3600), Options(seed=seed).seed * 100 + 4
    random = np.random.default_rng(1)
    steps = random.normal(size=(4, spec.horizon, len(spec.step_names))).astype(np.float32)
    recent = random.normal(size=(4, spec.recent_size)).astype(np.float32)
    model = networks.build(spec, SMALL, name="any", seed=seed)
    before = [weights.copy() for weights in model.get_weights()]
    target = random.normal(size=(4, spec.output_size)).astype(np.float32)
    fitting.fit(model, Inputs(recent, steps, np.zeros(4), np.ones(4)), target, Schedule(2, 4, 1e-3, 0.0, seed))
    assert any(not np.array_equal(one, other) for one, other in zip(before, model.get_weights(), strict=True))


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


@pytest.mark.parametrize(
    "wrong",
    [
        *({"horizon_hours": 0}, {"horizon_hours": 169}, {"teachers": 0}, {"seed": -1}),
        *({key: value} for key in ("package_power_w", "grid_g_per_kwh") for value in (math.nan, math.inf, -1.0)),
        *({key: math.nan} for key in ("adapt_rate", "made_share", "peak_rate", "weight_decay", "truth_share")),
    ],
)
def test_refuses_options_beyond_reason_and_names_them(wrong):
    with pytest.raises(ConfigError, match="is outside") as caught:
        Options(**wrong)
    assert caught.value.where == f"--{next(iter(wrong)).replace('_', '-')}"


def some_inputs(spec, count=16, seed=1):
    random = np.random.default_rng(seed)
    recent = random.normal(size=(count, spec.recent_size)).astype(np.float32)
    steps = random.normal(size=(count, spec.horizon, len(spec.step_names))).astype(np.float32)
    return recent, steps


def test_what_was_never_seen_does_not_move_a_network():
    """A plant without holidays in its data: its first holiday is forecast as if the flag were not there."""
    spec = FeatureSpec(3600, 24, "UTC")
    flag = spec.step_names.index("holiday")
    recent, steps = some_inputs(spec)
    steps[:, :, flag] = 0.0
    model = networks.build(spec, SMALL, name="one", seed=1)
    networks.silence(SMALL, model, steps)
    inputs = Inputs(recent, steps, np.zeros(16), np.ones(16))
    target = steps[:, :, :1].mean(axis=2)
    target = np.concatenate([target, target[:, :1]], axis=1)
    fitting.fit(model, inputs, target, fitting.Schedule(20, 8, 1e-2, 1e-2, 1))
    without = fitting.predict(networks.without_noise(spec, SMALL, model), inputs)
    steps = steps.copy()
    steps[:, :, flag] = 1.0
    on_holidays = fitting.predict(model, Inputs(recent, steps, np.zeros(16), np.ones(16)))
    assert np.allclose(without, on_holidays, atol=1e-5)
    steps[:, :, flag + 1] += 1.0  # while what was seen does
    assert not np.allclose(on_holidays, fitting.predict(model, Inputs(recent, steps, np.zeros(16), np.ones(16))))


def test_places_of_steps_are_where_the_columns_go_in():
    """A column that all of them ignore moves nothing, whatever the weights; no other kernel takes columns."""
    spec = FeatureSpec(3600, 24, "UTC")
    model = networks.build(spec, SMALL, name="one", seed=1)
    recent, steps = some_inputs(spec)
    before = model({"recent": recent, "steps": steps}).numpy()
    networks.silence(SMALL, model, np.zeros_like(steps))
    after = model({"recent": recent, "steps": steps}).numpy()
    other = model({"recent": recent, "steps": steps * 3}).numpy()
    assert not np.allclose(before, after)
    assert np.allclose(after, other, atol=1e-5)


def test_noise_is_on_load_and_level_alone_and_one_level_for_a_window():
    values = np.zeros((64, 1, 24, 20), dtype=np.float32)
    layer = networks.ColumnNoise(0.1, 15, 0.4, seed=1)
    noisy = layer(values, training=True).numpy()[:, 0]
    assert noisy[:, :, :15].std() == pytest.approx(0.1, rel=0.05)
    assert noisy[:, :, 15:17].std() == pytest.approx(0.4, rel=0.2)
    assert np.ptp(noisy[:, :, 15:17], axis=1).max() == 0
    assert not noisy[:, :, 17:].any()
    assert np.array_equal(layer(values), values)
