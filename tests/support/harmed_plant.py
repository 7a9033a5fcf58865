"""A device and its centre on either side of a real broker, each behind a network that harms what it carries.

Real store, uplink and link; real ingest on a real database. `run_through` samples and sends until the centre has it all.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from agent.contract.acknowledgement import Acknowledgement
from agent.contract.channels import Reading
from agent.contract.rows import alert_row, event_row
from agent.contract.topics import DeviceTopics
from agent.contract.trust import KeyUse
from agent.sync.mqtt import MqttLink
from agent.sync.uplink import Uplink
from tests.support import central_queries
from tests.support.badline import Harm, Weather, bad_line
from tests.support.broker import HOST, Mosquitto
from tests.support.centre import Centre
from tests.support.stores import T0, Bench
from tests.support.waiting import eventually
from trainer.fleet.mqtt import BrokerLink
from trainer.fleet.service import SHARED, SUBSCRIPTIONS, Service

NAME = "press-1"
HASTE = 100  # the uplink's clock runs so much faster: 0.6 s of the network's delays are a minute of its patience


class Device:
    """Sends every block alone, so that there are many envelopes.

    Attributes:
        sendings: how often an envelope was handed to the line.
        blocks: how many there are to be sent.
        holes: acknowledgements that name rows which the centre misses.
    """

    def __init__(self, folder: Path, centre: Centre, port: int) -> None:
        device = centre.device(NAME)
        self.bench, self.trust = Bench(folder), device.trust
        topic = DeviceTopics(NAME).ack
        self.link = MqttLink(
            HOST, port, NAME, subscriptions=[topic], backoff_s=(0.05, 0.2), answer_s=1.0, keepalive_s=1
        )
        self.uplink = Uplink(
            NAME,
            device.key,
            device.trust,
            self,
            real_ms=centre.clock.now,
            monotonic=lambda: time.monotonic() * HASTE,
            max_envelope_bytes=1024,
            max_in_flight=16,
        )
        self.sendings = self.blocks = self.holes = 0
        self.readings: list[tuple[int, float, int]] = []
        self.texts: dict[str, list[str]] = {"events": [], "alerts": [], "health": []}
        self.link.start()

    @property
    def connected(self) -> bool:
        return self.link.connected

    @property
    def connections(self) -> int:
        return self.link.connections

    def publish(self, topic: str, payload: bytes) -> bool:
        self.sendings += 1
        return self.link.publish(topic, payload)

    def sample(self) -> None:
        """A few rows of several streams, each stream a block when this returns."""
        number, store = len(self.readings), self.bench.store
        rows = [Reading("load_kw", T0 + index * 1000, float(index % 997)) for index in range(number, number + 20)]
        store.append("readings", rows)
        self.readings += [(row.time_ms, row.value, row.quality) for row in rows]
        self._tell("health", {"time_ms": T0 + number, "text": f"health {number}"})
        if number % 100 == 0:
            self._tell("events", event_row(T0 + number, "test", f"event {number}"))
            self._tell("alerts", alert_row(T0 + number, "peak", "raised", "high", f"alert {number}"))
        self.bench.now_ms += 20_000
        before = store.stats().backlog_blocks
        self.bench.pass_time(61)
        self.blocks += store.stats().backlog_blocks - before

    def _tell(self, stream: str, row: dict) -> None:
        self.bench.store.append(stream, [row])
        self.texts[stream].append(row["text"])

    def turn(self) -> bool:
        """Hear, then say what is due; whether nothing waits any more."""
        for _, payload in self.link.receive():
            ack = Acknowledgement.from_bytes(payload, self.trust.verifiers(KeyUse.ACK), device=NAME)
            self.holes += any(mark.missing for mark in ack.marks)
            self.uplink.on_ack(payload, self.bench.store, self.bench.identity)
        self.uplink.pump(self.bench.store)
        return self.bench.store.stats().backlog_rows == 0

    def close(self) -> None:
        self.link.stop()
        self.bench.store.close()


@contextlib.contextmanager
def serving(centre: Centre, port: int) -> Iterator[None]:
    """The centre's ingest on a thread of its own."""
    link = BrokerLink(HOST, port, subscriptions=SUBSCRIPTIONS, shared=SHARED, keepalive_s=1)
    clock = {"now_ms": centre.clock.now, "monotonic": time.monotonic}
    service = Service(centre.engine, link, centre.ingest, centre.repository, **clock)
    over = threading.Event()
    thread = threading.Thread(target=service.run, args=[over.is_set])
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        link.close()


def run_through(
    centre: Centre,
    folder: Path,
    broker: Mosquitto,
    weather: tuple[Weather, Weather],
    *,
    rounds: int,
    seed: int,
    within_s: float,
) -> tuple[Device, Counter[Harm]]:
    """Sample and send until the centre has everything; return the device, and what was harmed.

    Args:
        centre: where its clock stands still.
        folder: of the device.
        broker: in the middle.
        weather: before the device, before the centre.
        rounds: of sampling.
        seed: of the harm.
        within_s: bounds a run that hangs.
    """
    with (
        bad_line(broker.port, seed, weather[0]) as near,
        bad_line(broker.port, -seed, weather[1]) as far,
        serving(centre, far.port),
    ):
        device = Device(folder, centre, near.port)
        try:
            for _ in range(rounds):
                device.sample()
                device.turn()
            eventually(device.turn, within_s=within_s, every_s=0.005)
        finally:
            device.close()
        return device, near.harmed + far.harmed


def faults(centre: Centre, device: Device) -> list[str]:
    """What is not at the centre once and as it was, and what else is wrong there."""
    found = []
    if central_queries.readings(centre.engine, NAME, "load_kw") != device.readings:
        found.append("readings differ")
    for stream, texts in device.texts.items():
        if [row["text"] for row in central_queries.rows(centre.engine, NAME, stream)] != texts:
            found.append(f"{stream} differ")
    states = central_queries.stream_states(centre.engine, NAME)
    found += [f"{state}" for state in states if state.missing or state.given_up or state.disputed]
    if device.sendings > 5 * device.blocks + 60:
        found.append(f"{device.sendings} sendings of {device.blocks} blocks")
    return found
