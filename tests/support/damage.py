"""Stores to be damaged, and what can be said of them before and after."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from agent.contract.blocks import decode_readings, decode_rows
from agent.contract.channels import Reading
from tests.support.stores import T0, Bench, alert

PAGE = 4096
PARTS = ("", "-wal", "-ring")
COUNTS = (300, 1500, 40, 9000, 700, 1200)  # of the rows of some blocks, for `fill`
Numbered = dict[tuple[str, int, int], object]  # stream, epoch, number -> row


class Placed(NamedTuple):
    """A block, and the pages of the database (from 0) where its bytes are found."""

    stream: str
    epoch: int
    first: int
    last: int
    data: bytes
    pages: frozenset[int]


def noisy(first: int, count: int, channel: str = "load_kw") -> list[Reading]:
    """Readings that do not compress."""
    chance = random.Random(first)
    return [Reading(channel, T0 + at * 1000, round(chance.random() * 1e5, 1)) for at in range(first, first + count)]


def fill(bench: Bench, *counts: int, pack: bool = True) -> None:
    """Blocks of so many readings each, with an alert and a slot between them."""
    at = bench.store.last_seq("readings")
    for count in counts:
        bench.store.append("readings", noisy(at, count))
        bench.store.append("alerts", [alert(at)])
        bench.store.append("slots", [alert(at)])
        if pack:
            bench.pass_time(61)
            bench.pass_time(61)
        at += count
    bench.store.commit()


def numbered(bench: Bench) -> Numbered:
    """Every row that waits for the centre, by its number, but for events; each once."""
    bench.store.commit()
    rows: Numbered = {}
    streams = ("readings", "alerts", "slots")
    for stored in bench.store.unacknowledged(10**9, now_streams=streams):
        head = stored.block.header
        values = decode_readings(stored.block)[1] if head.stream == "readings" else decode_rows(stored.block)
        if head.stream in streams:
            for seq, row in enumerate(values, head.first):
                assert (head.stream, head.epoch, seq) not in rows
                rows[head.stream, head.epoch, seq] = row
    return rows


def gaps(bench: Bench) -> set[tuple[str, int, int]]:
    """Every number that was declared lost, but for events."""
    rows = [row for row in bench.store.rows("events", 0, T0 * 2) if row["kind"] == "gap" and row["stream"] != "events"]
    return {(row["stream"], row["epoch"], seq) for row in rows for seq in range(row["first"], row["last"] + 1)}


def placed(bench: Bench) -> list[Placed]:
    """The blocks of a database without a log, with their pages; found by their bytes, not by SQLite's own maps."""
    content = bench.path.read_bytes()
    found = []
    for *place, data in bench.execute("SELECT stream, epoch, first, last, data FROM block ORDER BY id"):
        sealed = data.find(b"}") + 5  # what is before it is alike in others
        at = [content.find(data[start : start + 16]) for start in range(sealed, len(data) - 16, 8)]
        found.append(Placed(*place, data, frozenset(place // PAGE for place in at if place >= 0)))
    return found


def scribble(path: Path, at: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(data)


def spoil_start(bench: Bench) -> None:
    """So that the store is set aside at the next start, at no cost."""
    scribble(bench.path, 0, b"X" * 16)


def breaking(error: Callable[[], BaseException]) -> type[sqlite3.Connection]:
    """A kind of connection whose n-th statement, when `left` is set to n, breaks with an error; the ones after it work."""

    class Breaking(sqlite3.Connection):
        left: int | None = None

        def execute(self, *arguments):
            self._count()
            return super().execute(*arguments)

        def executemany(self, *arguments):
            self._count()
            return super().executemany(*arguments)

        def _count(self) -> None:
            if Breaking.left is not None:
                Breaking.left -= 1
                if Breaking.left == 0:
                    Breaking.left = None
                    raise error()

    return Breaking


def salvage(bench: Bench, *, most_steps: int = 500, must: bool = True) -> dict:
    """Let time pass until everything is salvaged; the event that tells so, which there `must` be."""
    for _ in range(most_steps):
        if not bench.store._journal.salvage.is_due:
            break
        bench.pass_time(1)
    assert not bench.store._journal.salvage.is_due
    told = [row for row in bench.store.rows("events", 0, T0 * 2) if "blocks" in row]
    return told[-1] if told or must else {}
