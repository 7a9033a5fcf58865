"""The store against a model: any order of appending, time, acknowledging, closing and crashing."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from agent.contract.acknowledgement import Mark
from agent.contract.blocks import decode_readings, decode_rows
from agent.contract.channels import Reading
from tests.support.stores import CHANNELS, T0, Bench, alert

OPEN_STREAMS = ("alerts", "slots")


class StoreMachine(RuleBasedStateMachine):
    """Invariants: durable rows are there exactly once with their number; numbers go on; the outbox holds the rest.

    Rows of the model are lists by stream and epoch: the place in the list, from 1, is the sequence number.
    """

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.bench = Bench(self.folder)
        self.rows: dict[tuple[str, int], list] = {}
        self.safe: dict[tuple[str, int], list[tuple[int, int]]] = {}  # acknowledged blocks
        self.count = 0
        self.begin_epoch()

    def teardown(self) -> None:
        self.bench.store.close()
        shutil.rmtree(self.folder)

    def begin_epoch(self):
        self.epoch = self.bench.identity.epoch
        for stream in ("readings", *OPEN_STREAMS):
            assert (stream, self.epoch) not in self.rows
            self.rows[stream, self.epoch] = []
            self.safe[stream, self.epoch] = []

    def through(self, stream, epoch):
        """Up to where rows are durable: those of an earlier epoch are all of them, or they are gone."""
        if epoch == self.epoch:
            return self.bench.store.durable_through()[stream]
        return len(self.rows[stream, epoch])

    def waiting(self):
        return [stored.block for stored in self.bench.store.unacknowledged(10**9)]

    @rule(channels=st.lists(st.sampled_from(sorted(CHANNELS)), max_size=20))
    def append_readings(self, channels):
        rows = []
        for channel in channels:
            self.count += 1
            rows.append(Reading(channel, T0 + self.count * 1000, self.count % 97 / 10))
        mine = self.rows["readings", self.epoch]
        mine += rows
        assert self.bench.store.append("readings", rows) == ("readings", self.epoch, len(mine))

    @rule(stream=st.sampled_from(OPEN_STREAMS), count=st.integers(1, 3))
    def append_rows(self, stream, count):
        rows = [alert(self.count + number) for number in range(1, count + 1)]
        self.count += count
        self.rows[stream, self.epoch] += rows
        ticket = self.bench.store.append(stream, rows)
        assert self.bench.store.durable_through()[stream] == ticket.last == len(self.rows[stream, self.epoch])

    @rule(seconds=st.sampled_from([0.1, 0.6, 1.1, 30, 61]))
    def time_passes(self, seconds):
        self.bench.pass_time(seconds)

    @rule()
    def commit(self):
        assert self.bench.store.commit()
        assert self.bench.store.durable_through()["readings"] == len(self.rows["readings", self.epoch])

    @rule(data=st.data())
    def acknowledge(self, data):
        stream, epoch = data.draw(st.sampled_from(sorted(self.rows)))
        high = data.draw(st.integers(0, self.through(stream, epoch)))
        hole = data.draw(st.integers(1, high)) if high and data.draw(st.booleans()) else None
        mark = Mark(epoch, stream, high, missing=((hole, hole),) if hole else ())
        heads = [
            block.header for block in self.waiting() if (block.header.stream, block.header.epoch) == (stream, epoch)
        ]
        covered = [(head.first, head.last) for head in heads if mark.covers(head.first, head.last)]
        assert self.bench.store.apply_marks([mark]) == len(covered)
        safe = self.safe[stream, epoch]
        safe += covered
        if hole and len(covered) == len(heads):  # nothing is on its way: what held the row was not safe
            safe[:] = [(first, last) for first, last in safe if not first <= hole <= last]

    @rule()
    def close_and_open(self):
        self.bench.restart()
        self.begin_epoch()

    @rule()
    def crash(self):
        through = self.bench.store.durable_through()
        for stream in ("readings", *OPEN_STREAMS):
            del self.rows[stream, self.epoch][through[stream] :]
        self.bench.crash()
        self.begin_epoch()

    @invariant()
    def queries_show_every_row_once(self):
        store = self.bench.store
        for channel in CHANNELS:
            every = [row for (stream, _), rows in self.rows.items() if stream == "readings" for row in rows]
            expected = [row for row in every if row.channel == channel]
            assert store.readings(channel, 0, T0 * 2) == expected
            assert store.last_time_ms("readings", channel) == (expected[-1].time_ms if expected else None)
        for stream in OPEN_STREAMS:
            expected = [row for (one, _), rows in self.rows.items() if one == stream for row in rows]
            assert store.rows(stream, 0, T0 * 2) == expected
        assert store.rows("events", 0, T0 * 2) == []
        assert store.last_seq("readings") == len(self.rows["readings", self.epoch])

    @invariant()
    def the_outbox_offers_each_unsafe_durable_row_once_under_its_number(self):
        offered: dict[tuple[str, int], dict[int, object]] = {place: {} for place in self.rows}
        for block in self.waiting():
            head = block.header
            rows = decode_readings(block)[1] if head.stream == "readings" else decode_rows(block)
            for seq, row in enumerate(rows, start=head.first):
                assert seq not in offered[head.stream, head.epoch]
                offered[head.stream, head.epoch][seq] = row
        places = [(one.stream, one.epoch, one.first, one.last) for one in self.bench.journal()]
        journal = {(*place, seq) for *place, first, last in places for seq in range(first, last + 1)}
        for place, rows in self.rows.items():
            safe = {seq for first, last in self.safe[place] for seq in range(first, last + 1)}
            for seq in range(1, self.through(*place) + 1):
                assert sum((seq in safe, seq in offered[place], (*place, seq) in journal)) == 1
                if seq in offered[place]:
                    assert offered[place][seq] == rows[seq - 1]

    @invariant()
    def counters_are_true(self):
        stats = self.bench.store.stats()
        durable = {place: self.through(*place) for place in self.rows}
        for stream in ("readings", *OPEN_STREAMS):
            assert stats.rows[stream] == sum(count for (one, _), count in durable.items() if one == stream)
        safe = sum(last - first + 1 for spans in self.safe.values() for first, last in spans)
        assert stats.backlog_rows == sum(durable.values()) - safe
        waiting = self.bench.execute("SELECT count(*), ifnull(sum(length(data)), 0) FROM block WHERE acknowledged = 0")
        journal = sum(piece.size for piece in self.bench.journal())
        assert (stats.backlog_blocks, stats.backlog_bytes) == (waiting[0][0], waiting[0][1] + journal)


StoreMachine.TestCase.settings = settings(max_examples=25, stateful_step_count=30, deadline=None)
TestStore = StoreMachine.TestCase
