"""Small real bundles for tests and for the demonstration: a good one, and properly made ones that a device must refuse.

The model is a true full-int8 TFLite network, made by TensorFlow from weights fitted in closed form on a made-up plant, and
scored on held-out weeks of it against seasonal naive. `TINY` is that bundle as committed, so that processes without TensorFlow
(or with tflite-runtime, which must not share a process with it) can use it. To make it anew::

    python -m tests.support.bundles tests/agent/inference/cases/tiny.ewb
"""

import hashlib
import io
import json
import sys
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from agent.contract import features
from agent.contract.bundle import MANIFEST, Bundle, Golden, Manifest, Training
from agent.contract.featurespec import QUANTILES, FeatureSpec

TINY = Path(__file__).resolve().parents[1] / "agent" / "inference" / "cases" / "tiny.ewb"
SLOT_S, HORIZON, ZONE = 1800, 48, "+10:00"
START_MS = 1_388_498_400_000  # 2014-01-01T00:00+10:00
SPEC = FeatureSpec(
    slot_s=SLOT_S,
    horizon=HORIZON,
    zone=ZONE,
    holidays=("2014-01-01", "2014-01-27", "2014-04-18"),
    center_kw=112.3,  # of the first 110 days of `plant_history`
    scale_kw=40.2,
)
_GOLDEN_COUNT = 3
_OUTPUT_STEPS = 3  # runtimes round differently by up to two int8 steps


def plant_history(days: int, *, seed: int = 7, slot_s: int = SLOT_S) -> np.ndarray:
    """Mean power [days * slots a day] in kW from `START_MS`: daily and weekly shape, a slow drift, and noise."""
    per_day = 86_400 // slot_s
    slots = np.arange(days * per_day)
    hour = (slots % per_day) * 24 / per_day
    weekday = (slots // per_day + 2) % 7  # 2014-01-01 was a Wednesday
    shift = np.where(weekday < 5, 1.0, 0.35) * np.exp(-(((hour - 13) / 4.5) ** 2))
    noise = np.random.default_rng(seed).normal(0, 6, len(slots))
    return 80 + 120 * shift + 15 * np.sin(slots / per_day / 9) + noise


def write_history_csv(path: Path, days: int = 20, *, seed: int = 7) -> Path:
    """Write `plant_history` as a CSV `timestamp,load` with local times of the frame +10:00."""
    lines = ["timestamp,load"]
    for index, value in enumerate(plant_history(days, seed=seed)):
        minutes = index * SLOT_S // 60
        stamp = np.datetime64("2014-01-01T00:00") + np.timedelta64(minutes, "m")
        lines.append(f"{stamp},{value:.3f}")
    path.write_text("\n".join(lines) + "\n")
    return path


def make(*, name: str = "tiny-plant", version: int = 1) -> Bundle:
    """Make the bundle with TensorFlow (some seconds)."""
    power = plant_history(150)
    per_day = SPEC.per_day
    train = np.arange(SPEC.max_history, 110 * per_day, 7)
    held_out = np.arange(110 * per_day, len(power) - HORIZON, 5)
    weights = _fit(power, train)
    model = _convert(weights, _inputs(power, train[:: len(train) // 150]))
    inputs = _inputs(power, held_out)
    truth = _truth(power, held_out)
    raw, step_size = _run(model, inputs)
    scores = {
        "naive": _pinball(np.repeat(_truth(power, held_out - 7 * per_day)[..., None], 3, axis=-1), truth),
        "teacher": _pinball(_assemble(_float_raw(weights, inputs), inputs), truth),
        "student_float": _pinball(_assemble(_float_raw(weights, inputs), inputs), truth),
        "student_int8": _pinball(_assemble(raw, inputs), truth),
    }
    pick = np.linspace(0, len(held_out) - 1, _GOLDEN_COUNT).astype(int)
    tolerance = round(_OUTPUT_STEPS * step_size, 6)
    manifest = Manifest(
        name=name,
        version=version,
        created_ms=1_764_000_000_000,
        feature_spec=SPEC,
        pinball_kw={key: round(value, 6) for key, value in scores.items()},
        training=Training(hashlib.sha256(power.tobytes()).hexdigest(), len(power), {"kind": "closed form"}, 0.01, None),
        tolerance=tolerance,
    )
    golden = Golden(inputs.recent[pick], inputs.steps[pick], raw[pick], tolerance)
    return Bundle(manifest, model, golden, {"purpose": "tests", "metrics": dict(manifest.pinball_kw)})


def tiny_bytes() -> bytes:
    """The committed bundle: `tiny-plant@1`, slots of 30 min, 48 steps ahead, zone +10:00."""
    return TINY.read_bytes()


def with_version(data: bytes, version: int) -> bytes:
    """The same model under another version."""
    bundle = Bundle.from_bytes(data)
    return replace(bundle, manifest=replace(bundle.manifest, version=version)).to_bytes()


def with_wrong_golden(data: bytes, *, version: int | None = None) -> bytes:
    """A bad model, properly made: it loads and states good scores, but its outputs are not its golden ones."""
    bundle = Bundle.from_bytes(data)
    golden = replace(bundle.golden, raw=bundle.golden.raw + np.float32(10 * bundle.manifest.tolerance + 1))
    manifest = replace(bundle.manifest, version=version or bundle.manifest.version)
    return replace(bundle, manifest=manifest, golden=golden).to_bytes()


def not_better_than_naive(data: bytes) -> bytes:
    """A bundle whose int8 student loses to seasonal naive; written past the checks of `Bundle.to_bytes`."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        scores = json.loads(archive.read(MANIFEST))["pinball_kw"]
    return with_manifest(data, pinball_kw={**scores, "student_int8": scores["naive"] * 1.01})


def with_manifest(data: bytes, **fields: Any) -> bytes:
    """Replace fields of the manifest without any check, as a hostile or mistaken builder would."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    files[MANIFEST] = json.dumps({**json.loads(files[MANIFEST]), **fields}).encode()
    return zip_stored(files)


def zip_stored(files: dict[str, bytes]) -> bytes:
    """A zip without compression and with fixed times."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0)), content)
    return out.getvalue()


def _inputs(power: np.ndarray, origins: np.ndarray) -> features.Inputs:
    return features.compute(SPEC, START_MS, power, origins)


def _truth(power: np.ndarray, origins: np.ndarray) -> np.ndarray:
    return power[origins[:, None] + np.arange(HORIZON)]


def _assemble(raw: np.ndarray, inputs: features.Inputs) -> np.ndarray:
    slots, _ = features.split_peak(SPEC, features.assemble(raw, inputs.center_kw, inputs.scale_kw))
    return slots


def _pinball(quantiles_kw: np.ndarray, truth_kw: np.ndarray) -> float:
    error = truth_kw[..., None] - quantiles_kw
    levels = np.array(QUANTILES)
    return float(np.maximum(levels * error, (levels - 1) * error).mean())


Weights = tuple[np.ndarray, float, np.ndarray]  # [F] on `steps`, on the mean of `recent`, biases [3]


def _fit(power: np.ndarray, origins: np.ndarray) -> tuple[Weights, Weights]:
    """A least-squares median and constant spreads: for the slots, and for the day's peak on the day's mean `steps`."""
    inputs = _inputs(power, origins)
    target = features.standardised_target(SPEC, power, origins, inputs)
    level = inputs.recent.mean(axis=1)
    slots, peaks = target[:, :HORIZON].reshape(-1), target[:, HORIZON:].reshape(-1)
    steps = inputs.steps.reshape(-1, inputs.steps.shape[-1])
    return _solve(steps, np.repeat(level, HORIZON), slots), _solve(inputs.steps.mean(axis=1), level, peaks)


def _solve(steps: np.ndarray, recent: np.ndarray, target: np.ndarray) -> Weights:
    table = np.column_stack([steps, recent, np.ones(len(steps))])
    # A little ridge: weekday and working columns depend on one another.
    solution = np.linalg.solve(table.T @ table + 0.1 * np.eye(table.shape[1]), table.T @ target)
    left = target - table @ solution
    spreads = np.abs(np.quantile(left, (0.1, 0.9)))
    return solution[:-2], float(solution[-2]), np.array([solution[-1], *np.log(np.expm1(spreads))])


def _float_raw(weights: tuple[Weights, Weights], inputs: features.Inputs) -> np.ndarray:
    parts = []
    for (on_steps, on_recent, bias), steps in zip(
        weights, (inputs.steps, inputs.steps.mean(axis=1, keepdims=True)), strict=True
    ):
        median = steps @ on_steps + on_recent * inputs.recent.mean(axis=1)[:, None] + bias[0]
        parts.append(np.stack([median, np.full_like(median, bias[1]), np.full_like(median, bias[2])], axis=-1))
    return np.concatenate(parts, axis=1)


def _convert(weights: tuple[Weights, Weights], samples: features.Inputs) -> bytes:
    import tensorflow as tf

    layers, one = tf.keras.layers, np.array([1.0, 0.0, 0.0])
    recent = tf.keras.Input((SPEC.recent_size,), batch_size=1, name="recent")
    steps = tf.keras.Input((HORIZON, len(SPEC.step_names)), batch_size=1, name="steps")
    row = layers.Reshape((1, HORIZON, len(SPEC.step_names)))(steps)
    rows, filled = [], []
    for given, (on_steps, on_recent, bias) in zip(
        (row, layers.AveragePooling2D((1, HORIZON))(row)), weights, strict=True
    ):
        level, local = layers.Dense(3), layers.Conv2D(3, 1)
        rows.append(layers.Add()([local(given), layers.Reshape((1, 1, 3))(level(recent))]))
        filled.append((level, [np.full((SPEC.recent_size, 1), on_recent / SPEC.recent_size) * one, bias]))
        filled.append((local, [(on_steps[:, None] * one)[None, None], np.zeros(3)]))
    model = tf.keras.Model([recent, steps], layers.Reshape((SPEC.output_size, 3))(layers.Concatenate(axis=2)(rows)))
    for layer, values in filled:
        layer.set_weights(values)
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: (
        {"recent": samples.recent[i : i + 1], "steps": samples.steps[i : i + 1]} for i in range(len(samples.recent))
    )
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    return bytes(converter.convert())


def _run(model: bytes, inputs: features.Inputs) -> tuple[np.ndarray, float]:
    """De-quantised outputs [N, H + D, 3] under LiteRT, and the size of one output step."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=model, num_threads=1)
    interpreter.allocate_tensors()
    (out,) = interpreter.get_output_details()
    scale, zero = out["quantization"]
    rows = []
    for index in range(len(inputs.recent)):
        for detail in interpreter.get_input_details():
            value = (inputs.recent if len(detail["shape"]) == 2 else inputs.steps)[index : index + 1]
            step, middle = detail["quantization"]
            quantised = np.clip(np.rint(value / step + middle), -128, 127).astype(np.int8)
            interpreter.set_tensor(detail["index"], quantised)
        interpreter.invoke()
        rows.append((interpreter.get_tensor(out["index"]).astype(np.float32) - zero) * np.float32(scale))
    return np.concatenate(rows).astype(np.float32), float(scale)


if __name__ == "__main__":
    Path(sys.argv[1]).parent.mkdir(parents=True, exist_ok=True)
    Path(sys.argv[1]).write_bytes(make().to_bytes())
