"""Durable writes that break off, as on a disk that is full or in a process that dies."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from agent.contract import durable
from agent.contract.durable import write_durable
from agent.contract.errors import StorageError

STEPS = ("open", "write", "fsync", "replace", "fsync folder")  # of `write_durable`


def instead_of(step: str, patch: pytest.MonkeyPatch, act: Callable[..., object]) -> None:
    """Let a step of a durable write be `act`, which ends it."""
    real, calls = os.fsync, []

    def fsync(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) == (1 if step == "fsync" else 2):
            act()
        real(descriptor)

    if step in {"fsync", "fsync folder"}:
        patch.setattr(os, "fsync", fsync)
    elif step == "replace":
        patch.setattr(durable.Path, "replace", act)
    elif step == "write":
        patch.setattr(os, "fdopen", lambda descriptor, *_: os.write(descriptor, b"half") and act())
    else:
        patch.setattr(os, "open", act)


def full(path: Path) -> StorageError:
    return StorageError("the disk is full", where=str(path))


def writing(left: int, error: Callable[[Path], BaseException] = full, *, after: bool = False) -> Callable[..., None]:
    """`write_durable` for `left` times; from then on each raises an error, before it has written, or `after`."""

    def write(path: Path, data: bytes, *, mode: int = 0o644) -> None:
        nonlocal left
        if left == 0 and not after:
            raise error(path)
        write_durable(path, data, mode=mode)
        if left == 0:
            raise error(path)
        left -= 1

    return write
