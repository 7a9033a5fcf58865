"""Two devices under one name, as the centre sees them: births of two starts that take turns.

Each start of a device has an epoch above those of all its earlier starts. One that goes back once is a restored image;
one that goes back again and again is two devices with copies of one folder.
"""

from __future__ import annotations

import itertools
from collections import deque

_WITHIN_MS = 3_600_000
_TURNS = 2  # times that an older start came back
_KEPT = 16


class Births:
    """The last births of each device, in the memory of one process."""

    def __init__(self) -> None:
        self._births: dict[str, deque[tuple[int, int]]] = {}

    def note(self, device: str, epoch: int, now_ms: int) -> str:
        """Note a birth; return what is wrong, once in a while, or nothing.

        Args:
            device: its name.
            epoch: of its start; 0 from a device that does not say.
            now_ms: real time.
        """
        if not epoch:
            return ""
        births = self._births.setdefault(device, deque(maxlen=_KEPT))
        births.append((now_ms, epoch))
        epochs = [epoch for at_ms, epoch in births if now_ms - at_ms <= _WITHIN_MS]
        turns = sum(later < earlier for earlier, later in itertools.pairwise(epochs))
        if turns < _TURNS:
            return ""
        births.clear()
        return f"two devices use the identity of {device}: their starts take turns at the broker"
