"""Limits that people set: on a channel, on the plant's load, on the power factor."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from agent.alerts.finding import HOLD, Finding, Verdict, span
from agent.alerts.hysteresis import Limit
from agent.alerts.observations import Observations
from agent.contract.amounts import in_kw
from agent.contract.errors import ConfigError


@dataclass(frozen=True)
class ChannelLimit:
    """The newest value of a channel is beyond a limit, for `raise_after_s` without a break.

    Attributes:
        label: names the rule.
        channel: whose values.
        unit: of them.
        fresh_s: an older value says nothing.
    """

    label: str
    channel: str
    unit: str
    limit: Limit
    fresh_s: float = 900.0
    severity: str = "warning"
    raise_after_s: float = 0.0
    clear_after_s: float = 0.0

    @property
    def name(self) -> str:
        """One rule a limit."""
        return f"limit:{self.label}"

    def judge(self, observations: Observations) -> Finding:
        """Compare the newest value with the limit."""
        value = _fresh(observations, self.channel, self.fresh_s)
        if value is None:
            return HOLD
        lasted = f" for {span(self.raise_after_s)}" if self.raise_after_s else ""
        told = f"channel {self.channel} is {value:.6g} {self.unit}"
        details = {"channel": self.channel, "value": value, "unit": self.unit, "limit": self.limit.value}
        if self.limit.is_passed(value):
            return Finding(Verdict.ON, f"{told}, {self.limit} {self.unit}{lasted}", details)
        return Finding(Verdict.OFF, told, details) if self.limit.is_well(value) else HOLD


@dataclass(frozen=True)
class LoadLimit:
    """The plant's load is beyond a limit in `least` of its last `among` slots.

    Slots of which nothing is known count as neither wrong nor well. OFF once all known ones are well.
    """

    label: str
    limit: Limit
    least: int = 1
    among: int = 1
    severity: str = "warning"
    raise_after_s: float = 0.0
    clear_after_s: float = 0.0

    def __post_init__(self) -> None:
        if not 1 <= self.least <= self.among:
            raise ConfigError(f"{self.least} of {self.among} slots is no choice", where="alerts.limit")

    @property
    def name(self) -> str:
        """One rule a limit."""
        return f"limit:{self.label}"

    def judge(self, observations: Observations) -> Finding:
        """Count the slots beyond the limit."""
        known = [slot.power_kw for slot in observations.slots[-self.among :] if slot.power_kw is not None]
        passed = [kw for kw in known if self.limit.is_passed(kw)]
        if len(passed) >= self.least:
            worst = max(passed) if self.limit.is_upper else min(passed)
            among = f" in {len(passed)} of the last {self.among} slots" if self.among > 1 else ""
            details = {"power_kw": float(f"{worst:.6g}"), "limit_kw": self.limit.value, "slots": len(passed)}
            return Finding(Verdict.ON, f"the load was {self.limit} kW{among}: {in_kw(worst)}", details)
        if known and all(self.limit.is_well(kw) for kw in known):
            return Finding(Verdict.OFF, f"the load is {in_kw(known[-1])}")
        return HOLD


@dataclass(frozen=True)
class PowerFactorLow:
    """The power factor is below a limit while there is load.

    It is what `channel` says, or follows from reactive and active power: P / sqrt(P^2 + Q^2). Its sign, which meters
    use for the direction or for leading and lagging, is left out.

    Attributes:
        limit: a lower one.
        channel: of the power factor; empty where it is computed.
        active, reactive: channels in kW and kvar.
        from_kw: below this load nothing is judged; needs `active`.
        fresh_s: older values say nothing.
    """

    limit: Limit
    channel: str = ""
    active: str = ""
    reactive: str = ""
    from_kw: float = 0.0
    fresh_s: float = 900.0
    name: str = "power-factor"
    severity: str = "warning"
    raise_after_s: float = 900.0
    clear_after_s: float = 0.0

    def judge(self, observations: Observations) -> Finding:
        """Compare the power factor with the limit."""
        active_kw = _fresh(observations, self.active, self.fresh_s)
        if self.active and (active_kw is None or abs(active_kw) <= self.from_kw):
            return HOLD
        told: dict[str, Any] = {} if active_kw is None else {"power_kw": active_kw}
        if self.channel:
            factor = _fresh(observations, self.channel, self.fresh_s)
        else:
            reactive_kvar = _fresh(observations, self.reactive, self.fresh_s)
            if reactive_kvar is None or active_kw is None:
                return HOLD
            told["reactive_kvar"] = reactive_kvar
            factor = active_kw / math.hypot(active_kw, reactive_kvar)
        if factor is None:
            return HOLD
        factor = abs(factor)
        details = {"power_factor": round(factor, 4), "limit": self.limit.value, **told}
        if self.limit.is_passed(factor):
            text = (
                f"the power factor is {factor:.3f}, {self.limit}, for {span(self.raise_after_s)}: see to compensation"
            )
            return Finding(Verdict.ON, text, details)
        return (
            Finding(Verdict.OFF, f"the power factor is {factor:.3f}", details) if self.limit.is_well(factor) else HOLD
        )


def _fresh(observations: Observations, channel: str, fresh_s: float) -> float | None:
    latest = observations.latest.get(channel)
    return None if latest is None or observations.now_ms - latest.time_ms > fresh_s * 1000 else latest.value
