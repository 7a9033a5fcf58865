"""LiteRT (`ai-edge-litert`), the runtime of today's 64-bit devices; the only importer of the library."""

from __future__ import annotations

import importlib.metadata

from agent.inference.runtime import Runtime, make_runtime

try:
    from ai_edge_litert.interpreter import Interpreter
except ImportError as exc:
    raise ImportError("LiteRT is missing: pip install 'ai-edge-litert>=2.1,<3'") from exc


def load(model: bytes, *, threads: int = 1) -> Runtime:
    """Load a TFLite model.

    Raises:
        RejectedError: when LiteRT cannot execute it, or it is not a forecaster's.
    """
    return make_runtime(Interpreter, model, f"ai-edge-litert {importlib.metadata.version('ai-edge-litert')}", threads)
