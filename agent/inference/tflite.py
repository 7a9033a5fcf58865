"""tflite-runtime 2.14, the runtime of 32-bit and older boards; the only importer of the library.

It must not share a process with TensorFlow (every invoke fails then) and needs numpy below 2.
"""

from __future__ import annotations

import importlib.metadata

from agent.inference.runtime import Runtime, make_runtime

try:
    from tflite_runtime.interpreter import Interpreter
except ImportError as exc:
    raise ImportError(
        "tflite-runtime is missing: pip install 'tflite-runtime==2.14.0' 'numpy<2' (Python 3.11 or older)"
    ) from exc


def load(model: bytes, *, threads: int = 1) -> Runtime:
    """Load a TFLite model.

    Raises:
        RejectedError: when tflite-runtime cannot execute it, or it is not a forecaster's.
    """
    return make_runtime(Interpreter, model, f"tflite-runtime {importlib.metadata.version('tflite-runtime')}", threads)
