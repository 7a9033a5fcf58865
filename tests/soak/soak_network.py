"""A bad network: packets between device, broker and centre come twice, late, out of order, in part, or not at all."""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from tests.support.badline import Harm, Weather
from tests.support.broker import running_mosquitto
from tests.support.centre import make_centre
from tests.support.harmed_plant import faults, run_through

SEEDS = range(1, 9)
ROUNDS = 80


def run() -> dict[str, Any]:
    """Send, and judge what is at the centre."""
    harmed: Counter[Harm] = Counter()
    blocks = sendings = holes = 0
    failures: list[str] = []
    for seed in SEEDS:
        weather = Weather(cut_every=60 + seed, deaf_at=70 + seed), Weather(cut_every=80 + seed, deaf_at=150 + seed)
        with tempfile.TemporaryDirectory(prefix="edgewatt-network-") as name, running_mosquitto() as broker:
            folder = Path(name)
            centre = make_centre(folder, f"sqlite:///{folder / 'centre.db'}")
            try:
                device, more = run_through(
                    centre, folder / "device", broker, weather, rounds=ROUNDS, seed=seed, within_s=300
                )
                failures += [f"seed {seed}: {fault}" for fault in faults(centre, device)]
            except AssertionError as exc:
                failures.append(f"seed {seed}: {exc}")
                continue
            finally:
                centre.engine.dispose()
        harmed += more
        blocks, sendings, holes = blocks + device.blocks, sendings + device.sendings, holes + device.holes
    counts = {"envelopes": blocks, "sendings": sendings, "acknowledgements_with_holes": holes}
    return {**counts, "harmed": {str(harm): count for harm, count in harmed.items()}, "failures": failures}
