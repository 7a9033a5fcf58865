"""Alarms: what was refused. Bounded in number and in rate, so that a flood of bad bytes fills neither disk nor log."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable

import sqlalchemy as sa
from sqlalchemy.engine import Engine

from agent.contract.errors import RejectedError
from agent.contract.topics import device_of
from trainer.fleet import database as db

KEPT = 10_000
_PRUNE_EVERY = 100
_BURST, _REFILL_MS = 100, 100  # up to 100 at once, ten a second for long
_LOG = logging.getLogger(__name__)


class Rejections:
    """Writes the `rejection` table; one per process.

    Args:
        engine: the central database.
        now_ms: the real clock.
    """

    def __init__(self, engine: Engine, now_ms: Callable[[], int]) -> None:
        self._engine = engine
        self._now_ms = now_ms
        self._added = 0
        self._left, self._filled_ms = _BURST, now_ms()
        self._untold = 0

    def add(self, topic: str, payload: bytes, error: RejectedError) -> None:
        """Note a refused message: durable on return, unless too many come at once.

        Raises:
            StorageError: when the database fails.
        """
        now = self._now_ms()
        if not self._may_write(now):
            self._untold += 1
            return
        reason = str(error)
        if self._untold:
            _LOG.warning("%d more messages were refused, too many to note each", self._untold)
            self._untold = 0
        _LOG.warning("refused %d bytes on %s: %s", len(payload), topic[:128], reason[:512])
        with db.write(self._engine) as connection:
            number = connection.execute(
                db.rejection.insert()
                .values(
                    received_ms=now,
                    topic=_text(topic, 256),
                    device=_device(topic),
                    reason=_text(reason, 512),
                    bytes=len(payload),
                    sha256=hashlib.sha256(payload).hexdigest(),
                )
                .returning(db.rejection.c.number)
            ).scalar_one()
            if self._added % _PRUNE_EVERY == 0:
                connection.execute(sa.delete(db.rejection).where(db.rejection.c.number <= number - KEPT))
        self._added += 1

    def _may_write(self, now_ms: int) -> bool:
        refill = max(0, now_ms - self._filled_ms) // _REFILL_MS
        if refill:
            self._left = min(_BURST, self._left + refill)
            self._filled_ms = now_ms
        self._left -= 1
        if self._left < 0:
            self._left = 0
            return False
        return True


def _device(topic: str) -> str:
    try:
        return device_of(topic)
    except RejectedError:
        return ""


def _text(text: str, length: int) -> str:
    return text.encode(errors="replace").decode().replace("\0", "?")[:length]
