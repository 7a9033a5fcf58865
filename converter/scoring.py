"""An int8 model on many windows, by the device's own runtime code, and its score in kW."""

from __future__ import annotations

from typing import Any

import numpy as np

from agent.contract.features import Floats, Singles, assemble, daily_peak, split_peak
from agent.contract.featurespec import DAY_S, QUANTILES, FeatureSpec
from agent.inference.calibration import Calibration
from agent.inference.runtime import Runtime
from agent.inference.scoring import PeakScore, pinball, score_peaks
from converter.modeldir import Judged, Validation


def run_all(runtime: Runtime, recent: Singles, steps: Singles) -> Singles:
    """Return `raw` [N, H + D, 3] for N windows, one after the other as a device does it."""
    return np.concatenate([runtime.run(recent[i : i + 1], steps[i : i + 1]) for i in range(len(recent))])


def score(spec: FeatureSpec, raw: Singles, center_kw: Floats, scale_kw: Floats, truth_kw: Floats) -> float:
    """Return the mean pinball loss in kW of model outputs, over the slots; the daily peaks are judged apart."""
    slots, _ = split_peak(spec, assemble(raw, center_kw, scale_kw))
    return pinball(slots, truth_kw, QUANTILES)


def score_windows(spec: FeatureSpec, raw: Singles, judged: Judged) -> float:
    """Return the mean pinball loss in kW of model outputs on windows."""
    return score(spec, raw, judged.center_kw, judged.scale_kw, judged.truth_kw)


def score_daily_peaks(spec: FeatureSpec, raw: Singles, validation: Validation) -> PeakScore | None:
    """Return how model outputs on held-out windows foretell the daily peaks; None where no peak is known."""
    slots, peaks = split_peak(spec, assemble(raw, validation.center_kw, validation.scale_kw))
    return score_peaks(spec, slots, peaks, validation.truth_kw)


def calibrate(spec: FeatureSpec, raw: Singles, validation: Validation) -> dict[str, Any]:
    """Return what held-out days, one forecast a day in time order, teach about the bands: a bundle's `calibration`.

    Args:
        spec: of the model.
        raw: [N, H + D, 3] its outputs.
        validation: the held-out days; the model must not have learnt from them, or the bands come out too narrow.
    """
    slots, peaks = split_peak(spec, assemble(raw, validation.center_kw, validation.scale_kw))
    truth = daily_peak(spec, validation.truth_kw)
    begin_ms = [int(one) for one in validation.begin_ms]
    return {
        "slots": Calibration.from_scores(slots, validation.truth_kw, spec.slot_s, begin_ms).to_json(),
        "peaks": Calibration.from_scores(peaks[:, :1], truth[:, :1], DAY_S, begin_ms).to_json(),
    }
