"""The database file: how it is opened, what tables it has, how a transaction is made, what its errors mean.

The only module that knows SQLite's settings and error codes. Every write of this room goes through `transaction`.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

from sqlite_utils import Database

from agent.contract.durable import fsync_folder
from agent.contract.errors import ConfigError, StorageError
from agent.store import clocks, notes, thinning
from agent.store.damage import salvagelog
from agent.store.damage.logcheck import keep_passed_over

APPLICATION_ID = 0x45575331  # "EWS1", in the file's header
# What stands in the head of every database of this program, by its place (SQLite's file format, section 1.3).
_HEAD = {16: bytes.fromhex("1000020200402020"), 44: bytes.fromhex("00000004"), 56: bytes.fromhex("00000001")}
_APPLICATION_AT = 68
_VERSION = "schema"  # in `meta`, what user_version says: a bit that flips there is no newer program
# The last three: this program's statements are right and break no constraint, so the schema or an index is damaged.
_DAMAGED = ("SQLITE_CORRUPT", "SQLITE_NOTADB", "SQLITE_CONSTRAINT", "SQLITE_MISMATCH", "SQLITE_ERROR")
_TODO = {
    "SQLITE_FULL": "Free space on the disk; sampling goes on in memory meanwhile",
    "SQLITE_READONLY": "The disk or the folder is read-only: mend the rights or the disk",
    "SQLITE_IOERR": "The disk reports errors: check it, replace it if they stay",
    "SQLITE_CANTOPEN": "Mend the rights of the folder",
    "SQLITE_BUSY": "Stop the other program that writes this file",
}

_NO_ROOM_BYTES = 65_536  # a log and its index cannot begin with less
_TODO_FILE = "Free space on the disk, or mend its rights"


class FullError(StorageError):
    """The disk has no room."""


class DamagedError(StorageError):
    """The file is no database any more, or cannot be read with the key at hand: set it aside and begin anew."""


def whole(value: object, path: Path) -> int:
    """Return what must be a whole number: a damaged row may hold anything.

    Raises:
        DamagedError: when it is none.
    """
    if type(value) is not int:
        raise DamagedError("is damaged (a value is of another type)", where=str(path))
    return value


def _first_tables(db: Database) -> None:
    # `data` stands last: what precedes it is read without touching a blob's overflow pages.
    # The journal has no index but its own: one commit is to dirty one page.
    piece = (
        "stream TEXT NOT NULL, epoch INTEGER NOT NULL, boot INTEGER NOT NULL, first INTEGER NOT NULL,"
        " last INTEGER NOT NULL, start_ms INTEGER NOT NULL, end_ms INTEGER NOT NULL"
    )
    db.execute(f"CREATE TABLE journal (id INTEGER PRIMARY KEY, {piece}, data BLOB NOT NULL) STRICT")
    db.execute(
        f"CREATE TABLE block (id INTEGER PRIMARY KEY AUTOINCREMENT, {piece},"
        " acknowledged INTEGER NOT NULL DEFAULT 0, data BLOB NOT NULL) STRICT"
    )
    db.execute("CREATE UNIQUE INDEX block_place ON block (stream, epoch, first)")
    db.execute("CREATE INDEX block_waiting ON block (stream, epoch, first) WHERE acknowledged = 0")
    db.execute("CREATE INDEX block_time ON block (stream, end_ms, start_ms)")
    db.execute(
        f"CREATE TABLE quarantine (id INTEGER PRIMARY KEY, {piece}, reason TEXT NOT NULL, data BLOB NOT NULL) STRICT"
    )
    db.execute(
        "CREATE TABLE stream_state (stream TEXT NOT NULL, epoch INTEGER NOT NULL, last INTEGER NOT NULL DEFAULT 0,"
        " rows INTEGER NOT NULL DEFAULT 0, waiting_rows INTEGER NOT NULL DEFAULT 0,"
        " waiting_blocks INTEGER NOT NULL DEFAULT 0, waiting_bytes INTEGER NOT NULL DEFAULT 0,"
        " PRIMARY KEY (stream, epoch)) STRICT, WITHOUT ROWID"
    )
    db.execute(
        "CREATE TABLE channel_state (tag BLOB PRIMARY KEY, last_ms INTEGER NOT NULL) STRICT, WITHOUT ROWID"
    )  # tag: keyed hash of the name, so that the file does not tell names
    db.execute("CREATE TABLE counter (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID")
    db.execute("CREATE TABLE meta (name TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID")
    db.execute(f"PRAGMA application_id = {APPLICATION_ID}")


def _with_a_ring(_db: Database) -> None:
    """Change nothing here: a program that knows no ring would give out again the numbers of what lies in it."""


def _with_marks(db: Database) -> None:
    db.execute(
        "CREATE TABLE mark (stream TEXT NOT NULL, epoch INTEGER NOT NULL, high INTEGER NOT NULL, missing TEXT NOT NULL,"
        " PRIMARY KEY (stream, epoch)) STRICT, WITHOUT ROWID"
    )  # what the centre said last: from a file that was set aside blocks come back that it may have


def _with_sealed_times(db: Database) -> None:
    db.execute(  # `channel_state` stays for channels that nothing is noted of any more: its times have no seal
        "CREATE TABLE channel_time (tag BLOB PRIMARY KEY, last_ms INTEGER NOT NULL, seal BLOB NOT NULL)"
        " STRICT, WITHOUT ROWID"
    )  # tag and seal: keyed hashes, of the name, so that the file does not tell names, and of the time with it


# The file's user_version counts the migrations that it has had; each is applied and counted in one transaction.
MIGRATIONS: tuple[Callable[[Database], None], ...] = (
    _first_tables,
    notes.create_table,
    _with_a_ring,
    _with_marks,
    salvagelog.create_tables,
    thinning.create_table,
    clocks.create_table,
    _with_sealed_times,
)


def connect(path: Path, *, read_only: bool = False) -> sqlite3.Connection:
    """Return a bare connection, made in one place so that tests can put a failing disk under the store."""
    if read_only:
        more = "&immutable=1" if _is_still(path) else ""
        return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro{more}", uri=True, timeout=5.0)
    return sqlite3.connect(path, timeout=5.0)


def _is_still(path: Path) -> bool:
    """Whether all is in the file itself, and nobody can change it: SQLite cannot make an index of the log there."""
    log = path.with_name(f"{path.name}-wal")
    return bool(os.statvfs(path.parent).f_flag & os.ST_RDONLY) and not (log.exists() and log.stat().st_size)


def open_database(path: Path) -> Database:
    """Open for writing, creating or migrating as needed.

    Raises:
        DamagedError: when the file is not a database or SQLite finds its pages damaged.
        ConfigError: when the file is a database of another program or of a newer edgewatt.
        StorageError: when the disk is full, read-only or failing.
    """
    with translated(path):
        _check_head(path)
        db = Database(connect(path), execute_plugins=False)
        try:
            _prepare(db, path)
        except BaseException:
            db.close()
            raise
    return db


def open_database_read_only(path: Path) -> Database:
    """Open for reading, beside a writer or alone.

    Raises:
        StorageError: when there is no such file or it cannot be read.
    """
    if not path.exists():
        raise StorageError("does not exist", where=str(path), todo="Start the agent once, or give the right state_dir")
    with translated(path):
        db = Database(connect(path, read_only=True), recursive_triggers=False, execute_plugins=False)
        try:
            _check(db, path)
        except BaseException:
            db.close()
            raise
    return db


def _prepare(db: Database, path: Path) -> None:
    version = _check(db, path)
    keep_passed_over(path)  # before the first write, which goes over it
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = FULL")
    db.execute("PRAGMA cell_size_check = ON")
    db.execute("PRAGMA cache_size = -2048")  # KiB
    db.execute("PRAGMA journal_size_limit = 8388608")
    for number, migration in enumerate(MIGRATIONS[version:], start=version + 1):
        with db.atomic():
            migration(db)
            db.execute(f"PRAGMA user_version = {number}")
    if _stated(db) != len(MIGRATIONS):
        with db.atomic():
            db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", [_VERSION, str(len(MIGRATIONS)).encode()])
    if version == 0:
        fsync_folder(path.parent)


def _check_head(path: Path) -> None:
    """Tell a damaged head of an own file from a file of another program: SQLite takes either for new or read-only."""
    if path.exists():
        with path.open("rb") as file:
            head = file.read(100)
        ours = head[_APPLICATION_AT : _APPLICATION_AT + 4] == APPLICATION_ID.to_bytes(4)
        if ours and any(head[at : at + len(wanted)] != wanted for at, wanted in _HEAD.items()):
            raise DamagedError("is damaged (its head is not as this program writes it)", where=str(path))


def _stated(db: Database) -> int:
    """Return the number of migrations by the second place where it stands; 0 where it does not."""
    found = db.execute("SELECT value FROM meta WHERE name = ?", [_VERSION]).fetchone()
    return int(found[0]) if found and bytes(found[0]).isdigit() else 0


def _check(db: Database, path: Path) -> int:
    """Return the number of migrations that the file has had."""
    version = int(db.execute("PRAGMA user_version").fetchone()[0])
    application = int(db.execute("PRAGMA application_id").fetchone()[0])
    tables = {name for (name,) in db.execute("SELECT name FROM sqlite_master").fetchall()}
    if application != APPLICATION_ID and "stream_state" in tables:
        raise DamagedError("is damaged (its head does not say whose it is)", where=str(path))
    if (tables or version) and application != APPLICATION_ID:
        raise ConfigError("is a database of another program", where=str(path), todo="Give another path for the store")
    if version > len(MIGRATIONS):
        if _stated(db) != version:
            raise DamagedError("is damaged (its head does not say its version)", where=str(path))
        raise ConfigError(
            f"was written by a newer edgewatt (schema {version})", where=str(path), todo="Install that version again"
        )
    if version == len(MIGRATIONS) and _layout(db) != _made_by(MIGRATIONS):
        raise DamagedError("is damaged (its tables are not those of its version)", where=str(path))
    return version


def _layout(db: Database) -> set[tuple[str, ...]]:
    return set(db.execute("SELECT type, name, tbl_name, sql FROM sqlite_master").fetchall())


@functools.cache
def _made_by(migrations: tuple[Callable[[Database], None], ...]) -> set[tuple[str, ...]]:
    """Return the layout that migrations make."""
    db = Database(memory=True, execute_plugins=False)
    try:
        for migration in migrations:
            migration(db)
        return _layout(db)
    finally:
        db.close()


@contextlib.contextmanager
def transaction(db: Database, path: Path) -> Iterator[None]:
    """All or nothing, on disk when it returns.

    Raises:
        DamagedError, StorageError: when the database cannot do it; nothing has changed then.
    """
    with translated(path), db.atomic():
        yield


def _meant(path: Path, name: str) -> tuple[type[StorageError], str, str]:
    """Return what an error of SQLite means, and what to do: of a full or read-only disk it says all sorts of things."""
    todo = next((todo for start, todo in _TODO.items() if name.startswith(start)), "Look at the disk")
    if name.startswith(("SQLITE_IOERR", "SQLITE_CANTOPEN", "SQLITE_READONLY")):
        with contextlib.suppress(OSError):
            disk = os.statvfs(path.parent)
            if disk.f_flag & os.ST_RDONLY:
                return StorageError, "its file system is read-only", "Mount it for writing, or check the disk"
            if disk.f_bavail * disk.f_frsize < _NO_ROOM_BYTES:
                return FullError, "the disk is full", _TODO["SQLITE_FULL"]
    return FullError if name.startswith("SQLITE_FULL") else StorageError, "", todo


@contextlib.contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turn errors of SQLite and of the system into this program's."""
    try:
        yield
    except sqlite3.Error as exc:
        name = getattr(exc, "sqlite_errorname", "")
        # Without a name: of sqlite3 itself, when a column is no text.
        if (name.startswith(_DAMAGED) and "transaction" not in str(exc)) or str(exc).startswith("Could not decode"):
            raise DamagedError(f"is damaged ({exc})", where=str(path)) from exc
        kind, why, todo = _meant(path, name)
        raise kind(f"cannot be used ({why or exc})", where=str(path), todo=todo) from exc
    except UnicodeDecodeError as exc:  # sqlite3 makes this of names that are damaged, even in the text of an error
        raise DamagedError("is damaged (a name or a text in it is none)", where=str(path)) from exc
    except OSError as exc:
        kind = FullError if exc.errno == errno.ENOSPC else StorageError
        raise kind(f"cannot be used ({exc.strerror or exc})", where=str(exc.filename or path), todo=_TODO_FILE) from exc
