"""Salvage beside the sampling: it goes on after a kill at any step, and costs no more than it may."""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
from pathlib import Path

from agent.store import retention, schema
from agent.store.damage import aside, salvage
from tests.support.damage import COUNTS, PAGE, breaking, fill, gaps, noisy, numbered, placed, scribble, spoil_start
from tests.support.damage import salvage as salvage_all
from tests.support.stores import Bench

# -- goes on ------------------------------------------------------------------------------------------------------


def test_salvage_goes_on_after_a_kill_at_every_step(tmp_path):
    bench = Bench(tmp_path, salvage_kib_s=128)
    fill(bench, *COUNTS)
    before = numbered(bench)
    bench.store.close()
    spoil_start(bench)
    bench.start()
    times = bench.store.last_time_ms("readings", "load_kw")
    kills = 0
    while bench.store._journal.salvage.is_due:
        bench.pass_time(1)
        bench.crash()
        assert bench.store.last_time_ms("readings", "load_kw") == times
        kills += 1
        assert kills < 200
    assert kills > 10
    assert numbered(bench) == before
    assert gaps(bench) == set()
    assert bench.store.stats().set_aside == ()


class Killed(BaseException):
    """Ends the process, as far as the store can tell."""


def test_whichever_statement_a_salvage_is_killed_in_nothing_is_lost_or_doubled(tmp_path, monkeypatch):
    connection = breaking(Killed)
    monkeypatch.setattr(schema, "connect", lambda path, read_only=False: sqlite3.connect(path, factory=connection))
    bench = Bench(tmp_path / "whole")
    fill(bench, 300, 40, 900)
    before = numbered(bench)
    bench.store.close()
    block = next(block for block in placed(bench) if block.first == 301)
    scribble(bench.path, bench.path.read_bytes().find(block.data) + 200, b"garbage")
    lost = {("readings", 1, seq) for seq in range(block.first, block.last + 1)}
    bench.path.with_name("store.db-ring").unlink()
    spoil_start(bench)
    chance = random.Random(7)
    step, died = 1, True
    while died:
        folder = tmp_path / str(step)
        shutil.copytree(tmp_path / "whole", folder)
        connection.left, died, bench = step, False, None
        try:
            bench = Bench(folder)
            salvage_all(bench)
        except Killed:
            died = True
        connection.left = None
        if bench is None:
            bench = Bench(folder)
        else:
            bench.crash()
        salvage_all(bench)
        assert set(numbered(bench)) == set(before) - lost
        assert gaps(bench) == lost
        bench.store.close()
        shutil.rmtree(folder)
        step += chance.randrange(1, 12)
    assert step > 100


# -- what it costs ------------------------------------------------------------------------------------------------


def test_salvage_reads_no_more_than_its_budget(tmp_path, monkeypatch):
    bench = Bench(tmp_path, salvage_kib_s=64)
    fill(bench, *COUNTS, 9000)
    largest = max(len(block.data) for block in placed(bench) or [])
    bench.store.close()
    spoil_start(bench)
    bench.start()
    read = 0
    real = aside.read

    def counted(*arguments):
        nonlocal read
        data = real(*arguments)
        read += len(data)
        return data

    monkeypatch.setattr(salvage.aside, "read", counted)
    seconds = 0
    while bench.store._journal.salvage.is_due:
        before = read
        bench.pass_time(1)
        seconds += 1
        assert read - before <= 65_536 + 2 * largest
        assert read <= seconds * 65_536 + 2 * largest
    assert read > 500_000
    assert len(numbered(bench)) == 12_740 + 9000 + 14


def test_sampling_goes_on_and_is_durable_in_every_second_of_a_salvage(tmp_path):
    bench = Bench(tmp_path, salvage_kib_s=128)
    fill(bench, *COUNTS)
    bench.store.close()
    spoil_start(bench)
    bench.start()
    at = 0
    while bench.store._journal.salvage.is_due:
        ticket = bench.store.append("readings", noisy(at, 20))
        at += 20
        bench.pass_time(1.1)
        assert bench.store.durable_through()["readings"] == ticket.last
        assert bench.store.stats().storage_error == ""
    assert at > 200


def test_what_is_damaged_is_kept_until_there_is_need_of_space(tmp_path):
    bench = Bench(tmp_path)
    fill(bench, *COUNTS)
    bench.store.close()
    block = next(block for block in placed(bench) if block.first > 1000 and len(block.pages) == 1)
    scribble(bench.path, bench.path.read_bytes().find(block.data) + 200, b"garbage")
    bench.path.with_name("store.db-ring").unlink()
    spoil_start(bench)
    bench.start()
    salvage_all(bench)
    held = bench.store.stats().rows["readings"]
    assert bench.store.stats().evicted_rows == 0
    assert len(bench.store.stats().set_aside) == 1
    (state,) = bench.store.stats().salvage
    assert (state.phase, state.damaged) == ("done", 1)
    used = retention.used_bytes(bench.store._journal.shelves)
    bench.options["max_bytes"] = used + state.bytes // 2
    bench.restart()
    assert not bench.store._journal.salvage.is_due
    assert len(bench.store.stats().set_aside) == 1
    bench.pass_time(61)
    assert bench.store.stats().set_aside == ()
    assert bench.store.stats().salvage == ()
    assert (bench.store.stats().rows["readings"], bench.store.stats().evicted_rows) == (held, 0)


def test_a_full_disk_is_left_to_what_is_sampled_now(bench, monkeypatch):
    fill(bench, *COUNTS)
    bench.store.close()
    spoil_start(bench)
    monkeypatch.setattr(salvage, "LEAST_FREE_BYTES", 2**62)
    bench.start()
    for _ in range(30):
        bench.pass_time(1)
    assert bench.store._journal.salvage.is_due
    assert bench.store.stats().rows["readings"] == 0
    assert bench.store.stats().storage_error == ""
    monkeypatch.setattr(salvage, "LEAST_FREE_BYTES", 0)
    salvage_all(bench)
    assert bench.store.stats().rows["readings"] == 12_740


def test_what_the_disk_does_not_give_costs_no_more_than_its_blocks(bench, monkeypatch):
    fill(bench, *COUNTS)
    before = numbered(bench)
    bench.store.close()
    (bad,) = next(block.pages for block in placed(bench) if block.first > 1000 and len(block.pages) == 1)
    lost = {
        (one.stream, one.epoch, seq)
        for one in placed(bench)
        if bad in one.pages
        for seq in range(one.first, one.last + 1)
    }
    bench.path.with_name("store.db-ring").unlink()
    spoil_start(bench)
    real = os.pread

    def pread(file, size, at):
        damaged = "damaged" in str(Path(f"/proc/self/fd/{file}").readlink())
        if damaged and at < (bad + 1) * PAGE and at + size > bad * PAGE:
            raise OSError(5, "Input/output error")
        return real(file, size, at)

    monkeypatch.setattr(aside.os, "pread", pread)
    bench.start()
    salvage_all(bench)
    assert set(numbered(bench)) == set(before) - lost
    assert gaps(bench) == lost
