"""The settings of features: they survive JSON, and wrong ones are refused in words."""

import dataclasses
import json

import numpy as np
import pytest

from agent.contract.errors import ConfigError, RejectedError
from agent.contract.features import compute
from agent.contract.featurespec import _RECENT_STEPS_S, Covariate, FeatureSpec, Scaling
from tests.support.featuredata import MONDAY_MS, SPEC, TEMPERATURE, history
from tests.support.nasty import mutations


class TestSpec:
    FULL = FeatureSpec(
        *(900, 96, "Europe/Berlin", ("2026-12-25",), Scaling.GLOBAL, 10.5, 2.5, 14, 7, 1800),
        seasonal=True,
        covariates=(TEMPERATURE, Covariate("sun_wm2", 120.25, 200.5)),
    )

    def test_round_trip(self):
        for spec in (SPEC, self.FULL):
            assert FeatureSpec.from_json(json.loads(json.dumps(spec.to_json()))) == spec

    def test_a_spec_from_before_daily_peaks_is_refused_in_words(self):
        old = {name: value for name, value in SPEC.to_json().items() if name != "daily_peaks"}
        with pytest.raises(RejectedError, match=r"daily_peaks: .*no daily peak; train and convert it again"):
            FeatureSpec.from_json(old)
        with pytest.raises(RejectedError, match="daily_peaks"):
            FeatureSpec.from_json({**SPEC.to_json(), "daily_peaks": 2})

    @pytest.mark.parametrize(
        ("wrong", "words"),
        [
            ({"seasonal": 1}, "seasonal"),
            ({"seasonal": None}, "seasonal"),
            ({"seasonal": True}, "step_features"),
            ({"covariates": {}}, "covariates"),
            ({"covariates": ["temperature_c"]}, "covariates"),
            ({"covariates": [{"name": "temperature_c"}]}, "center"),
            ({"covariates": [{"name": "Temperature", "center": 0, "scale": 1}]}, "no name of a covariate"),
            ({"covariates": [{"name": "x" * 33, "center": 0, "scale": 1}]}, "name"),
            ({"covariates": [{"name": "a", "center": 0, "scale": 0}]}, "out of range"),
            ({"covariates": [{"name": "a", "center": 0, "scale": -1}]}, "out of range"),
            ({"covariates": [{"name": "a", "center": 1e10, "scale": 1}]}, "out of range"),
            ({"covariates": [{"name": "a", "center": "0", "scale": 1}]}, "center"),
            ({"covariates": [{"name": "a", "center": 0, "scale": 1}] * 2}, "two features would have the name a"),
            ({"covariates": [{"name": f"a{n}", "center": 0, "scale": 1} for n in range(9)]}, "covariates"),
            ({"covariates": [{"name": "a", "center": 0, "scale": 1}]}, "step_features"),
        ],
    )
    def test_wrong_seasons_and_covariates_are_refused(self, wrong, words):
        with pytest.raises(RejectedError, match=words):
            FeatureSpec.from_json({**SPEC.to_json(), **wrong})

    def test_names_of_covariates_never_meet_those_of_other_features(self):
        for name in ("level", "last", "holiday", "weekday_1", "day_1_sin"):
            with pytest.raises(ConfigError, match="name"):
                dataclasses.replace(SPEC, covariates=(Covariate(name, 0.0, 1.0),))
        with pytest.raises(ConfigError, match="name"):
            dataclasses.replace(SPEC, covariates=(Covariate("sun", 0.0, 1.0), Covariate("sun_known", 0.0, 1.0)))

    def test_every_field_is_checked(self):
        for what, changed in mutations(self.FULL.to_json()):
            try:
                spec = FeatureSpec.from_json(changed)
            except RejectedError:
                continue
            inputs = compute(spec, MONDAY_MS, history(15, slot_s=spec.slot_s), np.array([spec.min_history]))
            assert inputs.recent.shape == (1, spec.recent_size), what

    @pytest.mark.parametrize(
        "wrong",
        [
            {"slot_s": 1000},
            {"horizon": 0},
            {"horizon": 7 * 96 + 1},
            {"zone": "Mars/Olympus"},
            {"holidays": ("25.12.2026",)},
            {"holidays": ("20261225",)},
            {"holidays": (20261225,)},
            {"holidays": ("2026-02-30",)},
            {"scale_kw": 0.0},
            {"scale_kw": -1.0},
            {"scale_kw": float("nan")},
            {"scale_kw": 1e300},
            {"center_kw": float("inf")},
            {"recent_step_s": 2100},
            {"recent_step_s": 50_400},
            {"recent_days": 15},
            {"trailing_days": 0},
        ],
    )
    def test_wrong_settings_are_refused(self, wrong):
        with pytest.raises(ConfigError):
            dataclasses.replace(self.FULL, **wrong)

    @pytest.mark.parametrize("step_s", _RECENT_STEPS_S)
    def test_every_allowed_resolution_works(self, step_s):
        for recent_days in (1, 5, 14):
            spec = (
                FeatureSpec(slot_s=900, horizon=4, zone="UTC", recent_step_s=step_s, recent_days=recent_days)
                if step_s % 900 == 0
                else FeatureSpec(slot_s=1800, horizon=4, zone="UTC", recent_step_s=step_s, recent_days=recent_days)
            )
            inputs = compute(spec, MONDAY_MS, history(15, slot_s=spec.slot_s), np.array([spec.min_history]))
            assert inputs.recent.shape == (1, spec.recent_size)
