"""Finds the blocks in what is left of a store: in the pages of its database, in its log, in its ring.

Of damaged files nothing is believed but a block that opens under the storage key: no page header, no pointer of a page
to its rows, no column, index or counter is asked. Decides where a block may begin and how it may go on; reads through
the function that it is given, and writes nothing.

A block that is too large for its page goes on in a chain of others (SQLite's file format, section 1.6): where the first
one is named depends on how much stands before the block in its row, which is not known. All ways are tried; the seal
tells which is right.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from agent.contract.blocks import AT_REST, HEAD_BYTES, MAX_STORED_BYTES, Block, BlockHeader, sealed_head, unseal_block
from agent.contract.errors import RejectedError
from agent.store.damage import logform
from agent.store.damage.logform import PAGE

DATABASE, LOG, RING = "", "-wal", "-ring"  # as their names end
Read = Callable[[str, int, int], bytes]  # of a part, from a place on, so many bytes: fewer at its end, none beyond
_Page = Callable[[int], bytes]

_MOST_LOCAL = PAGE - 35  # of a row in its own page
_LEAST_LOCAL = (PAGE - 12) * 32 // 255 - 23
_IN_CHAIN = PAGE - 4
_BEFORE = range(12, 128)  # bytes of a row before its block, at the least and at the most
_MOST_FRAMES = 65_536
_GENERATIONS = 3  # of the log: it is written over from its beginning, and the end of an older one may be left


@dataclass(frozen=True, slots=True)
class Find:
    """Where a block seems to begin, and what it says of itself; nothing vouches for that before it is opened."""

    part: str
    at: int
    size: int
    header: BlockHeader


class Carver:
    """Carves one set of files.

    Args:
        read: how they are read.
        key: the storage key.
    """

    def __init__(self, read: Read, key: bytes) -> None:
        self._read, self._key = read, key

    def search(self, part: str, at: int, size: int) -> list[Find]:
        """List what seems to begin in these bytes of a part; `HEAD_BYTES` more are read."""
        content = self._read(part, at, size + HEAD_BYTES)
        found = []
        place = content.find(AT_REST)
        while 0 <= place < size:
            with contextlib.suppress(RejectedError):
                header, length = sealed_head(content[place : place + HEAD_BYTES])
                if length <= MAX_STORED_BYTES:
                    found.append(Find(part, at + place, length, header))
            place = content.find(AT_REST, place + 1)
        return found

    def open(self, part: str, at: int, size: int) -> tuple[Block, bytes] | None:
        """Return a block that begins here, opened and as it is sealed; None where nothing opens."""
        for data in self._ways(part, at, size):
            with contextlib.suppress(RejectedError):
                return unseal_block(data, self._key), data
        return None

    def _ways(self, part: str, at: int, size: int) -> Iterator[bytes]:
        """All the ways in which the bytes of a block may lie."""
        if part == RING:
            yield self._read(part, at, size)
            return
        if part == DATABASE:
            room = PAGE - at % PAGE
        else:
            room = PAGE - (at - logform.HEAD_BYTES - logform.FRAME_HEAD_BYTES) % logform.FRAME_BYTES
        here = self._read(part, at, max(room, 0))
        if size <= len(here):
            yield here[:size]
        pages = [*self._logs, self._of_database] if part == LOG else [self._of_database, *self._logs]
        for length in _local_lengths(size):
            first = int.from_bytes(here[length : length + 4]) if length + 4 <= len(here) else 0
            for page in pages if first else ():
                data = _follow(here[:length], size, first, page)
                if data is not None:
                    yield data

    def _of_database(self, number: int) -> bytes:
        return self._read(DATABASE, (number - 1) * PAGE, PAGE)

    @functools.cached_property
    def _logs(self) -> list[_Page]:
        """For each generation of the log: a page as it stands there last, else as the database has it."""
        places: dict[bytes, dict[int, int]] = {}
        for frame in range(_MOST_FRAMES):
            at = logform.HEAD_BYTES + frame * logform.FRAME_BYTES
            head = self._read(LOG, at, logform.FRAME_HEAD_BYTES)
            if len(head) < logform.FRAME_HEAD_BYTES:
                break
            number = int.from_bytes(head[logform.PAGE_NUMBER])
            places.setdefault(head[logform.SALTS], {})[number] = at + logform.FRAME_HEAD_BYTES

        def page_of(generation: dict[int, int]) -> _Page:
            def page(number: int) -> bytes:
                at = generation.get(number)
                return self._of_database(number) if at is None else self._read(LOG, at, PAGE)

            return page

        return [page_of(generation) for generation in list(places.values())[:_GENERATIONS]]


@functools.lru_cache(maxsize=4096)
def _local_lengths(size: int) -> tuple[int, ...]:
    """How many bytes of a block of this size may lie in the page in which it begins, where it goes on in others."""
    lengths = set()
    for before in _BEFORE:
        row = before + size
        if row > _MOST_LOCAL:
            local = _LEAST_LOCAL + (row - _LEAST_LOCAL) % _IN_CHAIN
            lengths.add((local if local <= _MOST_LOCAL else _LEAST_LOCAL) - before)
    return tuple(sorted(lengths))


def _follow(begun: bytes, size: int, number: int, page: _Page) -> bytes | None:
    """Return a block that goes on in this page and in those that it leads to; None where the chain is too short."""
    parts, left = [begun], size - len(begun)
    while left > 0:
        content = page(number) if number > 1 else b""
        part = content[4 : 4 + left]
        if len(part) < min(left, _IN_CHAIN):
            return None
        parts.append(part)
        left -= len(part)
        number = int.from_bytes(content[:4])
    return b"".join(parts)
