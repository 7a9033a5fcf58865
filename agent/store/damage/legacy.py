"""What goes from a damaged database to the one that is begun in its place, also when a first attempt to do so fails."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path

from agent.contract.blocks import Block
from agent.contract.errors import RejectedError
from agent.store import packing
from agent.store.damage import aside
from agent.store.damage.salvage import Salvage
from agent.store.pieces import Piece
from agent.store.shelves import Shelves


class Legacy:
    """What is known of the old database, from `of` and `set_aside` until `clear`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._blocks: dict[Piece, Block] = {}
        self._lasts: dict[tuple[int, str], int] = {}
        self.name = ""

    def of(self, shelves: Shelves, epoch: int, durable: Mapping[str, int]) -> None:
        """Keep what waits in the ring, which is as it was written, and the last durable number of each stream."""
        for piece in shelves.ring.pieces():
            with contextlib.suppress(RejectedError):
                self._blocks[piece] = shelves.open(piece)
        self._lasts = {(epoch, stream): last for stream, last in durable.items()}

    @property
    def waits(self) -> bool:
        """Whether there is something that `settle` has still to write."""
        return bool(self._blocks)

    def set_aside(self, epoch: int) -> None:
        """Set the old database aside, or remove what an attempt before has begun in its place.

        Raises:
            StorageError: when the folder cannot be written.
        """
        if self.name:
            aside.discard(self._path)
        else:
            self.name = aside.set_aside(self._path, epoch)

    def settle(self, shelves: Shelves, salvage: Salvage) -> None:
        """Write what is known to the new database, in a transaction."""
        for run in packing.runs(self._blocks):
            shelves.put_block(packing.join([self._blocks[piece] for piece in run]))
        if self.name:
            salvage.expect(self.name, self._lasts)

    def clear(self) -> None:
        """Forget it: the new database holds it."""
        self._blocks.clear()
        self._lasts.clear()
        self.name = ""
