"""What planning needs of a store, in memory."""

from __future__ import annotations

from typing import Any


class Kept:
    """What a store keeps under names; it has no rows."""

    def __init__(self) -> None:
        self.notes: dict[str, bytes] = {}

    def note(self, name: str) -> bytes | None:
        return self.notes.get(name)

    def keep(self, name: str, data: bytes) -> None:
        self.notes[name] = data

    def rows(self, stream: str, start_ms: int, end_ms: int) -> list[dict[str, Any]]:
        return []
