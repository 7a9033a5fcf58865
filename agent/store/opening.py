"""Opening the database, and beginning another in the place of one that is damaged.

Decides what of a file is believed at a start: which epoch begins, what the ring holds, what is lost and what is to be
salvaged. Reads counters and the journal, never all rows. When it is tried is decided in `guard.py`.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from agent.contract.errors import StorageError
from agent.contract.rows import event_row
from agent.store import retention
from agent.store.damage import aside, ends
from agent.store.damage.ends import Place
from agent.store.damage.legacy import Legacy
from agent.store.damage.salvage import Salvage
from agent.store.damage.scrub import Scrub
from agent.store.identity import Identity
from agent.store.journal import Journal
from agent.store.mending import Mending
from agent.store.reader import Reader
from agent.store.schema import DamagedError, open_database, transaction
from agent.store.shelves import Shelves
from agent.store.stats import newest_epoch

_log = logging.getLogger(__name__)


class Opening:
    """Fills a journal from its database, and lets go of it again.

    Args:
        journal: what is filled.
        mending: tells and declares what the database has lost.
        path: the database file.
        identity: storage key, boot and epoch; epochs begin here.
        channels: names of the readings' channels.
        now_ms: plant clock.
    """

    def __init__(
        self,
        journal: Journal,
        mending: Mending,
        path: Path,
        identity: Identity,
        channels: Iterable[str],
        now_ms: Callable[[], int],
    ) -> None:
        self._journal, self._mending, self._path, self._identity = journal, mending, path, identity
        self._channels, self._now_ms = list(channels), now_ms
        self._first_stamping = journal.stamping()  # rows may be stamped from here on, however late it is opened
        self._late = False
        self._legacy = Legacy(path)
        self._places: dict[Path, tuple[int, int]] = {}

    def open(self) -> None:
        """Open the database, or make it.

        Raises:
            DamagedError: when it is damaged or encrypted under another key.
            StorageError: when the disk cannot be used.
        """
        journal, identity = self._journal, self._identity
        late, self._late = self._late, True
        identity.settle()  # before all else: an epoch that is not on disk could be drawn once more
        if not self._path.exists():
            aside.set_aside(self._path, identity.epoch)  # a log without its database
        removed = ends.find(identity.ends(), identity.storage_key)
        db = open_database(self._path)
        try:
            journal.shelves = shelves = Shelves(db, identity.storage_key, self._path)
            journal.reader = Reader(shelves, self._path)
            journal.salvage = salvage = Salvage(
                shelves, identity, self._path, journal.check, journal.transaction, self._now_ms
            )
            with transaction(db, self._path):
                self._check_key()
                told = shelves.told_ends()
                why = shelves.open_ring()
                newest = self._load(told, late=late)
                # Nothing is in it yet, whoever made it: a start before this one, which got no further, may have.
                self._mending.begin({} if why else told if newest else removed, removed=not newest)
                # What is salvaged may have them, and the centre asks for those that it misses.
                lost = [] if salvage.is_due else shelves.lost_from_ring(newest)
                journal.scrub = Scrub(shelves, self._path, self._now_ms, journal.reader.damaged)
            salvage.look()
            self._places = {path: _inode(path) for path in (self._path, shelves.ring.path)}
        except BaseException:
            journal.shelves.close()
            raise
        with contextlib.suppress(StorageError):
            if why:
                self._tell(f"the store {why}: what can be read there is salvaged")
            if lost:
                journal.buffers["events"].extend(retention.gap_rows(lost, "damaged in the journal", self._now_ms()))
                journal.change()  # before anything is written where they were
            if not salvage.is_due and not self._legacy.waits:
                self._mending.declare_behind()
            self._mending.note_beside()

    def begin_anew(self, reason: DamagedError) -> None:
        """Set the damaged database aside and open a new one under a new epoch; rows in memory go there.

        Raises:
            StorageError: when the disk cannot be used; to be called again then.
        """
        journal, legacy = self._journal, self._legacy
        self._identity.new_epoch()  # first: not even the old database without its log may give a number out twice
        legacy.set_aside(self._identity.epoch)
        self.open()
        try:
            # Nothing in memory goes along: were this to fail, the ring of the new database would be no more.
            with transaction(journal.shelves.db, self._path):
                legacy.settle(journal.shelves, journal.salvage)
        except BaseException:
            journal.shelves.close()
            raise
        name = legacy.name
        legacy.clear()
        aside_as = f"it was set aside as {name}" if name else "nothing of it is left"
        with contextlib.suppress(StorageError):  # the event stays in memory then
            if not journal.salvage.is_due:
                self._mending.declare_behind()
            self._tell(f"the store {reason.what}; {aside_as} and a new one was begun", set_aside=name)

    def give_up(self) -> None:
        """Close a database that is damaged. What waits in the ring is as it was written: it goes to the next one."""
        self._mending.note_beside()  # it may be all that is left
        self._legacy.of(self._journal.shelves, self._identity.epoch, self._journal.durable)
        self._journal.shelves.close()

    def close(self, *, well: bool) -> None:
        """Close the database; one that is well tells how far it went."""
        if well:
            self._mending.note_beside()
        self._journal.shelves.close()

    def check_place(self) -> None:
        """See that the files are where they were opened: what is written to a file without a name is lost.

        Raises:
            DamagedError: when the database or its ring was removed or replaced.
        """
        for path, opened in self._places.items():
            try:
                found = _inode(path)
            except FileNotFoundError:
                raise DamagedError("was removed while it was open", where=str(path)) from None
            if found != opened:
                raise DamagedError("was replaced while it was open", where=str(path))

    def _check_key(self) -> None:
        shelves = self._journal.shelves
        tag = shelves.tag("key check")
        shelves.db.execute("INSERT OR IGNORE INTO meta VALUES ('key_check', ?)", [tag])
        if shelves.db.execute("SELECT value FROM meta WHERE name = 'key_check'").fetchone()[0] != tag:
            raise DamagedError("is encrypted under another storage key", where=str(self._path))

    def _load(self, told: Mapping[Place, int], *, late: bool) -> int:
        """Begin an epoch, and return the newest one before it."""
        journal, shelves, reader = self._journal, self._journal.shelves, self._journal.reader
        newest = newest_epoch(shelves)
        if newest >= self._identity.epoch:  # the identity is older than the store
            self._identity.new_epoch(above=newest)
        stamping = journal.stamping()
        if stamping is not None and self._first_stamping is not None:
            stamping = replace(stamping, at_ms=self._first_stamping.at_ms)
        journal.pieces = shelves.journal()
        journal.clocks.open(shelves.clocks, self._identity.epoch, stamping, late=late, held=self._held)
        journal.births += 1
        journal.ended = journal.newest_ends()
        shelves.forget_epochs(before=self._identity.epoch, told={epoch for epoch, _ in told})
        journal.renumber()
        last_ms = journal.check.last_ms
        for channel, time_ms in reader.channel_times(self._channels).items():
            last_ms[channel] = max(time_ms, last_ms.get(channel, time_ms))
        return newest

    def _held(self) -> set[int] | None:
        """Return the epochs of which there are rows here; None where that is not known."""
        shelves = self._journal.shelves
        if shelves.thinned.has_any() or aside.names(self._path):
            return None  # thinned values do not tell theirs, and what was set aside may come back
        return {state.epoch for state in shelves.states() if state.rows} | {
            piece.epoch for piece in self._journal.pieces
        }

    def _tell(self, text: str, **more: Any) -> None:
        _log.warning("%s", text)
        event = event_row(self._now_ms(), "store", text, epoch=self._identity.epoch, **more)
        self._journal.buffers["events"].extend([event])
        self._journal.change()


def _inode(path: Path) -> tuple[int, int]:
    about = path.stat()
    return about.st_dev, about.st_ino
