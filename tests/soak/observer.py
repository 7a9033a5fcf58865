"""Watches one device over many runs: starts it, logs what it tells, is its centre, and asks the judge in the end.

It outlives the device's processes and shares nothing with them but a pipe. The centre is the real one: ingest and
intake on SQLite.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Engine

from agent.contract.channels import Reading
from tests.soak.child import Plan
from tests.soak.judge import Held, Told, Verdict, judge
from tests.support.centre import Centre, make_centre
from trainer.fleet import database as db
from trainer.fleet.ingest import Ingest, Outgoing
from trainer.fleet.keys import OnlineKeys
from trainer.fleet.pieces import Pieces

ROOT = Path(__file__).parents[2]
SHIM = ROOT / "build" / "soak" / "shim.so"
NAME = "press-1"
NUMBERS = 100_000  # of rows, for each run
_SILENT_S = 60.0  # a device that tells nothing for so long hangs


@dataclass
class Run:
    """How one run of the device went.

    Attributes:
        killed: by the shim, or by its plan.
        start_s: from the start of the process to its first durable ticket; None when it did not come so far.
        ended: whether it did all of its plan.
        stopped: why the agent would not start, or how else it ended; empty when it did not.
        pause_s: the longest time in which it told nothing, once it had begun.
        left: rows that still waited for the centre at the end of a drain.
    """

    killed: bool = False
    start_s: float | None = None
    ended: bool = False
    stopped: str = ""
    pause_s: float = 0.0
    left: int = 0
    sent: list[tuple[str, bytes]] = field(default_factory=list)


class Watched:
    """One device's folder, its centre, and what it told so far.

    Args:
        folder: of both; the device's state is in `state` there.
        seed: of the rows.
        plan: fields of `Plan` that all runs share.
    """

    def __init__(self, folder: Path, seed: int, **plan: Any) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        self.folder, self.seed, self.told = folder, seed, Told()
        self.state = folder / "state"
        self.state.mkdir(parents=True)
        (folder / "centre").mkdir()
        self.centre = make_centre(folder / "centre", f"sqlite:///{folder}/centre/centre.db")
        hurry(self.centre.engine)
        device = self.centre.device(NAME)
        self.plan = Plan(str(self.state), NAME, device.key.private.hex(), device.trust.to_json(), seed=seed, **plan)
        self.runs = 0

    def run(self, *, kill: str = "", errno: str = "", trace: Path | None = None, **plan: Any) -> Run:
        """Run the device once; `kill` and `errno` as the shim takes them, the rest are fields of `Plan`."""
        self.runs += 1
        wanted = replace(self.plan, **{"number": self.runs * NUMBERS, **plan})
        settings = {"SHIM_KILL": kill, "SHIM_ERRNO": errno, "SHIM_TRACE": str(trace or "")}
        settings = {name: value for name, value in settings.items() if value}
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1", **settings}
        environment |= {"LD_PRELOAD": str(SHIM), "SHIM_ROOT": str(self.state)}
        ours, theirs = Pipe()
        begin = time.monotonic()
        with (self.folder / "errors.txt").open("ab") as errors:
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.soak.child", wanted.to_json(), str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                env=environment,
                cwd=ROOT,
                stderr=errors,
            )
        theirs.close()
        run = Run()
        try:
            self._listen(ours, run, begin)
        finally:
            if run.stopped:
                process.kill()
            code = process.wait()
            ours.close()
        run.killed = code == -9 and not run.stopped
        if code not in (0, -9) and not run.stopped:
            run.stopped = f"ended with code {code}, see {self.folder}/errors.txt"
        return run

    def _listen(self, pipe: Connection, run: Run, begin: float) -> None:
        with (self.folder / "told.jsonl").open("ab") as log:
            heard = None
            while True:
                if not pipe.poll(_SILENT_S):
                    run.stopped = f"told nothing for {_SILENT_S:.0f} s"
                    return
                try:
                    message = pipe.recv_bytes()
                except (EOFError, OSError):
                    return
                now = time.monotonic()
                run.pause_s = max(run.pause_s, now - (heard or now))
                heard = now
                if message[:1] == b"E":
                    topic, _, payload = message[1:].partition(b"\0")
                    run.sent.append((topic.decode(), payload))
                    for answer in handled(self.centre, self.centre.ingest, *run.sent[-1]):
                        send(pipe, answer)
                    heard = time.monotonic()  # the centre's own time is not the device's
                    continue
                log.write(message[1:] + b"\n")
                told = json.loads(message[1:])
                self.told.take(told)
                if "durable" in told and run.start_s is None and self._is_new(told):
                    run.start_s = time.monotonic() - begin
                run.ended |= "ended" in told
                run.stopped = told.get("stopped", run.stopped)
                run.left = told.get("left", run.left)

    def _is_new(self, told: dict[str, Any]) -> bool:
        """Whether this makes a ticket of the present run durable."""
        first = self.runs * NUMBERS
        for ticket in reversed(self.told.tickets):
            if not first <= ticket.number < first + NUMBERS:
                return False
            if ticket.epoch == told["epoch"] and told["durable"].get(ticket.stream, 0) >= ticket.last:
                return True
        return False

    def drain(self, **plan: Any) -> tuple[Run, Verdict]:
        """Let the device bring all it has to the centre, and judge."""
        run = self.run(drain=True, connected=True, **{"steps": 8, **plan})
        return run, judge(self.told, held(self.centre.engine), self.seed)


def send(pipe: Connection, answer: Outgoing) -> None:
    """Send an answer of the centre to a device that may be no more."""
    try:
        pipe.send_bytes(answer.payload)
    except OSError:
        return


class DirectLine:
    """A line to a centre in the same process."""

    def __init__(self, handle: Callable[[str, bytes], Sequence[Outgoing]]) -> None:
        self.connected, self.connections = True, 1
        self._handle = handle
        self._waiting: list[bytes] = []

    def publish(self, topic: str, payload: bytes) -> bool:
        """Send an envelope."""
        self._waiting += [answer.payload for answer in self._handle(topic, payload)]
        return True

    def acks(self, wait_s: float) -> list[bytes]:
        """What was answered."""
        found, self._waiting = self._waiting, []
        return found


def handled(centre: Centre, ingest: Ingest, topic: str, payload: bytes) -> list[Outgoing]:
    """Let a centre, or a copy that goes by its clock, handle a message a while after the one before."""
    centre.clock.ms += 100
    return ingest.handle(topic, payload)


def hurry(engine: Engine) -> None:
    """Spare the syncs of a central database: its process is not what is killed here."""
    sa.event.listen(engine, "connect", lambda connection, _: connection.execute("PRAGMA synchronous=OFF"))
    engine.dispose()


def copied_centre(centre: Centre, folder: Path, engine: Engine | None = None) -> tuple[Engine, Ingest]:
    """Another centre that goes on from where one is: the same keys, a copy of its database, or of that of `engine`."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "centre.db"
    path.unlink(missing_ok=True)
    with (
        contextlib.closing(sqlite3.connect((engine or centre.engine).url.database)) as source,
        contextlib.closing(sqlite3.connect(path)) as copy,
    ):
        source.backup(copy)
    copied = db.open_database(f"sqlite:///{path}")
    hurry(copied)
    keys = OnlineKeys.open(centre.folder / "keys" / "online")
    return copied, Ingest(copied, keys, Pieces(centre.folder / "repository"), centre.clock.now)


def held(engine: Engine) -> Held:
    """Read all that a centre holds of its only device, from its tables."""
    result = Held()
    with db.read(engine) as connection:
        names = dict(connection.execute(sa.select(db.channel.c.number, db.channel.c.name)).tuples().all())
        table = db.reading.c
        query = sa.select(table.epoch, table.seq, table.channel, table.time_ms, table.value, table.quality)
        for epoch, seq, channel, *rest in connection.execute(query):
            result.rows.setdefault((epoch, "readings"), {})[seq] = Reading(names[channel], *rest)
        more = db.record.c
        for epoch, stream, seq, body in connection.execute(sa.select(more.epoch, more.stream, more.seq, more.body)):
            row = json.loads(body)
            result.rows.setdefault((epoch, stream), {})[seq] = row
            if stream == "events" and row.get("kind") == "gap":
                result.gaps.setdefault((row["epoch"], row["stream"]), []).append((row["first"], row["last"]))
        result.refused = list(connection.execute(sa.select(db.rejection.c.reason)).scalars())
    return result
