"""The journal of readings: a file of fixed size, written around itself in whole sectors, past the page cache.

A second of readings, sealed, is some 400 bytes. As a row of SQLite it dirties two or three pages of its log, and the
file system writes as much again to its own journal; here it is one sector, and a full disk does not stop it. The file
belongs to its database: up to which number records have become blocks stands there, and is changed with them.

Decides how records lie in the file and which may be written over; not what is in them.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import stat
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

from agent.contract.durable import fsync_folder
from agent.contract.errors import StorageError

SIZE_BYTES = 2**20  # of the file: at one write a second, what half an hour brings
MAX_RECORD_BYTES = 2**18
IDENT_BYTES = 16
_MAGIC, _HEAD_MAGIC = b"EWR1", b"EWRH"  # of a record; of the file, before its name
_HEAD = struct.Struct(">4sQII")  # magic, number, length of the data, CRC-32 of the ring's name and all of these
_SECTOR, _LARGEST_SECTOR = 512, 4096
_LEAST_BYTES = 2 * _LARGEST_SECTOR
_MOST_BYTES = 64 * SIZE_BYTES  # a larger one is no ring of any version, and is not read
_FIRST = _LARGEST_SECTOR  # where records begin: before them stand the name and two notes
NOTE_BYTES = 3 * _SECTOR
_NOTES = (_SECTOR, _SECTOR + NOTE_BYTES)  # written in turn: one is whole whatever happens to the other
# How the file is opened, and what its writes are aligned to: the first way that the file system allows.
_WAYS = ((os.O_DIRECT, _SECTOR), (os.O_DIRECT, _LARGEST_SECTOR), (0, _SECTOR))


class RingFullError(Exception):
    """There is no room for a record before others are let go, or it is too large."""


class DamagedRingError(Exception):
    """The file is not the ring that was asked for."""


class Ring:
    """Numbered records, each durable when `append` returns, kept until `release`.

    Invariants: numbers rise by one and none is used twice, not even that of a failed write; a record that is held is
    never written over; a torn or garbled one is not found again, the others are.

    Attributes:
        last: the highest number given out.

    Args:
        path: the file; `create` has made it.
        ident: what `create` returned; records of another ring are not seen.
        released: records up to this number are held no longer.

    Raises:
        OSError: when the file cannot be opened or read.
        DamagedRingError: when it is not that ring, or not whole.
    """

    def __init__(self, path: Path, ident: bytes, released: int) -> None:
        self._path, self._ident = path, ident
        self._buffer = mmap.mmap(-1, MAX_RECORD_BYTES)  # aligned to a page, as writes past the cache must be
        self._file, self._sector = self._open(path)
        try:
            found = scan(path, ident)
        except BaseException:
            os.close(self._file)
            raise
        self._size = os.fstat(self._file).st_size // self._sector * self._sector
        # By number, the oldest first; with their data, some ten thousand bytes, which are wanted again soon.
        self._held = {number: place for number, place in found.items() if number > released}
        self._used = sum(self._sectors(len(data)) for _, data in self._held.values())
        self.last = max([released, *found])
        self._next = _FIRST
        if self.last in found:
            at, data = found[self.last]
            self._next = at + self._sectors(len(data))
        self._noted = 0
        # Written in smaller sectors before: what is held must go first, or it would be written over.
        self._waits = bool(self._next % self._sector)

    def _open(self, path: Path) -> tuple[int, int]:
        for flag, sector in _WAYS:
            with contextlib.suppress(OSError):
                file = os.open(path, os.O_RDWR | os.O_DSYNC | os.O_CLOEXEC | flag)
                try:
                    os.preadv(file, [memoryview(self._buffer)[:sector]], sector)
                except OSError:
                    os.close(file)
                    continue
                return file, sector
        return os.open(path, os.O_RDWR | os.O_DSYNC | os.O_CLOEXEC), _SECTOR  # says why not

    def append(self, data: bytes) -> int:
        """Write a record and return its number; it is on disk then.

        Raises:
            RingFullError: when it does not fit; nothing has changed.
            StorageError: when the disk fails; the number is used up.
        """
        size = self._sectors(len(data))
        at = self._room(size)
        if at is None:
            raise RingFullError
        self.last += 1
        number = self.last
        check = _check(self._ident, number, data)
        self._buffer[:size] = (_HEAD.pack(_MAGIC, number, len(data), check) + data).ljust(size, b"\0")
        try:
            written = os.pwritev(self._file, [memoryview(self._buffer)[:size]], at)
        except OSError as exc:
            raise StorageError(f"cannot be written ({exc.strerror})", where=str(self._path)) from exc
        if written != size:
            raise StorageError("was written in part only", where=str(self._path))
        self._held[number] = (at, data)
        self._used += size
        self._next = at + size
        return number

    def note(self, data: bytes) -> None:
        """Write a small thing beside the records, in place of the one before the last.

        Where sectors are large there is no place for one: the name stands in the first.

        Raises:
            OSError: when the disk fails.
        """
        if self._sector == _SECTOR:
            self._buffer[:NOTE_BYTES] = data.ljust(NOTE_BYTES, b"\0")
            os.pwritev(self._file, [memoryview(self._buffer)[:NOTE_BYTES]], _NOTES[self._noted % 2])
            self._noted += 1

    def held(self) -> dict[int, bytes]:
        """The records that are held, by number, in order."""
        return {number: data for number, (_, data) in self._held.items()}

    def after_last(self) -> list[bytes]:
        """What stands where the record after the last one would, without its head: at most two candidates.

        It may be of a record that was cut short, or of a whole one that is damaged since, or of long ago.
        """
        places = dict.fromkeys((self._next, _FIRST))
        found = []
        for at in places:
            if at + _SECTOR <= self._size:
                count = os.preadv(
                    self._file, [memoryview(self._buffer)[:_LARGEST_SECTOR]], at // self._sector * self._sector
                )
                begin = at % self._sector + _HEAD.size
                found.append(bytes(self._buffer[begin:count]))
        return found

    def used(self) -> float:
        """Which share of the file is held."""
        return self._used / (self._size - _FIRST)

    def release(self, through: int) -> None:
        """Let records up to this number be written over."""
        for number in [number for number in self._held if number <= through]:
            self._used -= self._sectors(len(self._held.pop(number)[1]))

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)

    def _sectors(self, length: int) -> int:
        return -(-(_HEAD.size + length) // self._sector) * self._sector

    def _room(self, size: int) -> int | None:
        """Where a record of so many bytes may lie: after the last one, or where the first one lay."""
        if size > MAX_RECORD_BYTES:
            return None
        oldest = next(iter(self._held.values()), None)
        if self._waits:
            if oldest is not None:
                return None
            self._waits, self._next = False, _FIRST
        if oldest is None or self._next > oldest[0]:
            if self._next + size <= self._size:
                return self._next
            return _FIRST if _FIRST + size <= (self._size if oldest is None else oldest[0]) else None
        return self._next if self._next + size <= oldest[0] else None


def create(path: Path) -> bytes:
    """Make an empty ring in place of any that is there, and return its name.

    Raises:
        OSError: when the disk is full or the folder cannot be written; there is none then.
    """
    ident = os.urandom(IDENT_BYTES)
    try:
        with path.open("wb") as file:
            path.chmod(0o600)
            # Not only reserved: the first lap, too, is to write nothing but its sectors.
            file.write((_HEAD_MAGIC + ident).ljust(SIZE_BYTES, b"\0"))
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        path.unlink(missing_ok=True)
        raise
    fsync_folder(path.parent)
    return ident


def scan(path: Path, ident: bytes) -> dict[int, tuple[int, bytes]]:
    """Return the whole records of a file by number, in order: where each lies, and its data. Old ones are among them.

    Raises:
        OSError: when it cannot be read.
        DamagedRingError: when it is not the ring of that name, or not whole.
    """
    about = path.stat()
    if not stat.S_ISREG(about.st_mode) or about.st_size > _MOST_BYTES:
        raise DamagedRingError
    content = path.read_bytes()
    if not content.startswith(_HEAD_MAGIC + ident) or len(content) < _LEAST_BYTES or len(content) % _LARGEST_SECTOR:
        raise DamagedRingError
    return dict(sorted(_records(content, ident)))


def _records(content: bytes, ident: bytes) -> Iterator[tuple[int, tuple[int, bytes]]]:
    at = content.find(_MAGIC)
    while at >= 0:
        if at % _SECTOR == 0 and at + _HEAD.size <= len(content):
            number = _HEAD.unpack_from(content, at)[1]
            data = _record(content, at, ident, number)
            if data is not None:
                yield number, (at, data)
        at = content.find(_MAGIC, at + 1)


def _record(content: bytes, at: int, ident: bytes, number: int) -> bytes | None:
    magic, stated, length, check = _HEAD.unpack_from(content, at)
    begin = at + _HEAD.size
    data = content[begin : begin + length]
    whole = (magic, stated, len(data)) == (_MAGIC, number, length) and check == _check(ident, number, data)
    return data if whole else None


def _check(ident: bytes, number: int, data: bytes) -> int:
    return zlib.crc32(data, zlib.crc32(ident + number.to_bytes(8) + len(data).to_bytes(4)))
