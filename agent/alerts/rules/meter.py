"""Meters: one that is silent, one that gives the same value again and again, one that began at zero."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from agent.alerts.finding import HOLD, Finding, Verdict, span
from agent.alerts.observations import Observations
from agent.contract.errors import ConfigError
from agent.contract.slots import FLAG_RESET
from agent.contract.zones import to_local


@dataclass(frozen=True)
class DataMissing:
    """A channel is silent. ON after `after_s` without a reading; cleared when readings have come for a while again.

    Attributes:
        channel: which one.
        after_s: silence that is worth an alarm.
        zone: of the times in its text.
    """

    channel: str
    after_s: float
    zone: dt.tzinfo = dt.UTC
    severity: str = "critical"
    raise_after_s: float = 0.0

    def __post_init__(self) -> None:
        if not self.after_s > 0:
            raise ConfigError("must be above 0", where="alerts.data_missing_s")

    @property
    def name(self) -> str:
        """One rule a channel."""
        return f"data-missing:{self.channel}"

    @property
    def clear_after_s(self) -> float:
        """Twice the silence that is borne: one reading keeps a channel OFF for `after_s`, and is no meter back."""
        return 2 * self.after_s

    def judge(self, observations: Observations) -> Finding:
        """Compare the silence with the limit. After a start each channel has `after_s` to speak up: HOLD until then."""
        last_ms = observations.last_reading_ms.get(self.channel)
        spoke = last_ms is not None and last_ms >= observations.since_ms
        silent_s = (observations.now_ms - (observations.since_ms if last_ms is None else last_ms)) / 1000
        details = {"channel": self.channel, "silent_s": round(silent_s), "last_reading_ms": last_ms}
        if spoke and silent_s <= self.after_s:
            return Finding(Verdict.OFF, f"channel {self.channel} is read again", details)
        if observations.now_ms - observations.since_ms <= self.after_s * 1000:
            return HOLD
        last = "" if last_ms is None else f", last at {to_local(last_ms, self.zone):%a %d %b %H:%M}"
        text = f"no reading of channel {self.channel} for {span(silent_s)}{last}; check the meter and its connection"
        return Finding(Verdict.ON, text, details)


@dataclass(frozen=True)
class FrozenMeter:
    """A channel has given one value for longer than its own past lets expect (see `standstill`).

    Attributes:
        channel: which one.
        needs_load: a meter of energy: it is suspect only while the plant's load, by its slots, is above zero.
        zone: of the times in its text.
    """

    channel: str
    needs_load: bool = False
    zone: dt.tzinfo = dt.UTC
    severity: str = "warning"
    raise_after_s: float = 0.0
    clear_after_s: float = 0.0

    @property
    def name(self) -> str:
        """One rule a channel."""
        return f"meter-frozen:{self.channel}"

    def judge(self, observations: Observations) -> Finding:
        """Compare how long the value stands with how long it may."""
        still = observations.standstill.get(self.channel)
        if still is None or still.usual_s is None:
            return HOLD
        stood_s = (still.through_ms - still.since_ms) / 1000
        if stood_s <= still.usual_s:
            return Finding(Verdict.OFF, f"channel {self.channel} moves again")
        if self.needs_load and not self._flows(observations):
            return HOLD
        text = (
            f"channel {self.channel} has given {still.value:.6g} for {span(stood_s)}, since "
            f"{to_local(still.since_ms, self.zone):%a %d %b %H:%M}; as it moves it stands for {span(still.usual_s)} at "
            "most: check the meter"
        )
        return Finding(
            Verdict.ON, text, {"channel": self.channel, "stood_s": round(stood_s), "usual_s": round(still.usual_s)}
        )

    @staticmethod
    def _flows(observations: Observations) -> bool:
        known = [slot.power_kw for slot in observations.slots if slot.power_kw is not None]
        return bool(known) and known[-1] > 0


@dataclass(frozen=True)
class CounterReset:
    """The plant's counter went back and was taken as begun anew: ON while such a slot is among the last day's."""

    zone: dt.tzinfo = dt.UTC
    within_s: float = 86_400.0
    name: str = "counter-reset"
    severity: str = "warning"
    raise_after_s: float = 0.0
    clear_after_s: float = 0.0

    def judge(self, observations: Observations) -> Finding:
        """Look for the newest slot with that flag."""
        for slot in reversed(observations.slots):
            if FLAG_RESET in slot.flags and observations.now_ms - slot.start_ms <= self.within_s * 1000:
                at = f"{to_local(slot.start_ms, self.zone):%a %d %b %H:%M}"
                text = (
                    f"the counter went back in the slot of {at} and was taken as begun at zero: was the meter "
                    "replaced? Energy of that slot may be missing"
                )
                return Finding(Verdict.ON, text, {"slot_ms": slot.start_ms})
        return Finding(Verdict.OFF, "no reset within a day")
