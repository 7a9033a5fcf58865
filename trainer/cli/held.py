"""Plants that the centre holds, and how every training cleans them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from agent.contract.errors import ConfigError
from converter.cli_support import remark
from trainer.cli.home import Home

if TYPE_CHECKING:  # the room is imported when a command runs
    from trainer.dataset.snapshot import Snapshot


def held_plants(home: Home, names: Sequence[str] = ()) -> list[Snapshot]:
    """Return plants as they were imported, by name, all where none is named.

    Of all plants, one that cannot be used is left out and named on stderr: it must not stop the others.

    Raises:
        ConfigError: when a name is unknown or a named plant cannot be used, or the centre holds no plant.
    """
    from trainer.dataset.snapshot import plant_names, take

    engine = home.database()
    try:
        if names:
            return [take(engine, name) for name in dict.fromkeys(names)]
        every = plant_names(engine)
        if not every:
            raise ConfigError("holds no plant", where=str(home.folder), todo="Import a load curve first")
        found = []
        for name in every:
            try:
                found.append(take(engine, name))
            except ConfigError as exc:
                remark(f"left out: {exc}")
        return found
    finally:
        engine.dispose()


def cleaned(snapshots: Iterable[Snapshot], until_ms: int | None = None) -> list[Snapshot]:
    """Return the load of plants before an instant, without the meter's errors; plants that hold nothing are left out.

    What was left out of their load is told on stderr. Cut first: what comes later must not decide what an error is.
    """
    from trainer.dataset.cleaning import clean_snapshot

    result = []
    for whole in snapshots:
        if until_ms is not None and whole.start_ms >= until_ms:
            continue
        snapshot = whole if until_ms is None else whole.before(until_ms)
        clean, found = clean_snapshot(snapshot)
        if found.removed:
            remark(f"{snapshot.plant}: {found.summary()}")
        result.append(clean)
    return result


def cleaned_apart(snapshot: Snapshot, until_ms: int | None) -> Snapshot:
    """Return a plant's load without the meter's errors: what is learnt from, before an instant, as `cleaned` does it.

    Raises:
        ConfigError: when nothing lies before the instant.
    """
    from trainer.dataset.cleaning import clean_snapshot

    if until_ms is None or until_ms >= snapshot.end_ms:
        return cleaned([snapshot])[0]
    [known] = cleaned([snapshot.before(until_ms)])
    judged, _ = clean_snapshot(snapshot)
    return replace(judged, power_kw=np.concatenate([known.power_kw, judged.power_kw[len(known.power_kw) :]]))
