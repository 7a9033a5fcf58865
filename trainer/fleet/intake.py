"""Stores what envelopes hold: once, in one transaction each, and says what may now be acknowledged.

Decides novelty, conflicts and gaps; envelopes come verified and decrypted. Several workers may store at once, also
for one device: the device's row is locked for the length of the transaction.

Invariants:
    The same rows again change nothing but the counter of acknowledgements and the list of envelopes.
    An envelope is stored whole or not at all.
    Rows that were claimed with two contents keep the first, and no mark covers them.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count, repeat
from typing import Any

import numpy as np
import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from agent.contract import jsonform
from agent.contract.acknowledgement import MAX_MARKS, MAX_MISSING, Acknowledgement
from agent.contract.blocks import Block, BlockHeader, Columns, decode_columns, decode_rows
from agent.contract.channels import Channel
from agent.contract.corrections import KIND as CLOCK
from agent.contract.corrections import Correction, read_correction
from agent.contract.envelope import EnvelopeHeader
from agent.contract.errors import RejectedError, StorageError
from agent.contract.jsonform import Fields
from agent.contract.messages import MAX_TO_DEVICE_BYTES
from agent.contract.topics import STREAMS
from trainer.fleet import database as db
from trainer.fleet import times, trusted
from trainer.fleet.bulk import insert_rows
from trainer.fleet.coverage import Coverage, Span, intersect, subtract

# Ranges of an acknowledgement that a device still takes when every number has 16 digits; the rest is for the marks.
_MAX_RANGES = (MAX_TO_DEVICE_BYTES - 16_384) // 40
_LOG = logging.getLogger(__name__)
_Row = tuple[Any, ...]
_Key = tuple[int, str]  # epoch, stream


class ConflictError(RejectedError):
    """Rows that the centre holds came again with other content."""

    def __init__(self, header: BlockHeader, span: Span) -> None:
        super().__init__(
            f"rows {span[0]}..{span[1]} came again with other content",
            where=f"{header.stream} epoch {header.epoch}",
            todo="Two devices may share one identity, or an old image was restored: enrol the device again",
        )
        self.epoch = header.epoch
        self.stream = header.stream
        self.span = span


@dataclass(frozen=True, slots=True)
class Stored:
    """What was done with an envelope."""

    acknowledgement: Acknowledgement
    rows: int
    new_rows: int


class Intake:
    """The store of the centre for one or more workers.

    Args:
        engine: the central database.
        now_ms: the real clock.
    """

    def __init__(self, engine: Engine, now_ms: Callable[[], int]) -> None:
        self._engine = engine
        self._now_ms = now_ms

    def store(self, header: EnvelopeHeader, blocks: Sequence[Block], size: int) -> Stored:
        """Store the blocks of a verified envelope of `size` bytes; durable on return.

        Raises:
            RejectedError: when a block cannot be decoded or conflicts with what is held; nothing of the envelope is
                stored, and conflicting rows are noted as disputed.
            StorageError: when the database fails; nothing is stored.
        """
        decoded = [_decode(block) for block in blocks]
        try:
            with db.write(self._engine) as connection:
                transaction = _Transaction(connection, header.device)
                return transaction.store(decoded, header, size, self._now_ms())
        except ConflictError as exc:
            with db.write(self._engine) as connection:
                _Transaction(connection, header.device).dispute(exc)
            raise


@dataclass(frozen=True)
class _Decoded:
    """A block whose rows are ready to be written: readings by columns; others as rows without device, epoch and seq."""

    header: BlockHeader
    readings: Columns | None
    rows: Sequence[_Row] = ()
    gaps: Sequence[tuple[_Key, Span]] = ()
    starts: bool = False  # whether it tells of a start of the agent
    corrections: Sequence[tuple[list[Correction], tuple[str, ...]]] = ()


class _Transaction:
    """One envelope's work under the lock of its device."""

    def __init__(self, connection: Connection, device: str) -> None:
        self._connection = connection
        # FOR UPDATE is not spoken by SQLite, where BEGIN IMMEDIATE has locked everything already.
        query = sa.select(db.device.c.number, db.device.c.acknowledgements).where(db.device.c.name == device)
        found = connection.execute(query.with_for_update()).one_or_none()
        if found is None:
            raise RejectedError(f"device {device} is not registered", where="envelope")
        self._name = device
        self._device, self._counter = int(found.number), int(found.acknowledgements)
        self._ident = str(connection.execute(sa.select(db.centre.c.id)).scalar_one())
        times = sa.select(db.restoration.c.times).where(db.restoration.c.device == self._device)
        self._restored = int(connection.execute(times).scalar_one_or_none() or 0)
        self._channels: dict[tuple[Any, ...], int] | None = None  # numbers, once one is wanted
        self._coverage: dict[_Key, Coverage] = {}
        self._before: dict[_Key, set[tuple[str, Span]]] = {}

    def store(self, blocks: Sequence[_Decoded], header: EnvelopeHeader, size: int, now_ms: int) -> Stored:
        rows = sum(block.header.count for block in blocks)
        new_rows = sum(self._store_block(block) for block in blocks)
        for block in blocks:
            for key, span in block.gaps:
                self._of(key).give_up(*span)
            for corrections, own_times in block.corrections:
                times.note(self._connection, self._device, corrections, own_times, block.header.epoch)
        self._write_coverage()
        if any(block.starts for block in blocks):
            for key in self._keys(with_holes=True):  # what a device lost in its sleep is asked for by name
                self._of(key)
        if header.seen is not None:
            self._compare_with(*header.seen, now_ms)
        if header.trust:
            trusted.note(self._connection, self._device, header.trust, now_ms)
        device = db.device.update().where(db.device.c.number == self._device)
        self._connection.execute(device.values(acknowledgements=self._counter + 1, last_seen_ms=now_ms))
        self._connection.execute(
            db.envelope.insert().values(
                device=self._device, received_ms=now_ms, bytes=size, rows=rows, new_rows=new_rows
            )
        )
        return Stored(self._acknowledge(now_ms), rows, new_rows)

    def dispute(self, conflict: ConflictError) -> None:
        self._of((conflict.epoch, conflict.stream)).dispute(*conflict.span)
        self._write_coverage()

    def _store_block(self, block: _Decoded) -> int:
        header = block.header
        coverage = self._of((header.epoch, header.stream))
        span = (header.first, header.last)
        rows = self._with_identity(block)
        for held in intersect([span], coverage.held):
            self._compare(header, held, rows[held[0] - header.first : held[1] - header.first + 1])
        new = subtract([span], coverage.held)
        fresh = [row for first, last in new for row in rows[first - header.first : last - header.first + 1]]
        if fresh:
            insert_rows(self._connection, _table(header.stream), fresh)
            coverage.hold(*span)
        return len(fresh)

    def _with_identity(self, block: _Decoded) -> list[_Row]:
        header, device = block.header, self._device
        if block.readings is not None:
            channels, places, *columns = block.readings
            numbers = np.array([self._channel(channel) for channel in channels])[places]
            found = (column.tolist() for column in (numbers, *columns))
            # One call in C for all rows: this line bounds what a centre can take in.
            return list(zip(repeat(device), repeat(header.epoch), count(header.first), *found, strict=False))
        return [(device, header.stream, header.epoch, seq, *row) for seq, row in enumerate(block.rows, header.first)]

    def _compare(self, header: BlockHeader, held: Span, rows: Sequence[_Row]) -> None:
        table = _table(header.stream)
        query = sa.select(table).where(
            table.c.device == self._device, table.c.epoch == header.epoch, table.c.seq.between(*held)
        )
        if header.stream != "readings":
            query = query.where(table.c.stream == header.stream)
        stored = self._connection.execute(query.order_by(table.c.seq)).all()
        if len(stored) != len(rows):
            raise StorageError(
                f"holds {len(stored)} rows where its coverage says {len(rows)}",
                where=f"central database, {header.stream} of {self._name}",
                todo="Restore it from its backup",
            )
        different = [
            held[0] + place for place, (old, new) in enumerate(zip(stored, rows, strict=True)) if tuple(old) != new
        ]
        if different:
            raise ConflictError(header, (different[0], different[-1]))

    def _channel(self, channel: Channel) -> int:
        table = db.channel
        names = ("name", "unit", "decimals", "kind")
        if self._channels is None:
            query = sa.select(table.c.number, *(table.c[name] for name in names)).where(table.c.device == self._device)
            self._channels = {tuple(key): int(number) for number, *key in self._connection.execute(query)}
        key = (channel.name, channel.unit, channel.decimals, str(channel.kind))
        if key not in self._channels:
            values = {"device": self._device, **dict(zip(names, key, strict=True))}
            made = self._connection.execute(table.insert().values(values).returning(table.c.number))
            self._channels[key] = int(made.scalar_one())
        return self._channels[key]

    def _of(self, key: _Key) -> Coverage:
        if key not in self._coverage:
            table = db.coverage
            query = sa.select(table.c.kind, table.c.first, table.c.last).where(*self._is(key)).order_by(table.c.first)
            spans = [(str(kind), (int(first), int(last))) for kind, first, last in self._connection.execute(query)]
            self._before[key] = set(spans)
            self._coverage[key] = Coverage(
                *([span for kind, span in spans if kind == wanted] for wanted in (db.HELD, db.GAP, db.DISPUTED))
            )
        return self._coverage[key]

    def _compare_with(self, centre: str, counter: int, now_ms: int) -> None:
        """Begin anew under a new id where this database is older than what the device was told by it.

        For this device alone: another one's word must not make every device send everything again.
        """
        ident, _, number = centre.partition(".")
        told = int(number) if number.isascii() and number.isdigit() and len(number) < 10 else 0
        if ident != self._ident or (told, counter) <= (self._restored, self._counter):
            return
        _LOG.warning("this database was restored: %s knows later acknowledgements and sends again", self._name)
        self._restored = told + 1
        table = db.restoration
        self._connection.execute(table.delete().where(table.c.device == self._device))
        self._connection.execute(table.insert().values(device=self._device, times=self._restored, at_ms=now_ms))
        for key in self._keys(with_holes=False):
            self._of(key)

    def _keys(self, *, with_holes: bool) -> list[_Key]:
        """Return the newest streams and epochs of the device, or of those only the ones with holes."""
        table = db.coverage
        known = sa.func.sum(table.c.last - table.c.first + 1)
        query = (
            sa.select(table.c.epoch, table.c.stream)
            .where(table.c.device == self._device, table.c.kind.in_([db.HELD, db.GAP]))
            .group_by(table.c.epoch, table.c.stream)
            .having(sa.func.max(table.c.last) > known if with_holes else sa.true())
            .order_by(table.c.epoch.desc())
            .limit(MAX_MARKS)
        )
        return [(int(epoch), str(stream)) for epoch, stream in self._connection.execute(query)]

    def _write_coverage(self) -> None:
        table = db.coverage
        for key, coverage in self._coverage.items():
            after = {(db.HELD, span) for span in coverage.held}
            after |= {(db.GAP, span) for span in coverage.gaps}
            after |= {(db.DISPUTED, span) for span in coverage.disputed}
            for kind, span in self._before[key] - after:
                gone = table.delete().where(*self._is(key), table.c.kind == kind, table.c.first == span[0])
                self._connection.execute(gone)
            added = [(self._device, *key, kind, *span) for kind, span in after - self._before[key]]
            if added:
                insert_rows(self._connection, table, added)

    def _is(self, key: _Key) -> tuple[sa.ColumnElement[bool], ...]:
        table = db.coverage
        return table.c.device == self._device, table.c.epoch == key[0], table.c.stream == key[1]

    def _acknowledge(self, now_ms: int) -> Acknowledgement:
        centre = f"{self._ident}.{self._restored}" if self._restored else self._ident
        nonce = secrets.token_hex(8)
        touched = list(self._coverage.items())[:MAX_MARKS]
        marks = tuple(coverage.mark(*key, max_ranges=most_ranges(len(touched))) for key, coverage in touched)
        return Acknowledgement(self._name, centre, self._counter + 1, now_ms, nonce, marks)


def most_ranges(marks: int) -> int:
    """Return how many missing ranges, and how many gaps, each of so many marks may have for a device to take them."""
    return min(MAX_MISSING, _MAX_RANGES // (2 * marks))


def _decode(block: Block) -> _Decoded:
    header = block.header
    if header.stream == "readings":
        readings = decode_columns(block)
        for channel in readings.channels:
            if not channel.unit.isprintable():  # PostgreSQL stores no NUL, and a unit has no use for the others
                raise RejectedError(f"unit {channel.unit!r} is not printable", where=f"channel {channel.name}")
        return _Decoded(header, readings)
    values = decode_rows(block)
    try:
        rows = [(row["time_ms"], jsonform.dumps(row).decode()) for row in values]
    except (ValueError, RecursionError) as exc:  # half of a surrogate pair is JSON, but not text
        raise RejectedError(f"a row of {header.stream} cannot be stored as text", where="envelope") from exc
    if header.stream != "events":
        return _Decoded(header, None, rows)
    declared = [_gap(row) for row in values if row.get("kind") == "gap"]
    starts = any(row.get("kind") == "boot" for row in values)
    told = [found for row in values if row.get("kind") == CLOCK and (found := _correction(row)) is not None]
    return _Decoded(header, None, rows, [gap for gap in declared if gap is not None], starts, told)


def _gap(row: dict[str, Any]) -> tuple[_Key, Span] | None:
    fields = Fields(row, "gap event")
    try:
        stream, first = fields.text("stream"), fields.integer("first", 1)
        gap = (fields.integer("epoch", 1), stream), (first, fields.integer("last", first))
    except RejectedError:
        return None  # kept as the event it is; the rows stay missing, so nothing is given up by mistake
    return gap if stream in STREAMS else None


def _correction(row: dict[str, Any]) -> tuple[list[Correction], tuple[str, ...]] | None:
    try:
        return read_correction(row)
    except RejectedError:
        return None  # kept as the event it is; times stay as they were stamped


def _table(stream: str) -> sa.Table:
    return db.reading if stream == "readings" else db.record
