"""Changing the centre's keys while devices go on sending: a new one, the old one drained, then refused.

    active    used: devices seal to the newest; the centre signs with the newest whose time has come
    draining  not used any more, still accepted: backlogs that were sealed to it, words that were signed by it
    revoked   refused

Devices learn keys and states from `trust/fleet.json`, which is published and assigned like a model. A key that signs
must therefore be known to them before it is used: it has a date. There is always one key in use.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from agent.contract.errors import ConfigError
from agent.contract.trust import MAX_KEYS, KeyState, KeyUse
from trainer.fleet.keys import StoredKey, make_key, public_key, stored_keys


@dataclass(frozen=True, slots=True)
class KeyInfo:
    """One key, as shown to people."""

    id: str
    use: str
    state: str
    not_before_ms: int
    file: str


def list_keys(folder: Path) -> list[KeyInfo]:
    """Return every key that devices know of, by use and age.

    Raises:
        ConfigError: when a file is damaged.
    """
    return [_info(use, key) for use in KeyUse for key in stored_keys(folder, use)]


def rotate(folder: Path, use: KeyUse, not_before_ms: int) -> KeyInfo:
    """Make a new key for one use; the older ones stay as they are until they are drained.

    Args:
        folder: of the on-line keys.
        use: what it is for.
        not_before_ms: when the centre begins to sign with it; devices may seal to it at once.

    Raises:
        ConfigError: when there are as many keys as a device takes.
        StorageError: when it cannot be written.
    """
    if len(list_keys(folder)) >= MAX_KEYS:
        raise ConfigError(
            f"holds {MAX_KEYS} keys, the most that a device takes",
            where=str(folder),
            todo="Move files of keys that were revoked long ago away",
        )
    newest = max((key.number for key in stored_keys(folder, use)), default=0)
    return _info(use, make_key(folder, use, newest + 1, not_before_ms))


def change(folder: Path, key: str, state: KeyState, now_ms: int) -> KeyInfo:
    """Drain or revoke a key.

    Raises:
        ConfigError: when there is no such key, it was revoked before, or none would be left in use.
        StorageError: when it cannot be written; the state is then unchanged.
    """
    for use in KeyUse:
        keys = list(stored_keys(folder, use))
        for found in keys:
            if public_key(use, found).id != key:
                continue
            if found.state is KeyState.REVOKED and state is not KeyState.REVOKED:
                raise ConfigError("was revoked; that is for good", where=f"key {key}")
            others = (other for other in keys if other is not found and other.state is KeyState.ACTIVE)
            if found.state is KeyState.ACTIVE and not any(other.not_before_ms <= now_ms for other in others):
                raise ConfigError(
                    f"is the only {use} key in use",
                    where=f"key {key}",
                    todo=f"First `edgewatt-trainer keys rotate {use}`, and wait until the new key's time has come",
                )
            changed = replace(found, state=state)
            changed.write(use)
            return _info(use, changed)
    raise ConfigError("is unknown here", where=f"key {key}", todo="See `edgewatt-trainer keys list`")


def _info(use: KeyUse, key: StoredKey) -> KeyInfo:
    return KeyInfo(public_key(use, key).id, str(use), str(key.state), key.not_before_ms, key.path.name)
