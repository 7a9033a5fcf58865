"""Makes the real daemon from a configuration: the only place where clocks, threads and transports are real."""

from __future__ import annotations

import contextlib
import importlib.metadata
import logging
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from agent.config import ClockConfig, Config
from agent.contract import jsonform
from agent.contract.durable import write_durable
from agent.contract.errors import ConfigError, RejectedError, StorageError
from agent.contract.jsonform import Fields
from agent.contract.rows import event_row
from agent.contract.tariff.tariff import Tariff
from agent.control import Control
from agent.daemon.alerting import make_board
from agent.daemon.answers import Answers
from agent.daemon.calibrating import Calibrating
from agent.daemon.clockwatch import ClockRoom, ClockWatch, Confirmed, Heard, Plant
from agent.daemon.configured import make_factors, make_sources, make_tariff
from agent.daemon.forecasting import Costs, Forecasting
from agent.daemon.health import disk_written_bytes
from agent.daemon.history import KEEP_DAYS
from agent.daemon.loop import Daemon
from agent.daemon.models import Models
from agent.daemon.notify import Notifier
from agent.daemon.paths import StatePaths, credentials
from agent.daemon.planmaking import make_planning
from agent.daemon.realtime import boottime_ms, machine_start, real_ms
from agent.daemon.rooms import Rooms
from agent.daemon.slots import make_closer
from agent.daemon.slotweeks import SlotWeeks, slots_between
from agent.daemon.views import View
from agent.daemon.watching import Watching
from agent.inference.forecaster import Model
from agent.inference.ladder import Ladder
from agent.planning.costs import CostWatch
from agent.sources.base import Source
from agent.sources.clock import Clock, PlantClock, SteadyClock
from agent.store.clocks import Stamping
from agent.store.identity import CLOCK_FLOOR, Identity
from agent.store.store import Store
from agent.update.slots import ModelSlots

if TYPE_CHECKING:
    from agent.daemon.exchange import Exchange
    from agent.planning.carbon.factors import Factors
    from agent.update.updater import Updater

_log = logging.getLogger(__name__)


def build(config: Config) -> Daemon:
    """Make the daemon, which holds the state folder until it has run.

    Raises:
        ConfigError: when a file that the configuration names is wrong, or it does not fit the enrolment.
        StorageError: when the state folder or what is in it cannot be used.
        UnavailableError: when another process holds the state folder.
    """
    paths = StatePaths(config.device.state_dir)
    with contextlib.ExitStack() as stack:
        # A series of prices that was half written when the power failed must not keep the device from sampling.
        tariff, factors = make_tariff(config, series_later=True), make_factors(config, series_later=True)
        sources = make_sources(config)
        stack.enter_context(paths.owned())
        identity = Identity.open(paths.identity, credentials=credentials())
        _check_enrolment(config, identity)
        clock = make_clock(config.clock, paths.clock)
        identity.begin_boot()
        store = _make_store(config, paths, identity, clock)
        stack.callback(store.close)
        if isinstance(clock, SteadyClock) and store.offset_ms is not None:
            clock.adopt(store.offset_ms)  # as in the run before, until the clock is looked at
        control, notifier = Control(config.device.socket), Notifier()

        def make() -> Rooms:
            return _make_rooms(config, paths, identity, clock, store, sources, tariff, factors, control, notifier)

        rooms = make()
        _tell_boot(config, identity, clock, store)
        view = View(store, config, identity.enrolment)
        held = stack.pop_all()
        daemon = Daemon(
            rooms,
            lambda daemon: Answers(daemon, view),
            tick_s=config.loop.tick_ms / 1000,
            health_s=config.loop.health_s,
            reserved_bytes=config.store.reserved_bytes,
            monotonic=time.monotonic,
            on_close=held.close,
            make_again=make,
        )
        daemon.troubles.note("identity", identity.trouble)
        return daemon


def make_clock(config: ClockConfig | None, anchor: Path) -> Clock:
    """Make the plant clock; a replay's anchor in real time is kept in the file `anchor` from the first start on.

    Raises:
        ConfigError: when the replay was begun with another start or rate.
        StorageError: when the file is damaged or cannot be written.
    """
    if config is None:
        return SteadyClock(real_ms, boottime_ms)
    at_ms = config.anchor_real_ms
    if at_ms is None:
        at_ms = _kept_anchor(config, anchor)
    return PlantClock(config.plant_start_ms, at_ms, config.rate, real_ms=real_ms)


def _kept_anchor(config: ClockConfig, path: Path) -> int:
    if not path.exists():
        anchor_ms = real_ms()
        kept = {"plant_start_ms": config.plant_start_ms, "rate": config.rate, "anchor_real_ms": anchor_ms}
        write_durable(path, jsonform.dumps({"schema": 1, **kept}))
        return anchor_ms
    try:
        fields = Fields(jsonform.loads(path.read_bytes(), where=path.name, max_bytes=1024), path.name)
        begun = fields.integer("plant_start_ms"), fields.number("rate")
        anchor_ms = fields.integer("anchor_real_ms")
    except (OSError, RejectedError) as exc:
        raise StorageError(f"is damaged ({exc})", where=str(path), todo="Begin the replay in a new state_dir") from exc
    if begun != (config.plant_start_ms, config.rate):
        raise ConfigError(
            "the replay in state_dir was begun with another plant_start or rate",
            where="clock",
            todo="Put the old values back, or begin in a new state_dir",
        )
    return anchor_ms


def _check_enrolment(config: Config, identity: Identity) -> None:
    enrolled = identity.enrolment
    if enrolled is not None and enrolled.device != config.device.id:
        raise ConfigError(
            f"is {config.device.id}, but this device is enrolled as {enrolled.device}",
            where="device.id",
            todo="Mend device.id, or enrol anew in another state_dir",
        )


def _make_store(config: Config, paths: StatePaths, identity: Identity, clock: Clock) -> Store:
    machine = machine_start()

    def stamping() -> Stamping | None:
        return Stamping(machine, clock.offset_ms, boottime_ms()) if isinstance(clock, SteadyClock) else None

    return Store(
        paths.store,
        identity,
        config.channels,
        now_ms=clock.now_ms,
        monotonic=time.monotonic,
        commit_window_s=config.store.commit_window_s,
        pack_after_s=config.store.pack_after_s,
        max_bytes=config.store.max_mib * 2**20,
        reserved_bytes=config.store.reserved_bytes,
        keep_acknowledged_days=config.store.keep_acknowledged_days,
        keep_unacknowledged_days=config.store.keep_unacknowledged_days,
        written_bytes=disk_written_bytes,
        stamping=stamping,
        salvage_kib_s=config.store.salvage_kib_s,
    )


def _make_rooms(
    config: Config,
    paths: StatePaths,
    identity: Identity,
    clock: Clock,
    store: Store,
    sources: list[Source],
    tariff: Tariff | None,
    factors: Factors | None,
    control: Control,
    notifier: Notifier,
) -> Rooms:
    """Make the rooms from what the store holds; as long as it is not open they are empty, and there is no centre."""
    view = View(store, config, identity.enrolment)
    history = view.history(days=KEEP_DAYS)
    ahead = view.ahead(history)
    ladder = Ladder(config.plant.slot_s, config.horizon)
    newest = view.newest_forecast()
    slots = ModelSlots(paths.models)
    exchange, updater = _make_centre(config, paths, identity, store, slots) if store.is_open else (None, None)
    models = Models(
        slots, ladder, load=lambda bundle: Model.load(bundle, threads=config.forecast.threads), updater=updater
    )
    calibrating = Calibrating(
        store,
        history,
        initial=models.calibration,
        tell=lambda text: _tell_loss(text, clock, store),
    )
    for source in sources:
        source.resume(_last_times(store, source, clock))
    forecasting = Forecasting(
        ladder,
        history,
        calibrating,
        every_minutes=config.forecast.every_minutes,
        last_origin_ms=int(newest["origin_ms"]) if newest else None,
    )
    closer = make_closer(config, store.readings, history.between)
    steady = isinstance(clock, SteadyClock)
    plant = Plant(store, sources, closer, history, forecasting, config.plant.power_channel, is_steady=steady)
    plant.place()
    costs = None
    if tariff is not None:
        costs = Costs(CostWatch(tariff, factors=factors), history, partial(slots_between, store))
    planning = make_planning(config, store, history, tariff, costs, factors, ahead)
    if planning is not None and newest is not None:
        planning.resume(newest, clock.now_ms())
    return Rooms(
        clock=clock,
        time=_make_clock_room(clock, identity, exchange, plant),
        store=store,
        sources=sources,
        closer=closer,
        history=history,
        calibrating=calibrating,
        forecasting=forecasting,
        costs=costs,
        slot_weeks=SlotWeeks(store),
        board=make_board(config, tariff, store),
        watching=Watching(store, config, history, tariff, clock.now_ms(), ahead),
        models=models,
        exchange=exchange,
        control=control,
        notifier=notifier,
        planning=planning,
        ahead=ahead,
    )


def _last_times(store: Store, source: Source, clock: Clock) -> dict[str, int]:
    if not store.is_open and not source.has_own_times:  # what is stored is not known: nothing of it is given again
        return dict.fromkeys((channel.name for channel in source.channels), clock.now_ms())
    times = {channel.name: store.last_time_ms("readings", channel.name) for channel in source.channels}
    return {name: time_ms for name, time_ms in times.items() if time_ms is not None}


def _make_clock_room(clock: Clock, identity: Identity, exchange: Exchange | None, plant: Plant) -> ClockRoom:
    def heard() -> Heard | None:
        stats = exchange.uplink.stats() if exchange is not None else None
        if stats is None or stats.last_ack_ms is None or stats.clock_ahead_ms is None:
            return None
        return stats.last_ack_ms, stats.clock_ahead_ms

    steady = clock if isinstance(clock, SteadyClock) else None
    kept = Confirmed(plant.store, machine_start()) if steady is not None else None
    watch = ClockWatch(
        steady,
        floor_ms=lambda: identity.floor(CLOCK_FLOOR),
        heard=heard,
        kept=kept,
        epochs=lambda: plant.store.epochs_of_start,
    )
    return ClockRoom(steady, watch, plant)


def _make_centre(
    config: Config, paths: StatePaths, identity: Identity, store: Store, slots: ModelSlots
) -> tuple[Exchange | None, Updater | None]:
    """Make what only an enrolled device needs; its libraries are loaded only there."""
    if identity.enrolment is None or identity.signing_key is None:
        _log.info("not enrolled: data stays on the device until `edgewatt enroll FILE`")
        return None, None
    from agent.daemon.centre import make_centre  # noqa: PLC0415 - see above

    return make_centre(config, paths, identity, identity.enrolment, identity.signing_key, store, slots)


def _tell_loss(text: str, clock: Clock, store: Store) -> None:
    _log.warning("%s", text)
    store.append("events", [event_row(clock.now_ms(), "trouble", text, room="calibration")])


def _tell_boot(config: Config, identity: Identity, clock: Clock, store: Store) -> None:
    version = importlib.metadata.version("edgewatt")
    text = f"start {identity.boot} of {config.device.id}, edgewatt {version}"
    row = event_row(
        clock.now_ms(),
        "boot",
        text,
        boot=identity.boot,
        epoch=identity.epoch,
        version=version,
        storage_key=identity.key_source,
        zone=config.plant.zone,  # the centre shows this device's days in it
    )
    store.append("events", [row])
    _log.info("%s", text)
    for what in identity.mended:
        _log.warning("identity: %s", what)
        store.append("events", [event_row(clock.now_ms(), "trouble", f"identity: {what}", room="identity")])
