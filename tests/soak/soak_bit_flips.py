"""One to four bits flipped in a used page of a closed store: values are never wrong, losses are declared.

Each flip begins from a copy of the same folder, whose rows are partly at the centre. It takes every kind of place in
turn: page headers, cell pointers, cell headers, columns, sealed bytes, indexes, the first page, the log, the ring.
"""

from __future__ import annotations

import random
import shutil
from pathlib import Path
from typing import Any

from tests.soak import damage
from tests.soak.campaigns import Findings, build_shim, numbered, run_all
from tests.soak.observer import Watched, copied_centre
from tests.soak.revival import revive

KINDS = damage.KINDS
SESSIONS, FLIPS = 6, 54
SEED = 20_261_201


def run() -> dict[str, Any]:
    """Flip and judge."""
    build_shim()
    found = run_all("bit_flips", numbered(SEED, [(FLIPS,)] * SESSIONS), session)
    if found.faults.total() < 300:
        found.failures.append(f"only {found.faults.total()} flips")
    return {"flips": found.faults.total(), **found.figures()}


def session(folder: Path, seed: int, flips: int) -> Findings:
    """Make one store, closed and not closed, and harm copies of it."""
    noise, found = random.Random(seed), Findings()
    watched = Watched(folder, seed, pack_after_s=3.0)
    watched.run(steps=220, connected=True)
    watched.run(steps=220, connected=False)
    closed, told = folder / "closed", watched.told.copy()
    shutil.copytree(watched.state, closed)
    watched.run(steps=90, connected=False, pack_after_s=60.0, end_by_kill=True)  # leaves a log and a full ring
    stores = dict.fromkeys(KINDS, (closed, told))
    stores |= dict.fromkeys(("wal", "ring"), (watched.state, watched.told))
    places = {kind: damage.places(stores[kind][0])[kind] for kind in KINDS}
    kinds = [kind for kind in KINDS if places[kind]]
    if len(kinds) < len(KINDS):
        found.failures.append(f"seed {seed}: no place of kind {', '.join(set(KINDS) - set(kinds))}")
    for number in range(flips):
        kind = kinds[number % len(kinds)]
        state = folder / "flipped" / "state"
        shutil.rmtree(state.parent, ignore_errors=True)
        shutil.copytree(stores[kind][0], state, ignore=shutil.ignore_patterns("*-shm"))
        where = f"{kind}, seed {seed}, flip {number}: {damage.flip(state, noise.choice(places[kind]), noise)}"
        found.faults[kind] += 1
        before = len(found.failures)
        revive(watched, state, stores[kind][1], copied_centre(watched.centre, state.parent), found, where)
        if len(found.failures) > before:
            found.counts[f"with_faults_{kind}"] += 1
    shutil.rmtree(folder / "flipped", ignore_errors=True)
    if not found.failures:
        shutil.rmtree(folder)
    return found
