"""Makes the models of this folder that are not `tiny.ewb`; needs TensorFlow: `python -m tests.agent.inference.cases.make`.

`quarter-hours.ewb` and `quarter-hours-float.tflite` are one network (15-min slots, global scaling, a zone with summer
time) in int8 and in float32; `without-peaks.tflite` is like it but for the rows of the daily peaks; `one-input.tflite`
and `other-name.tflite` are valid models that are no forecasters.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tensorflow as tf

from agent.contract import features
from agent.contract.bundle import Bundle, Golden, Manifest, Training
from agent.contract.featurespec import FeatureSpec, Scaling
from agent.inference.litert import load

FOLDER = Path(__file__).parent
SPEC = FeatureSpec(
    slot_s=900, horizon=96, zone="Australia/Melbourne", scaling=Scaling.GLOBAL, center_kw=100.0, scale_kw=30.0
)
START_MS = 1_760_002_200_000
TOLERANCE = 0.1


def network(*, peaks: bool = True) -> tf.keras.Model:
    recent = tf.keras.Input(batch_shape=(1, SPEC.recent_size), name="recent")
    steps = tf.keras.Input(batch_shape=(1, SPEC.horizon, len(SPEC.step_names)), name="steps")
    summary = tf.keras.layers.Dense(4, activation="relu")(recent)
    summary = tf.keras.layers.Reshape((SPEC.horizon, 1))(tf.keras.layers.Dense(SPEC.horizon)(summary))
    hidden = tf.keras.layers.Dense(12, activation="relu")(tf.keras.layers.Concatenate()([steps, summary]))
    if not peaks:
        return tf.keras.Model([recent, steps], tf.keras.layers.Dense(3)(hidden))
    row = tf.keras.layers.Reshape((1, SPEC.horizon, 12))(hidden)
    day = tf.keras.layers.Reshape((SPEC.days, 12))(tf.keras.layers.MaxPooling2D((1, SPEC.per_day))(row))
    out = tf.keras.layers.Concatenate(axis=1)([tf.keras.layers.Dense(3)(hidden), tf.keras.layers.Dense(3)(day)])
    return tf.keras.Model([recent, steps], out)


def windows() -> features.Inputs:
    slot = np.arange(40 * SPEC.per_day)
    load_kw = 100 + 30 * np.sin(2 * np.pi * slot / SPEC.per_day) + np.random.default_rng(0).normal(0, 4, len(slot))
    return features.compute(SPEC, START_MS, load_kw, np.arange(SPEC.min_history, len(slot), 23))


def convert(model: tf.keras.Model, inputs: features.Inputs | None = None) -> bytes:
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    if inputs is not None:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: (
            {"recent": recent[None], "steps": steps[None]}
            for recent, steps in zip(inputs.recent, inputs.steps, strict=True)
        )
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.int8
    return converter.convert()


def main() -> None:
    tf.keras.utils.set_random_seed(1)
    model, inputs = network(), windows()
    quantised = convert(model, inputs)
    (FOLDER / "quarter-hours-float.tflite").write_bytes(convert(model))
    (FOLDER / "without-peaks.tflite").write_bytes(convert(network(peaks=False)))
    runtime, few = load(quantised), range(3)
    raw = np.concatenate([runtime.run(inputs.recent[i : i + 1], inputs.steps[i : i + 1]) for i in few])
    golden = Golden(inputs.recent[: len(few)], inputs.steps[: len(few)], raw, TOLERANCE)
    scores = {"naive": 2.0, "teacher": 1.0, "student_float": 1.0, "student_int8": 1.0}  # untrained: not measured
    training = Training("00" * 32, 0, {"note": "random weights, for tests"})
    manifest = Manifest("quarter-hours", 1, START_MS, SPEC, scores, training, TOLERANCE)
    (FOLDER / "quarter-hours.ewb").write_bytes(Bundle(manifest, quantised, golden, {}).to_bytes())

    recent = tf.keras.Input(batch_shape=(1, 4), name="recent")
    (FOLDER / "one-input.tflite").write_bytes(convert(tf.keras.Model(recent, tf.keras.layers.Dense(3)(recent))))
    past, steps = tf.keras.Input(batch_shape=(1, 4), name="past"), tf.keras.Input(batch_shape=(1, 2, 4), name="steps")
    total = tf.keras.layers.Add()([tf.keras.layers.Reshape((1, 4))(past), steps])
    (FOLDER / "other-name.tflite").write_bytes(convert(tf.keras.Model([past, steps], total)))


if __name__ == "__main__":
    main()
