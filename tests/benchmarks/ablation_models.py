"""The models of the ablation: each as a file of LiteRT, all of one plant, one seed and the same windows.

Decides what is left out or added in each, against the product's own recipe; knows nothing of series or of scores.
"""

import warnings
from dataclasses import replace

import numpy as np

from agent.contract.errors import UnavailableError
from converter.conversion import check_form, to_int8
from converter.quiet import native_output_kept
from tests.benchmarks.ablation_tuning import read_weights, write_job
from tests.benchmarks.measured import run_measured
from trainer.learning import fitting, holdout, networks, windows
from trainer.learning import teacher as teachers
from trainer.learning.lessons import Lessons, made_windows, prepare
from trainer.learning.networks import TEACHER
from trainer.learning.training import CALIBRATION_WINDOWS, learn

_TWINS_DIFFER = 1e-4  # standardised; two Keras of one TensorFlow differ by the order of sums


def teach(snapshot, options):
    """Split a plant's load, fit the teacher as `trainer.learning.training` does; return spec, teacher, windows, those of made years."""
    part = holdout.split(snapshot, options.horizon_hours, options.validation_days)
    spec = windows.make_spec(snapshot, options.horizon_hours, options.scaling, part)
    learnt = windows.training_windows(spec, snapshot, part, seed=options.seed)
    held_out = windows.held_out_windows(spec, snapshot, part)
    made = made_windows(spec, snapshot, part, learnt, options)
    teacher = teachers.fit(spec, learnt, held_out, options, lambda *_: None, made=made)
    return spec, teacher, learnt, made


def make_students(spec, teacher, learnt, made, options, tuning, folder):
    """Return the models as bytes by name, each explained in `ablation_table.TEXTS`, and the zeros in the pruned one."""
    taught = prepare(spec, teacher, learnt, options, lambda *_: None, made=made)
    alone = Lessons(learnt.inputs, learnt.target, None, windows.odds(spec, learnt))
    count = min(CALIBRATION_WINDOWS, len(learnt))
    rows = np.sort(np.random.default_rng(options.seed).choice(len(learnt), count, replace=False))
    calibration = learnt.inputs.rows(rows)

    def quantised(model):
        return to_int8(model, spec, calibration.recent, calibration.steps)

    days = len(np.unique(learnt.origins // spec.per_day))
    noise = {name: getattr(TEACHER, name) for name in ("dropout", "noise", "level_noise")}
    noisy = replace(options, student=replace(options.student, **noise), student_updates=options.updates_for(days))
    student = learn(spec, taught, options)
    models = {
        "truth_float": to_float(learn(spec, alone, options), spec),
        "truth_noisy_float": to_float(learn(spec, alone, noisy), spec),
        "distilled_float": to_float(student, spec),
        "distilled_again_float": to_float(learn(spec, taught, replace(options, seed=options.seed + 1)), spec),
        "distilled_int8": quantised(student),
    }
    tuned = tune(spec, student, taught, calibration, options, tuning, folder)
    for name in ("tuned", "pruned"):
        models |= {f"{name}_float": to_float(tuned[name], spec), f"{name}_int8": quantised(tuned[name])}
    models["qat_int8"] = tuned["qat"]
    for name, model in models.items():
        if name.endswith("int8"):
            check_form(model, spec)
    return models, zero_share(tuned["pruned"])


def tune(spec, student, taught, calibration, options, tuning, folder):
    """Fine-tune in a process with Keras 2; return models `tuned` and `pruned` (Keras 3) and the bytes of `qat`.

    Raises:
        UnavailableError: when the process fails, or its copy of the student does not say what the student says.
    """
    write_job(folder, spec, student, taught, calibration, options, tuning)
    run_measured("-m", "tests.benchmarks.ablation_tuning", folder, where="fine-tuning in Keras 2")
    with np.load(folder / "twin.npz") as said:
        apart = float(np.abs(said["raw"] - fitting.predict(student, calibration)).max())
    if apart > _TWINS_DIFFER:
        raise UnavailableError(f"is another network in Keras 2: outputs {apart:.2g} apart", where="student")
    result = {"qat": (folder / "qat.tflite").read_bytes()}
    for name in ("tuned", "pruned"):
        result[name] = networks.build(spec, options.student.plain, name="student", seed=0)
        read_weights(folder / f"{name}.npz", result[name])
    return result


def to_float(student, spec):
    """Convert a Keras 3 model as it is, for batch 1."""
    import keras
    import tensorflow as tf

    inputs = {
        "recent": keras.Input((spec.recent_size,), batch_size=1, name="recent"),
        "steps": keras.Input((spec.horizon, len(spec.step_names)), batch_size=1, name="steps"),
    }
    maker = tf.lite.TFLiteConverter.from_keras_model(keras.Model(inputs, student(inputs, training=False)))
    with native_output_kept(), warnings.catch_warnings():  # see converter.conversion.to_int8
        warnings.simplefilter("ignore")
        return bytes(maker.convert())


def zero_share(student):
    """Share of the kernels' weights that are zero."""
    kernels = [layer.get_weights()[0] for layer in student.layers if layer.get_weights()]
    return sum(int((kernel == 0).sum()) for kernel in kernels) / sum(kernel.size for kernel in kernels)
