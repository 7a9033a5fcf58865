"""How fast the uplink may send: after a connection, into silence, of what is old; and how fast it has been.

Decides rates and pauses only; what is sent, and what an acknowledgement covers, is `uplink.py`'s. Not thread-safe.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

MAX_RESEND_S = 300.0
_MEASURED_S = 600.0  # the rate is that of so many last seconds
_LEAST_S = 1e-3


@dataclass(slots=True)
class _Pause:
    """Doubles each time that it begins anew, until it is ended."""

    seconds: float = 0.0
    until_s: float = 0.0

    def end(self) -> None:
        self.seconds = self.until_s = 0.0


class Pacing:
    """Begins narrow, widens with each acknowledgement, and keeps the line free for what is new.

    Invariants:
        - after a connection, and after silence, one envelope may be under way; each acknowledgement doubles that, up to
          `max_in_flight`.
        - what is old takes `backlog_bytes_s` on average, and at most `burst_bytes` and one envelope at once.
        - within a random part of `spread_s` after a connection there is no place for anything but alerts.
        - a pause that began for want of an answer to alerts and events holds for them alone: one envelope of all else
          may still ask.

    Args:
        max_in_flight: envelopes without an acknowledgement.
        resend_after_s: first pause into silence; doubles up to `MAX_RESEND_S`.
        backlog_bytes_s: bound of what is old.
        burst_bytes: how much of it may be saved up while nothing old is sent.
        spread_s: how far the first envelopes of many devices are spread that come back together.
        rng: uniform numbers in [0, 1).
    """

    def __init__(
        self,
        *,
        max_in_flight: int,
        resend_after_s: float,
        backlog_bytes_s: float,
        burst_bytes: int,
        spread_s: float,
        rng: Callable[[], float],
    ) -> None:
        self._most, self._resend_s, self._spread_s, self._rng = max_in_flight, resend_after_s, spread_s, rng
        self._rate, self._burst = backlog_bytes_s, burst_bytes
        self._width = 1
        self._silence, self._urgent_silence = _Pause(), _Pause()
        self._spread_until_s = 0.0
        self._budget, self._budget_s = float(burst_bytes), 0.0
        self._landed: deque[tuple[float, float, int]] = deque()  # when, seconds that it took, bytes
        self._landed_s = 0.0

    def connected(self, now_s: float) -> None:
        """A connection begins: nothing is known of the centre, and others may have come back at the same moment."""
        self._width = 1
        self._silence.end()
        self._urgent_silence.end()
        self._spread_until_s = now_s + self._spread_s * self._rng()

    def acknowledged(self) -> None:
        """The centre is awake and keeps up."""
        self._width = min(2 * self._width, self._most)
        self._silence.end()
        self._urgent_silence.end()

    def silent(self, now_s: float) -> None:
        """No acknowledgement came of anything: one envelope is to ask whether the centre is back, after a pause."""
        self._width = 1
        self._lengthen(self._silence, now_s)

    def urgent_silent(self, now_s: float) -> None:
        """No acknowledgement came since alerts or events were sent: they wait, longer each time, and nothing else."""
        self._lengthen(self._urgent_silence, now_s)

    def _lengthen(self, pause: _Pause, now_s: float) -> None:
        pause.seconds = min(max(2 * pause.seconds, self._resend_s), MAX_RESEND_S)
        pause.until_s = now_s + self.jittered(pause.seconds)

    def width(self, now_s: float) -> int:
        """Return how many envelopes may be under way, that of alerts and events apart; 0 in a pause."""
        return 0 if self.spreads(now_s) or now_s < self._silence.until_s else self._width

    def spreads(self, now_s: float) -> bool:
        """Whether a connection is so young that others may have come back at the same moment."""
        return now_s < self._spread_until_s

    def may_be_urgent(self, now_s: float) -> bool:
        """Whether alerts and events may leave: no pause into silence holds them."""
        return now_s >= max(self._silence.until_s, self._urgent_silence.until_s)

    def jittered(self, pause_s: float) -> float:
        """Spread a pause over half of it and one and a half of it."""
        return pause_s * (0.5 + self._rng())

    def has_budget(self, now_s: float) -> bool:
        """Whether something old may be sent now."""
        self._budget = min(self._budget + (now_s - self._budget_s) * self._rate, self._burst)
        self._budget_s = now_s
        return self._budget > 0

    def spend(self, size: int) -> None:
        """Something old of `size` bytes was sent."""
        self._budget -= size

    def landed(self, size: int, sent_s: float, now_s: float) -> None:
        """An envelope with `size` bytes of blocks, sent at `sent_s`, has been acknowledged."""
        took_s = now_s - max(sent_s, self._landed_s)  # several under way at once took their time together
        self._landed_s = now_s
        self._landed.append((now_s, took_s, size))
        while self._landed[0][0] < now_s - _MEASURED_S:
            self._landed.popleft()

    @property
    def bytes_per_s(self) -> float | None:
        """At what rate a backlog leaves, by what was acknowledged last; None before anything was."""
        if not self._landed:
            return None
        took_s = max(sum(took_s for _, took_s, _ in self._landed), _LEAST_S)
        return min(sum(size for _, _, size in self._landed) / took_s, self._rate)
