"""Changing the centre's keys while devices go on sending: a new one, the old one drained, then refused.

    active    used: devices seal to the newest; the centre signs with the newest whose time has come
    draining  not used any more, still accepted: backlogs that were sealed to it, words that were signed by it
    revoked   refused

Devices learn keys and states from `trust/fleet.json`, which is published and assigned like a model. A key that signs
must therefore be known to them before it is used: it has a date. There is always one key in use.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from agent.contract.errors import ConfigError
from agent.contract.trust import MAX_KEYS, FleetTrust, KeyState, KeyUse
from trainer.fleet.keys import StoredKey, active_key, make_key, public_key, stored_keys


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


def can_do_without(folder: Path, key: str, state: KeyState, now_ms: int) -> Callable[[FleetTrust], bool]:
    """Return the test whether a device with some trust still gets on when a key is drained or revoked.

    It must know the key that the centre signs with then, and must not seal to one that opens nothing any more.

    Raises:
        ConfigError: when there is no such key, or none would be left to sign with.
    """
    use, _, others = _find(folder, key)
    if use is KeyUse.SEAL:
        return lambda trust: state is not KeyState.REVOKED or trust.recipient().id != key
    successor = public_key(use, active_key(folder, use, others, now_ms)).id
    return lambda trust: successor in trust.verifiers(use)


def change(folder: Path, key: str, state: KeyState, now_ms: int) -> KeyInfo:
    """Drain or revoke a key.

    Raises:
        ConfigError: when there is no such key, it was revoked before, or none would be left in use.
        StorageError: when it cannot be written; the state is then unchanged.
    """
    check_change(folder, key, state, now_ms)
    use, found, _ = _find(folder, key)
    changed = replace(found, state=state)
    changed.write(use)
    return _info(use, changed)


def check_change(folder: Path, key: str, state: KeyState, now_ms: int) -> None:
    """Refuse a change that can never be right, whoever knows of it.

    Raises:
        ConfigError: when there is no such key, it was revoked before, or none would be left in use.
    """
    use, found, others = _find(folder, key)
    where = f"key {key}"
    if found.state is KeyState.REVOKED and state is not KeyState.REVOKED:
        raise ConfigError("was revoked; that is for good", where=where)
    in_use = (other for other in others if other.state is KeyState.ACTIVE and other.not_before_ms <= now_ms)
    if found.state is KeyState.ACTIVE and not any(in_use):
        raise ConfigError(
            f"is the only {use} key in use",
            where=where,
            todo=f"First `edgewatt-trainer keys rotate {use}`, and wait until the new key's time has come",
        )


def _find(folder: Path, key: str) -> tuple[KeyUse, StoredKey, list[StoredKey]]:
    """Return a key, what it is for, and the others for the same."""
    for use in KeyUse:
        keys = list(stored_keys(folder, use))  # all of them are looked at: a copy would outlive a change
        for found in keys:
            if public_key(use, found).id == key:
                return use, found, [other for other in keys if other is not found]
    raise ConfigError("is unknown here", where=f"key {key}", todo="See `edgewatt-trainer keys list`")


def _info(use: KeyUse, key: StoredKey) -> KeyInfo:
    return KeyInfo(public_key(use, key).id, str(use), str(key.state), key.not_before_ms, key.path.name)
