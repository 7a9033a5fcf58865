"""SIGKILL before any change of a file, in each named phase and on a store of 1 GB.

Each session is one device that is killed again and again, its disk failing for a moment now and then; every start is
the restart after the kill before. What was durable must come to the centre once, or be declared.
"""

from __future__ import annotations

import contextlib
import random
import shutil
import sqlite3
from pathlib import Path
from typing import Any

from agent.store import schema
from tests.soak import big, damage, images
from tests.soak.campaigns import Findings, build_shim, numbered, phases, run_all
from tests.soak.child import PHASE_NAMES
from tests.soak.observer import Watched

KILLS = 24  # of a session; there are two for each phase
BIG_KILLS = 34
SEED = 20_261_126
_JUDGED_EVERY = 12
_DISKS = ("28", "5")  # ENOSPC, EIO
_CONNECTED = {"eviction": 0.15}  # how often the centre can be reached
_BOUND = 1_000_000_000  # a little less than the big store has
_PLANS: dict[str, dict[str, Any]] = {
    "pack": {"pack_after_s": 2.0},
    "sync": {"pack_after_s": 1.0},
    "eviction": {"step_s": 4.0, "many": 400, "max_bytes": 180_000},
    "migration": {"steps": 20},
}


def run() -> dict[str, Any]:
    """Kill and judge."""
    build_shim()
    state = big.cached()
    todo: list[tuple[Any, ...]] = [("big", BIG_KILLS, str(state))]
    todo += [(phase, KILLS, "") for phase in phases() for _ in range(2)]
    found = run_all("kills", numbered(SEED, todo), session)
    wanted = dict.fromkeys([*phases(), "big"], 30)
    few = {phase: found.faults[phase] for phase, least in wanted.items() if found.faults[phase] < least}
    found.failures += [f"only {count} kills in {phase}" for phase, count in few.items()]
    if found.faults.total() < 300:
        found.failures.append(f"only {found.faults.total()} kills")
    return {"kills": found.faults.total(), **found.figures()}


def session(folder: Path, seed: int, phase: str, kills: int, state: str) -> Findings:
    """Kill one device so many times in one phase; on the big store in any."""
    noise, found = random.Random(seed), Findings()
    watched = Watched(folder, seed, **_PLANS.get(phase, {}))
    if state:
        shutil.copytree(state, watched.state, dirs_exist_ok=True)
    where = f"{phase}, seed {seed}"
    most = _operations(watched, phase, noise)
    kinds = [name for name in phases() if name in most and name != "migration"] if state else [phase]
    done = tries = 0
    while done < kills and tries < 4 * kills:
        tries += 1
        kind = noise.choice(kinds)
        begin = noise.randint(1, max(1, most.get(kind, 1)))
        begins_anew = kind in ("migration", "salvage")
        if begins_anew:
            _prepare(watched, kind, noise)
        errno = _errno(noise)
        run = watched.run(kill=f"{kind}:{begin}", errno=errno, connected=noise.random() < _CONNECTED.get(phase, 1.0))
        if errno and not run.stopped.startswith("ended with code"):
            run.stopped = ""  # on a failing disk it may refuse to start
        found.ran(run, f"{where}, run {watched.runs}")
        if run.killed:
            done += 1
            found.faults[phase] += 1
        elif run.ended:
            most[kind] = max(1, begin - 1)  # there were fewer this time
        if begins_anew:
            found.ran(watched.run(steps=10), f"{where}, run {watched.runs}")
        if done and (done % _JUDGED_EVERY == 0 or done == kills) and run.killed:
            _judge(watched, found, f"{where}, run {watched.runs}")
    if state:  # more than it may hold: space is made beside the work
        found.ran(watched.run(steps=200, max_bytes=_BOUND), f"{where}, making space")
        _judge(watched, found, f"{where}, making space")
    if not found.failures:
        shutil.rmtree(folder)
    return found


def _errno(noise: random.Random) -> str:
    """Sometimes: which operations are to fail, and how."""
    if noise.random() > 0.15:
        return ""
    begin = noise.randint(100, 900)
    return f"{noise.choice(_DISKS)}:{begin}:{begin + noise.randint(1, 60)}"


def _judge(watched: Watched, found: Findings, where: str) -> None:
    run, verdict = watched.drain()
    found.ran(run, where)
    found.judged(verdict, where)
    if run.left or not run.ended:
        found.failures.append(f"{where}: {run.left} rows never left the device")


def _operations(watched: Watched, phase: str, noise: random.Random) -> dict[str, int]:
    """Count the operations of each phase in a run without a kill."""
    if phase in ("migration", "salvage"):
        watched.run()
        _prepare(watched, phase, noise)
    trace = watched.folder / "trace"
    watched.run(trace=trace)
    counts: dict[str, int] = {}
    for operation in images.read_trace(trace):
        if operation.phase and operation.kind not in (images.MARK, images.ATTACH):
            name = PHASE_NAMES[operation.phase - 1]
            counts[name] = counts.get(name, 0) + 1
    trace.unlink()
    return counts


def _prepare(watched: Watched, phase: str, noise: random.Random) -> None:
    path = watched.state / "store.db"
    if phase == "migration":
        downgrade(path)
    else:
        damage.unhinge(path, noise)


def downgrade(path: Path) -> None:
    """Take from a store all that its migrations but the first have made."""
    with contextlib.closing(sqlite3.connect(":memory:")) as first:
        schema.MIGRATIONS[0](schema.Database(first, execute_plugins=False))
        wanted = {name: _columns(first, name) for name in _tables(first)}
    with contextlib.closing(sqlite3.connect(path)) as db, db:
        for name in _tables(db):
            if name not in wanted:
                db.execute(f'DROP TABLE "{name}"')
                continue
            for column in _columns(db, name) - wanted[name]:
                db.execute(f'ALTER TABLE "{name}" DROP COLUMN "{column}"')
        db.execute("PRAGMA user_version = 1")


def _tables(db: sqlite3.Connection) -> list[str]:
    query = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
    return [row[0] for row in db.execute(query)]


def _columns(db: sqlite3.Connection, table: str) -> set[str]:
    return {row[1] for row in db.execute(f'PRAGMA table_info("{table}")')}
