"""The sections of the configuration that plans rest on: `[site]`, `[battery]`, `[pv]`, `[[load]]`.

Decides what may stand there, and turns it into what planning works with.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from agent.configform import Limits
from agent.contract.channels import CHANNEL_NAME, Channel, Kind
from agent.contract.errors import ConfigError

if TYPE_CHECKING:  # a device without plans never loads what makes them
    from agent.planning.schedule.daily import Daily
    from agent.planning.schedule.parts import Battery

_TIME = r"([01]\d|2[0-3]):[0-5]\d|24:00"
_WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_Kw = Annotated[float | None, Limits(low=0, high=1e7)]
_LOAD_KW = Limits(low=0.01, high=1e7)  # a load that draws nothing cannot be seen to run; a rest is a pause
_Share = Limits(low=0, high=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteConfig:
    """`[site]`: what the connection carries.

    Attributes:
        import_limit_kw, export_limit_kw: none where absent.
        margin_quantile: limits are kept for this level of the forecast, and peaks that no battery guards; 0.5: the
            expected load.
        carbon_price_per_kg: money, where `[carbon]` names the factors.
        gap: a plan may cost this share more than the cheapest.
        limit_s: real time after which the best plan found is taken.
    """

    import_limit_kw: _Kw = None
    export_limit_kw: _Kw = None
    margin_quantile: float = 0.9
    carbon_price_per_kg: Annotated[float, Limits(low=0, high=1e3)] = 0.0
    gap: Annotated[float, Limits(low=0, high=0.5)] = 1e-3
    limit_s: Annotated[float, Limits(low=1, high=600)] = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class BatteryConfig:
    """`[battery]`: powers at its AC terminals; states of charge are shares of the capacity.

    Attributes:
        round_trip_efficiency: energy given out per energy taken in.
        soc: state of charge that a plan ends with at least, if that can be had; and begins with, where neither
            `soc_channel` nor a plan before tells it.
        soc_channel: channel (in %) that tells the present state of charge.
        power_channel: gauge in kW, above 0 where the battery gives. With it the load that is forecast is the plant's
            own, whatever the battery does; the meter is what is billed.
        wear_per_kwh: money per kWh given out.
    """

    capacity_kwh: Annotated[float, Limits(low=1e-3, high=1e7)]
    charge_kw: Annotated[float, Limits(low=1e-3, high=1e7)]
    discharge_kw: Annotated[float, Limits(low=1e-3, high=1e7)]
    round_trip_efficiency: Annotated[float, Limits(low=0.01, high=1)] = 0.9
    min_soc: Annotated[float, _Share] = 0.1
    max_soc: Annotated[float, _Share] = 0.9
    soc: Annotated[float, _Share] = 0.5
    soc_channel: Annotated[str | None, Limits(pattern=CHANNEL_NAME)] = None
    power_channel: Annotated[str | None, Limits(pattern=CHANNEL_NAME)] = None
    wear_per_kwh: Annotated[float, Limits(low=0, high=1e3)] = 0.0

    def __post_init__(self) -> None:
        complaints = list(self.battery().complaints())
        if complaints:
            raise ConfigError("; ".join(complaints))

    def battery(self, soc: float | None = None) -> Battery:
        """Return the battery at its present state of charge."""
        from agent.planning.schedule.parts import Battery  # noqa: PLC0415 - loaded only where there is a battery

        one_way = self.round_trip_efficiency**0.5
        return Battery(
            capacity_kwh=self.capacity_kwh,
            charge_kw=self.charge_kw,
            discharge_kw=self.discharge_kw,
            efficiency_charge=one_way,
            efficiency_discharge=one_way,
            min_soc=self.min_soc,
            max_soc=self.max_soc,
            initial_soc=self.soc if soc is None else soc,
            final_soc=self.soc,
            wear_per_kwh=self.wear_per_kwh,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PvConfig:
    """`[pv]`: PV behind the meter.

    Attributes:
        power_channel: gauge in kW, produced; below 0 (an inverter at night) counts as 0.
        curtailable: whether a plan may hold it back.
    """

    power_channel: Annotated[str, Limits(pattern=CHANNEL_NAME)]
    curtailable: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class StageConfig:
    """`[[load.stage]]`: a piece that runs whole, after a pause of `min_pause_minutes` to `max_pause_minutes`."""

    power_kw: Annotated[float, _LOAD_KW]
    minutes: Annotated[int, Limits(low=1, high=1440)]
    min_pause_minutes: Annotated[int, Limits(low=0, high=1440)] = 0
    max_pause_minutes: Annotated[int, Limits(low=0, high=1440)] = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadConfig:
    """`[[load]]`: a load that runs once a day and may be shifted; `power_kw` and `minutes`, or stages in order.

    Attributes:
        earliest, latest: window in local time; one that ends before it begins ends on the next day.
        usual: when it starts if nobody plans; it is then a part of the forecast there. Without it, it comes on top.
        breakable: it may pause, in runs of `min_on_minutes` and pauses of `min_off_minutes` at least.
    """

    name: Annotated[str, Limits(pattern=r"[a-z0-9][a-z0-9-]{0,31}")]
    power_kw: Annotated[float | None, _LOAD_KW] = None
    minutes: Annotated[int | None, Limits(low=1, high=1440)] = None
    stage: tuple[StageConfig, ...] = ()
    earliest: Annotated[str, Limits(pattern=_TIME)] = "00:00"
    latest: Annotated[str, Limits(pattern=_TIME)] = "24:00"
    usual: Annotated[str | None, Limits(pattern=_TIME)] = None
    weekdays: tuple[str, ...] = _WEEKDAYS
    breakable: bool = False
    min_on_minutes: Annotated[int, Limits(low=0, high=1440)] = 0
    min_off_minutes: Annotated[int, Limits(low=0, high=1440)] = 0

    def __post_init__(self) -> None:
        complaints = list(self._complaints())
        if complaints:
            raise ConfigError("; ".join(complaints))

    def daily(self) -> Daily:
        """Return the load as planning takes it."""
        from agent.planning.schedule.daily import Daily, DailyStage  # noqa: PLC0415 - loaded only where there are loads

        stages = tuple(
            DailyStage(
                power_kw=stage.power_kw,
                minutes=stage.minutes,
                min_pause_minutes=stage.min_pause_minutes,
                max_pause_minutes=stage.max_pause_minutes,
            )
            for stage in self.stage
        )
        return Daily(
            name=self.name,
            stages=stages or (DailyStage(power_kw=self.power_kw or 0.0, minutes=self.minutes or 0),),
            from_min=_minute(self.earliest),
            to_min=_minute(self.latest),
            usual_min=None if self.usual is None else _minute(self.usual),
            weekdays=frozenset(_WEEKDAYS.index(day) for day in self.weekdays),
            breakable=self.breakable,
            min_on_minutes=self.min_on_minutes,
            min_off_minutes=self.min_off_minutes,
        )

    def _complaints(self) -> Iterator[str]:
        if bool(self.stage) == (self.power_kw is not None or self.minutes is not None):
            yield "needs either power_kw and minutes, or [[load.stage]]"
            return
        if not self.stage and not (self.power_kw and self.minutes):
            yield "needs power_kw and minutes"
            return
        if self.stage and (self.breakable or self.min_on_minutes or self.min_off_minutes):
            yield "with stages it is not breakable; its pauses are those of the stages"
        for number, stage in enumerate(self.stage):
            if number and stage.max_pause_minutes < stage.min_pause_minutes:
                yield f"stage[{number}]: max_pause_minutes is below min_pause_minutes"
        wrong = [day for day in self.weekdays if day not in _WEEKDAYS]
        if wrong:
            yield f"weekdays: {wrong[0]!r} is not one of {', '.join(_WEEKDAYS)}"
            return
        daily = self.daily()
        if daily.run_min > daily.window_min:
            window = f"{self.earliest} to {self.latest}"
            yield f"runs {daily.run_min} min, but its window from {window} has only {daily.window_min} min"
        elif daily.usual_min is not None:
            late = (daily.usual_min - daily.from_min) % 1440 + daily.run_min - daily.window_min
            if late > 0:
                yield f"started at {self.usual} it would end {late} min after its window"
        if self.minutes is not None and self.min_on_minutes > self.minutes:
            yield f"min_on_minutes of {self.min_on_minutes} are more than the {self.minutes} that it runs"


def plan_contradictions(
    site: SiteConfig,
    battery: BatteryConfig | None,
    loads: tuple[LoadConfig, ...],
    channels: Mapping[str, Channel],
    *,
    has_tariff: bool,
    has_factors: bool,
) -> Iterator[tuple[str, str]]:
    """Yield what each section alone cannot see: (path, problem)."""
    if site.margin_quantile not in {0.5, 0.9}:
        yield "site.margin_quantile", f"{site.margin_quantile} is not 0.5 or 0.9"
    if (battery is not None or loads) and not has_tariff:
        yield "battery" if battery is not None else "load", "is planned by prices, and there is no [tariff]"
    if site.carbon_price_per_kg and not has_factors:
        yield "site.carbon_price_per_kg", "needs [carbon]: without factors nothing is known to be emitted"
    names = [load.name for load in loads]
    for number, name in enumerate(names):
        if name in names[:number]:
            yield f"load[{number}].name", f"{name!r} stands twice"
    channel = None if battery is None else battery.soc_channel
    if channel is not None and (channel not in channels or channels[channel].unit != "%"):
        yield "battery.soc_channel", f"{channel!r} is no channel in % under [[channel]]"


def own_contradictions(
    pv: PvConfig | None, battery: BatteryConfig | None, channels: Mapping[str, Channel], meter: str, slot_s: int
) -> Iterator[tuple[str, str]]:
    """Yield what is wrong with the channels of PV and battery beside that of the `meter`: (path, problem)."""
    taken = {meter: "plant.power_channel"}
    given = {
        "battery.power_channel": None if battery is None else battery.power_channel,
        "pv.power_channel": None if pv is None else pv.power_channel,
    }
    for place, name in given.items():
        if name is None:
            continue
        channel = channels.get(name)
        if channel is None:
            yield place, f"{name!r} is not defined under [[channel]]"
        elif (channel.kind, channel.unit) != (Kind.GAUGE, "kW"):
            yield place, f"{name!r} is a {channel.kind} in {channel.unit}; needed is a gauge in kW"
        elif channel.interval_s > slot_s:
            yield place, f"{name!r} speaks every {channel.interval_s} s, when slots of {slot_s} s are closed long since"
        if name in taken:
            yield place, f"{name!r} is {taken[name]} already; give the channel of a meter of its own"
        taken.setdefault(name, place)


def _minute(text: str) -> int:
    return int(text[:2]) * 60 + int(text[3:])
