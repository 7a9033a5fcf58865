"""The root of the update repository: which keys may sign what in it, and how others take their place.

Root is the only file that says which keys count. Devices follow its versions one after the other, each signed by enough
keys of the one before and by enough of its own, so that one which slept through several comes along by itself.

Order of a succession, each step durable; the command given again goes on where it stopped:
    the new keys are made; the old ones are marked as draining; the role's metadata is signed by both;
    the next root names the new keys only; the old ones are marked as revoked.
Thus what devices find is whole before and after the new root. A key that any version of root has named does not come
back: it may have been stolen meanwhile.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Root
from tuf.api.metadata import Role as RoleKeys

from agent.contract.errors import ConfigError
from agent.contract.trust import KeyState
from trainer.fleet.keys import (
    ROOT_KEYS,
    ROOT_THRESHOLD,
    TARGETS_KEYS,
    TARGETS_THRESHOLD,
    OfflineKeys,
    OnlineKeys,
    Role,
    StoredKey,
    make_key,
    signer,
    stored_keys,
)

if TYPE_CHECKING:
    from trainer.fleet.repository import Repository

_COUNT = {Role.ROOT: ROOT_KEYS, Role.TARGETS: TARGETS_KEYS, Role.SNAPSHOT: 1, Role.TIMESTAMP: 1}
_OFFLINE = {Role.ROOT, Role.TARGETS}


@dataclass(frozen=True, slots=True)
class Succession:
    """What `succeed` did.

    Attributes:
        version: of root, now.
        files: of the keys that count from now on; empty where one that was interrupted was only finished.
    """

    version: int
    files: tuple[str, ...]


def name(version: int) -> str:
    """Return the file name of a version of root."""
    return f"{version}.root.json"


def first(offline: OfflineKeys, online: OnlineKeys, expires: dt.datetime) -> Root:
    """Return version 1."""
    signers = {
        Role.ROOT: (offline.root, ROOT_THRESHOLD),
        Role.TARGETS: (offline.targets, TARGETS_THRESHOLD),
        Role.SNAPSHOT: (online.snapshot, 1),
        Role.TIMESTAMP: (online.timestamp, 1),
    }
    return Root(
        version=1,
        expires=expires,
        keys={signer.public_key.keyid: signer.public_key for keys, _ in signers.values() for signer in keys},
        roles={
            str(role): RoleKeys([signer.public_key.keyid for signer in keys], threshold)
            for role, (keys, threshold) in signers.items()
        },
        consistent_snapshot=True,
    )


def check(root: Root, metadata: Metadata[Any], *, where: str) -> None:
    """Refuse metadata that devices with this root would refuse.

    Raises:
        ConfigError: when too few of the keys that root names have signed it.
    """
    role = metadata.signed.type
    try:
        root.verify_delegate(role, metadata.signed_bytes, metadata.signatures)
    except (RepositoryError, ValueError) as exc:
        raise ConfigError(
            f"is not signed by {root.roles[role].threshold} of the {role} keys that root version {root.version} names",
            where=where,
            todo="Give the folder with these keys; a process that runs takes new keys within seconds",
        ) from exc


def succeed(repository: Repository, role: Role, *, offline: Path, online: Path, now_ms: int) -> Succession:
    """Put new keys in the place of all present ones of a role.

    Args:
        repository: whose root is to follow.
        role: of which keys.
        offline: folder of the off-line keys; it must hold enough root keys, whatever the role.
        online: folder of the on-line keys.
        now_ms: real time.

    Raises:
        ConfigError: when too few of the root keys that count are here.
        StorageError: when something cannot be written; the same command again goes on from there.
    """
    folder = offline if role in _OFFLINE else online
    history = [found.signed for found in repository.roots()]
    present = history[-1]
    stored = [key for key in stored_keys(folder, role) if key.state is not KeyState.REVOKED]
    left = [key for key in stored if key.state is KeyState.DRAINING and _id(key) not in present.roles[role].keyids]
    if left:
        _mark(left, role, KeyState.REVOKED)
        return Succession(present.version, ())
    _check_root_keys(offline, present)
    ever = {known for root in history for known in root.roles[role].keyids}
    successors = [key for key in stored if _id(key) not in ever]
    number = max([*(key.number for key in stored_keys(folder, role)), present.version * _COUNT[role]])
    while len(successors) < _COUNT[role]:
        number += 1
        successors.append(make_key(folder, role, number, now_ms))
    old = [key for key in stored if _id(key) in present.roles[role].keyids]
    _mark(old, role, KeyState.DRAINING)
    keys = OfflineKeys.open(offline)
    repository.use(OnlineKeys.open(online))
    if role is not Role.ROOT:
        repository.sign_anew(keys)
    following = _following(present, role, successors)
    repository.write_root(following, keys)
    _mark(old, role, KeyState.REVOKED)
    return Succession(following.version, tuple(key.path.name for key in successors))


def _following(present: Root, role: Role, successors: list[StoredKey]) -> Root:
    following = Root.from_dict(present.to_dict())
    following.version += 1
    for known in list(following.roles[role].keyids):
        following.revoke_key(known, role)
    for key in successors:
        following.add_key(signer(key).public_key, role)
    return following


def _check_root_keys(offline: Path, present: Root) -> None:
    here = {_id(key) for key in stored_keys(offline, Role.ROOT)} & set(present.roles[Role.ROOT].keyids)
    if len(here) < present.roles[Role.ROOT].threshold:
        raise ConfigError(
            f"holds {len(here)} of the root keys that devices trust, {present.roles[Role.ROOT].threshold} are needed",
            where=str(offline),
            todo="Put the files of the others beside them, or give their folder with --offline-keys",
        )


def _mark(keys: list[StoredKey], role: Role, state: KeyState) -> None:
    for key in keys:
        if key.state is not state:
            replace(key, state=state).write(role)


def _id(key: StoredKey) -> str:
    return str(signer(key).public_key.keyid)
