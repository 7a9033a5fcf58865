"""`[alerts]` and `[peak]` of the configuration: what is worth an alarm, and the demand that is billed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated

from agent.alerts.hysteresis import Limit
from agent.configform import Limits
from agent.contract.channels import CHANNEL_NAME, Channel, Kind
from agent.contract.errors import ConfigError
from agent.contract.slots import DEMAND_INTERVALS_S

_KW = Limits(low=0, high=1e7)
_MINUTES = Limits(low=0, high=1440)
_SLOTS = Limits(low=1, high=96)
_HOUR = Limits(low=0, high=24)


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitConfig:
    """`[[alerts.limit]]`: a limit on a channel's value, or on the plant's load by slots.

    Attributes:
        name: names the rule, `limit:<name>`.
        channel: a gauge; left out: the mean power of the slots, in kW.
        above, below: the limit; one of the two.
        clear: where it is well again; 2 % inside the limit where absent.
        for_minutes: channels: how long without a break.
        slots, among: load: in how many of how many slots.
        severity: `warning` or `critical`.
    """

    name: Annotated[str, Limits(pattern=r"[a-z0-9][a-z0-9_-]{0,31}")]
    channel: Annotated[str | None, Limits(pattern=CHANNEL_NAME)] = None
    above: float | None = None
    below: float | None = None
    clear: float | None = None
    for_minutes: Annotated[float, _MINUTES] = 0.0
    slots: Annotated[int, _SLOTS] = 1
    among: Annotated[int, _SLOTS] = 1
    severity: Annotated[str, Limits(pattern="warning|critical")] = "warning"

    def __post_init__(self) -> None:
        if (self.above is None) == (self.below is None):
            raise ConfigError("give above or below")
        if self.channel is None and self.for_minutes:
            raise ConfigError("for_minutes is for a channel; use slots and among")
        if self.channel is not None and (self.slots, self.among) != (1, 1):
            raise ConfigError("slots and among are for the load; use for_minutes")
        if self.slots > self.among:
            raise ConfigError(f"{self.slots} of {self.among} slots is no choice")
        _ = self.limit

    @property
    def limit(self) -> Limit:
        """The limit itself.

        Raises:
            ConfigError: when `clear` is on the wrong side, or needed.
        """
        if self.above is not None:
            return Limit(self.above, is_upper=True, clear=self.clear)
        return Limit(self.below or 0.0, is_upper=False, clear=self.clear)


@dataclass(frozen=True, slots=True, kw_only=True)
class AbnormalConfig:
    """`[alerts.abnormal]`: in how many of how many slots the load must be outside its forecast band, on one side.

    Attributes:
        margin: how far outside, in widths of the band.
    """

    slots: Annotated[int, _SLOTS] = 6
    among: Annotated[int, _SLOTS] = 8
    margin: Annotated[float, Limits(low=0, high=10)] = 0.5

    def __post_init__(self) -> None:
        if self.slots > self.among:
            raise ConfigError(f"{self.slots} of {self.among} slots is no choice")


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseLoadConfig:
    """`[alerts.base_load]`: by which share the lowest load of the night may rise over five weeks.

    Attributes:
        from_hour, to_hour: local hours of the night that is looked at.
    """

    rise: Annotated[float, Limits(low=0.01, high=10)] = 0.1
    from_hour: Annotated[int, _HOUR] = 0
    to_hour: Annotated[int, _HOUR] = 5

    def __post_init__(self) -> None:
        if self.from_hour >= self.to_hour:
            raise ConfigError("from_hour must be before to_hour, on one day")


@dataclass(frozen=True, slots=True, kw_only=True)
class PowerFactorConfig:
    """`[alerts.power_factor]`: below which it is worth an alarm.

    Attributes:
        channel: a gauge that gives it; or
        reactive_channel: a gauge in kvar, beside `plant.power_channel` as a gauge in kW.
        from_kw: below this load it is not judged.
        for_minutes: how long without a break.
    """

    below: Annotated[float, Limits(low=0.01, high=0.999)]
    channel: Annotated[str | None, Limits(pattern=CHANNEL_NAME)] = None
    reactive_channel: Annotated[str | None, Limits(pattern=CHANNEL_NAME)] = None
    from_kw: Annotated[float, _KW] = 0.0
    for_minutes: Annotated[float, _MINUTES] = 15.0

    def __post_init__(self) -> None:
        if (self.channel is None) == (self.reactive_channel is None):
            raise ConfigError("give channel or reactive_channel")


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertsConfig:
    """`[alerts]`: what is worth an alarm. On by default: silence, a frozen meter, a reset counter, a model that drifts.

    Attributes:
        peak_kw: load ahead that is worth an alarm; none where absent.
        clear_below_kw: the alarm ends below this; 95 % of `peak_kw` where absent.
        quantile: which forecast level is compared.
        data_missing_s: silence of a channel that is worth an alarm.
        frozen_meter: whether a channel that stands still for longer than it usually does is one.
        counter_reset: whether a counter that went back is one.
        model_drift: whether a model that forecasts worse than seasonal naive is one.
        month_budget: cost of a month that is worth an alarm, also ahead; in the tariff's currency; none where absent.
        most_per_hour: alerts of one rule within an hour; the next one says that it flaps.
        limit, abnormal, base_load, power_factor: sections of their own; off where absent.
    """

    peak_kw: Annotated[float | None, Limits(low=0.001, high=1e7)] = None
    clear_below_kw: Annotated[float | None, _KW] = None
    quantile: float = 0.9
    data_missing_s: Annotated[float, Limits(low=1, high=7 * 86_400)] = 900.0
    frozen_meter: bool = True
    counter_reset: bool = True
    model_drift: bool = True
    month_budget: Annotated[float | None, Limits(low=0.01, high=1e12)] = None
    most_per_hour: Annotated[int, Limits(low=1, high=60)] = 6
    limit: tuple[LimitConfig, ...] = ()
    abnormal: AbnormalConfig | None = None
    base_load: BaseLoadConfig | None = None
    power_factor: PowerFactorConfig | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PeakConfig:
    """`[peak]`: the demand that is billed; where the tariff has demand charges, their intervals and prices count.

    Attributes:
        interval_minutes: 15, 30 or 60; the shortest of them that the slots allow where absent.
        target_kw: contracted, or chosen: above it an interval is worth an alarm; none where absent.
        price_per_kw: for each kW of the month's highest interval; with it, and no target, an interval above the month's
            peak so far is worth an alarm.
    """

    interval_minutes: int | None = None
    target_kw: Annotated[float | None, _KW] = None
    price_per_kw: Annotated[float | None, Limits(low=0, high=1e6)] = None


def alert_contradictions(
    alerts: AlertsConfig, channels: Mapping[str, Channel], power_channel: str, *, has_tariff: bool
) -> Iterator[tuple[str, str]]:
    """Yield what each section alone cannot see: (path, problem)."""
    if alerts.clear_below_kw is not None and (alerts.peak_kw is None or alerts.clear_below_kw >= alerts.peak_kw):
        yield "alerts.clear_below_kw", "must be below alerts.peak_kw"
    if alerts.quantile not in {0.5, 0.9}:
        yield "alerts.quantile", f"{alerts.quantile} is not 0.5 or 0.9"
    if alerts.month_budget is not None and not has_tariff:
        yield "alerts.month_budget", "needs [tariff]: without prices there is no cost"
    names = [limit.name for limit in alerts.limit]
    for number, limit in enumerate(alerts.limit):
        if limit.name in names[:number]:
            yield f"alerts.limit[{number}].name", f"{limit.name!r} stands twice"
        if limit.channel is not None:
            yield from _not_a_gauge(f"alerts.limit[{number}].channel", limit.channel, channels)
    factor = alerts.power_factor
    if factor is not None and factor.channel is not None:
        yield from _not_a_gauge("alerts.power_factor.channel", factor.channel, channels)
    if factor is not None and factor.reactive_channel is not None:
        yield from _not_a_gauge("alerts.power_factor.reactive_channel", factor.reactive_channel, channels)
        power = channels.get(power_channel)
        if power is not None and power.kind is not Kind.GAUGE:
            yield "alerts.power_factor.reactive_channel", "needs plant.power_channel to be a gauge in kW"


def peak_contradictions(peak: PeakConfig, slot_minutes: int) -> Iterator[tuple[str, str]]:
    """Yield what `[peak]` alone cannot see: (path, problem)."""
    minutes = peak.interval_minutes
    if minutes is None:
        return
    if minutes * 60 not in DEMAND_INTERVALS_S:
        yield "peak.interval_minutes", f"{minutes} is not one of 15, 30, 60"
    elif slot_minutes > 0 and minutes % slot_minutes:
        yield "peak.interval_minutes", f"{minutes} is not a multiple of plant.slot_minutes = {slot_minutes}"


def _not_a_gauge(place: str, name: str, channels: Mapping[str, Channel]) -> Iterator[tuple[str, str]]:
    channel = channels.get(name)
    if channel is None:
        yield place, f"{name!r} is not defined under [[channel]]"
    elif channel.kind is not Kind.GAUGE:
        yield place, f"{name!r} is a counter; limits are for gauges"
