"""Native libraries that talk to file descriptors 1 and 2 whatever they are told: kept off the terminal, not lost."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def native_output_kept() -> Iterator[Callable[[], list[str]]]:
    """Divert descriptors 1 and 2 to a file; give a function that returns the lines written so far.

    It acts on the whole process: no other thread may print meanwhile.
    """
    _flush()
    before = [os.dup(descriptor) for descriptor in (1, 2)]
    with tempfile.TemporaryFile() as file:

        def heard() -> list[str]:
            _flush()
            file.seek(0)
            text = file.read().decode(errors="replace")
            file.seek(0, os.SEEK_END)
            return [line for line in text.splitlines() if line.strip()]

        try:
            for descriptor in (1, 2):
                os.dup2(file.fileno(), descriptor)
            yield heard
        finally:
            _flush()
            for descriptor, old in zip((1, 2), before, strict=True):
                os.dup2(old, descriptor)
                os.close(old)


def import_tensorflow() -> None:
    """Import TensorFlow without its start-up chatter; a failure to import says all of it."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with native_output_kept() as heard:
        try:
            import tensorflow as tf  # noqa: F401, PLC0415 - the import is the purpose
        except ImportError as exc:
            raise ImportError("\n".join([*heard(), str(exc), "pip install 'edgewatt[trainer]'"])) from exc


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
