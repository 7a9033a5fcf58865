"""Waiting for another thread or process, without a fixed pause."""

import time
from collections.abc import Callable


def eventually(condition: Callable[[], object], within_s: float = 20.0, every_s: float = 0.02) -> None:
    """Return as soon as `condition()` is true.

    Raises:
        AssertionError: when it stays false; the limit is generous, it bounds a hung test and judges no speed.
    """
    deadline = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError("what the test waits for did not happen")
        time.sleep(every_s)
