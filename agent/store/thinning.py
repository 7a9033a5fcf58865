"""What is left of acknowledged readings when space is short: one value a channel and minute. Never sent, no identity.

Decides what a minute's value is and how it lies in its table; when readings are thinned is `custody.py`'s.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from sqlite_utils import Database

from agent.contract.blocks import Block, decode_readings, encode_readings
from agent.contract.channels import Channel, Kind, Quality, Reading
from agent.contract.errors import RejectedError

_MINUTE_MS = 60_000
_NONCE = 12
_PURPOSE = b"edgewatt/thin/v1\0"  # sealed apart from blocks: salvage must never take it for rows


def create_table(db: Database) -> None:
    """Make the table; a migration of the database."""
    db.execute(
        "CREATE TABLE thin (id INTEGER PRIMARY KEY, start_ms INTEGER NOT NULL, end_ms INTEGER NOT NULL,"
        " data BLOB NOT NULL) STRICT"
    )
    db.execute("CREATE INDEX thin_time ON thin (end_ms, start_ms)")


def reduced(block: Block) -> Block:
    """Return a block with one value a channel and minute, flagged as estimated where it stands for several.

    A gauge's is the mean at the minute's first reading, a counter's its last reading.

    Raises:
        RejectedError: when the block is malformed.
    """
    channels, rows = decode_readings(block)
    minutes: dict[tuple[str, int], list[Reading]] = {}
    for row in rows:
        minutes.setdefault((row.channel, row.time_ms // _MINUTE_MS), []).append(row)
    kept = sorted((_one(channels[name], group) for (name, _), group in minutes.items()), key=lambda row: row.time_ms)
    return encode_readings(kept, channels, epoch=block.header.epoch, boot=block.header.boot, first=1)


def _one(channel: Channel, group: Sequence[Reading]) -> Reading:
    if len(group) == 1:
        return group[0]
    quality = max(Quality.ESTIMATED, *(row.quality for row in group))
    if channel.kind is Kind.COUNTER:
        return max(group, key=lambda row: row.time_ms)._replace(quality=quality)
    mean = sum(row.value for row in group) / len(group)
    return min(group, key=lambda row: row.time_ms)._replace(value=mean, quality=quality)


class Thinned:
    """Reads and writes the table under one storage key; callers hold the transaction."""

    def __init__(self, db: Database, key: bytes) -> None:
        self._db, self._cipher = db, ChaCha20Poly1305(key)

    def put(self, block: Block) -> None:
        """Keep what is left of a block.

        Raises:
            RejectedError: when it is malformed.
        """
        left, nonce = reduced(block), os.urandom(_NONCE)
        sealed = nonce + self._cipher.encrypt(nonce, left.to_bytes(), _PURPOSE)
        row = [left.header.start_ms, left.header.end_ms, sealed]
        self._db.execute("INSERT INTO thin (start_ms, end_ms, data) VALUES (?, ?, ?)", row)

    def readings(self, channel: str, start_ms: int, end_ms: int) -> list[tuple[int, Reading]]:
        """Return the values of one channel in [start_ms, end_ms), each with its epoch; what is damaged is left out."""
        if not self._exists():
            return []
        query = "SELECT data FROM thin WHERE end_ms >= ? AND start_ms < ?"
        found: list[tuple[int, Reading]] = []
        for (data,) in self._db.execute(query, [start_ms, end_ms]).fetchall():
            try:
                plain = self._cipher.decrypt(data[:_NONCE], data[_NONCE:], _PURPOSE)
                block = Block.from_bytes(plain)
                _, rows = decode_readings(block)
            except (InvalidTag, ValueError, RejectedError):  # ValueError: shorter than a nonce
                continue
            epoch = block.header.epoch
            found += [(epoch, row) for row in rows if row.channel == channel and start_ms <= row.time_ms < end_ms]
        return found

    def has_any(self) -> bool:
        """Whether anything is kept."""
        return self._exists() and self._db.execute("SELECT 1 FROM thin LIMIT 1").fetchone() is not None

    def has_before(self, time_ms: int) -> bool:
        """Whether something ends before a time."""
        return self._db.execute("SELECT 1 FROM thin WHERE end_ms < ? LIMIT 1", [time_ms]).fetchone() is not None

    def drop_before(self, time_ms: int) -> None:
        """Let go what ends before a time."""
        self._db.execute("DELETE FROM thin WHERE end_ms < ?", [time_ms])

    def drop_oldest(self, count: int) -> None:
        """Let the oldest blocks go."""
        self._db.execute("DELETE FROM thin WHERE id IN (SELECT id FROM thin ORDER BY end_ms LIMIT ?)", [count])

    def _exists(self) -> bool:  # not in a store that this version has not opened for writing yet
        return self._db.execute("SELECT 1 FROM sqlite_master WHERE name = 'thin'").fetchone() is not None
