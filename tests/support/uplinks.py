"""An uplink between a store and a centre that are both in memory."""

import secrets

from agent.contract.blocks import Block
from agent.sync.uplink import Uplink
from tests.support.small_centre import MemoryFloors, MemoryOutbox, SmallCentre, Wire


def make_uplink(centre: SmallCentre, line, monotonic, **options) -> Uplink:
    """The uplink of the centre's device, in which nothing is left to chance."""
    given = {"real_ms": lambda: centre.now_ms, "rng": lambda: 0.5, "spread_s": 0.0} | options
    return Uplink(centre.device, centre.device_key, centre.trust(), line, monotonic=monotonic, **given)


class World:
    """An uplink between a store and a centre, with a clock that the test moves."""

    def __init__(self, **options):
        self.now_s = 1000.0
        self.wire, self.store, self.floors = Wire(), MemoryOutbox(), MemoryFloors()
        self.centre = SmallCentre()
        self.options = {"max_in_flight": 4, "max_envelope_bytes": 4096, "resend_after_s": 30.0}
        self.options |= options
        self.uplink = self.boot()

    def boot(self) -> Uplink:
        self.uplink = make_uplink(self.centre, self.wire, lambda: self.now_s, **self.options)
        return self.uplink

    def pump(self) -> list[tuple[str, list[Block]]]:
        """Pump; return topic and blocks of each envelope sent."""
        before = len(self.wire.sent)
        self.uplink.pump(self.store)
        return [(topic, self.open(data)) for topic, data in self.wire.sent[before:]]

    def open(self, data: bytes) -> list[Block]:
        held = {key: set(rows) for key, rows in self.centre.rows.items()}
        blocks = self.centre.take(data)
        self.centre.rows = held
        return blocks

    def receive_all(self) -> None:
        for _, data in self.wire.news():
            self.centre.take(data)

    def widen(self) -> None:
        """Be acknowledged until the full width is open."""
        for _ in range(2):
            self.store.add("health")
            self.pump()
            self.receive_all()
            self.ack()
        self.now_s += 1

    def ack(self, payload: bytes | None = None):
        return self.uplink.on_ack(payload or self.centre.acknowledge(), self.store, self.floors)

    def state(self):
        return (set(self.store.safe), dict(self.floors.values))


def streams(sent) -> list[list[str]]:
    return [[block.header.stream for block in blocks] for _, blocks in sent]


def big(world: World, count: int) -> None:
    for _ in range(count):
        world.store.add("slots", 1, text=secrets.token_hex(3000))  # more than half an envelope each
