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
    """Invariants: durable rows are there exactly once with their number; numbers go on; the outbox holds the rest."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.bench = Bench(self.folder)
        self.rows: dict[str, list] = {"readings": [], **{stream: [] for stream in OPEN_STREAMS}}
        self.safe: dict[str, set[int]] = {stream: set() for stream in self.rows}
        self.count = 0

    def teardown(self) -> None:
        self.bench.store.close()
        shutil.rmtree(self.folder)

    @rule(channels=st.lists(st.sampled_from(sorted(CHANNELS)), max_size=20))
    def append_readings(self, channels):
        rows = []
        for channel in channels:
            self.count += 1
            rows.append(Reading(channel, T0 + self.count * 1000, self.count % 97 / 10))
        self.rows["readings"] += rows
        assert self.bench.store.append("readings", rows) == ("readings", 1, len(self.rows["readings"]))

    @rule(stream=st.sampled_from(OPEN_STREAMS), count=st.integers(1, 3))
    def append_rows(self, stream, count):
        rows = [alert(self.count + number) for number in range(1, count + 1)]
        self.count += count
        self.rows[stream] += rows
        ticket = self.bench.store.append(stream, rows)
        assert self.bench.store.durable_through()[stream] == ticket.last == len(self.rows[stream])

    @rule(seconds=st.sampled_from([0.1, 0.6, 1.1, 30, 61]))
    def time_passes(self, seconds):
        self.bench.pass_time(seconds)

    @rule()
    def commit(self):
        assert self.bench.store.commit()
        assert self.bench.store.durable_through()["readings"] == len(self.rows["readings"])

    @rule(data=st.data(), stream=st.sampled_from(["readings", *OPEN_STREAMS]))
    def acknowledge(self, data, stream):
        most = self.bench.store.durable_through()[stream]
        high = data.draw(st.integers(0, most))
        hole = data.draw(st.integers(1, high)) if high and data.draw(st.booleans()) else None
        mark = Mark(1, stream, high, missing=((hole, hole),) if hole else ())
        offered = [stored.block.header for stored in self.bench.store.unacknowledged(10**9)]
        covered = [head for head in offered if head.stream == stream and mark.covers(head.first, head.last)]
        assert self.bench.store.apply_marks([mark]) == len(covered)
        for head in covered:
            self.safe[stream] |= set(range(head.first, head.last + 1))

    @rule()
    def close_and_open(self):
        self.bench.restart()

    @rule()
    def crash(self):
        through = self.bench.store.durable_through()
        self.bench.crash()
        assert self.bench.store.durable_through() == through
        for stream, rows in self.rows.items():
            del rows[through[stream] :]

    @invariant()
    def queries_show_every_row_once(self):
        store = self.bench.store
        for channel in CHANNELS:
            expected = [row for row in self.rows["readings"] if row.channel == channel]
            assert store.readings(channel, 0, T0 * 2) == expected
            assert store.last_time_ms("readings", channel) == (expected[-1].time_ms if expected else None)
        for stream in OPEN_STREAMS:
            assert store.rows(stream, 0, T0 * 2) == self.rows[stream]
        assert store.last_seq("readings") == len(self.rows["readings"])

    @invariant()
    def the_outbox_offers_each_unsafe_durable_row_once_under_its_number(self):
        store = self.bench.store
        offered: dict[str, dict[int, object]] = {stream: {} for stream in self.rows}
        for stored in store.unacknowledged(10**9):
            head = stored.block.header
            rows = decode_readings(stored.block)[1] if head.stream == "readings" else decode_rows(stored.block)
            for seq, row in enumerate(rows, start=head.first):
                assert seq not in offered[head.stream]
                offered[head.stream][seq] = row
        places = [(one.stream, one.first, one.last) for one in self.bench.journal()]
        journal = {(stream, seq) for stream, first, last in places for seq in range(first, last + 1)}
        for stream, through in store.durable_through().items():
            if stream not in self.rows:
                continue
            for seq in range(1, through + 1):
                places = (seq in self.safe[stream], seq in offered[stream], (stream, seq) in journal)
                assert sum(places) == 1
                if seq in offered[stream]:
                    assert offered[stream][seq] == self.rows[stream][seq - 1]

    @invariant()
    def counters_are_true(self):
        stats = self.bench.store.stats()
        durable = self.bench.store.durable_through()
        assert {stream: stats.rows[stream] for stream in self.rows} == {stream: durable[stream] for stream in self.rows}
        assert stats.backlog_rows == sum(durable.values()) - sum(map(len, self.safe.values()))
        waiting = self.bench.execute("SELECT count(*), ifnull(sum(length(data)), 0) FROM block WHERE acknowledged = 0")
        journal = sum(piece.size for piece in self.bench.journal())
        assert (stats.backlog_blocks, stats.backlog_bytes) == (waiting[0][0], waiting[0][1] + journal)


StoreMachine.TestCase.settings = settings(max_examples=25, stateful_step_count=30, deadline=None)
TestStore = StoreMachine.TestCase
