"""Unsigned messages: pieces of the update repository, and the retained status. Trust never depends on them.

`repo/get`   JSON {id, path, offset, length}
`repo/data`  `u16 header length | JSON {id, status, total, offset} | bytes`
`status`     JSON {state, time_ms, version, boot, epoch}
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from agent.contract import jsonform
from agent.contract.errors import RejectedError
from agent.contract.jsonform import Fields

MAX_TO_DEVICE_BYTES = 131_072  # a device drops longer payloads unread; the centre keeps acknowledgements below it
MAX_PIECE_BYTES = 65_536
REPO_PATH = r"(metadata|targets)(/[A-Za-z0-9][A-Za-z0-9._-]{0,127}){1,5}"
OK, NOT_FOUND, REFUSED = "ok", "not-found", "refused"
_ID = r"[0-9a-f]{1,32}"


@dataclass(frozen=True, slots=True)
class RepoGet:
    """A request for `length` bytes from `offset` of one repository file."""

    id: str
    path: str
    offset: int
    length: int

    def to_bytes(self) -> bytes:
        """The message."""
        return jsonform.dumps({"id": self.id, "path": self.path, "offset": self.offset, "length": self.length})

    @classmethod
    def from_bytes(cls, data: bytes) -> RepoGet:
        """Parse. A path cannot leave the repository: it has no empty or dotted component.

        Raises:
            RejectedError: when malformed.
        """
        fields = Fields(jsonform.loads(data, where="repo/get", max_bytes=1024), "repo/get")
        return cls(
            id=fields.text("id", pattern=_ID),
            path=fields.text("path", max_length=512, pattern=REPO_PATH),
            offset=fields.integer("offset"),
            length=fields.integer("length", 1, MAX_PIECE_BYTES),
        )


@dataclass(frozen=True, slots=True)
class RepoData:
    """An answer: `data` at `offset` of a file of `total` bytes, or a status other than `ok` and no data."""

    id: str
    status: str
    total: int
    offset: int
    data: bytes

    def to_bytes(self) -> bytes:
        """The message."""
        head = jsonform.dumps({"id": self.id, "status": self.status, "total": self.total, "offset": self.offset})
        return struct.pack(">H", len(head)) + head + self.data

    @classmethod
    def from_bytes(cls, data: bytes) -> RepoData:
        """Parse.

        Raises:
            RejectedError: when malformed.
        """
        size = struct.unpack_from(">H", data)[0] if len(data) >= 2 else 0
        if not 2 <= size <= 1024 or len(data) < 2 + size or len(data) - 2 - size > MAX_PIECE_BYTES:
            raise RejectedError("has a header or a piece of the wrong size", where="repo/data")
        fields = Fields(jsonform.loads(data[2 : 2 + size], where="repo/data", max_bytes=1024), "repo/data")
        status = fields.text("status", max_length=16)
        if status not in {OK, NOT_FOUND, REFUSED}:
            fields.fail("status", f"{status!r} is unknown here")
        answer = cls(
            id=fields.text("id", pattern=_ID),
            status=status,
            total=fields.integer("total"),
            offset=fields.integer("offset"),
            data=data[2 + size :],
        )
        if answer.data and (status != OK or answer.offset + len(answer.data) > answer.total):
            fields.fail("total", "does not leave room for the bytes that came")
        return answer


@dataclass(frozen=True, slots=True)
class Status:
    """Retained birth (`online`) and will (`offline`) of a device; `epoch` is its start's, 0 if it does not say."""

    state: str
    time_ms: int
    version: str
    boot: int
    epoch: int = 0

    def to_bytes(self) -> bytes:
        """The message."""
        return jsonform.dumps(
            {"schema": 1, "state": self.state, "time_ms": self.time_ms, "version": self.version, "boot": self.boot}
            | ({"epoch": self.epoch} if self.epoch else {})
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> Status:
        """Parse.

        Raises:
            RejectedError: when malformed.
        """
        fields = Fields(jsonform.loads(data, where="status", max_bytes=1024), "status")
        return cls(
            state=fields.text("state", pattern="online|offline"),
            time_ms=fields.instant("time_ms"),
            version=fields.text("version", max_length=32),
            boot=fields.integer("boot"),
            epoch=fields.integer("epoch") if "epoch" in fields else 0,
        )
