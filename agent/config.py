"""The agent's configuration: one TOML file into one frozen tree, all complaints at once, no network.

Decides what may stand in the file and what its values mean. The sections are plain dataclasses; `agent.configform`
reads them. Whether a tariff or a data file is right inside is for its own room to say.
"""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from agent.alertsconfig import AlertsConfig, PeakConfig, alert_contradictions, peak_contradictions
from agent.configform import Complaints, Limits, read_toml
from agent.contract.channels import CHANNEL_NAME, Channel, Kind
from agent.contract.errors import ConfigError
from agent.contract.givenfiles import check_file
from agent.contract.slots import DEMAND_INTERVALS_S, SLOT_LENGTHS_S
from agent.contract.topics import DEVICE_ID
from agent.contract.zones import parse_zone
from agent.planconfig import (
    BatteryConfig,
    LoadConfig,
    PvConfig,
    SiteConfig,
    own_contradictions,
    plan_contradictions,
)

MAX_FILE_BYTES = 1 << 20
_MAX_SOCKET_BYTES = 107  # of a Unix socket on Linux
_FIRST_YEAR, _LAST_YEAR = 1970, 2200


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceConfig:
    """`[device]`: its id (as enrolled), where it keeps its state, and where it answers commands."""

    id: Annotated[str, Limits(pattern=DEVICE_ID)]
    state_dir: Path = Path("/var/lib/edgewatt")
    socket: Path = Path("/run/edgewatt/agent.sock")


@dataclass(frozen=True, slots=True, kw_only=True)
class PlantConfig:
    """`[plant]`: the plant's zone, slot grid, and the channel that is its load.

    Attributes:
        zone: IANA name or fixed offset; presentation and calendars only, slots are aligned in UTC.
        power_channel: name of a gauge in kW or a counter in kWh.
        grace_s: how long after its end a slot waits for readings that have not come yet.
    """

    zone: str
    slot_minutes: int = 15
    power_channel: Annotated[str, Limits(pattern=CHANNEL_NAME)]
    grace_s: Annotated[float, Limits(low=0, high=3600)] = 60.0

    @property
    def slot_s(self) -> int:
        """Slot length in seconds."""
        return self.slot_minutes * 60


@dataclass(frozen=True, slots=True, kw_only=True)
class CsvConfig:
    """`[[source]] kind = "csv"`: replays a file; the channel's `interval_s` says what a row stands for.

    Attributes:
        zone: of timestamps without an offset.
        scale: file value x scale = value in the channel's unit.
    """

    path: Annotated[Path, Limits(exists=True)]
    channel: Annotated[str, Limits(pattern=CHANNEL_NAME)]
    zone: str
    timestamp_column: str
    value_column: str
    scale: float = 1.0

    @property
    def feeds(self) -> tuple[str, ...]:
        """Channels that come from here."""
        return (self.channel,)


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatorConfig:
    """`[[source]] kind = "simulator"`: an invented plant with daily, weekly and shift patterns, noise and faults.

    Attributes:
        seed: the same seed gives the same plant.
        sample_s: time between readings of channels without an `interval_s`.
        base_kw: load that never stops.
        day_kw: height of the working day above it.
        fault_rate: share of hours in which a meter drops out, freezes or jumps for ten minutes.
    """

    channels: tuple[str, ...]
    seed: Annotated[int, Limits(low=0, high=2**32)] = 1
    sample_s: Annotated[int, Limits(low=1, high=3600)] = 10
    base_kw: Annotated[float, Limits(low=0, high=1e6)] = 120.0
    day_kw: Annotated[float, Limits(low=0, high=1e6)] = 220.0
    fault_rate: Annotated[float, Limits(low=0, high=1)] = 0.0

    @property
    def feeds(self) -> tuple[str, ...]:
        """Channels that come from here."""
        return self.channels


SourceConfig = CsvConfig | SimulatorConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockConfig:
    """`[clock]`, replay only: plant time starts at `plant_start` and runs `rate` times as fast as real time.

    Attributes:
        anchor_real_ms: real time of `plant_start`; where it is absent the first start counts, and is remembered, so
            that an agent that was restarted goes on with the same plant time.
    """

    plant_start: dt.datetime
    rate: Annotated[float, Limits(low=1e-3, high=1e6)] = 1.0
    anchor_real_ms: Annotated[int | None, Limits(low=0, high=2**53)] = None

    @property
    def plant_start_ms(self) -> int:
        """`plant_start` in epoch milliseconds."""
        return round(self.plant_start.timestamp() * 1000)


@dataclass(frozen=True, slots=True, kw_only=True)
class ForecastConfig:
    """`[forecast]`: how often, how far ahead, and on how many threads."""

    every_minutes: Annotated[int, Limits(low=5, high=1440)] = 60
    horizon_hours: Annotated[int, Limits(low=1, high=168)] = 24
    threads: Annotated[int, Limits(low=1, high=8)] = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class TariffConfig:
    """`[tariff]`: the file with prices, or a folder with its versions; without the section no costs are computed."""

    file: Annotated[Path, Limits(exists=True, folder=True)]


@dataclass(frozen=True, slots=True, kw_only=True)
class CarbonConfig:
    """`[carbon]`: the file with emission factors; without the section nothing is said of emissions beside costs."""

    file: Annotated[Path, Limits(exists=True)]


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreConfig:
    """`[store]`: how long readings may wait for the disk, when they are packed, and how much room there is.

    Attributes:
        reserved_mib: of `max_mib`, for alerts, events and slots that wait for the centre; a tenth where left out.
        keep_unacknowledged_days: readings that have waited longer are given up and declared; 0: while there is space.
        salvage_kib_s: how much is read in a second of a damaged store.
    """

    commit_window_s: Annotated[float, Limits(low=0, high=10)] = 1.0
    pack_after_s: Annotated[float, Limits(low=1, high=300)] = 300.0
    max_mib: Annotated[int, Limits(low=8, high=1_048_576)] = 1024
    reserved_mib: Annotated[int | None, Limits(low=1, high=1_048_576)] = None
    keep_acknowledged_days: Annotated[int, Limits(low=1, high=3650)] = 7
    keep_unacknowledged_days: Annotated[int, Limits(low=0, high=3650)] = 0
    salvage_kib_s: Annotated[int, Limits(low=64, high=1_048_576)] = 2048

    @property
    def reserved_bytes(self) -> int:
        """`reserved_mib` in bytes."""
        return (max(1, self.max_mib // 10) if self.reserved_mib is None else self.reserved_mib) * 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncConfig:
    """`[sync]`: how envelopes go out. The broker comes with the enrolment; `host` and `port` override it.

    Attributes:
        max_envelope_kib: blocks are gathered into envelopes of at most this size; a larger block goes alone.
        max_in_flight: envelopes that may wait for their acknowledgement.
        resend_after_s: an envelope without acknowledgement is sent again after this time.
        backlog_kib_s: what is old may take so much of the line; alarms and what is new are not held back.
        spread_s: after a connection the first envelope waits up to this long, by chance: a thousand devices that come
            back together do not all send at once. Alarms do not wait.
    """

    host: str | None = None
    port: Annotated[int | None, Limits(low=1, high=65_535)] = None
    max_envelope_kib: Annotated[int, Limits(low=4, high=4096)] = 128
    max_in_flight: Annotated[int, Limits(low=1, high=64)] = 4
    resend_after_s: Annotated[float, Limits(low=1, high=3600)] = 30.0
    backlog_kib_s: Annotated[float, Limits(low=1, high=1_048_576)] = 64.0
    spread_s: Annotated[float, Limits(low=0, high=300)] = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateConfig:
    """`[update]`: how a new model is tried.

    Attributes:
        shadow_days: days of plant time that a candidate runs beside the active model.
        repository: folder with a copy of the update repository, for plants without a network (USB stick).
    """

    shadow_days: Annotated[float, Limits(low=1, high=90)] = 7.0
    repository: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopConfig:
    """`[loop]`: real time between two turns of the daemon, and between two health rows."""

    tick_ms: Annotated[int, Limits(low=5, high=10_000)] = 250
    health_s: Annotated[float, Limits(low=1, high=3600)] = 900.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """The whole file. Paths are absolute: relative ones count from the file's folder."""

    device: DeviceConfig
    plant: PlantConfig
    channel: tuple[Channel, ...]
    source: Annotated[tuple[SourceConfig, ...], Limits(kinds={"csv": CsvConfig, "simulator": SimulatorConfig})]
    clock: ClockConfig | None = None
    forecast: ForecastConfig = ForecastConfig()
    tariff: TariffConfig | None = None
    carbon: CarbonConfig | None = None
    alerts: AlertsConfig = field(default_factory=AlertsConfig)
    peak: PeakConfig = field(default_factory=PeakConfig)
    site: SiteConfig = field(default_factory=SiteConfig)
    battery: BatteryConfig | None = None
    pv: PvConfig | None = None
    load: tuple[LoadConfig, ...] = ()
    store: StoreConfig = StoreConfig()
    sync: SyncConfig = SyncConfig()
    update: UpdateConfig = UpdateConfig()
    loop: LoopConfig = LoopConfig()

    @property
    def channels(self) -> dict[str, Channel]:
        """Channels by name."""
        return {channel.name: channel for channel in self.channel}

    @property
    def horizon(self) -> int:
        """Slots in one forecast."""
        return self.forecast.horizon_hours * 3600 // self.plant.slot_s

    @property
    def own_channels(self) -> tuple[Channel | None, Channel | None]:
        """Those of PV and of the battery; None where there is none."""
        battery = None if self.battery is None else self.battery.power_channel
        names = (None if self.pv is None else self.pv.power_channel, battery)
        pv, given = (None if name is None else self.channels[name] for name in names)
        return pv, given

    @property
    def is_gross(self) -> bool:
        """Whether the load that is forecast is another than the meter's."""
        return self.own_channels != (None, None)

    @property
    def demand_interval_s(self) -> int:
        """Length of the interval over which demand is billed."""
        minutes = self.peak.interval_minutes
        if minutes is not None:
            return minutes * 60
        return next(length_s for length_s in DEMAND_INTERVALS_S if length_s % self.plant.slot_s == 0)


def load(path: Path) -> Config:
    """Read and check a configuration file.

    Raises:
        ConfigError: with every problem that the file has, each with its path in the file.
    """
    try:
        path.stat()
        check_file(path, MAX_FILE_BYTES, todo="Is this the configuration?")
        text = path.read_text(encoding="utf-8-sig")  # some editors begin a file with a mark
    except FileNotFoundError as exc:
        raise ConfigError(
            "does not exist", where=str(path), todo="Give the file by --config or EDGEWATT_CONFIG"
        ) from exc
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigError(
            f"cannot be read ({exc})", where=str(path), todo="Give a text file of TOML in UTF-8, with its rights"
        ) from exc
    return parse(text, folder=path.parent.absolute(), where=str(path))


def parse(text: str, *, folder: Path, where: str = "configuration") -> Config:
    """Parse the text of a configuration file that lies in `folder`.

    Raises:
        ConfigError: as `load`.
    """
    complaints = Complaints(where)
    config = read_toml(Config, text, folder, complaints)
    if config is not None:
        for place, what in _contradictions(config):
            complaints.add(place, what)
    complaints.raise_if_any()
    assert config is not None  # noqa: S101 - read_toml returns None only with a complaint
    return config


def _contradictions(config: Config) -> Iterator[tuple[str, str]]:
    """Yield what each section alone cannot see: (path, problem)."""
    yield from _bad_zones(config)
    yield from _bad_channels(config)
    slot = config.plant.slot_minutes
    if config.plant.slot_s not in SLOT_LENGTHS_S:
        lengths = ", ".join(str(length // 60) for length in SLOT_LENGTHS_S)
        yield "plant.slot_minutes", f"{slot} is not one of {lengths}"
    elif config.forecast.every_minutes % slot or 1440 % config.forecast.every_minutes:
        yield "forecast.every_minutes", f"{config.forecast.every_minutes} must divide a day into multiples of {slot}"
    if config.clock is not None and config.clock.plant_start.utcoffset() is None:
        yield "clock.plant_start", "has no offset from UTC; write it as 2014-10-01T00:00:00+10:00"
    elif config.clock is not None and not _FIRST_YEAR < config.clock.plant_start.year < _LAST_YEAR:
        yield "clock.plant_start", f"is not between {_FIRST_YEAR} and {_LAST_YEAR}"
    if config.store.reserved_bytes >= config.store.max_mib * 2**20:
        yield "store.reserved_mib", f"leaves no room for readings in max_mib = {config.store.max_mib}"
    if config.carbon is not None and config.tariff is None:
        yield "carbon", "is told beside costs, and there is no [tariff]"
    size = len(os.fsencode(config.device.socket))
    if size > _MAX_SOCKET_BYTES:
        yield "device.socket", f"{config.device.socket} has {size} bytes, a socket's path at most {_MAX_SOCKET_BYTES}"
    yield from alert_contradictions(
        config.alerts, config.channels, config.plant.power_channel, has_tariff=config.tariff is not None
    )
    yield from peak_contradictions(config.peak, slot)
    yield from plan_contradictions(
        config.site,
        config.battery,
        config.load,
        config.channels,
        has_tariff=config.tariff is not None,
        has_factors=config.carbon is not None,
    )

    yield from own_contradictions(
        config.pv, config.battery, config.channels, config.plant.power_channel, config.plant.slot_s
    )


def _bad_zones(config: Config) -> Iterator[tuple[str, str]]:
    zones = [("plant.zone", config.plant.zone)]
    zones += [
        (f"source[{number}].zone", source.zone)
        for number, source in enumerate(config.source)
        if isinstance(source, CsvConfig)
    ]
    for place, zone in zones:
        try:
            parse_zone(zone)
        except ConfigError as exc:
            yield place, str(exc)


def _bad_channels(config: Config) -> Iterator[tuple[str, str]]:
    names = [channel.name for channel in config.channel]
    for number, name in enumerate(names):
        if name in names[:number]:
            yield f"channel[{number}].name", f"{name!r} stands twice"
    fed: list[str] = []
    for number, source in enumerate(config.source):
        for name in source.feeds:
            if name not in names:
                yield f"source[{number}]", f"feeds channel {name!r}, which is not defined under [[channel]]"
            if name in fed:
                yield f"source[{number}]", f"feeds channel {name!r}, which another source feeds already"
            fed.append(name)
    for number, name in enumerate(names):
        if name not in fed:
            yield f"channel[{number}]", f"{name!r} is fed by no source"
    power = config.channels.get(config.plant.power_channel)
    if power is None:
        yield "plant.power_channel", f"{config.plant.power_channel!r} is not defined under [[channel]]"
    elif (power.kind, power.unit) not in {(Kind.GAUGE, "kW"), (Kind.COUNTER, "kWh")}:
        yield "plant.power_channel", f"is a {power.kind} in {power.unit}; needed is a gauge in kW or a counter in kWh"
