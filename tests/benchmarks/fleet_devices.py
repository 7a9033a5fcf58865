"""Many devices in one process, for `fleet_parts.py`: `python -m tests.benchmarks.fleet_devices FILE`.

Each has its certificate, its TLS session, the agent's own uplink, and a store in memory. Commands come by stdin, a line each:
`batch` gives every device a block more, `report` prints one line of JSON, the end of stdin ends it.
"""

import asyncio
import json
import ssl
import sys
import time
from pathlib import Path

from agent.contract.blocks import encode_readings
from agent.contract.channels import Reading
from agent.contract.keys import SigningKey
from agent.contract.topics import DeviceTopics
from agent.contract.trust import FleetTrust
from agent.sync.uplink import Uplink
from tests.benchmarks.meters import START_MS, channels
from tests.support.small_centre import MemoryFloors, MemoryOutbox
from tests.support.tiny_mqtt import TinyClient

ROWS = 300
_TICK_S = 0.25
_NAMES = list(channels())[:5]


class Device:
    """One device."""

    def __init__(self, settings, trust, one):
        topics = DeviceTopics(one["name"])
        context = ssl.create_default_context(cafile=settings["ca"])
        context.check_hostname = False
        context.load_cert_chain(one["certificate"], one["key"])
        self.line = TinyClient(
            settings["host"], settings["port"], one["name"], topics.ack, self._acknowledged, context=context
        )
        self.uplink = Uplink(
            one["name"],
            SigningKey(bytes.fromhex(one["signing"])),
            trust,
            self.line,
            real_ms=lambda: time.time_ns() // 1_000_000,
            monotonic=time.monotonic,
            resend_after_s=settings["resend_after_s"],
        )
        self.outbox, self._floors = MemoryOutbox(), MemoryFloors()

    def batch(self):
        """Make a block more."""
        first = self.outbox.last.get("readings", 0) + 1
        rows = [
            Reading(_NAMES[seq % 5], START_MS + seq // 5 * 1000, round(100 + seq % 37 * 0.3, 1))
            for seq in range(first, first + ROWS)
        ]
        self.outbox.put(encode_readings(rows, channels(), epoch=1, boot=1, first=first))

    def _acknowledged(self, payload):
        self.uplink.on_ack(payload, self.outbox, self._floors)


async def _serve(path):
    settings = json.loads(path.read_text())
    trust = FleetTrust.from_json(settings["trust"])
    devices = [Device(settings, trust, one) for one in settings["devices"]]
    tasks = [asyncio.ensure_future(device.line.run()) for device in devices]
    tasks.append(asyncio.ensure_future(_pump(devices)))
    stdin = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(stdin), sys.stdin)
    while line := await stdin.readline():
        if line == b"batch\n":
            for device in devices:
                device.batch()
        print(json.dumps(_report(devices)), flush=True)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _pump(devices):
    while True:
        begin = time.monotonic()
        for device in devices:
            device.uplink.pump(device.outbox)
            await asyncio.sleep(0)
        await asyncio.sleep(max(0.01, _TICK_S - (time.monotonic() - begin)))


def _report(devices):
    stats = [device.uplink.stats() for device in devices]
    return {
        "connected": sum(device.line.connected for device in devices),
        "connections": sum(device.line.connections for device in devices),
        "waiting": sum(len(device.outbox.waiting()) for device in devices),
        "made": sum(device.outbox.last.get("readings", 0) for device in devices),
        "envelopes": sum(one.envelopes for one in stats),
        "resent_blocks": sum(one.resent_blocks for one in stats),
    }


if __name__ == "__main__":
    asyncio.run(_serve(Path(sys.argv[1])))
