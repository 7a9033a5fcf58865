"""What a disk may hold after a power cut: rebuilt from a trace of the shim.

The model: what was synced is whole. Of the rest each sector of each write is kept, lost, torn or garbled by chance;
truncations and sizes may be old or new; of creations, renames and removals since their folder's last sync a prefix is
kept, in the order in which they were made. Bytes beside a write are never harmed (SQLite's own assumption, too), and a
disk that lies about syncs is not modelled.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import NamedTuple

SECTOR = 512
CREATE, ATTACH, WRITE, TRUNCATE, SYNC, SYNC_FOLDER, RENAME, UNLINK, MARK, MKDIR = range(1, 11)
_DURABLE = 1
_HEAD = struct.Struct("<BBHIQI")
_STYLES = ("lost", "kept", "prefix", "sectors", "sectors", "garbled", "garbled")


class Operation(NamedTuple):
    """One record of a trace. `data` is what was written, or a path, or two of them, or a mark."""

    kind: int
    phase: int
    flags: int
    file: int
    offset: int
    data: bytes

    @property
    def is_sync(self) -> bool:
        """Whether something is on disk when it is over."""
        return self.kind in (SYNC, SYNC_FOLDER) or (self.kind == WRITE and bool(self.flags & _DURABLE))


def read_trace(path: Path) -> list[Operation]:
    """Read a trace, up to a record that a kill cut short."""
    content, at, found = path.read_bytes(), 0, []
    while at + _HEAD.size <= len(content):
        kind, phase, flags, file, offset, length = _HEAD.unpack_from(content, at)
        at += _HEAD.size
        found.append(Operation(kind, phase, flags, file, offset, content[at : at + length]))
        at += length
    if at > len(content):
        found.pop()
    return found


class _Change(NamedTuple):
    """A write, or a truncation (`data` None), that is not synced."""

    offset: int
    data: bytes | None


@dataclass
class Disk:
    """A folder during a trace: what is durable, and what is under way.

    Args:
        base: the folder's files before the trace, all of them durable.
    """

    base: dict[str, bytes]
    names: dict[str, int] = field(default_factory=dict)  # durable; a folder has the number 0
    files: dict[int, bytearray] = field(default_factory=dict)  # durable
    changes: dict[int, list[_Change]] = field(default_factory=dict)
    renames: list[Operation] = field(default_factory=list)  # names not durable yet, in order

    def __post_init__(self) -> None:
        for number, (name, content) in enumerate(self.base.items()):
            self.names[name], self.files[-number - 1] = -number - 1, bytearray(content)
            self.names |= {folder.as_posix(): 0 for folder in PurePosixPath(name).parents}
        self.names["."] = 0
        self._now = dict(self.names)  # as the program sees them
        self._aliases: dict[int, int] = {}

    def take(self, operation: Operation) -> None:
        """Note an operation that is over."""
        file = self._aliases.get(operation.file, operation.file)
        if operation.kind == ATTACH:
            self._aliases[operation.file] = self._now[operation.data.decode()]
        elif operation.kind in (CREATE, RENAME, UNLINK, MKDIR):
            if operation.kind == CREATE:
                self.files[file] = bytearray()
            self.renames.append(operation)
            _rename(self._now, operation)
        elif operation.kind == WRITE and operation.is_sync:
            _write(self.files[file], operation.offset, operation.data)
        elif operation.kind in (WRITE, TRUNCATE):
            data = operation.data if operation.kind == WRITE else None
            self.changes.setdefault(file, []).append(_Change(operation.offset, data))
        elif operation.kind == SYNC:
            for change in self.changes.pop(file, []):
                _apply(self.files[file], change)
        elif operation.kind == SYNC_FOLDER:
            folder = operation.data.decode() or "."
            for done in [one for one in self.renames if folder in _folders(one)]:
                _rename(self.names, done)
                self.renames.remove(done)

    def image(self, current: Operation | None, noise: random.Random) -> dict[str, bytes]:
        """What is left when power is cut while `current` is under way."""
        style = noise.choice(_STYLES)
        names, changes = dict(self.names), {file: list(some) for file, some in self.changes.items()}
        kept = {"lost": 0, "kept": len(self.renames)}.get(style, noise.randint(0, len(self.renames)))
        for operation in self.renames[:kept]:
            _rename(names, operation)
        if current is not None and current.kind == WRITE:
            file = self._aliases.get(current.file, current.file)
            changes.setdefault(file, []).append(_Change(current.offset, current.data))
        contents = {}
        for name, file in names.items():
            if not file or any(folder.as_posix() not in names for folder in PurePosixPath(name).parents):
                continue  # a folder, or a file in one that is not there
            content = bytearray(self.files[file])
            for change in _survivors(changes.get(file, []), style, noise):
                _apply(content, change)
            contents[name] = bytes(content)
        return contents


def crash_points(trace: list[Operation], count: int, noise: random.Random) -> list[int]:
    """Choose operations at which power is cut, in order: half of them a sync or what follows one, some none at all."""
    real = [at for at, one in enumerate(trace) if one.kind not in (MARK, ATTACH)]
    syncs = [at for at in real if trace[at].is_sync]
    near = {min(at + noise.choice((0, 1)), len(trace) - 1) for at in noise.sample(syncs, min(len(syncs), count // 2))}
    rest = [at for at in real if at not in near]
    return sorted(near | set(noise.sample(rest, min(len(rest), count - len(near)))))


def files_of(folder: Path) -> dict[str, bytes]:
    """The files of a folder and below, by their names in a trace."""
    found = sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.endswith("-shm"))
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


def put(image: dict[str, bytes], folder: Path) -> None:
    """Make a folder of an image."""
    for name, content in image.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        path.chmod(0o600)


def _folders(operation: Operation) -> set[str]:
    return {str(PurePosixPath(name.decode()).parent) for name in operation.data.split(b"\0")}


def _rename(names: dict[str, int], operation: Operation) -> None:
    first, _, second = operation.data.decode().partition("\0")
    if operation.kind in (CREATE, MKDIR):
        names[first] = operation.file
    elif operation.kind == UNLINK:
        names.pop(first, None)
    elif operation.kind == RENAME and first in names:
        names[second] = names.pop(first)


def _survivors(changes: list[_Change], style: str, noise: random.Random) -> Iterator[_Change]:
    if style == "lost":
        return
    if style == "prefix" and changes:
        whole = noise.randint(0, len(changes) - 1)
        yield from changes[:whole]
        torn = changes[whole]
        if torn.data is not None:
            yield _Change(torn.offset, torn.data[: noise.randint(0, len(torn.data))])
        return
    for change in changes:
        if style == "kept" or change.data is None:
            if style == "kept" or noise.random() < 0.5:
                yield change
            continue
        for part in _sectors(change):
            chance = noise.random()
            if chance < 1 / 3:
                yield part
            elif style == "garbled" and chance < 2 / 3:
                yield _Change(part.offset, _garbled(part.data or b"", noise))


def _garbled(data: bytes, noise: random.Random) -> bytes:
    if noise.random() < 0.5:
        return noise.randbytes(len(data))
    cut = noise.randint(0, len(data))
    return data[:cut] + bytes(len(data) - cut)


def _sectors(change: _Change) -> Iterator[_Change]:
    data, at = change.data or b"", 0
    while at < len(data):
        size = min(SECTOR - (change.offset + at) % SECTOR, len(data) - at)
        yield _Change(change.offset + at, data[at : at + size])
        at += size


def _apply(content: bytearray, change: _Change) -> None:
    if change.data is not None:
        _write(content, change.offset, change.data)
    elif change.offset < len(content):
        del content[change.offset :]
    else:
        content.extend(bytes(change.offset - len(content)))


def _write(content: bytearray, offset: int, data: bytes) -> None:
    if offset > len(content):
        content.extend(bytes(offset - len(content)))
    content[offset : offset + len(data)] = data
