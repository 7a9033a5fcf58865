"""The store of a daemon that is down, or beside one that runs: opened by a command, and only to be read."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from agent.config import Config
from agent.contract.errors import StorageError
from agent.daemon.paths import StatePaths, credentials
from agent.store.identity import Identity
from agent.store.reader import Reader


@contextlib.contextmanager
def open_offline_store(config: Config) -> Iterator[tuple[Reader, Identity]]:
    """Open the store beside the daemon or without one, read only; nothing is made.

    Raises:
        StorageError: when there is no store, or this user may not read it.
    """
    paths = StatePaths(config.device.state_dir)
    _must_exist(paths.store)
    identity = Identity.read(paths.identity, credentials=credentials())
    store = Reader.open(paths.store, identity.storage_key)
    try:
        yield store, identity
    finally:
        store.close()


def _must_exist(store: Path) -> None:
    try:
        found = store.exists()
    except OSError as exc:
        raise StorageError(
            f"cannot be read ({exc.strerror})", where=str(store), todo="Join the group edgewatt, or use sudo"
        ) from exc
    if not found:
        raise StorageError(
            "there is no store yet", where=str(store), todo="Start the agent (edgewatt run), or mend device.state_dir"
        )
