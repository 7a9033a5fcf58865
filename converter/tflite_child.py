"""Runs in another environment, by its own Python: tflite-runtime 2.14 must not share a process with TensorFlow.

`python -m converter.tflite_child MODEL.tflite INPUTS.npz OUTPUTS.npz`; prints one JSON object. It imports of this
project only what a device has.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

from agent.contract.errors import EdgewattError
from agent.inference import tflite
from converter.timing import median_ms


def main(model_path: str, inputs_path: str, outputs_path: str) -> int:
    """Run every window; write `raw`, print name and latency."""
    try:
        runtime = tflite.load(Path(model_path).read_bytes())
        with np.load(inputs_path, allow_pickle=False) as arrays:
            recent, steps = arrays["recent"], arrays["steps"]
        raw = [runtime.run(recent[i : i + 1], steps[i : i + 1])[0] for i in range(len(recent))]
    except EdgewattError as exc:
        sys.stderr.write(f"{exc}\n")
        return exc.exit_code
    np.savez(outputs_path, raw=np.stack(raw))
    answer = {
        "runtime": runtime.name,
        "median_ms": median_ms(lambda: runtime.run(recent[:1], steps[:1])),
        "tensorflow_loaded": "tensorflow" in sys.modules,
        "numpy": np.__version__,
    }
    sys.stdout.write(json.dumps(answer) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:4]))
