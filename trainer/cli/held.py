"""Plants that the centre holds, cleaned as every training cleans them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from agent.contract.errors import ConfigError
from converter.cli_support import remark
from trainer.cli.home import Home

if TYPE_CHECKING:  # the room is imported when a command runs
    from trainer.dataset.snapshot import Snapshot


def held_plants(home: Home, names: Sequence[str] = ()) -> list[Snapshot]:
    """Return plants by name, all where none is named; what was left out of their load is told on stderr.

    Raises:
        ConfigError: when a name is unknown, or the centre holds no plant.
    """
    from trainer.dataset.cleaning import clean_snapshot
    from trainer.dataset.snapshot import plant_names, take

    engine = home.database()
    try:
        wanted = list(dict.fromkeys(names)) or plant_names(engine)
        if not wanted:
            raise ConfigError("holds no plant", where=str(home.folder), todo="Import a load curve first")
        found = [take(engine, name) for name in wanted]
    finally:
        engine.dispose()
    result = []
    for snapshot in found:
        clean, cleaned = clean_snapshot(snapshot)
        if cleaned.removed:
            remark(f"{snapshot.plant}: {cleaned.summary()}")
        result.append(clean)
    return result
