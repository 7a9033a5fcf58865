"""What has been measured of the running billing interval: readings in, energy and the mean of the last minutes out.

Integrates as `contract.slots.build_slot` does, but a reading at a time: memory does not grow with the interval. One
thread at a time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from agent.contract.channels import Channel, Kind, Reading
from agent.contract.slots import FLAG_RESET, HOLD_S, counter_step, is_back
from agent.planning.peakwatch import Measured, Terms

RECENT_S = 300
_BIN_MS = 10_000
_LEAST_RECENT = 0.2  # of the last minutes must be measured


class DemandMeter:
    """Integrates one channel over the running interval.

    Invariants:
        - the same readings give the same figures, also when they are given anew from `since_ms` on;
        - readings that do not go on in time, and of other channels, are left out.
    """

    def __init__(self, channel: Channel, terms: Terms, *, hold_s: float = HOLD_S) -> None:
        """Begin with nothing measured.

        Args:
            channel: gauge in kW or counter in kWh.
            terms: say what an interval is.
            hold_s: how long a momentary reading of a gauge stands for the load.
        """
        self._channel, self._terms = channel, terms
        self._hold_ms = round((channel.interval_s or hold_s) * 1000)
        self._scale = 10.0**channel.decimals
        self.forget()

    def forget(self) -> None:
        """Begin anew: the clock was set."""
        self._last: tuple[int, float] | None = None
        self._fell: tuple[float, float] | None = None  # a counter's values before and after it began anew
        self._start_ms = self._end_ms = 0
        self._kwh = self._covered_ms = 0.0
        self._bins: deque[list[float]] = deque()  # [number, kWh, ms] of ten seconds each, by the start of a piece

    def since_ms(self, now_ms: int) -> int:
        """Return from when readings are needed to measure the interval that holds `now_ms`."""
        start_ms, _ = self._terms.interval(now_ms)
        reach_ms = self._hold_ms if self._channel.kind is Kind.GAUGE else 2 * self._terms.interval_s * 1000
        return min(start_ms, now_ms - RECENT_S * 1000 - _BIN_MS) - reach_ms

    def saw(self, readings: Iterable[Reading]) -> None:
        """Take readings in, in the order of their times."""
        for name, time_ms, raw, _ in readings:
            if name != self._channel.name:
                continue
            value = round(raw * self._scale) / self._scale  # as it is on disk
            if self._last is not None:
                before_ms, before = self._last
                if time_ms <= before_ms:
                    continue
                self._piece(before_ms, *self._between(before_ms, before, time_ms, value))
            self._last = time_ms, value

    def measured(self, now_ms: int) -> Measured:
        """Return what is known of the interval that holds `now_ms`, up to then."""
        start_ms, end_ms = self._terms.interval(now_ms)
        kwh, covered_ms = (self._kwh, self._covered_ms) if start_ms == self._start_ms else (0.0, 0.0)
        recent = [(kwh, ms) for number, kwh, ms in self._bins if (number + 1) * _BIN_MS > now_ms - RECENT_S * 1000]
        if self._last is not None and self._channel.kind is Kind.GAUGE:  # the last reading still stands
            last_ms, kw = self._last
            until_ms = min(last_ms + self._hold_ms, now_ms)
            ms = max(0, min(until_ms, end_ms) - max(last_ms, start_ms))
            kwh, covered_ms = kwh + kw * ms / 3.6e6, covered_ms + ms
            ms = max(0, until_ms - max(last_ms, now_ms - RECENT_S * 1000))
            recent.append((kw * ms / 3.6e6, ms))
        recent_ms = sum(ms for _, ms in recent)
        recent_kw = None
        if recent_ms >= _LEAST_RECENT * RECENT_S * 1000:
            recent_kw = sum(energy for energy, _ in recent) * 3.6e6 / recent_ms
        return Measured(kwh, covered_ms, recent_kw)

    def _between(self, before_ms: int, before: float, time_ms: int, value: float) -> tuple[int, float]:
        """Return until when, and at which mean load, what came before a reading lasted."""
        if self._channel.kind is Kind.GAUGE:
            return min(before_ms + self._hold_ms, time_ms), before
        step, flag = counter_step(before, value, self._channel.rollover)
        if flag == FLAG_RESET:
            self._fell = before, value
        elif self._fell is not None and is_back(*self._fell, before, value):
            step, self._fell = value - self._fell[0], None
        return time_ms, step * 3.6e6 / (time_ms - before_ms)

    def _piece(self, from_ms: int, until_ms: int, kw: float) -> None:
        """Count a steady load over a piece of time; only the newest interval is kept."""
        start_ms, end_ms = self._terms.interval(max(from_ms, until_ms - 1))
        if start_ms != self._start_ms:
            self._start_ms, self._end_ms = start_ms, end_ms
            self._kwh = self._covered_ms = 0.0
        ms = until_ms - max(from_ms, start_ms)
        self._kwh += kw * ms / 3.6e6
        self._covered_ms += ms
        number, ms = from_ms // _BIN_MS, until_ms - from_ms
        if self._bins and self._bins[-1][0] == number:
            self._bins[-1][1] += kw * ms / 3.6e6
            self._bins[-1][2] += ms
        else:
            self._bins.append([number, kw * ms / 3.6e6, ms])
        while self._bins and self._bins[0][0] * _BIN_MS < until_ms - 2 * RECENT_S * 1000:
            self._bins.popleft()
