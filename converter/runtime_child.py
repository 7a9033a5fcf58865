"""One runtime on every window, in a process of its own.

`python -m converter.runtime_child ADAPTER MODEL INPUTS OUTPUTS`, ADAPTER `litert` or `tflite`. tflite-runtime 2.14 must
not share a process with TensorFlow and needs another Python; and time and memory are a runtime's own only where nothing
else runs. Prints one JSON object. It imports of this project only what a device has.
"""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

import numpy as np

from agent.contract.errors import EdgewattError, RejectedError
from agent.inference.runtime import Runtime
from converter.timing import median_ms

_STATUS = Path("/proc/self/status")


def main(adapter: str, model_path: str, inputs_path: str, outputs_path: str) -> int:
    """Run every window; write `raw`, print name, latency and memory."""
    try:
        load = importlib.import_module(f"agent.inference.{adapter}").load
        model = Path(model_path).read_bytes()
        with np.load(inputs_path, allow_pickle=False) as arrays:
            recent, steps = arrays["recent"], arrays["steps"]
        before_kib = resident_kib()
        runtime: Runtime = load(model)
        raw = np.empty((len(recent), *runtime.raw_shape[1:]), dtype=np.float32)
        raw[0] = runtime.run(recent[:1], steps[:1])[0]
        after_kib = resident_kib()
        for index in range(1, len(recent)):
            raw[index] = runtime.run(recent[index : index + 1], steps[index : index + 1])[0]
    except (EdgewattError, ImportError, OSError) as exc:
        sys.stderr.write(f"{exc}\n")
        return exc.exit_code if isinstance(exc, EdgewattError) else RejectedError.exit_code
    np.savez(outputs_path, raw=raw)
    answer = {
        "runtime": runtime.name,
        "median_ms": median_ms(lambda: runtime.run(recent[:1], steps[:1])),
        "resident_growth_kib": None if before_kib is None or after_kib is None else max(0, after_kib - before_kib),
        "tensorflow_loaded": "tensorflow" in sys.modules,
        "numpy": np.__version__,
    }
    sys.stdout.write(json.dumps(answer) + "\n")
    return 0


def resident_kib() -> int | None:
    """Resident memory of this process; None where the system does not tell (not Linux)."""
    try:
        lines = _STATUS.read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) for line in lines if line.startswith("VmRSS:")), None)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:5]))
