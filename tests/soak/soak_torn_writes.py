"""Power cuts: disks rebuilt from a trace of writes and syncs, with a random part of what was not synced lost or garbled.

The device goes on from each image, against a centre that has got what was sent before the cut.
"""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path
from typing import Any

from tests.soak import damage, images
from tests.soak.campaigns import Findings, build_shim, numbered, phases, run_all
from tests.soak.observer import Watched, copied_centre, handled
from tests.soak.revival import revive
from tests.soak.soak_kills import downgrade

IMAGES = 56  # of a session
SEED = 20_261_127
_SCENES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("birth", {}),
    ("going on", {}),
    ("packing", {"pack_after_s": 1.0}),
    ("migration", {"steps": 20}),
    ("eviction", {"step_s": 4.0, "many": 400, "max_bytes": 250_000}),
    ("eviction unconnected", {"step_s": 4.0, "many": 400, "max_bytes": 250_000, "connected": False}),
    ("salvage", {}),
)


def run() -> dict[str, Any]:
    """Cut power and judge."""
    build_shim()
    scenes = [scene for scene in _SCENES if scene[0] != "salvage" or "salvage" in phases()]
    found = run_all("torn_writes", numbered(SEED, scenes), session)
    if found.faults.total() < 300:
        found.failures.append(f"only {found.faults.total()} images")
    return {"images": found.faults.total(), **found.figures()}


def session(folder: Path, seed: int, scene: str, plan: dict[str, Any]) -> Findings:
    """Trace one run of a device, and cut it in many places."""
    noise, found = random.Random(seed), Findings()
    watched = Watched(folder, seed, **plan)
    if scene != "birth":
        watched.run(steps=160)
        watched.run(steps=60, end_by_kill=scene != "migration")
    if scene == "migration":
        downgrade(watched.state / "store.db")
    if scene == "salvage":
        damage.unhinge(watched.state / "store.db", noise)
    disk, told = images.Disk(images.files_of(watched.state)), watched.told.copy()
    engine, ingest = copied_centre(watched.centre, folder / "before")
    trace_path = folder / "trace"
    traced = watched.run(trace=trace_path)
    if not traced.ended:
        found.failures.append(f"{scene}, seed {seed}: the traced run did not end {traced.stopped}")
    trace, at = images.read_trace(trace_path), 0
    for point in images.crash_points(trace, IMAGES, noise):
        for operation in trace[at:point]:
            if operation.kind == images.MARK:
                message = json.loads(operation.data)
                told.take(message)
                if "sent" in message:
                    handled(watched.centre, ingest, *traced.sent[message["sent"] - 1])
            else:
                disk.take(operation)
        at = point
        state = folder / "image" / "state"
        shutil.rmtree(state.parent, ignore_errors=True)
        state.mkdir(parents=True)
        images.put(disk.image(trace[point], noise), state)
        found.faults[scene] += 1
        where = f"{scene}, seed {seed}, operation {point} of {len(trace)}"
        before = len(found.failures)
        revive(watched, state, told, copied_centre(watched.centre, state.parent, engine), found, where)
        if len(found.failures) > before:
            _keep(state, folder / "failed" / str(point), disk, trace[point])
    if not found.failures:
        shutil.rmtree(folder)
    return found


def _keep(state: Path, folder: Path, disk: images.Disk, current: images.Operation) -> None:
    """Keep what a failed image was, as far as its names and sizes tell it."""
    folder.mkdir(parents=True, exist_ok=True)
    waiting = {file: len(changes) for file, changes in disk.changes.items() if changes}
    text = f"under way: {current._replace(data=current.data[:64])}\nnot synced, changes by file: {waiting}\n"
    text += f"names: {disk.names}\nnames not synced: {[(one.kind, one.data) for one in disk.renames]}\n"
    (folder / "told.txt").write_text(text)
