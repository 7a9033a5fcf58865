"""A store that fails in any statement or is killed at any moment: no durable row is lost, none is there twice."""

from __future__ import annotations

import contextlib
import itertools
import json
import random
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

from agent.contract.acknowledgement import Mark
from agent.contract.blocks import decode_readings, decode_rows
from agent.contract.errors import StorageError
from agent.store import journal, schema
from tests.support.damage import breaking
from tests.support.stores import T0, Bench, alert, readings

ROOT = Path(__file__).resolve().parents[3]


# -- failing at every step ----------------------------------------------------------------------------------------


def acknowledge(store, marks) -> None:
    with contextlib.suppress(StorageError):  # the centre says it again, some time
        store.apply_marks(marks)


def scenario(bench: Bench) -> None:
    """Every kind of change there is."""
    store = bench.store
    for at in range(3):
        store.append("readings", readings(at * 60, 60 if at == 1 else 10))
        store.append("alerts", [alert(at)])
        bench.pass_time(1.1)
    bench.pass_time(61)
    store.unacknowledged(10**6)
    acknowledge(store, [Mark(1, "readings", 10), Mark(1, "alerts", 1)])
    store.append("slots", [alert(9)])
    bench.now_ms += 8 * 86_400_000
    bench.pass_time(61)
    acknowledge(store, [Mark(1, "slots", 1)])
    store.append("alerts", [alert(3)])
    bench.pass_time(1.1)


def test_whichever_statement_fails_nothing_is_lost_or_doubled(tmp_path, monkeypatch):
    """Fails statement 1, 2, 3, ... of a scenario until it passes without a failure; looks at the store after each."""
    connection = breaking(lambda: sqlite3.OperationalError("disk I/O error"))
    monkeypatch.setattr(schema, "connect", lambda path, read_only=False: sqlite3.connect(path, factory=connection))
    monkeypatch.setattr(journal, "DIRECT_ROWS", 50)
    for step in itertools.count(1):
        connection.left = step
        folder = tmp_path / str(step)
        try:
            bench = Bench(folder)
        except StorageError:
            bench = Bench(folder)
        scenario(bench)
        passed = connection.left is not None
        connection.left = None
        bench.pass_time(2)
        bench.pass_time(62)
        assert bench.store.stats().storage_error == ""
        check(bench)
        bench.crash()
        check(bench)
        bench.store.close()
        if passed:
            break
    assert step > 100


def check(bench: Bench) -> None:
    """Every row of the scenario is there once; numbers of an epoch are used once; counters are true."""
    assert bench.execute("PRAGMA integrity_check") == [("ok",)]
    times = [row.time_ms for row in bench.store.readings("load_kw", 0, T0 * 2)]
    acknowledged_and_aged = [T0 + at * 1000 for at in range(10)]
    expected = [T0 + at * 1000 for at in (*range(10), *range(60, 130))]
    assert times in (expected, [time_ms for time_ms in expected if time_ms not in acknowledged_and_aged])
    assert [row["text"] for row in bench.store.rows("alerts", 0, T0 * 2)] == [f"alert {at}" for at in range(4)]
    places = bench.execute("SELECT stream, epoch, first, last FROM block")
    places += [(one.stream, one.epoch, one.first, one.last) for one in bench.journal()]
    numbers = [(stream, epoch, seq) for stream, epoch, first, last in places for seq in range(first, last + 1)]
    assert len(numbers) == len(set(numbers))
    for stream, epoch in {number[:2] for number in numbers if number[1] > 1}:
        mine = sorted(number[2] for number in numbers if number[:2] == (stream, epoch))
        assert mine == list(range(1, len(mine) + 1))
    stats = bench.store.stats()
    stored = {stream: sum(1 for number in numbers if number[0] == stream) for stream in stats.rows}
    assert stats.rows == stored


# -- killed -------------------------------------------------------------------------------------------------------

CHILD = """
import json, sys, time
from pathlib import Path
from agent.store.store import Store
from agent.store.identity import Identity
from tests.support.stores import CHANNELS, T0, alert, readings

folder = Path(sys.argv[1])
identity = Identity.open(folder / "identity")
identity.begin_boot()
store = Store(folder / "store.db", identity, CHANNELS, now_ms=lambda: T0, monotonic=time.monotonic,
              commit_window_s=0.01, pack_after_s=0.05)
last = store.last_time_ms("readings", "load_kw")
number = 0 if last is None else (last - T0) // 1000 + 1
alarms = len(store.rows("alerts", 0, T0 * 2))
while True:
    store.append("readings", readings(number, 20))
    number += 20
    if number % 200 == 0:
        alarms += 1
        store.append("alerts", [alert(alarms)])
        store.unacknowledged(1000)
    store.tick()
    print(json.dumps([identity.epoch, store.durable_through()]), flush=True)
"""


def test_after_sigkill_every_durable_row_is_there_once_and_sampling_goes_on_without_a_hole(tmp_path):
    """Real processes, killed at moments nobody chose; the parent keeps the promises that they printed."""
    chance = random.Random(4)
    promised: dict[int, dict[str, int]] = {}
    for _ in range(6):
        child = subprocess.Popen([sys.executable, "-c", CHILD, tmp_path], cwd=ROOT, stdout=subprocess.PIPE, text=True)
        for _ in range(chance.randrange(1, 120)):
            epoch, through = json.loads(child.stdout.readline())
            promised[epoch] = through
        child.send_signal(signal.SIGKILL)
        rest = child.stdout.read().splitlines()
        child.stdout.close()
        child.wait()
        for line in rest:
            with contextlib.suppress(ValueError):  # a line cut by the kill
                epoch, through = json.loads(line)
                promised[epoch] = through
    bench = Bench(tmp_path)
    found = bench.store.readings("load_kw", 0, T0 * 2)
    alarms = bench.store.rows("alerts", 0, T0 * 2)
    assert bench.identity.boot == 7
    assert len(promised) == 6
    assert len(found) >= sum(through["readings"] for through in promised.values()) > 0
    assert len(alarms) >= sum(through["alerts"] for through in promised.values()) > 0
    assert found == readings(0, len(found))
    assert alarms == [alert(at) for at in range(1, len(alarms) + 1)]
    bench.pass_time(61)
    bench.pass_time(61)
    numbered = {}
    for stored in bench.store.unacknowledged(10**9):
        head = stored.block.header
        rows = decode_readings(stored.block)[1] if head.stream == "readings" else decode_rows(stored.block)
        for seq, row in enumerate(rows, start=head.first):
            assert (head.epoch, head.stream, seq) not in numbered
            numbered[head.epoch, head.stream, seq] = row
    offered = [row for (_, stream, _), row in sorted(numbered.items()) if stream == "readings"]
    assert offered == found
    for epoch, through in promised.items():
        assert all((epoch, stream, seq) in numbered for stream, last in through.items() for seq in range(1, last + 1))
    bench.store.close()
