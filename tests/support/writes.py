"""Durable writes that break off, as on a disk that is full or in a process that dies."""

from collections.abc import Callable
from pathlib import Path

from agent.contract.durable import write_durable
from agent.contract.errors import StorageError


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
