"""The plant's load against what it was expected to be, and its base load against its own past weeks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from agent.alerts.finding import HOLD, Finding, Verdict
from agent.alerts.observations import Observations, WatchedSlot
from agent.contract.amounts import amount, in_kw
from agent.contract.errors import ConfigError


@dataclass(frozen=True)
class AbnormalLoad:
    """Of the last `among` slots `least` lay clearly on one side of the band that was forecast for them.

    A band of 80 % leaves one slot in ten on each side by design, and misses come in rows: so it takes many, and a
    distance. OFF when at most half as many are outside.

    Attributes:
        margin: how far beyond the band, in widths of the band; 0 is its edge.
    """

    least: int = 6
    among: int = 8
    margin: float = 0.5
    name: str = "load-abnormal"
    severity: str = "warning"
    raise_after_s: float = 0.0
    clear_after_s: float = 0.0

    def __post_init__(self) -> None:
        if not 1 <= self.least <= self.among:
            raise ConfigError(f"{self.least} of {self.among} slots is no choice", where="alerts.abnormal")

    def judge(self, observations: Observations) -> Finding:
        """Count the slots on either side."""
        recent = observations.slots[-self.among :]
        judged = [(slot, kw, low, high, self.margin * (high - low)) for slot, kw, low, high in _judged(recent)]
        above = [(kw - high, kw, low, high, slot) for slot, kw, low, high, far in judged if kw > high + far]
        below = [(low - kw, kw, low, high, slot) for slot, kw, low, high, far in judged if kw < low - far]
        side, out = max(("above", above), ("below", below), key=lambda found: len(found[1]))
        if len(out) >= self.least:
            mean_kw = sum(off_kw for off_kw, *_ in out) / len(out)
            _, kw, low, high, last = out[-1]
            text = (
                f"the load was {side} what was expected in {len(out)} of the last {self.among} slots, by "
                f"{in_kw(mean_kw, 3)} on average; last {in_kw(kw)} where {amount(low, 4)} to "
                f"{in_kw(high)} were expected"
            )
            details = {"side": side, "slots": len(out), "mean_kw": float(f"{mean_kw:.6g}"), "slot_ms": last.start_ms}
            return Finding(Verdict.ON, text, details)
        if len(out) <= self.least // 2 and len(judged) == self.among:
            return Finding(Verdict.OFF, "the load is as expected again")
        return HOLD


def _judged(slots: Sequence[WatchedSlot]) -> list[tuple[WatchedSlot, float, float, float]]:
    return [
        (slot, slot.power_kw, slot.low_kw, slot.high_kw)
        for slot in slots
        if slot.power_kw is not None and slot.low_kw is not None and slot.high_kw is not None
    ]


@dataclass(frozen=True)
class BaseLoadCreep:
    """The load at night has risen over the last weeks. ON above `rise` of its level, OFF below half of that.

    Attributes:
        rise: share of where it was.
        least_z: how sure the trend must be.
    """

    rise: float = 0.1
    least_z: float = 2.33
    name: str = "base-load-creep"
    severity: str = "warning"
    raise_after_s: float = 0.0
    clear_after_s: float = 0.0

    def judge(self, observations: Observations) -> Finding:
        """Compare the rise with the limit."""
        trend = observations.nights
        if trend is None or trend.level_kw <= 0:
            return HOLD
        share = trend.rise_kw / trend.level_kw
        details = {
            "level_kw": float(f"{trend.level_kw:.6g}"),
            "rise_kw": float(f"{trend.rise_kw:.6g}"),
            "z": round(trend.z, 2),
            "nights": trend.nights,
        }
        if share > self.rise and trend.z > self.least_z:
            text = (
                f"the lowest load of the night has risen by {in_kw(trend.rise_kw, 3)} ({share:.0%}) from "
                f"{in_kw(trend.level_kw)} over the last {trend.nights} nights: what runs that should not?"
            )
            return Finding(Verdict.ON, text, details)
        if share < self.rise / 2:
            return Finding(Verdict.OFF, f"the lowest load of the night is steady near {in_kw(trend.level_kw)}", details)
        return HOLD
