"""By which clock the rows of each epoch were stamped, and by how much their times are wrong as is known by now.

Decides what a clock that is set means for the epochs before, and how that lies in its table. Rows, blocks and numbers
stay as they were written: `reader.py` moves the times when it is asked. Callers hold the transaction.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from sqlite_utils import Database

from agent.contract import jsonform
from agent.contract.corrections import EXACT_MS, Correction
from agent.contract.errors import RejectedError
from agent.contract.jsonform import MAX_TIME_MS, Fields

DRIFT_MS = EXACT_MS // 10  # the least drift for which a clock is written anew
_MARGIN_MS = 3_600_000  # the longest slot: one that holds an epoch's first reading begins before it
_NONCE = 12
_PURPOSE = b"edgewatt/clock/v1\0"
_STATE = "clocks"  # counter: another number after each change, also where one was undone, so that none is read in vain
_MAX_BYTES = 2**17


@dataclass(frozen=True, slots=True)
class Stamping:
    """The plant clock, as far as it is a steady one.

    Attributes:
        machine: names the start of the machine whose time it counts on from.
        offset_ms: plant time less the time since that start.
        at_ms: the time since that start now.
    """

    machine: str
    offset_ms: int
    at_ms: int


@dataclass(frozen=True, slots=True)
class EpochClock:
    """The clock of one epoch.

    Attributes:
        machine, offset_ms: as in `Stamping`; empty and 0 where only a correction is known.
        began_ms: when the first epoch of that start of the machine began, in time since that start.
        shift_ms, slots_from_ms: as in `Correction`.
        own_times: channels that were not stamped by the clock.
        told: the epoch of the event that says so, 0 where there was none: the last one counts.
    """

    machine: str = ""
    offset_ms: int = 0
    began_ms: int = 0
    shift_ms: int = 0
    slots_from_ms: int = 0
    own_times: tuple[str, ...] = ()
    told: int = 0

    def shift_of(self, channel: str) -> int:
        """Return what is to be added to the times of a channel."""
        return 0 if channel in self.own_times else self.shift_ms

    def told_of(self, one: Correction, own_times: Sequence[str], told: int) -> EpochClock:
        """Return it as an event of epoch `told` says."""
        if told < self.told:
            return self
        return replace(
            self, shift_ms=one.shift_ms, slots_from_ms=one.slots_from_ms, own_times=tuple(own_times), told=told
        )


def create_table(db: Database) -> None:
    """Make the table; a migration of the database."""
    db.execute("CREATE TABLE clock (epoch INTEGER PRIMARY KEY, data BLOB NOT NULL) STRICT")


class ClockTable:
    """Reads and writes the table under one storage key."""

    def __init__(self, db: Database, key: bytes) -> None:
        self._db, self._cipher = db, ChaCha20Poly1305(key)
        self._parsed: dict[tuple[int, bytes], EpochClock | None] = {}
        self._known: dict[int, EpochClock] = {}
        self._wrong: dict[int, EpochClock] = {}
        self._state: object = None  # of the table, as it was read last

    def all(self) -> dict[int, EpochClock]:
        """Return every epoch's clock that is known; a damaged row is left out."""
        self._read()
        return dict(self._known)

    def corrected(self) -> dict[int, EpochClock]:
        """Return those whose times are wrong."""
        self._read()
        return dict(self._wrong)

    def _read(self) -> None:
        """Take in what has changed: one start of the machine may have thousands of epochs, and each query asks."""
        if not self._db.execute("SELECT 1 FROM sqlite_master WHERE name = 'clock'").fetchone():
            return  # read only, from a store that this version has not opened for writing yet
        found = self._db.execute("SELECT value FROM counter WHERE name = ?", [_STATE]).fetchone()
        state = found[0] if found else None  # of a version before this one: not known
        if state is not None and state == self._state:
            return
        rows = {(int(epoch), bytes(data)) for epoch, data in self._db.execute("SELECT epoch, data FROM clock")}
        self._parsed = {row: self._parsed[row] if row in self._parsed else self._parse(*row) for row in rows}
        self._known = {epoch: clock for (epoch, _), clock in self._parsed.items() if clock is not None}
        self._wrong = {epoch: clock for epoch, clock in self._known.items() if clock.shift_ms}
        self._state = state

    def put(self, epoch: int, clock: EpochClock) -> None:
        """Write one."""
        nonce = os.urandom(_NONCE)
        sealed = nonce + self._cipher.encrypt(nonce, jsonform.dumps(asdict(clock)), _PURPOSE + str(epoch).encode())
        self._db.execute("INSERT OR REPLACE INTO clock VALUES (?, ?)", [epoch, sealed])
        self._changed()

    def learn(self, corrections: Sequence[Correction], own_times: Sequence[str], told: int) -> None:
        """Take in an event of epoch `told`."""
        known = self.all()
        for one in corrections:
            before = known.get(one.epoch, EpochClock())
            self.put(one.epoch, before.told_of(one, own_times, told))

    def forget(self, epochs: Sequence[int]) -> None:
        """Forget the clocks of epochs."""
        self._db.conn.executemany("DELETE FROM clock WHERE epoch = ?", [(epoch,) for epoch in epochs])
        self._changed()

    def _changed(self) -> None:
        self._db.execute("INSERT OR REPLACE INTO counter VALUES (?, ?)", [_STATE, secrets.randbits(62)])

    def _parse(self, epoch: int, data: bytes) -> EpochClock | None:
        try:
            plain = self._cipher.decrypt(data[:_NONCE], data[_NONCE:], _PURPOSE + str(epoch).encode())
            fields = Fields(jsonform.loads(plain, where="clock", max_bytes=_MAX_BYTES), "clock")
            return EpochClock(**{**fields.as_dict(), "own_times": tuple(fields.items("own_times", 1024))})
        except (InvalidTag, ValueError, TypeError, RejectedError):  # ValueError: shorter than a nonce
            return None


class Clocks:
    """What the writer knows of its epochs: of those before, and of the present one.

    Attributes:
        known: by epoch.
        unsaved: those of them that are to be written with the next transaction, before any of their readings.
        drifted: those that are to be written anew with the next transaction, whatever is on disk before.
        aside_ms: how far this run's clock was ahead of the run's before, where its rows were stamped before that was
            known: they are to be brought together. 0 where they agree.
    """

    def __init__(self) -> None:
        self.known: dict[int, EpochClock] = {}
        self.unsaved: set[int] = set()
        self.drifted: set[int] = set()
        self.aside_ms = 0

    def open(
        self,
        table: ClockTable,
        epoch: int,
        stamping: Stamping | None,
        *,
        late: bool,
        held: Callable[[], Collection[int] | None],
    ) -> None:
        """Begin in a database, in a transaction: what is known of one before this goes there.

        The clock of a run before this one goes on as it was, while the machine was not started anew; but where it is
        `late`, and rows were stamped already. What is known of other starts of the machine is forgotten where there is
        nothing to correct: `held` tells the epochs of which there are rows here, None where that is not known.
        """
        here = table.all()
        for before, clock in self.known.items():
            if before not in here:
                table.put(before, clock)
        self.known = here | self.known
        if stamping is None:
            return
        others = {one: clock for one, clock in self.known.items() if clock.machine != stamping.machine}
        kept = {one for one, clock in others.items() if clock.shift_ms}
        if kept and (rows := held()) is not None:
            kept &= set(rows)
        gone = [one for one in others if one not in kept]
        table.forget(gone)
        for one in gone:
            del self.known[one]
        last = self.begin(epoch, stamping)
        aside_ms = 0 if last is None else stamping.offset_ms - last.offset_ms
        if late and abs(aside_ms) > EXACT_MS:
            self.known[epoch] = replace(self.known[epoch], offset_ms=stamping.offset_ms)
            self.aside_ms = aside_ms
        self.save(table)

    def begin(self, epoch: int, stamping: Stamping) -> EpochClock | None:
        """Note a new epoch: its clock is that of the epoch before, which is returned, in one start of the machine."""
        same = [one for one, clock in self.known.items() if clock.machine == stamping.machine and one < epoch]
        last = self.known[max(same)] if same else None
        clock = EpochClock(stamping.machine, stamping.offset_ms, stamping.at_ms)
        if last is not None:
            clock = EpochClock(last.machine, last.offset_ms, last.began_ms)
        self.known[epoch] = clock
        self.unsaved.add(epoch)
        return last

    def save(self, table: ClockTable) -> None:
        """Write, in a transaction, what is to be written; `saved` once it is on disk."""
        for epoch in self.unsaved | self.drifted:
            table.put(epoch, self.known[epoch])

    def saved(self) -> None:
        """Note that what was to be written is on disk."""
        self.unsaved.clear()
        self.drifted.clear()

    def note(self, epoch: int, offset_ms: int, least_ms: int = DRIFT_MS) -> None:
        """Note how far the clock of the present epoch has come by going faster or slower, from `least_ms` on."""
        clock = self.known.get(epoch)
        if clock is not None and abs(clock.offset_ms - offset_ms) >= least_ms:
            self.known[epoch] = replace(clock, offset_ms=offset_ms)
            self.drifted.add(epoch)

    def of_start(self, epoch: int) -> int:
        """Return how many epochs there are of the start of the machine that `epoch` is of."""
        present = self.known.get(epoch)
        return 0 if present is None else sum(clock.machine == present.machine for clock in self.known.values())

    def corrected(self, epoch: int, offset_ms: int, first_ms: int | None, *, slots: bool) -> list[Correction]:
        """Return what the epochs of this start of the machine are to be corrected by when `epoch` has another clock.

        Those that are told of as they are to be are left out.

        Args:
            epoch: that begins now.
            offset_ms: of its clock.
            first_ms: by the clock until now, start of the first slot that can be made anew.
            slots: whether slots were made by this clock.
        """
        present = self.known[epoch]
        began_ms = present.began_ms - _MARGIN_MS
        if first_ms is not None:
            began_ms = max(began_ms, first_ms - present.offset_ms - EXACT_MS)  # so far the epochs' clocks may differ
        shifts = {
            one: offset_ms - clock.offset_ms
            for one, clock in self.known.items()
            if clock.machine == present.machine and one != epoch
        }
        shifts = {one: 0 if abs(shift_ms) <= EXACT_MS else shift_ms for one, shift_ms in shifts.items()}
        # Their slots count again: what was made in their place does not, also where it cannot be made anew.
        again = [self.known[one].slots_from_ms for one in shifts if self.known[one].shift_ms and not shifts[one]]
        found = []
        for one, shift_ms in shifts.items():
            clock = self.known[one]
            if shift_ms == clock.shift_ms:
                continue
            from_ms = max(0, began_ms + min(clock.offset_ms, offset_ms)) if slots else MAX_TIME_MS
            before = [clock.slots_from_ms] if clock.shift_ms else []  # what did not count never does
            found.append(Correction(one, shift_ms, min([from_ms, *before, *again])))
        return sorted(found)

    def after(
        self, corrections: Sequence[Correction], own_times: Sequence[str], epoch: int, offset_ms: int
    ) -> Mapping[int, EpochClock]:
        """Return what changes by them, the clock of `epoch` included, which tells them."""
        changed = {one.epoch: self.known[one.epoch].told_of(one, own_times, epoch) for one in corrections}
        return {**changed, epoch: replace(self.known[epoch], offset_ms=offset_ms)}
