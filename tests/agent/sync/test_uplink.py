"""What the uplink sends when, and what an acknowledgement does; which of them it believes is `test_uplink_acks.py`'s."""

import itertools
import secrets

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.contract.blocks import Block, BlockHeader
from agent.contract.errors import ConfigError
from agent.contract.topics import DeviceTopics
from agent.sync.acks import Verdict
from agent.sync.mqtt import MqttLink
from tests.support.broker import Mosquitto
from tests.support.small_centre import MemoryFloors, MemoryOutbox, SmallCentre
from tests.support.uplinks import World, big, make_uplink, streams
from tests.support.waiting import eventually


def test_sends_alarms_first_then_the_oldest():
    world = World()
    world.store.add("slots")
    world.store.add("readings".replace("readings", "health"))
    world.store.add("alerts", 1)
    assert streams(world.pump()) == [["alerts"], ["slots", "health"]]
    assert [topic for topic, _ in world.wire.sent] == ["ew/v1/press-1/up/alerts", "ew/v1/press-1/up/batch"]


def test_alarms_pass_a_full_line():
    world = World()
    world.widen()
    big(world, 6)
    assert streams(world.pump()) == [["slots"]] * 4
    assert world.pump() == []
    world.store.add("alerts", 1)
    assert streams(world.pump()) == [["alerts"]]
    world.store.add("alerts", 1)
    assert world.pump() == []  # one such envelope at a time


def test_bounds_envelopes_in_bytes_and_in_number():
    world = World(max_in_flight=2, max_envelope_bytes=8192)
    world.widen()
    for _ in range(40):
        world.store.add("slots", 1, text=secrets.token_hex(300))
    sent = world.pump()
    assert len(sent) == 2
    assert all(len(data) <= 8192 for _, data in world.wire.sent[-2:])
    assert len(sent[0][1]) > 3
    assert world.uplink.stats().in_flight == 2


def test_never_carries_more_ranges_than_a_header_holds():
    world = World(max_envelope_bytes=100_000)
    world.widen()
    for epoch in range(1, 31):
        world.store.last.clear()
        world.store.add("slots", 1, epoch=epoch)
    sent = world.pump()
    assert [len(blocks) for _, blocks in sent] == [9, 9, 9, 3]


def test_sends_nothing_and_keeps_all_while_the_broker_is_away():
    world = World()
    world.store.add("slots")
    world.wire.connected = False
    assert world.pump() == []
    assert world.store.waiting() == {1}
    world.wire.connected = True
    assert len(world.pump()) == 1


def test_sends_again_at_once_on_a_new_connection():
    world = World()
    world.store.add("slots")
    assert len(world.pump()) == 1
    assert world.pump() == []
    world.wire.connections += 1
    assert len(world.pump()) == 1


def test_keeps_what_the_line_refuses():
    world = World()
    world.store.add("slots")
    world.wire.full = True
    assert world.pump() == []
    assert world.uplink.stats().in_flight == 0
    world.wire.full = False
    assert len(world.pump()) == 1


def test_frees_blocks_on_an_acknowledgement():
    world = World()
    world.store.add("slots")
    world.pump()
    world.receive_all()
    result = world.ack()
    assert (result.verdict, result.blocks, world.store.waiting()) == (Verdict.ACCEPTED, 1, set())
    assert world.uplink.stats().in_flight == 0
    assert world.floors.floor("ack/centre-a") == 1


def test_sends_again_when_acknowledgements_are_lost_and_backs_off():
    world = World()
    world.store.add("slots")
    times = []
    for _ in range(4000):
        if world.pump():
            times.append(world.now_s - 1000)
        world.now_s += 1
    gaps = [b - a for a, b in itertools.pairwise(times)]
    assert gaps[0] >= 30
    assert all(later >= earlier for earlier, later in itertools.pairwise(gaps))
    assert max(gaps) <= 30 + 300 + 2
    world.receive_all()  # every copy arrives; the rows are the same
    world.ack()
    assert world.store.waiting() == set()


def test_asks_a_silent_centre_with_one_envelope_and_widens_again_when_it_answers():
    world = World()
    world.widen()
    big(world, 12)
    assert len(world.pump()) == 4
    world.now_s += 31
    assert world.pump() == []
    world.now_s += 31
    assert len(world.pump()) == 1
    for width in (2, 4):
        world.receive_all()
        world.ack()
        assert len(world.pump()) == width


def test_begins_narrow_on_each_connection_and_doubles_with_each_acknowledgement():
    world = World()
    big(world, 30)
    for connection in (1, 2):
        world.wire.connections = connection
        for width in (1, 2, 4, 4):
            assert len(world.pump()) == width
            assert world.pump() == []
            world.receive_all()
            world.ack()
        world.pump()


def test_the_first_envelope_of_a_connection_waits_by_chance_but_an_alarm_does_not():
    world = World(spread_s=10.0)  # of which chance takes a half here
    world.store.add("slots")
    assert world.pump() == []
    world.store.add("alerts", 1)
    assert streams(world.pump()) == [["alerts"]]
    world.receive_all()
    world.ack()  # does not end the wait
    world.now_s += 4.9
    assert world.pump() == []
    world.now_s += 0.2
    assert streams(world.pump()) == [["slots"]]


def old_ones(world: World, count: int) -> None:
    before = world.store.waiting()
    big(world, count)
    world.store.old |= world.store.waiting() - before


def test_what_is_new_goes_before_the_backlog_in_one_envelope_where_it_fits():
    world = World(max_envelope_bytes=100_000, backlog_bytes_s=1.0)
    world.widen()
    world.store.old.add(world.store.add("health"))
    world.store.add("slots")
    assert streams(world.pump()) == [["slots", "health"]]
    old_ones(world, 80)  # more than is left of the share
    assert len(world.pump()) == 2
    assert world.pump() == []
    world.store.add("slots")
    assert streams(world.pump()) == [["slots"]]


def test_the_backlog_keeps_to_its_share_of_the_line_and_nothing_else_does():
    world = World(backlog_bytes_s=1000.0, max_envelope_bytes=8192)
    world.widen()
    old_ones(world, 60)
    before = world.uplink.stats().bytes
    for _ in range(100):
        world.pump()
        world.receive_all()
        world.ack()
        world.now_s += 1
    assert 90_000 < world.uplink.stats().bytes - before < 100_000 + 2 * 8192
    while world.pump():  # until the share is used up
        world.receive_all()
        world.ack()
    big(world, 1)
    assert streams(world.pump()) == [["slots"]]


def test_tells_how_long_the_backlog_will_take_by_what_was_acknowledged():
    world = World(backlog_bytes_s=1000.0)
    assert world.uplink.stats().drain_s(10**6) is None
    old_ones(world, 4)
    for _ in range(4):
        world.pump()
        world.now_s += 20  # each takes its time: some 150 bytes a second
        world.receive_all()
        world.ack()
    size = len(world.store.blocks[1].body)
    assert world.uplink.stats().drain_s(10 * size) == pytest.approx(200.0, rel=0.05)
    quick = World(backlog_bytes_s=1000.0)
    quick.widen()  # in no time: then the share is what bounds it
    assert quick.uplink.stats().drain_s(10**6) == pytest.approx(1000.0)


def test_a_block_that_the_centre_never_takes_holds_up_no_other(caplog):
    world = World(max_in_flight=2)
    big(world, 12)
    refused = {1, 2}

    def centre_takes() -> None:
        for _, data in world.wire.news():
            blocks = world.open(data)
            if not refused & {block.header.first for block in blocks}:
                world.centre.take(data)

    for _ in range(300):
        world.pump()
        centre_takes()
        world.ack()
        world.now_s += 5
    assert world.store.waiting() == refused
    lines = [record.getMessage() for record in caplog.records]
    assert len([line for line in lines if "does not acknowledge rows" in line]) == 2


def test_a_block_that_cannot_be_sealed_is_passed_over_and_the_rest_goes():
    world = World()
    world.store.add("slots")
    poison = world.store.put(Block(BlockHeader("slots", 1, 1, 11, 11, 0, 0, "json/1"), bytes(8 * 2**20)))
    world.store.add("slots")
    for _ in range(3):
        world.pump()
        world.receive_all()
        world.ack()
    assert world.store.waiting() == {poison}  # kept, in nobody's way
    assert world.uplink.stats().poisoned == 1
    assert {key: sorted(rows) for key, rows in world.centre.rows.items()} == {
        ("slots", 1): [*range(1, 11), *range(12, 22)]
    }


def test_says_once_that_no_key_is_left_to_seal_to(caplog):
    world = World()
    world.store.add("slots")
    world.uplink.trust = type(world.uplink.trust)("works", ())
    for _ in range(5):
        assert world.pump() == []
    assert len(caplog.records) == 1
    world.uplink.trust = world.centre.trust()
    assert len(world.pump()) == 1


@pytest.mark.parametrize(
    "wrong", [{"max_envelope_bytes": 10}, {"max_in_flight": 0}, {"resend_after_s": 0.0}, {"backlog_bytes_s": 0.0}]
)
def test_rejects_limits_out_of_range(wrong):
    with pytest.raises(ConfigError):
        World(**wrong)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(["add", "lose", "take", "ack", "cut", "wait", "restart"]), st.integers(1, 60)),
        max_size=60,
    )
)
def test_whatever_happens_in_the_end_the_centre_holds_every_row(story):
    world = World(max_in_flight=2)
    for what, number in story:
        if what == "add":
            world.store.add(("slots", "alerts", "health")[number % 3], number)
        elif what == "lose":
            world.wire.news()
        elif what == "take":
            world.receive_all()
        elif what == "ack":
            world.ack()
        elif what == "cut":
            world.wire.connections += 1
        elif what == "restart":
            world.boot()
        else:
            world.now_s += number
        world.pump()
    for _ in range(60):
        world.now_s += 400
        world.pump()
        world.receive_all()
        world.ack()
    assert world.store.waiting() == set()
    for stream, last in world.store.last.items():
        assert world.centre.rows[stream, 1] == set(range(1, last + 1))


def test_delivers_everything_over_a_real_broker_that_is_cut(mosquitto: Mosquitto):
    centre, store, floors = SmallCentre(), MemoryOutbox(), MemoryFloors()
    topics = DeviceTopics(centre.device)
    device = MqttLink("127.0.0.1", mosquitto.port, "press-1", subscriptions=[topics.ack], backoff_s=(0.05, 0.1))
    ingest = MqttLink("127.0.0.1", mosquitto.port, "ingest", subscriptions=["ew/v1/+/up/+"], backoff_s=(0.05, 0.1))
    import time

    uplink = make_uplink(
        centre,
        device,
        time.monotonic,
        real_ms=lambda: time.time_ns() // 1_000_000,
        resend_after_s=0.5,
        max_envelope_bytes=2048,
    )

    def turn() -> bool:
        store.add("slots", 5, text=secrets.token_hex(20)) if len(store.blocks) < 60 else None
        uplink.pump(store)
        for _, payload in ingest.receive():
            centre.take(payload)
            ingest.publish(topics.ack, centre.acknowledge())
        for _, payload in device.receive():
            assert uplink.on_ack(payload, store, floors).verdict is not Verdict.REJECTED
        return not store.waiting()

    device.start()
    ingest.start()
    try:
        eventually(lambda: (turn(), len(centre.envelopes) > 5)[1])
        mosquitto.stop()
        for _ in range(20):
            turn()
        mosquitto.start()
        eventually(lambda: turn() and len(store.blocks) == 60)
    finally:
        device.stop()
        ingest.stop()
    assert centre.rows["slots", 1] == set(range(1, 301))
