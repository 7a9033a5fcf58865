"""What a salvage knows, in tables of the database that goes on: so it is there again after a kill.

Decides how that lies in the tables, and in which order what was found is taken; callers hold the transaction.
"""
# ruff: noqa: S608 - table and column names are this room's constants; values are always bound

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from sqlite_utils import Database

from agent.store.damage.carving import Find

SEARCH, TAKE, JUDGE, DECLARE, DONE = "search", "take", "judge", "declare", "done"
Place = tuple[int, str]  # epoch and stream

_STATE = "name, phase, at, bytes, blocks, rows, known, damaged, lost_rows, began_ms"
_FOUND = "turn, epoch, stream, first, last, part, at, size"


def create_tables(db: Database) -> None:
    """Make the tables; a migration of the database."""
    counts = ", ".join(
        f"{name} INTEGER NOT NULL DEFAULT 0" for name in ("blocks", "rows", "known", "damaged", "lost_rows")
    )
    db.execute(
        "CREATE TABLE salvage (name TEXT PRIMARY KEY, phase TEXT NOT NULL, at INTEGER NOT NULL DEFAULT 0,"
        f" bytes INTEGER NOT NULL, {counts}, began_ms INTEGER NOT NULL) STRICT, WITHOUT ROWID"
    )
    # In the order of taking: of what holds the same rows the longest first.
    db.execute(
        "CREATE TABLE salvage_found (name TEXT NOT NULL, failed INTEGER NOT NULL, turn INTEGER NOT NULL,"
        " epoch INTEGER NOT NULL, stream TEXT NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL,"
        " part TEXT NOT NULL, at INTEGER NOT NULL, size INTEGER NOT NULL,"
        " PRIMARY KEY (name, failed, turn, epoch, stream, first, last DESC, part, at)) STRICT, WITHOUT ROWID"
    )
    db.execute(
        "CREATE TABLE salvage_end (name TEXT NOT NULL, epoch INTEGER NOT NULL, stream TEXT NOT NULL,"
        " last INTEGER NOT NULL, exact INTEGER NOT NULL, told INTEGER NOT NULL DEFAULT 0,"
        " PRIMARY KEY (name, epoch, stream)) STRICT, WITHOUT ROWID"
    )


@dataclass(frozen=True, slots=True)
class SalvageState:
    """How far the salvage of one store has come.

    Attributes:
        name: what it is set aside as.
        phase: `search`, `take`, `judge`, `declare` or `done`.
        at: how many of its `bytes` were searched.
        blocks, rows: that came back.
        known: blocks whose rows were held already.
        damaged: blocks that did not open and whose rows nothing else holds; where there are none, holes between rows
            of which nothing was found.
        lost_rows: that did not come back and were declared. Those that had left before are among them, where no mark
            told so: the centre knows which of them it has.
    """

    name: str
    phase: str
    at: int
    bytes: int
    blocks: int
    rows: int
    known: int
    damaged: int
    lost_rows: int
    began_ms: int

    @property
    def is_whole(self) -> bool:
        """Whether it is over and everything that was found came back."""
        return self.phase == DONE and self.blocks + self.known > 0 and not self.damaged


@dataclass(frozen=True, slots=True)
class Found:
    """Where something lies that looks like a block of these rows."""

    turn: int
    epoch: int
    stream: str
    first: int
    last: int
    part: str
    at: int
    size: int


@dataclass(frozen=True, slots=True)
class End:
    """How far a stream of an epoch went.

    Attributes:
        last: the greatest number that is known.
        exact: whether there was none beyond it that was durable.
        told: up to where what is lost has been declared.
    """

    last: int
    exact: bool
    told: int


class SalvageLog:
    """Reads and writes the tables."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def states(self) -> list[SalvageState]:
        """List what is being salvaged, or was and is there still."""
        if not self._db.execute("SELECT 1 FROM sqlite_master WHERE name = 'salvage'").fetchone():
            return []  # read only, from a store that this version has not opened for writing yet
        found = self._db.execute(f"SELECT {_STATE} FROM salvage ORDER BY name").fetchall()
        return [SalvageState(*row) for row in found]

    def begin(self, name: str, size: int, now_ms: int) -> None:
        """Note that something is to be salvaged, where that is not noted yet."""
        values = [name, SEARCH, size, now_ms]
        self._db.execute("INSERT OR IGNORE INTO salvage (name, phase, bytes, began_ms) VALUES (?, ?, ?, ?)", values)

    def enter(self, name: str, phase: str) -> None:
        """Note the phase."""
        self._db.execute("UPDATE salvage SET phase = ? WHERE name = ?", [phase, name])
        if phase == DONE:
            self._db.execute("DELETE FROM salvage_end WHERE name = ?", [name])

    def forget(self, name: str) -> None:
        """Remove everything about one."""
        for table in ("salvage", "salvage_found", "salvage_end"):
            self._db.execute(f"DELETE FROM {table} WHERE name = ?", [name])

    def count(self, name: str, **amounts: int) -> None:
        """Add to counters, or to `at`."""
        changes = ", ".join(f"{column} = {column} + ?" for column in amounts)
        self._db.execute(f"UPDATE salvage SET {changes} WHERE name = ?", [*amounts.values(), name])

    def add(self, name: str, finds: Iterable[tuple[int, Find]]) -> None:
        """Note what was found, and in which turn it is to be taken."""
        rows = []
        for turn, find in finds:
            head = find.header
            place = (turn, head.epoch, head.stream, head.first, head.last)
            rows.append((name, 0, *place, find.part, find.at, find.size))
        self._db.conn.executemany("INSERT OR IGNORE INTO salvage_found VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)

    def found(self, name: str, limit: int, *, failed: bool = False) -> list[Found]:
        """List what is to be taken next, or of what did not open."""
        order = "turn, epoch, stream, first, last DESC, part, at"
        query = f"SELECT {_FOUND} FROM salvage_found WHERE name = ? AND failed = ? ORDER BY {order} LIMIT ?"
        return [Found(*row) for row in self._db.execute(query, [name, int(failed), limit]).fetchall()]

    def remove(self, name: str, rows: Iterable[Found], *, failed: bool = False) -> None:
        """Forget what was found."""
        keys = ("turn", "epoch", "stream", "first", "last", "part", "at")
        where = " AND ".join(f"{key} = ?" for key in ("name", "failed", *keys))
        values = [(name, int(failed), *(getattr(row, key) for key in keys)) for row in rows]
        self._db.conn.executemany(f"DELETE FROM salvage_found WHERE {where}", values)

    def fail(self, name: str, row: Found) -> None:
        """Keep what did not open, to be judged when everything is taken."""
        values = [name, 1, row.turn, row.epoch, row.stream, row.first, row.last, row.part, row.at, row.size]
        self._db.execute("INSERT OR IGNORE INTO salvage_found VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", values)

    def ends(self, name: str) -> dict[Place, End]:
        """Return what is known of how far each stream of each epoch went."""
        query = "SELECT epoch, stream, last, exact, told FROM salvage_end WHERE name = ?"
        found = self._db.execute(query, [name]).fetchall()
        return {(epoch, stream): End(last, bool(exact), told) for epoch, stream, last, exact, told in found}

    def expect(self, name: str, lasts: Mapping[Place, int]) -> None:
        """Note exactly how far streams went."""
        rows = [(name, epoch, stream, last) for (epoch, stream), last in lasts.items()]
        self._db.conn.executemany("INSERT OR REPLACE INTO salvage_end VALUES (?, ?, ?, ?, 1, 0)", rows)

    def note_seen(self, name: str, spans: Mapping[Place, tuple[int, int]], *, from_first: bool) -> None:
        """Note how far streams went at least, and whether what is before the first row seen is to be declared."""
        self._db.conn.executemany(
            "INSERT INTO salvage_end VALUES (?, ?, ?, ?, 0, ?) ON CONFLICT (name, epoch, stream) DO UPDATE SET"
            " last = CASE WHEN exact THEN last ELSE max(last, excluded.last) END, told = min(told, excluded.told)",
            [(name, *place, last, first - 1 if from_first else 0) for place, (first, last) in spans.items()],
        )

    def note_told(self, name: str, place: Place, through: int) -> None:
        """Note up to where what is lost has been declared."""
        where = "name = ? AND epoch = ? AND stream = ?"
        self._db.execute(f"UPDATE salvage_end SET told = ? WHERE {where}", [through, name, *place])
