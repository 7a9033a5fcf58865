"""Keeping one room's failure from the others: each turn of a room is run here, and a failure is told once."""

from __future__ import annotations

import logging
from collections.abc import Callable

from agent.contract.errors import EdgewattError

Report = Callable[[str, str], None]
_MAX_TEXT = 500
_log = logging.getLogger(__name__)


class Troubles:
    """Which rooms fail at present.

    Invariants:
        - `run` never raises;
        - a failure is logged and reported when it begins, when it becomes another one, and when it is over.

    Attributes:
        open: room -> what is wrong.
    """

    def __init__(self, report: Report) -> None:
        """Tell beginnings and ends to `report(room, text)`, which must not raise."""
        self._report = report
        self.open: dict[str, str] = {}

    def run(self, room: str, action: Callable[[], None]) -> bool:
        """Run one turn of a room; return whether it went well."""
        try:
            action()
        except EdgewattError as exc:
            self.note(room, str(exc))
            return False
        except Exception as exc:  # noqa: BLE001 - a defect in one room must not stop the sampling
            # The log gets the whole story, once.
            if room not in self.open:
                _log.exception("%s failed", room)
            self.note(room, f"internal error: {type(exc).__name__}: {exc}")
            return False
        self.note(room, "")
        return True

    def note(self, room: str, text: str) -> None:
        """Set what is wrong with a room; nothing, when it is well."""
        text = text[:_MAX_TEXT]
        before = self.open.get(room, "")
        if text == before:
            return
        if text:
            self.open[room] = text
            _log.warning("%s: %s", room, text)
            self._report(room, text)
        else:
            del self.open[room]
            _log.warning("%s: well again", room)
            self._report(room, f"well again after: {before}")
