"""Sealed runs of readings in the ring, with what their headers say. No transaction, no key."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from agent.contract.blocks import HEAD_BYTES, MAX_ROWS, BlockHeader, sealed_header
from agent.contract.errors import RejectedError
from agent.store import ring
from agent.store.pieces import RING, Piece
from agent.store.ring import Ring

_SAID = re.compile(rb'"(epoch|count|first|last)":(\d{1,15})')  # of a header, whatever else in it is damaged


class RingShelf:
    """The ring of one database: opened by its writer, or looked at by a reader."""

    _ring: Ring

    def __init__(self, path: Path) -> None:
        self.path = path
        self.is_open = False
        self._found: dict[int, tuple[Piece, bytes]] = {}

    def create(self) -> bytes:
        """Make an empty file and return its name.

        Raises:
            OSError: when the disk is full or the folder cannot be written.
        """
        return ring.create(self.path)

    def open(self, ident: bytes, released: int) -> None:
        """Open for writing.

        Raises:
            OSError: when it cannot be opened or read.
            DamagedRingError: when it is not the ring of that name.
        """
        self._ring = Ring(self.path, ident, released)
        self.is_open = True
        self._found = _pieces(self._ring.held())

    def look(self, ident: bytes, released: int) -> None:
        """See what is in the file at present.

        Raises:
            OSError: when it cannot be read.
            DamagedRingError: when it is not the ring of that name.
        """
        found = ring.scan(self.path, ident)
        self._found = _pieces({number: data for number, (_, data) in found.items() if number > released})

    def close(self) -> None:
        """Close the file."""
        if self.is_open:
            self._ring.close()
            self.is_open = False

    def put(self, header: BlockHeader, data: bytes) -> Piece:
        """Write a sealed run; it is on disk then.

        Raises:
            RingFullError: when there is no room for it.
            StorageError: when the disk fails.
        """
        piece = _piece(self._ring.append(data), header, len(data))
        self._found[piece.id] = piece, data
        return piece

    def note(self, data: bytes) -> None:
        """Write a small thing beside the runs; where the disk fails, the one before stays."""
        if self.is_open:
            with contextlib.suppress(OSError):
                self._ring.note(data)

    def pieces(self) -> list[Piece]:
        """List what is held, in the order in which it was written."""
        return [piece for piece, _ in self._found.values()]

    def data(self, piece: Piece) -> bytes | None:
        """Return a run as it was put; None where it is not held."""
        return self._found[piece.id][1] if piece.id in self._found else None

    def drop(self, pieces: Iterable[Piece]) -> None:
        """Take pieces from the list; they are released with those after them."""
        for piece in pieces:
            self._found.pop(piece.id, None)

    def release(self, through: int) -> None:
        """Let what was written up to this number be written over."""
        self._ring.release(through)
        self._found = {number: one for number, one in self._found.items() if number > through}

    def lost_after(self, epoch: int, last: int) -> int:
        """Return up to which number of an epoch a damaged record at the end tells of rows beyond `last`; 0 where none.

        Its header is believed where it goes on from `last`. A power cut that tore it cannot be told from a bit that
        flipped since: numbers that were never durable are then declared, too, and never given out again.
        """
        for data in self._ring.after_last():
            said = {name: int(value) for name, value in _SAID.findall(data[:HEAD_BYTES])}
            begin, end, count = (said.get(name, 0) for name in (b"first", b"last", b"count"))
            if said.get(b"epoch") == epoch and last + 1 in (begin, end - count + 1):
                return min(max(end, last + count), last + MAX_ROWS)
        return 0

    @property
    def last(self) -> int:
        """The highest number given out."""
        return self._ring.last

    @property
    def used(self) -> float:
        """Which share of the file is held; 0 while it is not open."""
        return self._ring.used() if self.is_open else 0.0


def _pieces(found: Mapping[int, bytes]) -> dict[int, tuple[Piece, bytes]]:
    pieces = {}
    for number, data in found.items():
        with contextlib.suppress(RejectedError):  # its check was right and it is no block: nothing that was put here
            pieces[number] = _piece(number, sealed_header(data), len(data)), data
    return pieces


def _piece(number: int, head: BlockHeader, size: int) -> Piece:
    place = (head.stream, head.epoch, head.boot, head.first, head.last, head.start_ms, head.end_ms)
    return Piece(RING, number, *place, size)
