"""Small things that a device has learnt and can learn anew: named bytes, sealed, each replaced as a whole.

Decides how a note lies in its table; callers hold the transaction, so that a note and the rows it speaks of are on disk
together or not at all.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from sqlite_utils import Database

from agent.contract.errors import RejectedError

MOST_NOTES = 12  # the one written longest ago goes: models are replaced, and so are their notes
_NONCE = 12
_PURPOSE = b"edgewatt/note/v1\0"


def create_table(db: Database) -> None:
    """Make the table; a migration of the database."""
    db.execute("CREATE TABLE note (id INTEGER PRIMARY KEY AUTOINCREMENT, tag BLOB NOT NULL, data BLOB NOT NULL) STRICT")
    db.execute("CREATE UNIQUE INDEX note_tag ON note (tag)")


class Notes:
    """Reads and writes notes under one storage key; `tag` hides their names."""

    def __init__(self, db: Database, key: bytes, tag: Callable[[str], bytes]) -> None:
        self._db = db
        self._cipher = ChaCha20Poly1305(key)
        self._tag = tag

    def put(self, name: str, data: bytes) -> None:
        """Write a note in place of the one of that name."""
        nonce = os.urandom(_NONCE)
        sealed = nonce + self._cipher.encrypt(nonce, data, _PURPOSE + name.encode())
        # A new id each time: the lowest ids are the ones written longest ago.
        self._db.execute("INSERT OR REPLACE INTO note (tag, data) VALUES (?, ?)", [self._tag(f"note/{name}"), sealed])
        self._db.execute(
            "DELETE FROM note WHERE id NOT IN (SELECT id FROM note ORDER BY id DESC LIMIT ?)", [MOST_NOTES]
        )

    def get(self, name: str) -> bytes | None:
        """Return a note, None where there is none.

        Raises:
            RejectedError: when it is damaged or another's.
        """
        if not self._db.execute("SELECT 1 FROM sqlite_master WHERE name = 'note'").fetchone():
            return None  # read only, from a store that this version has not opened for writing yet
        found = self._db.execute("SELECT data FROM note WHERE tag = ?", [self._tag(f"note/{name}")]).fetchone()
        if found is None:
            return None
        try:
            return self._cipher.decrypt(found[0][:_NONCE], found[0][_NONCE:], _PURPOSE + name.encode())
        except (InvalidTag, ValueError) as exc:  # ValueError: shorter than a nonce
            raise RejectedError("is damaged", where=f"note {name}") from exc
