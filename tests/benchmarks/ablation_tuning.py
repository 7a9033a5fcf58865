"""Fine-tunes a distilled student plain, pruned and quantised, in Keras 2: what prunes and trains quantised knows no other.

    python -m tests.benchmarks.ablation_tuning FOLDER

A process of its own, since TensorFlow takes one Keras for as long as it lives. FOLDER holds a `job` (see `write_job`);
this writes `twin.npz`, what the copied student said before any tuning, `tuned.npz` and `pruned.npz`, weights by layer,
and `qat.tflite`, whose int8 steps are those that it was trained with.
"""

import json
import os
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from agent.contract.errors import UnavailableError
from agent.contract.features import Inputs
from agent.contract.featurespec import FeatureSpec

LIBRARIES = Path(__file__).parents[2] / ".legacy-keras"  # made by `make bench`
INPUTS = ("recent", "steps")


@dataclass(frozen=True)
class Tuning:
    """How a student is fine-tuned.

    Attributes:
        updates: gradient steps. int8 steps follow the activations slowly: of where they begin, an eighth is left after
            2000.
        rate: highest learning rate.
        sparsity: share of the weights that pruning zeroes, half-way at the latest.
    """

    updates: int = 2000
    rate: float = 1e-3
    sparsity: float = 0.5


def write_job(folder, spec, student, lessons, calibration, options, tuning):
    """Write what the child needs: a student (of Keras 3), what it learnt from, and inputs that fix int8 steps."""
    folder.mkdir(parents=True)
    (folder / "job.json").write_text(
        json.dumps(
            {
                "spec": spec.to_json(),
                "shape": asdict(options.student),
                "batch": options.batch,
                "weight_decay": options.weight_decay,
                "truth_share": options.truth_share,
                "seed": options.seed,
                "tuning": asdict(tuning),
            }
        )
    )
    np.savez(
        folder / "lessons.npz",
        **{name: getattr(lessons.inputs, name) for name in INPUTS},
        **{name: getattr(lessons, name) for name in ("target", "taught", "odds")},
    )
    np.savez(folder / "calibration.npz", **{name: getattr(calibration, name) for name in INPUTS})
    write_weights(folder / "student.npz", student)


def write_weights(path, model):
    """Write the weights of a model by layer and number."""
    named = [(layer.name, layer.get_weights()) for layer in model.layers]
    np.savez(path, **{f"{name}/{number}": array for name, arrays in named for number, array in enumerate(arrays)})


def read_weights(path, model):
    """Set the weights of a model, of either Keras, from a file; every layer that has some must stand there."""
    with np.load(path, allow_pickle=False) as arrays:
        for layer in model.layers:
            count = len(layer.get_weights())
            if count:
                layer.set_weights([arrays[f"{layer.name}/{number}"] for number in range(count)])


def main(folder):
    """Do the job in a folder."""
    os.environ["TF_USE_LEGACY_KERAS"] = "1"
    sys.path.append(str(LIBRARIES))
    try:
        import tensorflow_model_optimization as tfmot
        import tf_keras
    except ImportError as exc:
        raise UnavailableError(f"missing ({exc})", where=str(LIBRARIES), todo="Run make bench, which fills it") from exc
    from converter.conversion import to_int8
    from trainer.learning import fitting, networks
    from trainer.learning.networks import Shape

    job = json.loads((folder / "job.json").read_text())
    spec, tuning = FeatureSpec.from_json(job["spec"], "job"), Tuning(**job["tuning"])
    lessons, calibration = _arrays(folder / "lessons.npz"), _arrays(folder / "calibration.npz")

    def fresh():
        model = networks.build(spec, Shape(**job["shape"]).plain, name="student", seed=0, kit=tf_keras)
        read_weights(folder / "student.npz", model)
        # tfmot rebuilds networks from their inputs in a row; by name it does not find them.
        return tf_keras.Model([model.input[name] for name in INPUTS], model.output, name="student")

    def tune(model, progress=lambda _done, _total: None):
        schedule = fitting.Schedule(
            tuning.updates, job["batch"], tuning.rate, job["weight_decay"], job["seed"] * 100 + 50
        )
        fitting.fit(
            model,
            _inputs(lessons),
            lessons["target"],
            schedule,
            taught=lessons["taught"],
            truth_share=job["truth_share"],
            odds=lessons["odds"],
            progress=progress,
            kit=tf_keras,
        )
        return model

    plain = fresh()
    np.savez(folder / "twin.npz", raw=fitting.predict(plain, _inputs(calibration)))
    write_weights(folder / "tuned.npz", tune(plain))
    write_weights(folder / "pruned.npz", _prune(tfmot.sparsity.keras, tf_keras, fresh(), tune, tuning))
    quantised = tune(tfmot.quantization.keras.quantize_model(fresh()))
    model = to_int8(quantised, spec, calibration["recent"], calibration["steps"], kit=tf_keras)
    (folder / "qat.tflite").write_bytes(model)


def _prune(sparsity, tf_keras, model, tune, tuning):
    """Tune a model while its smallest weights are zeroed, more and more of them; return it without the machinery."""
    schedule = sparsity.PolynomialDecay(
        initial_sparsity=0.0,
        final_sparsity=tuning.sparsity,
        begin_step=0,
        end_step=tuning.updates // 2,
        frequency=max(1, min(50, tuning.updates // 8)),
    )
    wrapped = sparsity.prune_low_magnitude(model, pruning_schedule=schedule)
    wrapped.compile(optimizer=tf_keras.optimizers.SGD())  # the callback reads from it that no step is done yet
    callback = sparsity.UpdatePruningStep()
    callback.set_model(wrapped)
    callback.on_train_begin()
    callback.on_train_batch_begin(0)
    tune(wrapped, lambda done, _total: callback.on_train_batch_begin(done))
    callback.on_epoch_end(0)  # zeroes what the last step has moved
    return sparsity.strip_pruning(wrapped)


def _inputs(arrays):
    nothing = np.empty(0)
    return Inputs(arrays["recent"], arrays["steps"], nothing, nothing)


def _arrays(path):
    with np.load(path, allow_pickle=False) as arrays:
        return dict(arrays)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
