"""Makes what an enrolled device needs to reach its centre: link, uplink, update client. Loaded only there."""

from __future__ import annotations

import importlib.metadata
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from agent.config import Config
from agent.contract.errors import RejectedError
from agent.contract.keys import SigningKey
from agent.contract.messages import Status
from agent.contract.topics import DeviceTopics
from agent.contract.trust import FleetTrust
from agent.daemon.exchange import Exchange
from agent.daemon.paths import StatePaths
from agent.daemon.realtime import real_ms
from agent.inference.forecaster import Model
from agent.inference.scoring import pinball
from agent.store.identity import CLOCK_FLOOR, Enrolled, Identity
from agent.store.store import Store
from agent.sync.acks import Floors, last_seen
from agent.sync.mqtt import MqttLink
from agent.sync.uplink import Uplink
from agent.update.late import Deliver, LateRepository
from agent.update.slots import ModelSlots
from agent.update.updater import Updater

if TYPE_CHECKING:
    from pathlib import Path

    from agent.sync.renew import Renewal
    from agent.update.repository import Repository

_CLOCK_MAY_DIFFER_MS = 86_400_000


def make_centre(
    config: Config,
    paths: StatePaths,
    identity: Identity,
    enrolled: Enrolled,
    key: SigningKey,
    store: Store,
    slots: ModelSlots,
) -> tuple[Exchange, Updater]:
    """Make the way to the centre and the way back.

    Raises:
        ConfigError: when the enrolment's certificates are wrong.
        StorageError: when the update client's folder cannot be used.
    """
    link = _make_link(config, identity, enrolled, lambda: clock_is_confirmed(uplink.last_ack_ms, identity))
    uplink = Uplink(
        enrolled.device,
        key,
        enrolled.trust,
        link,
        real_ms=real_ms,
        monotonic=time.monotonic,
        max_envelope_bytes=config.sync.max_envelope_kib * 1024,
        max_in_flight=config.sync.max_in_flight,
        resend_after_s=config.sync.resend_after_s,
        backlog_bytes_s=config.sync.backlog_kib_s * 1024,
        spread_s=config.sync.spread_s,
        seen=last_seen(identity),
    )
    folder = config.update.repository
    repository = LateRepository(lambda: _open_repository(folder, paths, identity, enrolled, link))
    updater = Updater(
        paths.update,
        enrolled.device,
        enrolled.trust,
        identity,
        slots,
        repository,
        check=make_check(config.plant.slot_s, config.horizon, config.forecast.threads),
        loss=pinball,
        shadow_days=config.update.shadow_days,
        real_ms=real_ms,
        monotonic=time.monotonic,
        reachable=folder.is_dir if folder is not None else lambda: link.connected,
        on_trust=lambda trust: _take_trust(trust, identity, uplink),
    )
    exchange = Exchange(
        enrolled.device,
        link,
        uplink,
        store,
        identity,
        on_assignment=updater.on_assignment,
        on_piece=repository.deliver,
        renewal=_make_renewal(identity, enrolled, key, link),
    )
    return exchange, updater


def _open_repository(
    folder: Path | None, paths: StatePaths, identity: Identity, enrolled: Enrolled, link: MqttLink
) -> tuple[Repository, Deliver]:
    """Load the client of the repository: over MQTT, or in a folder."""
    from agent.update.fetch import FolderFetcher, MqttFetcher, Partials  # noqa: PLC0415 - see `agent.update.late`
    from agent.update.repository import Repository  # noqa: PLC0415 - likewise

    partials = Partials(paths.repository / "partials")
    over_mqtt = MqttFetcher(link.publish, enrolled.device, partials)
    fetcher = over_mqtt if folder is None else FolderFetcher(folder)
    metadata, root = paths.repository / "metadata", enrolled.tuf_root
    made = Repository(metadata, root, fetcher, identity, now_ms=real_ms, partials=partials)
    return made, over_mqtt.deliver


def _take_trust(trust: FleetTrust, identity: Identity, uplink: Uplink) -> None:
    identity.set_trust(trust)
    uplink.trust = trust


def clock_is_confirmed(heard_ms: int | None, floors: Floors) -> bool:
    """Whether the centre's signed word, heard since the start, agrees with the clock.

    Until then the clock may be a board's without a battery, and dates in certificates say nothing by it.

    Args:
        heard_ms: what the clock showed at the last acknowledgement; None before the first.
        floors: hold when the centre signed it, to the hour.
    """
    floor_ms = floors.floor(CLOCK_FLOOR)
    return heard_ms is not None and abs(heard_ms - floor_ms) <= _CLOCK_MAY_DIFFER_MS and real_ms() >= floor_ms


def make_check(slot_s: int, horizon: int, threads: int) -> Callable[[bytes], None]:
    """Return what judges a bundle before its trial: does it load, reproduce its golden outputs, and keep its time?"""

    def check(bundle: bytes) -> None:
        model = Model.load(bundle, threads=threads)
        if (model.spec.slot_s, model.spec.horizon) != (slot_s, horizon):
            raise RejectedError(
                f"forecasts {model.spec.horizon} slots of {model.spec.slot_s} s where this device needs {horizon} of "
                f"{slot_s} s",
                where=model.label,
                todo="Train for this plant's slots, or mend the device's configuration",
            )
        model.check_golden()
        model.check_latency()

    return check


def _make_renewal(identity: Identity, enrolled: Enrolled, key: SigningKey, link: MqttLink) -> Renewal | None:
    if enrolled.tls is None:
        return None
    from agent.sync.renew import Renewal  # noqa: PLC0415 - a device without a certificate does not load X.509

    return Renewal(identity, key, link, monotonic=time.monotonic)


def _make_link(config: Config, identity: Identity, enrolled: Enrolled, check_time: Callable[[], bool]) -> MqttLink:
    topics = DeviceTopics(enrolled.device)
    epoch = identity.epoch  # of this start: two clones of one folder have the same boot number, never this

    def status(state: str) -> bytes:
        version = importlib.metadata.version("edgewatt")
        return Status(state=state, time_ms=real_ms(), version=version, boot=identity.boot, epoch=epoch).to_bytes()

    return MqttLink(
        config.sync.host or enrolled.broker.host,
        config.sync.port or enrolled.broker.port,
        enrolled.device,
        ca_pem=enrolled.broker.ca_pem,
        server_name=enrolled.broker.server_name,
        client_tls=lambda: identity.enrolment.tls if identity.enrolment else None,
        check_time=check_time,
        will=(topics.status, status("offline")),
        birth=(topics.status, status("online")),
        subscriptions=[topics.ack, topics.assign, topics.repo_data, *([topics.cert_response] if enrolled.tls else [])],
    )
