"""One to four bits flipped in a used page of a closed store: values are never wrong, losses are declared.

Each flip begins from a copy of the same folder, whose rows are partly at the centre. It takes every kind of place in
turn: page headers, cell pointers, cell headers, columns, sealed bytes, indexes, the first page, the log, the ring.
"""

from __future__ import annotations

import random
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

from tests.soak import damage
from tests.soak.campaigns import Findings, build_shim, numbered, run_all
from tests.soak.observer import Watched, copied_centre
from tests.soak.revival import revive

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
    """Make one store and harm copies of it."""
    noise, found = random.Random(seed), Findings()
    watched = Watched(folder, seed, pack_after_s=3.0)
    watched.run(steps=220, connected=True)
    watched.run(steps=220, connected=False)
    watched.run(steps=60, connected=False, pack_after_s=60.0, end_by_kill=True)  # leaves a log and a ring
    places = damage.places(watched.state)
    missing = [kind for kind in damage.KINDS if not places[kind]]
    if missing:
        found.failures.append(f"seed {seed}: no place of kind {', '.join(missing)}")
    kinds = [kind for kind in damage.KINDS if places[kind]]
    harm: Counter[str] = Counter()
    for number in range(flips):
        kind = kinds[number % len(kinds)]
        state = folder / "flipped" / "state"
        shutil.rmtree(state.parent, ignore_errors=True)
        shutil.copytree(watched.state, state, ignore=shutil.ignore_patterns("*-shm"))
        where = f"{kind}, seed {seed}, flip {number}: {damage.flip(state, noise.choice(places[kind]), noise)}"
        found.faults[kind] += 1
        before = len(found.failures)
        revive(watched, state, watched.told, copied_centre(watched.centre, state.parent), found, where)
        harm[kind] += len(found.failures) > before
    found.counts.update({f"harmful_{kind}": count for kind, count in harm.items()})
    shutil.rmtree(folder / "flipped", ignore_errors=True)
    if not found.failures:
        shutil.rmtree(folder)
    return found
