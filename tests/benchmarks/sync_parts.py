"""Parts of the sync benchmark that take real time: an alarm's way through a real broker, and one ingest at full load."""

import contextlib
import random
import statistics
import sys
import time

from agent.config import LoopConfig
from agent.contract import envelope
from agent.contract.blocks import encode_readings
from agent.contract.envelope import EnvelopeHeader
from agent.contract.rows import alert_row
from agent.contract.topics import DeviceTopics
from agent.store.identity import Identity
from agent.store.store import Store
from agent.sync.mqtt import MqttLink
from agent.sync.uplink import Uplink
from tests.benchmarks.meters import CHANNELS, START_MS, Meters, channels
from tests.support.broker import running_mosquitto
from tests.support.centre import make_centre
from tests.support.postgres import running_postgres
from tests.support.trainer_process import running_trainer
from tests.support.waiting import eventually
from trainer.fleet.intake import Intake

_ALARMS = 20
_DEVICES, _ENVELOPES, _BLOCK_S = 4, 50, 300


def alarm_to_ack_s(folder):
    """From an alarm's row to its signed acknowledgement, over a real Mosquitto and a real ingest process."""
    print("  alarms ...", file=sys.stderr, flush=True)
    folder.mkdir()
    centre = make_centre(folder, f"sqlite:///{folder / 'centre.db'}")
    centre.clock.ms = time.time_ns() // 1_000_000
    field = centre.device("press-1")
    identity = Identity.open(folder / "identity")
    identity.begin_boot()
    real_ms = lambda: time.time_ns() // 1_000_000  # noqa: E731
    store = Store(folder / "store.db", identity, channels(), now_ms=real_ms, monotonic=time.monotonic)
    tick_s, chance = LoopConfig().tick_ms / 1000, random.Random(1)
    topics, took = DeviceTopics(field.name), []
    with (
        running_mosquitto(folder) as broker,
        running_trainer(folder, "ingest", "--broker", f"{broker.host}:{broker.port}") as process,
    ):
        process.said("connected to broker")
        link = MqttLink(broker.host, broker.port, field.name, subscriptions=[topics.ack])
        uplink = Uplink(field.name, field.key, field.trust, link, real_ms=real_ms, monotonic=time.monotonic)
        link.start()
        try:
            eventually(lambda: link.connected)
            for number in range(_ALARMS):
                time.sleep(tick_s * chance.random())
                begin = time.monotonic()
                store.append("alerts", [alert_row(real_ms(), "peak", f"raised-{number}", "high", "peak ahead")])
                acks = uplink.stats().acks
                while uplink.stats().acks == acks or store.stats().backlog_rows:
                    for _, payload in link.receive():
                        uplink.on_ack(payload, store, identity)
                    uplink.pump(store)
                    time.sleep(tick_s)
                took.append(time.monotonic() - begin)
        finally:
            link.stop()
    store.close()
    centre.engine.dispose()
    return {"alarm_to_ack_s": statistics.median(took), "alarm_to_ack_s_max": max(took), "alarms": _ALARMS}


def ingest_rates(folder):
    """Readings a second that one process takes in: opened, deduplicated, committed, acknowledged."""
    found = {}
    for name, block_s in (("", _BLOCK_S), ("_blocks_of_60_s", 60)):
        with _database(folder / f"ingest{name}") as (place, url):
            found[f"ingest_readings_per_s{name}"] = _rate(place, url, block_s)
    with _database(folder / "open") as (place, url):
        found["ingest_unsealed_readings_per_s"] = _rate(place, url, _BLOCK_S, sealed=False)
    found["ingest_cost_ratio_of_sealing"] = found["ingest_unsealed_readings_per_s"] / found["ingest_readings_per_s"]
    with running_postgres(durable=True) as server:
        (folder / "postgres").mkdir()
        found["ingest_postgresql_readings_per_s"] = _rate(folder / "postgres", server.database(), _BLOCK_S)
    return {**found, "ingest_readings": _DEVICES * _ENVELOPES * _BLOCK_S * CHANNELS}


@contextlib.contextmanager
def _database(folder):
    folder.mkdir()
    yield folder, f"sqlite:///{folder / 'centre.db'}"


def _rate(folder, url, block_s, *, sealed=True):
    print(f"  ingest, {folder.name} ...", file=sys.stderr, flush=True)
    centre = make_centre(folder, url)
    messages = list(_messages(centre, block_s, sealed=sealed))
    intake = Intake(centre.engine, centre.clock.now)
    count = 0
    begin = time.perf_counter()
    for field, block, payload in messages:
        if sealed:
            (answer,) = centre.ingest.handle(field.topic, payload)
            assert answer.payload
        else:
            header = EnvelopeHeader(field.device.name, "", "", START_MS, ())
            assert intake.store(header, [block], 1).new_rows == block.header.count
        count += block.header.count
    took_s = time.perf_counter() - begin
    centre.engine.dispose()
    return count / took_s


class _Sender:
    def __init__(self, device):
        self.device, self.topic, self.last = device, DeviceTopics(device.name).up("readings"), 0


def _messages(centre, block_s, *, sealed):
    """The envelopes of some devices in turn, each with one block."""
    known, meters = channels(), Meters()
    senders = [_Sender(centre.device(f"press-{number}")) for number in range(_DEVICES)]
    for at in range(_ENVELOPES * _BLOCK_S // block_s):
        rows = [row for second in range(at * block_s, (at + 1) * block_s) for row in meters.second(second)]
        for sender in senders:
            block = encode_readings(rows, known, epoch=1, boot=1, first=sender.last + 1)
            sender.last = block.header.last
            payload = b""
            if sealed:
                payload = envelope.seal(
                    [block],
                    device=sender.device.name,
                    signing_key=sender.device.key,
                    recipient=sender.device.trust.recipient(),
                    created_ms=START_MS,
                )
            yield sender, block, payload
