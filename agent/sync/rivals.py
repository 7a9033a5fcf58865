"""Whether another device uses this one's name at the broker, and how long to leave the line to it (pure).

A broker lets a name in once: whoever comes second throws the first out. Two clones of one device folder would do that
to each other once a second, for ever. Newer brokers say so as they end the session (MQTT 5, "session taken over");
others (Mosquitto 2.0.11 among them) just close it, which a bad line does, too: that is told with less certainty.
"""

from __future__ import annotations

_MANY, _MANY_SHORT = 3, 5
_QUIET_S = 900.0
_PAUSE_S = (15.0, 300.0)
_TODO = "Enroll this device anew: edgewatt-trainer device add NAME --replace, then edgewatt enroll FILE"
_SURE = f"another device uses this identity: the broker gave its session to it again and again. {_TODO}"
_PERHAPS = (
    "the broker ends every session soon after it begins: another device may use this identity, or the line is bad. "
    f"The log of the centre says for certain. If it is so: {_TODO}"
)


class Rivals:
    """Counts how often a session was taken over or cut short, until there was peace for a quarter of an hour."""

    def __init__(self) -> None:
        self._taken, self._short, self._last_s = 0, 0, 0.0

    def ended(self, now_s: float, *, taken_over: bool, short: bool) -> None:
        """Note the end of a session that the broker had accepted."""
        if now_s - self._last_s >= _QUIET_S:
            self._taken = self._short = 0
        if taken_over:
            self._taken += 1
        elif short:
            self._short += 1
        else:
            self._short = 0
            return
        self._last_s = now_s

    def pause_s(self, now_s: float) -> float:
        """Return how long to stay away before the next attempt, beside the usual back-off."""
        beyond = self._taken - _MANY
        if beyond < 0 or now_s - self._last_s >= _QUIET_S:
            return 0.0
        return min(_PAUSE_S[0] * 2.0 ** min(beyond, 10), _PAUSE_S[1])

    def trouble(self, now_s: float) -> str:
        """Return what is wrong, for people; nothing when all is well."""
        if now_s - self._last_s >= _QUIET_S:
            return ""
        if self._taken >= _MANY:
            return _SURE
        return _PERHAPS if self._short >= _MANY_SHORT else ""
