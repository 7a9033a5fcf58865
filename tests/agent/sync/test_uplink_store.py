"""The uplink with the device's real store under it."""

import secrets

import pytest

from agent.contract.channels import Reading
from agent.contract.rows import alert_row, event_row
from agent.sync.acks import Verdict
from agent.sync.uplink import Uplink
from tests.support.small_centre import SmallCentre, Wire
from tests.support.stores import T0, Bench
from tests.support.uplinks import make_uplink


class Plant:
    def __init__(self, folder):
        self.bench = Bench(folder)
        self.centre, self.wire = SmallCentre(), Wire()
        self.made = 0
        self.uplink = self.boot()

    def boot(self) -> Uplink:
        self.uplink = make_uplink(self.centre, self.wire, lambda: self.bench.clock_s)
        return self.uplink

    def sample(self, count: int) -> None:
        times = range(self.made, self.made + count)
        self.bench.store.append("readings", [Reading("load_kw", T0 + index * 1000, float(index)) for index in times])
        self.made += count
        self.bench.pass_time(2)
        self.bench.pass_time(70)

    def send(self) -> None:
        self.uplink.pump(self.bench.store)

    def take(self) -> None:
        for _, data in self.wire.news():
            self.centre.take(data)

    def run(self, seconds: int, refuses) -> None:
        """Let time pass at a centre that refuses whole envelopes, and answers the others."""
        for _ in range(0, seconds, 5):
            self.send()
            for _, data in self.wire.news():
                rows = {key: set(held) for key, held in self.centre.rows.items()}
                if any(refuses(block.header) for block in self.centre.take(data)):
                    self.centre.rows = rows
                else:
                    self.ack()
            self.bench.pass_time(5)

    def ack(self):
        return self.uplink.on_ack(self.centre.acknowledge(), self.bench.store, self.bench.identity)

    def waiting(self) -> int:
        return self.bench.store.stats().backlog_rows


def test_every_row_reaches_the_centre_over_losses_and_a_crash(tmp_path):
    plant = Plant(tmp_path)
    plant.sample(100)
    plant.bench.store.append("alerts", [alert_row(T0, "peak", "raised", "high", "peak ahead")])
    plant.send()
    plant.wire.news()  # all of it is lost
    plant.bench.crash()
    plant.boot()
    plant.sample(100)
    plant.send()
    plant.take()
    assert plant.ack().verdict is Verdict.ACCEPTED
    assert plant.centre.rows["readings", 1] == plant.centre.rows["readings", 2] == set(range(1, 101))
    assert plant.centre.rows["alerts", 1] == {1}
    assert plant.waiting() == 0
    plant.send()
    assert plant.wire.news() == []


def test_a_replayed_acknowledgement_does_nothing_after_a_restart(tmp_path):
    plant = Plant(tmp_path)
    plant.sample(100)
    plant.send()
    plant.take()
    old = plant.centre.acknowledge()
    assert plant.uplink.on_ack(old, plant.bench.store, plant.bench.identity).verdict is Verdict.ACCEPTED
    plant.bench.restart()
    plant.boot()
    before = plant.bench.store.stats()
    assert plant.uplink.on_ack(old, plant.bench.store, plant.bench.identity).verdict is Verdict.REPLAYED
    assert plant.bench.store.stats() == before


def test_sends_again_what_a_centre_lost_that_was_restored_from_a_backup(tmp_path):
    plant = Plant(tmp_path)
    plant.sample(100)
    plant.send()
    plant.take()
    plant.ack()
    backup = {key: set(rows) for key, rows in plant.centre.rows.items()}
    plant.sample(100)
    plant.send()
    plant.take()
    plant.ack()
    assert plant.waiting() == 0
    plant.centre.restored(backup)
    result = plant.ack()
    assert (result.verdict, result.new_centre, result.recalled) == (Verdict.ACCEPTED, True, 1)
    assert plant.waiting() == 100
    plant.send()
    plant.take()
    plant.ack()
    assert plant.waiting() == 0
    assert plant.centre.rows["readings", 1] == set(range(1, 201))


def test_after_an_outage_what_is_new_goes_first_and_all_arrives(tmp_path):
    plant = Plant(tmp_path)
    for _ in range(10):  # each becomes a block; the line is cut
        plant.sample(100)
        plant.bench.now_ms = T0 + plant.made * 1000
    plant.send()
    sent = plant.centre.take(plant.wire.sent[0][1])
    # what ended within twice the time after which readings are packed
    assert [block.header.first for block in sent][:3] == [801, 901, 1]
    while plant.waiting():
        plant.take()
        plant.ack()
        plant.bench.pass_time(1)
        plant.send()
    assert plant.centre.rows["readings", 1] == set(range(1, 1001))


def test_what_a_replaced_store_takes_in_is_sent_though_its_ids_are_those_of_the_last_one(tmp_path):
    plant = Plant(tmp_path)
    for epoch in (1, 2):
        for number in range(2):  # each has a block of its own, and both are in flight
            plant.bench.store.append("alerts", [alert_row(T0 + number, "peak", "raised", "high", "peak ahead")])
            plant.send()
        plant.take()
        assert plant.centre.rows["alerts", epoch] == {1, 2}
        assert plant.bench.store.repair()


def test_events_that_fill_all_that_is_fetched_and_are_all_refused_hold_up_nothing(tmp_path):
    plant = Plant(tmp_path)
    for _ in range(40):  # more than there are places in flight
        plant.bench.store.append("events", [event_row(T0, "test", secrets.token_hex(20_000)) for _ in range(2)])
        plant.bench.store.unacknowledged(1)  # packs them
    plant.run(20, refuses=lambda header: header.stream == "events")
    for _ in range(3):
        plant.sample(100)
        plant.run(300, refuses=lambda header: header.stream == "events")
    assert plant.centre.rows["readings", 1] == set(range(1, 301))
    plant.bench.store.append("alerts", [alert_row(T0, "peak", "raised", "high", "peak ahead")])
    plant.run(300, refuses=lambda header: header.stream == "events")  # the longest pause
    assert plant.centre.rows["alerts", 1] == {1}


@pytest.mark.parametrize("stream", ["events", "health"])
def test_one_row_that_is_refused_holds_up_none_that_went_with_it(tmp_path, stream):
    plant = Plant(tmp_path)
    for number in range(50):
        plant.bench.store.append(stream, [event_row(T0 + number, "test", f"row {number}")])
        plant.bench.pass_time(70)
    plant.run(1500, refuses=lambda header: (header.stream, header.first) == (stream, 20))
    assert plant.centre.rows[stream, 1] == {*range(1, 51)} - {20}
