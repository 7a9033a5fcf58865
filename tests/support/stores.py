"""Stores for tests: one folder, clocks that the test moves, crashes in the process."""

from __future__ import annotations

import errno
import os
import sqlite3
from pathlib import Path

from agent.contract.channels import Channel, Reading
from agent.store.identity import Identity
from agent.store.pieces import Piece
from agent.store.reader import Reader
from agent.store.store import Store

T0 = 1_767_225_600_000
CHANNELS = {name: Channel(name, "kW", decimals=1) for name in ("load_kw", "pump_kw", "oven_kw")}


class Bench:
    """A device's storage that can be opened, crashed and opened again."""

    def __init__(self, folder: Path, *, randbelow=lambda _: 0, **options) -> None:
        self.randbelow = randbelow  # as it is, epochs are 1, 2, ...
        self.folder = folder
        self.path = folder / "store.db"
        self.options = {"pack_after_s": 60.0, **options}
        self.clock_s = 0.0
        self.now_ms = T0
        self.identity: Identity
        self.store: Store
        self.start()

    def start(self) -> Store:
        self.identity = Identity.open(self.folder / "identity", randbelow=self.randbelow)
        self.identity.begin_boot()
        self.store = Store(
            self.path,
            self.identity,
            CHANNELS,
            now_ms=lambda: self.now_ms,
            monotonic=lambda: self.clock_s,
            **self.options,
        )
        # A crash here ends a process, not the power: no fsync is needed for what these tests are about.
        if self.store.is_open:
            sqlite3.Connection.execute(self.store._journal.shelves.db.conn, "PRAGMA synchronous = OFF")
        return self.store

    def pass_time(self, seconds: float) -> None:
        self.clock_s += seconds
        self.store.tick()

    def crash(self) -> Store:
        """What SIGKILL leaves: what was in memory is gone. Then start again."""
        self.store._journal.shelves.close()
        self.store._guard.unlock()
        return self.start()

    def restart(self) -> Store:
        self.store.close()
        return self.start()

    def journal(self) -> list[Piece]:
        """What is durable and no block yet."""
        reader = Reader.open(self.path, self.identity.storage_key)
        try:
            return reader._shelves.journal()
        finally:
            reader.close()

    def use_another_key(self) -> None:
        """Put another storage key in the place of this one, and no copy."""
        (self.folder / "identity" / "storage.key").write_bytes(bytes(32))
        (self.folder / "identity" / "storage.key.copy").unlink()

    def execute(self, statement: str) -> list[tuple]:
        """Look at, or harm, the database behind the store's back."""
        other = sqlite3.connect(self.path)
        try:
            with other:
                return other.execute(statement).fetchall()
        finally:
            other.close()


def readings(first: int, count: int, channel: str = "load_kw") -> list[Reading]:
    """Readings whose time and value tell their place."""
    return [Reading(channel, T0 + number * 1000, float(number % 1000)) for number in range(first, first + count)]


def alert(number: int) -> dict:
    return {"time_ms": T0 + number * 1000, "rule": "test", "text": f"alert {number}"}


def failing(*, after_writing: bool = False):
    """A `pwritev` of a disk that fails, before it has written or after."""
    real = os.pwritev

    def pwritev(*arguments):
        if after_writing:
            real(*arguments)
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    return pwritev
