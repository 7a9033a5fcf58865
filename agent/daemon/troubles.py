"""Keeping one room's failure from the others: each turn of a room is run here, and a failure is told once."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from agent.contract.errors import EdgewattError

Report = Callable[[str, str], None]
_MAX_TEXT = 500
_PASSING_EVERY_S = 600.0
_log = logging.getLogger(__name__)


class Troubles:
    """Which rooms fail at present.

    Invariants:
        - `run` never raises;
        - a failure is logged and reported when it begins, when it becomes another one, and when it is over.

    Attributes:
        open: room -> what is wrong.
        passed: room -> how often something was over at once.
    """

    def __init__(self, report: Report, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        """Tell beginnings and ends to `report(room, text)`, which must not raise."""
        self._report = report
        self._monotonic = monotonic
        self._told_s: dict[str, float] = {}
        self.passed: dict[str, int] = {}
        self.open: dict[str, str] = {}

    def run(self, room: str, action: Callable[[], object], *, passing: tuple[type[EdgewattError], ...] = ()) -> bool:
        """Run one turn of a room; return whether it went well.

        An error of the kinds in `passing` is over at once and leaves nothing wrong, as a message that is refused.
        """
        try:
            action()
        except passing as exc:
            self._pass(room, str(exc))
            return False
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

    def _pass(self, room: str, text: str) -> None:
        """Tell of it, but only once in ten minutes for a room: anybody can send messages that are refused."""
        self.passed[room] = self.passed.get(room, 0) + 1
        now_s = self._monotonic()
        if now_s - self._told_s.get(room, now_s - _PASSING_EVERY_S) < _PASSING_EVERY_S:
            _log.debug("%s: %s", room, text)
            return
        self._told_s[room] = now_s
        _log.warning("%s: %s", room, text[:_MAX_TEXT])
        self._report(room, text[:_MAX_TEXT])
