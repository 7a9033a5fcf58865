"""A store of 1 GB, made fast: a few bodies are encoded once and sealed again and again under new headers.

All of it is acknowledged history of an epoch before; what is judged is what comes after it.
"""

from __future__ import annotations

import random
import shutil
import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path

from agent.contract.blocks import Block, BlockHeader, encode_readings, seal_block
from agent.contract.channels import Channel, Reading
from agent.store import schema
from agent.store.identity import Identity
from agent.store.store import Store
from tests.soak import rows
from tests.soak.observer import ROOT

SIZE_BYTES = 1_000_000_000
_BODIES, _CHANNELS, _SECONDS = 8, 20, 300
_BATCH = 2_000
_INSERT = (
    "INSERT INTO block (stream, epoch, boot, first, last, start_ms, end_ms, acknowledged, data)"
    " VALUES ('readings', ?, ?, ?, ?, ?, ?, 1, ?)"
)


def cached(size_bytes: int = SIZE_BYTES) -> Path:
    """Return a state folder with such a store; it is made once for each schema."""
    folder = ROOT / "build" / "cache" / f"store-{size_bytes // 10**6}m-schema{len(schema.MIGRATIONS)}"
    if not folder.exists():
        print(f"  making a store of {size_bytes // 10**6} MB in {folder}", file=sys.stderr, flush=True)
        unfinished = folder.with_name(f".{folder.name}")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        fill(unfinished, size_bytes)
        unfinished.rename(folder)
    return folder


def fill(state: Path, size_bytes: int) -> None:
    """Make a store whose blocks fill so much of its file."""
    identity = Identity.open(state / "identity")
    identity.begin_boot()
    store = Store(state / "store.db", identity, {}, now_ms=lambda: rows.T0, monotonic=lambda: 0.0)
    store.close()
    with sqlite3.connect(state / "store.db") as db:
        db.execute("PRAGMA synchronous = OFF")
        last = 0
        for batch in _batches(identity, size_bytes):
            db.executemany(_INSERT, batch)
            db.commit()
            last = batch[-1][3]
        state_row = ("readings", identity.epoch, last, last, 0, 0, 0)
        db.execute("INSERT OR REPLACE INTO stream_state VALUES (?, ?, ?, ?, ?, ?, ?)", state_row)
    db.close()
    identity.new_epoch()


def _batches(identity: Identity, size_bytes: int) -> Iterator[list[tuple[int | bytes, ...]]]:
    bodies = [_body(random.Random(seed), seed) for seed in range(_BODIES)]
    first, size, batch = 1, 0, []
    while size < size_bytes:
        like = bodies[len(batch) % _BODIES]
        old = like.header
        last = first + old.count - 1
        header = BlockHeader(
            old.stream, identity.epoch, identity.boot, first, last, old.start_ms, old.end_ms, old.codec
        )
        data = seal_block(Block(header, like.body), identity.storage_key)
        batch.append((identity.epoch, identity.boot, first, last, old.start_ms, old.end_ms, data))
        first, size = last + 1, size + _in_pages(data)
        if len(batch) == _BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _in_pages(data: bytes) -> int:
    """How much a block of some kilobytes takes in the file."""
    return -(-(len(data) + 64) // 4096) * 4096


def _body(noise: random.Random, number: int) -> Block:
    """Five minutes of twenty channels at a reading a second, the day before the rows that are judged."""
    channels = {f"old_{place}": Channel(f"old_{place}", "kW", decimals=1) for place in range(_CHANNELS)}
    levels = [noise.uniform(50, 500) for _ in channels]
    readings = []
    for second in range(_SECONDS):
        time_ms = rows.T0 - 86_400_000 + (number * _SECONDS + second) * 1000
        for place, name in enumerate(channels):
            levels[place] += noise.gauss(0, 0.4)
            readings.append(Reading(name, time_ms, round(levels[place], 1)))
    return encode_readings(readings, channels, epoch=1, boot=1, first=1)
