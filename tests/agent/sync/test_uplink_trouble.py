"""The uplink where the centre refuses a block or is silent, and where its store is replaced under it."""

from collections.abc import Collection

import pytest

from agent.contract.blocks import Block, BlockHeader
from agent.contract.errors import StorageError
from agent.sync.acks import Verdict
from tests.support.uplinks import World, big, streams


class Choosy(World):
    """A world whose centre is awake and answers all but envelopes in which a block of `refused` is."""

    def __init__(self, *refused: str, **options):
        super().__init__(**options)
        self.refused = refused
        self.sendings: list[tuple[float, str]] = []

    def turn(self) -> None:
        """Let a second pass."""
        before = len(self.wire.sent)
        for (_, blocks), (_, data) in zip(self.pump(), self.wire.sent[before:], strict=True):
            names = [block.header.stream for block in blocks]
            self.sendings += [(self.now_s, name) for name in dict.fromkeys(names)]
            if not set(names) & set(self.refused):
                self.centre.take(data)
                self.ack()
        self.now_s += 1

    def run(self, seconds: int) -> None:
        for _ in range(seconds):
            self.turn()

    def times(self, stream: str, after_s: float = 0.0) -> list[float]:
        return [at_s for at_s, name in self.sendings if name == stream and at_s > after_s]


@pytest.mark.parametrize("stream", ["events", "alerts"])
@pytest.mark.parametrize("first_after_s", [5, 40, 70, 200, 299])
def test_readings_arrive_at_once_while_the_centre_refuses_an_event_or_an_alert(stream: str, first_after_s: int):
    world = Choosy(stream)
    world.store.add(stream, 1)
    world.run(first_after_s)
    for _ in range(20):
        block = world.store.add("readings")
        world.run(2)
        assert block in world.store.safe
        world.run(298)
    assert world.store.waiting() == {1}  # kept, and offered again by and by
    late = world.times(stream, after_s=world.now_s - 3600)
    assert len(late) <= 2
    assert len(world.times(stream)) >= 4


def test_an_alert_goes_at_once_while_the_centre_refuses_an_event():
    world = Choosy("events")
    world.store.add("events", 1)
    for _ in range(6):
        world.store.add("readings")
        world.run(300)
    alert = world.store.add("alerts", 1)
    world.run(2)
    assert alert in world.store.safe


def test_what_is_refused_may_fill_more_than_an_envelope_and_holds_up_nothing():
    world = Choosy("events", max_envelope_bytes=1024)
    for _ in range(4):
        world.store.add("events", 1)
    world.run(100)
    block = world.store.add("readings", 2)
    world.run(400)
    assert block in world.store.safe


def test_alerts_and_events_back_off_into_a_silent_centre_and_leave_when_it_answers():
    world = Choosy("events", "alerts", "readings")
    for minute in range(180):
        if minute % 10 == 0:
            world.store.add("events", 1)
            world.store.add("readings", 1)
        world.run(60)
    assert len(world.times("events", after_s=world.now_s - 3600)) <= 15
    world.refused = ()
    world.run(500)  # the longest pause
    assert world.store.waiting() == set()


def test_an_alert_asks_a_silent_centre_again_at_once_on_a_new_connection():
    world = Choosy("alerts")
    world.store.add("alerts", 1)
    world.run(1000)
    assert world.pump() == []
    world.wire.connections += 1
    assert streams(world.pump()) == [["alerts"]]


def test_events_wait_their_part_of_the_spread_and_alerts_do_not():
    world = World(spread_s=10.0)  # of which chance takes a half here
    world.store.add("events", 1)  # of each start
    assert world.pump() == []
    world.store.add("alerts", 1)
    assert streams(world.pump()) == [["alerts"]]
    world.receive_all()
    world.ack()
    world.now_s += 4.9
    assert world.pump() == []
    world.now_s += 0.2
    assert streams(world.pump()) == [["events"]]


def test_forgets_what_was_in_flight_parked_or_unsealable_when_the_store_is_replaced():
    world = World()
    world.widen()
    unsealable = world.store.put(Block(BlockHeader("slots", 1, 1, 11, 11, 0, 0, "json/1"), bytes(8 * 2**20)))
    world.pump()
    big(world, 3)
    world.pump()
    assert (world.uplink.stats().poisoned, world.uplink.stats().in_flight) == (1, 3)
    world.store.replace()
    while world.store.add("slots", 1, epoch=2) < unsealable + 3:
        pass
    sent = world.pump()
    assert sum(len(blocks) for _, blocks in sent) == unsealable + 3  # each has an id of one that was held back
    assert world.uplink.stats().poisoned == 0


def test_forgets_it_too_when_the_store_is_replaced_while_it_is_asked():
    world = World()
    world.widen()
    big(world, 1)
    world.pump()
    ask = world.store.unacknowledged

    def damaged(limit_bytes: int, *, skip: Collection[int], backlog: bool):
        world.store.unacknowledged = ask
        world.store.replace()
        for _ in range(4):
            world.store.add("slots", 1, epoch=2)
        return ask(limit_bytes, skip=skip, backlog=backlog)

    world.store.unacknowledged = damaged
    sent = world.pump() + world.pump()
    assert sorted(block.header.first for _, blocks in sent for block in blocks) == [2, 3, 4, 5]


def test_a_carried_acknowledgement_tells_nothing_of_the_line_or_of_the_clock():
    world = World()
    world.store.add("slots")
    world.pump()
    world.receive_all()
    carried = world.centre.acknowledge()
    world.centre.now_ms += 3 * 86_400_000  # on its way
    result = world.uplink.on_ack(carried, world.store, world.floors, carried=True)
    assert (result.verdict, result.blocks) == (Verdict.ACCEPTED, 1)
    stats = world.uplink.stats()
    assert (stats.clock_ahead_ms, stats.last_ack_ms, stats.bytes_per_s) == (None, None, None)
    assert stats.in_flight == 0
    world.store.add("slots")
    world.pump()
    world.receive_all()
    world.ack()
    assert world.uplink.stats().clock_ahead_ms == 0


def test_what_is_new_and_alerts_arrive_while_the_centre_refuses_a_block_of_readings():
    world = Choosy("readings")
    world.store.add("readings")
    world.run(1)
    for _ in range(20):
        block = world.store.add("health")
        world.run(300)
        assert block in world.store.safe
    for _ in range(30):  # at whatever moment
        alert = world.store.add("alerts", 1)
        world.run(2)
        assert alert in world.store.safe
        world.run(98)


def test_an_alert_does_not_go_with_an_event_that_the_centre_may_refuse():
    world = Choosy("events")
    world.store.add("events", 1)
    world.run(40)
    alert = world.store.add("alerts", 1)
    world.run(300)
    assert alert in world.store.safe


def test_a_silent_centre_is_asked_by_each_block_in_its_turn_and_by_all_again():
    world = World()
    for _ in range(3):
        world.store.add("slots")
        for _ in range(1100):
            world.pump()
            world.now_s += 1
    world.receive_all()
    world.ack()
    assert world.store.waiting() == set()


@pytest.mark.parametrize("failing", ["apply_marks", "recall"])
def test_an_acknowledgement_that_the_disk_did_not_take_counts_when_it_comes_again(failing: str, monkeypatch):
    world = World()
    world.store.add("slots")
    world.pump()
    world.receive_all()
    world.ack()
    world.centre.restored({})  # its first acknowledgement recalls
    ack, before = world.centre.acknowledge(), world.state()

    def fail(_marks: object) -> int:
        raise StorageError("the disk fails")

    with monkeypatch.context() as patch:
        patch.setattr(world.store, failing, fail)
        with pytest.raises(StorageError):
            world.ack(ack)
    assert world.floors.values == before[1]
    assert world.ack(ack).verdict is Verdict.ACCEPTED
    assert world.store.waiting() == {1}
