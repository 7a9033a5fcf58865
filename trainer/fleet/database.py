"""The central database: its tables, and the one way to open a transaction. SQLite or PostgreSQL through SQLAlchemy.

Decides how rows lie on disk and how transactions begin; what may be written is decided by its users (`intake.py`,
`registry.py`, ...). Other rooms of the centre add their tables to `metadata` when they are imported, and call
`open_database` after that. An Engine may be shared by threads; a Connection belongs to one.

Invariants:
    A row of `reading` or `record` exists once for each (device, stream, epoch, seq): the primary keys guard it.
    `coverage` of kind `held` names exactly the rows that exist: both are written in the same transaction.
    Whoever writes rows or coverage of a device holds the lock of its `device` row (SQLite: the write lock).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from agent.contract.errors import ConfigError, StorageError

SCHEMA = 1
HELD, GAP, DISPUTED = "held", "gap", "disputed"
_SCHEMA_LOCK = 0x6577_0001  # an arbitrary number that all centres on one PostgreSQL agree on
_WRITES = "edgewatt_writes"

metadata = sa.MetaData()

centre = sa.Table(
    "centre",
    metadata,
    sa.Column("id", sa.Text, primary_key=True, comment="changes when the database is restored from a backup"),
    sa.Column("schema", sa.Integer, nullable=False),
)

device = sa.Table(
    "device",
    metadata,
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("name", sa.Text, nullable=False, unique=True),
    sa.Column("plant", sa.Text, comment="name of the plant it stands at, where the operator gave one"),
    sa.Column("added_ms", sa.BigInteger, nullable=False),
    sa.Column("acknowledgements", sa.BigInteger, nullable=False, server_default="0", comment="counter of the last one"),
    sa.Column("last_seen_ms", sa.BigInteger, comment="real clock: when the last envelope or status came"),
    sa.Column("status", sa.Text, comment="online, offline; empty before the first birth"),
    sa.Column("status_ms", sa.BigInteger, comment="the device's own clock in its status"),
    sa.Column("version", sa.Text),
    sa.Column("boot", sa.BigInteger),
)

restoration = sa.Table(
    "restoration",
    metadata,
    sa.Column("device", sa.ForeignKey("device.number"), primary_key=True),
    sa.Column("times", sa.Integer, nullable=False, comment="how often the device knew more than this database"),
    sa.Column("at_ms", sa.BigInteger, nullable=False, comment="real clock: the last time"),
)

device_key = sa.Table(
    "device_key",
    metadata,
    sa.Column("id", sa.Text, primary_key=True, comment="key id: 16 hexadecimal digits"),
    sa.Column("device", sa.ForeignKey("device.number"), nullable=False, index=True),
    sa.Column("public", sa.LargeBinary, nullable=False),
    sa.Column("added_ms", sa.BigInteger, nullable=False),
    sa.Column("revoked_ms", sa.BigInteger),
)

# What the centre has told devices of its keys, and what each device says that it trusts.
trust = sa.Table(
    "trust",
    metadata,
    sa.Column("name", sa.Text, primary_key=True, comment="as devices name it: begin of its SHA-256"),
    sa.Column("body", sa.Text, nullable=False, comment="canonical JSON, as in trust/fleet.json"),
)

device_trust = sa.Table(
    "device_trust",
    metadata,
    sa.Column("device", sa.ForeignKey("device.number"), primary_key=True),
    sa.Column("trust", sa.Text, nullable=False),
    sa.Column("at_ms", sa.BigInteger, nullable=False, comment="real clock: when an envelope first named it"),
)

token = sa.Table(
    "token",
    metadata,
    sa.Column("sha256", sa.Text, primary_key=True, comment="the token itself is in the enrolment file only"),
    sa.Column("device", sa.ForeignKey("device.number"), nullable=False, index=True),
    sa.Column("expires_ms", sa.BigInteger, nullable=False),
    sa.Column("used_ms", sa.BigInteger),
    sa.Column("used_by", sa.Text, comment="id of the key that it enrolled"),
)

# Client certificates for the broker; none where it asks for none.
certificate = sa.Table(
    "certificate",
    metadata,
    sa.Column("serial", sa.Text, primary_key=True, comment="in hexadecimal"),
    sa.Column("device", sa.ForeignKey("device.number"), nullable=False, index=True),
    sa.Column("key", sa.Text, nullable=False, comment="id of the signing key that asked for it"),
    sa.Column("pem", sa.Text, nullable=False),
    sa.Column("not_after_ms", sa.BigInteger, nullable=False),
    sa.Column("revoked_ms", sa.BigInteger),
)

channel = sa.Table(
    "channel",
    metadata,
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("device", sa.ForeignKey("device.number"), nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("unit", sa.Text, nullable=False),
    sa.Column("decimals", sa.Integer, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    # A channel whose definition changed is another channel: old readings keep the unit they were taken in.
    sa.UniqueConstraint("device", "name", "unit", "decimals", "kind"),
)

# The big table: numbers only, clustered by its key, no foreign keys and no second index, so that appending stays cheap.
reading = sa.Table(
    "reading",
    metadata,
    sa.Column("device", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("epoch", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("channel", sa.Integer, nullable=False),
    sa.Column("time_ms", sa.BigInteger, nullable=False),
    sa.Column("value", sa.Double, nullable=False),
    sa.Column("quality", sa.SmallInteger, nullable=False),
    sqlite_with_rowid=False,
)

# Rows of every other stream; `body` is canonical JSON as text, so that equal rows are equal text on both databases.
record = sa.Table(
    "record",
    metadata,
    sa.Column("device", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("stream", sa.Text, primary_key=True),
    sa.Column("epoch", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("time_ms", sa.BigInteger, nullable=False),
    sa.Column("body", sa.Text, nullable=False),
    sa.Index("record_by_time", "device", "stream", "time_ms"),
    sqlite_with_rowid=False,
)

# Inclusive ranges of seq, compact (neighbours merged): what is held, declared lost, or claimed with two contents.
coverage = sa.Table(
    "coverage",
    metadata,
    sa.Column("device", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("epoch", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("stream", sa.Text, primary_key=True),
    sa.Column("kind", sa.Text, primary_key=True),
    sa.Column("first", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("last", sa.BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

assignment = sa.Table(
    "assignment",
    metadata,
    sa.Column("device", sa.ForeignKey("device.number"), primary_key=True),
    sa.Column("counter", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("issued_ms", sa.BigInteger, nullable=False),
    sa.Column("expires_ms", sa.BigInteger, nullable=False),
    sa.Column("paths", sa.Text, nullable=False, comment="JSON list of target paths, for people"),
    sa.Column("message", sa.LargeBinary, nullable=False, comment="the signed bytes, as published"),
)

# One row for each accepted envelope, re-sent ones too: the sync history of reports. Old ones are pruned.
envelope = sa.Table(
    "envelope",
    metadata,
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("device", sa.ForeignKey("device.number"), nullable=False),
    sa.Column("received_ms", sa.BigInteger, nullable=False, comment="real clock"),
    sa.Column("bytes", sa.BigInteger, nullable=False, comment="of the MQTT payload"),
    sa.Column("rows", sa.BigInteger, nullable=False, comment="as sent"),
    sa.Column("new_rows", sa.BigInteger, nullable=False, comment="0: all of it had come before"),
    sa.Index("envelope_by_device", "device", "received_ms"),
)

# The alarms of ingest: what was refused, and why. The newest are kept, and never the refused bytes.
rejection = sa.Table(
    "rejection",
    metadata,
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("received_ms", sa.BigInteger, nullable=False, comment="real clock"),
    sa.Column("topic", sa.Text, nullable=False),
    sa.Column("device", sa.Text, nullable=False, comment="the device of the topic, known or not; may be empty"),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("bytes", sa.BigInteger, nullable=False, comment="length of the refused message"),
    sa.Column("sha256", sa.Text, nullable=False),
)


def open_database(url: str) -> Engine:
    """Open the database at `url`, with every table known to `metadata` made where it is missing.

    Args:
        url: `sqlite:////path/centre.db`, or `postgresql://user@host/name` (a password is better kept in ~/.pgpass).

    Raises:
        ConfigError: when the URL is of no supported database.
        StorageError: when it cannot be opened, or was made by a newer version.
    """
    engine = _engine(url)
    try:
        with _opening(engine), write(engine) as connection:
            _prepare(connection)
    except StorageError:
        engine.dispose()
        raise
    return engine


@contextlib.contextmanager
def write(engine: Engine) -> Iterator[Connection]:
    """Open a transaction that writes: all of it is durable when the block ends, or none of it.

    Raises:
        StorageError: when the database fails; nothing was written.
    """
    with _translated(), engine.execution_options(**{_WRITES: True}).begin() as connection:
        yield connection


@contextlib.contextmanager
def read(engine: Engine) -> Iterator[Connection]:
    """Open a transaction that only reads, all of it from one moment on SQLite, each statement from its own elsewhere.

    Raises:
        StorageError: when the database fails.
    """
    with _translated(), engine.connect() as connection:
        yield connection


def centre_id(engine: Engine) -> str:
    """Return the id of this database, which stands in every acknowledgement."""
    with read(engine) as connection:
        return str(connection.execute(sa.select(centre.c.id)).scalar_one())


def _engine(url: str) -> Engine:
    try:
        parsed = sa.make_url(url)
    except (sa.exc.ArgumentError, ValueError) as exc:  # ValueError: a port that is no number
        raise ConfigError(
            "is not a database URL", where="--database", todo="Example: sqlite:////srv/centre.db"
        ) from exc
    backend = parsed.get_backend_name()
    if backend == "postgresql":
        return sa.create_engine(parsed.set(drivername="postgresql+psycopg"), hide_parameters=True, pool_pre_ping=True)
    if backend != "sqlite":
        raise ConfigError(f"{backend!r} is not supported", where="--database", todo="Use sqlite or postgresql")
    engine = sa.create_engine(parsed.set(drivername="sqlite+pysqlite"), hide_parameters=True)
    sa.event.listen(engine, "connect", _prepare_sqlite)
    sa.event.listen(engine, "begin", _begin_sqlite)
    return engine


@contextlib.contextmanager
def _opening(engine: Engine) -> Iterator[None]:
    """Let one process at a time open a SQLite file: while one turns a new file to WAL, others are "locked" at once."""
    if engine.dialect.name != "sqlite" or not engine.url.database:
        yield
        return
    folder = Path(engine.url.database).absolute().parent
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as exc:
        raise StorageError(
            f"cannot be opened ({exc.strerror})",
            where=f"central database in {folder}",
            todo="Make the folder, or give another --home",
        ) from exc
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _prepare(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":  # two processes may start at once; SQLite's BEGIN IMMEDIATE locks
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_SCHEMA_LOCK)))
    metadata.create_all(connection)
    found = connection.execute(sa.select(centre.c.schema)).scalar_one_or_none()
    if found is None:
        connection.execute(centre.insert().values(id=secrets.token_hex(8), schema=SCHEMA))
    elif found > SCHEMA:
        raise StorageError(
            f"has schema {found}, this version reads up to {SCHEMA}", where="central database", todo="Update it"
        )


def _prepare_sqlite(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # transactions begin where `_begin_sqlite` says so, not at the first INSERT
    for pragma in ("busy_timeout=30000", "journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    # A transaction that reads before it writes must take the write lock first, or two of them fail as "locked".
    writes = connection.get_execution_options().get(_WRITES, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except sa.exc.DBAPIError as exc:
        # Only the driver's own words: the statement and its values do not belong into a log.
        raise StorageError(
            f"{type(exc.orig).__name__}: {str(exc.orig).strip()}",
            where="central database",
            todo="Mend what it names and try again; what was written before is kept",
        ) from exc
    except sa.exc.SQLAlchemyError as exc:
        raise StorageError(type(exc).__name__, where="central database") from exc
