"""Parts of the store's benchmark, each for a process of its own: `python -m tests.benchmarks.store_parts NAME FOLDER N`."""

import json
import resource
import sqlite3
import sys
import time
from pathlib import Path

from agent.store.identity import Identity
from agent.store.store import Store
from tests.benchmarks.meters import CHANNELS, START_MS, Meters, channels

_TURN = 25  # calls between two looks at what is due


def append(folder, seconds):
    """As many readings as it takes, twenty a call, for so many seconds; a row of health each second."""
    meters, at = Meters(), [0]
    store = _store(folder, now_ms=lambda: START_MS + at[0] * 1000, monotonic=time.monotonic)
    before_mib, written = _peak_mib(), _written()
    begin = health = waiting_since = time.monotonic()
    lag_s, taken = 0.0, 0
    while (now := time.monotonic()) - begin < seconds:
        for _ in range(_TURN):
            rows = meters.second(at[0])
            if not waiting_since:
                waiting_since = time.monotonic()
            ticket = store.append("readings", rows)
            at[0] += 1
            taken += len(rows)
            if store.durable_through()["readings"] == ticket.last:
                lag_s, waiting_since = max(lag_s, time.monotonic() - waiting_since), 0.0
        if now >= health + 1:
            health = now
            store.append("health", [{"time_ms": START_MS + at[0] * 1000, "state": "well", "rows": taken}])
        store.tick()
    took = time.monotonic() - begin
    stats = store.stats()
    store.close()
    return {
        "appends_per_s": taken / took,
        "append_s": took,
        "append_calls_of": CHANNELS,
        "fsync_lag_s_max": lag_s,
        "append_peak_mib": _peak_mib(),
        "append_peak_mib_above_start": _peak_mib() - before_mib,
        "append_blocks": stats.backlog_blocks,
        "append_bytes_written_per_reading": (_written() - written) / taken,
        "append_error": stats.storage_error,
    }


def append_rows(folder, seconds):
    """The same as plain rows."""
    meters, db = Meters(), _rows(folder)
    begin = committed = time.monotonic()
    taken = second = 0
    while (now := time.monotonic()) - begin < seconds:
        for _ in range(_TURN):
            db.executemany("INSERT INTO reading VALUES (?, ?, ?, ?)", meters.second(second))
            second += 1
            taken += CHANNELS
        if now >= committed + 1:
            committed = now
            db.commit()
    db.commit()
    return {"appends_per_s": taken / (time.monotonic() - begin)}


def day(folder, seconds):
    """So many seconds of plant time at the default window: twenty readings each, as the daemon takes them."""
    meters, at = Meters(), [0]
    store = _store(folder, now_ms=lambda: START_MS + at[0] * 1000, monotonic=lambda: float(at[0]))
    written = _written()
    for second in range(seconds):
        at[0] = second
        store.append("readings", meters.second(second))
        store.tick()
        if second % 900 == 899:
            store.append("slots", [{"time_ms": START_MS + second * 1000, "energy_wh": 30_000, "complete": 1.0}])
    store.close()
    size = sum(file.stat().st_size for file in folder.glob("store.db*"))
    count = seconds * CHANNELS
    return {
        "readings_of_a_day": count,
        "bytes_on_disk_per_reading": size / count,
        "bytes_written_per_reading": (_written() - written) / count,
    }


def day_rows(folder, seconds):
    """The same as plain rows, a commit a second."""
    meters, db = Meters(), _rows(folder)
    written = _written()
    for second in range(seconds):
        db.executemany("INSERT INTO reading VALUES (?, ?, ?, ?)", meters.second(second))
        db.commit()
    db.close()
    size, count = (folder / "rows.db").stat().st_size, seconds * CHANNELS
    return {"bytes_on_disk_per_reading": size / count, "bytes_written_per_reading": (_written() - written) / count}


def _store(folder, **clocks):
    identity = Identity.open(folder / "identity")
    identity.begin_boot()
    return Store(folder / "store.db", identity, channels(), **clocks)


def _rows(folder):
    folder.mkdir(parents=True)
    db = sqlite3.connect(folder / "rows.db")
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = FULL")
    db.execute("CREATE TABLE reading (channel TEXT, time_ms INTEGER, value REAL, quality INTEGER)")
    return db


def _peak_mib():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _written():
    """Bytes that this process has caused to be written, by the kernel's count."""
    lines = Path("/proc/self/io").read_text().splitlines()
    return next(int(line.partition(":")[2]) for line in lines if line.startswith("write_bytes"))


PARTS = {part.__name__: part for part in (append, append_rows, day, day_rows)}

if __name__ == "__main__":
    print(json.dumps(PARTS[sys.argv[1]](Path(sys.argv[2]), int(sys.argv[3]))))
