"""Model directory -> bundle (`.ewb`) with its model card, and what a bundle says of itself."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agent.contract.bundle import MAX_BYTES, Bundle, Golden, Manifest, Training
from agent.contract.errors import ConfigError, RejectedError
from agent.contract.featurespec import FeatureSpec
from agent.contract.givenfiles import BUNDLE, read_file
from agent.contract.zones import utc_iso
from agent.inference.forecaster import Model
from agent.inference.litert import load as load_litert
from converter import modeldir, records
from converter.modeldir import ModelDir

_LATENCY_HEADROOM = 50.0  # a small board is that much slower than the centre; above it something is wrong
_LEAST_LATENCY_MS = 50.0


def bundle(folder: ModelDir) -> Bundle:
    """Build the bundle of a trained, converted and verified model.

    Raises:
        ConfigError: when a step is missing, or the model was converted again after it was verified.
        RejectedError: when a file is damaged or not of this model, or the int8 student does not beat seasonal naive,
            or fails its own golden vectors.
    """
    training, conversion = records.training(folder), records.conversion(folder)
    verification = records.verification(folder)
    model = records.int8_model(folder)
    label = f"{training['name']}@{training['version']}"
    if verification["model_sha256"] != hashlib.sha256(model).hexdigest():
        raise ConfigError(
            "is not the model that was verified",
            where=str(folder.file(modeldir.INT8)),
            todo=f"Run: edgewatt-converter verify {folder.path}",
        )
    scores = {**training["pinball_kw"], "student_int8": conversion["pinball_int8_kw"]}
    if not scores["student_int8"] < scores["naive"]:
        raise RejectedError(
            f"the int8 student (pinball {scores['student_int8']:.6g} kW) does not beat seasonal naive "
            f"({scores['naive']:.6g} kW) on {training['validation']['days']} held-out days",
            where=label,
            todo="Train on more data; until then the device's own naive forecast is better",
        )
    arrays = folder.read_arrays(modeldir.GOLDEN, "recent", "steps", "raw")
    edge_tpu = folder.file(modeldir.EDGE_TPU)
    result = Bundle(
        manifest=Manifest(
            name=training["name"],
            version=training["version"],
            created_ms=training["created_ms"],
            feature_spec=folder.spec(),
            pinball_kw=scores,
            training=Training(
                data_sha256=training["data_sha256"],
                rows=training["rows"],
                config=training["config"],
                energy_wh=training["energy_wh"],
                co2_g=training["co2_g"],
            ),
            tolerance=verification["tolerance"],
            calibration=verification["calibration"],
            max_latency_ms=max(_LEAST_LATENCY_MS, _LATENCY_HEADROOM * _slowest_ms(verification)),
        ),
        model=model,
        golden=Golden(**arrays, tolerance=verification["tolerance"]),
        card=_card(training, conversion, verification, scores, _parents(folder), folder.spec()),
        edge_tpu=edge_tpu.read_bytes() if edge_tpu.exists() else None,
    )
    Model.load(result.to_bytes(), load_runtime=load_litert).check_golden()
    return result


def read(path: Path) -> Bundle:
    """Read the file of a bundle.

    Raises:
        ConfigError: when it cannot be read.
        RejectedError: when it is damaged or would be refused on a device; with the file.
    """
    data = read_file(path, MAX_BYTES, wanted=BUNDLE, todo="Take the file that `edgewatt-converter bundle` has written")
    try:
        return Bundle.from_bytes(data)
    except RejectedError as exc:
        part = "" if exc.where in {"", "bundle"} else f": {exc.where}"
        raise RejectedError(
            exc.what, where=f"{path}{part}", todo=exc.todo or "Get a good copy, or bundle again"
        ) from exc


def describe(parsed: Bundle) -> dict[str, Any]:
    """Everything a bundle says of itself, as plain values."""
    members = {"model.tflite": parsed.model}
    if parsed.edge_tpu is not None:
        members["model_edgetpu.tflite"] = parsed.edge_tpu
    return {
        "manifest": parsed.manifest.to_json(members),
        "card": dict(parsed.card),
        "model_bytes": len(parsed.model),
        "golden_windows": len(parsed.golden.recent),
    }


def lines(parsed: Bundle) -> list[str]:
    """The same for people."""
    manifest = parsed.manifest
    spec, naive = manifest.feature_spec, manifest.pinball_kw["naive"]
    energy = manifest.training.energy_wh
    text = [
        f"{manifest.name}@{manifest.version}, made {utc_iso(manifest.created_ms)}, {len(parsed.model)} bytes",
        f"{spec.horizon} steps of {spec.slot_s // 60} min, {spec.scaling} scaling",
        f"zone {spec.zone}, {len(spec.holidays)} holidays",
        *(
            f"pinball {name:14} {loss:12.6g} kW  {loss / naive:6.3f} x naive"
            for name, loss in manifest.pinball_kw.items()
        ),
        f"training data {manifest.training.data_sha256[:16]}..., {manifest.training.rows} slots",
        f"energy of training {'not measured' if energy is None else f'{energy:.3g} Wh'}",
        f"golden windows {len(parsed.golden.recent)}, tolerance {manifest.tolerance:.4g}",
        f"latency limit {manifest.max_latency_ms:.0f} ms",
    ]
    verified = parsed.card.get("verification", {}).get("runtimes", ())
    text += [
        f"verified on {run['runtime']}: {run['median_ms']:.3f} ms, at most {run['max_steps']:g} int8 steps off"
        for run in verified
    ]
    peaks = parsed.card.get("metrics", {}).get("daily_peaks", {}).get("student_int8")
    if peaks is not None:
        text.append(
            f"daily peak: bias {peaks['bias']:+.1%} (highest slot of the median {peaks['path_bias']:+.1%}), "
            f"{peaks['coverage']:.0%} of {peaks['days']} days in the band"
        )
    limits = parsed.card.get("limits", ())
    return [*text, *(f"limit: {limit}" for limit in limits)]


def _parents(folder: ModelDir) -> dict[str, str]:
    """SHA-256 of each network that the int8 model comes from: the float student and its teachers."""
    names = (modeldir.STUDENT, *(path.name for path in folder.teachers))
    return {name: hashlib.sha256(folder.read_bytes(name)).hexdigest() for name in names}


def _slowest_ms(verification: Mapping[str, Any]) -> float:
    return max(float(result["median_ms"]) for result in verification["runtimes"])


def _card(
    training: Mapping[str, Any],
    conversion: Mapping[str, Any],
    verification: Mapping[str, Any],
    scores: Mapping[str, float],
    parents: Mapping[str, str],
    spec: FeatureSpec,
) -> dict[str, Any]:
    """The model card: for whoever must judge the model without the centre at hand."""
    covariates, hours = ", ".join(one.name for one in spec.covariates), spec.horizon * spec.slot_s // 3600
    knows = f"Of what is ahead it takes {covariates}; its figures are those of a device that is told nothing of it."
    limits = [
        f"Learnt from one plant's load ({training['plant']}); a plant of another kind needs its own model.",
        knows
        if covariates
        else "It knows load and calendar only: weather, production plans and strikes are not in it.",
        "Not for safety: a forecast may be wrong, and its band holds four slots of five at best.",
    ]
    if training["data_to_ms"] - training["data_from_ms"] < 365 * 86_400_000:
        limits.append("Trained on less than a year: seasons it has not seen are extrapolated.")
    if verification["remark"]:
        limits.append(verification["remark"])
    return {
        "schema": 1,
        "name": training["name"],
        "version": training["version"],
        "purpose": f"Load of one plant for {hours} h as quantiles 0.1, 0.5 and 0.9, on the device, without a network.",
        "lineage": {
            "plant": training["plant"],
            "data_sha256": training["data_sha256"],
            "data_from": utc_iso(training["data_from_ms"]),
            "data_to": utc_iso(training["data_to_ms"]),
            "rows": training["rows"],
            "windows": training["windows"],
            "base_model": training.get("base_model"),
            "pool": training.get("pool", []),
            "parents": dict(parents),
            "model_sha256": verification["model_sha256"],
        },
        "config": training["config"],
        "parameters": training["parameters"],
        "metrics": {
            "pinball_kw": dict(scores),
            "daily_peaks": verification["peaks"],
            "validation": training["validation"],
            "protocol": "held-out weeks amid the data, not learnt from; one forecast a day, from the plant's midnight",
        },
        "footprint": {key: training[key] for key in ("seconds", "energy_wh", "energy_source", "co2_g")},
        "conversion": dict(conversion),
        "verification": dict(verification),
        "limits": limits,
    }
