"""The newest plan as the store keeps it: under which name, and how large it may be.

Loads nothing of the schedule: also a plant without anything to plan asks whether there is a plan.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from agent.contract import jsonform

NOTE = "plan"
_MAX_BYTES = 8 << 20


def read_plan_note(note: Callable[[str], bytes | None]) -> dict[str, Any] | None:
    """Return the newest plan as JSON values, see `planning`; None before the first.

    Args:
        note: reads what the store keeps under a name.

    Raises:
        RejectedError: when it is damaged.
        StorageError: when the disk cannot be read.
    """
    data = note(NOTE)
    return None if data is None else jsonform.loads(data, where=f"note {NOTE}", max_bytes=_MAX_BYTES)
