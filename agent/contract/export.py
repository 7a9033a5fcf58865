"""Exports: what waits for the centre on a medium in place of a network, and the centre's answers on the way back.

Export   `EWX1 | (u32 length | envelope)* | u32 0 | signed "export" {device, envelopes, sha256}`
Answers  `EWY1 | (u32 length | acknowledgement)*`

Envelopes and acknowledgements are those of the network, each sealed or signed by itself. The trailer, signed by the
device, vouches for their number and order; `sha256` is over all before the zero. Files are read one message at a time.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable, Iterator, Mapping
from typing import BinaryIO

from agent.contract import envelope, signed
from agent.contract.errors import ConfigError, RejectedError
from agent.contract.jsonform import Fields
from agent.contract.keys import SigningKey
from agent.contract.messages import MAX_TO_DEVICE_BYTES
from agent.contract.topics import DEVICE_ID

KIND = "export"
MAX_ENVELOPES = 100_000
MAX_ANSWERS = 10_000
MAX_ANSWERS_BYTES = 2**30
EXPORT_MAGIC, ANSWERS_MAGIC = _EXPORT, _ANSWERS = b"EWX1", b"EWY1"
_LENGTH = struct.Struct(">I")


class ExportWriter:
    """Writes an export to a file that is open for binary writing; whole only after `finish`."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._hash = file, hashlib.sha256()
        self.envelopes = self.size = 0
        self._put(_EXPORT)

    def add(self, sealed: bytes) -> None:
        """Write one envelope.

        Raises:
            ConfigError: when that would be more than an export holds.
        """
        if self.envelopes >= MAX_ENVELOPES:
            raise ConfigError(f"an export holds at most {MAX_ENVELOPES} envelopes", todo="Carry this one first")
        self._put(_LENGTH.pack(len(sealed)) + sealed)
        self.envelopes += 1

    def finish(self, device: str, key: SigningKey) -> None:
        """Write the trailer."""
        body = {"device": device, "envelopes": self.envelopes, "sha256": self._hash.hexdigest()}
        self._put(_LENGTH.pack(0) + signed.sign(KIND, body, key))

    def _put(self, data: bytes) -> None:
        self._file.write(data)
        self._hash.update(data)
        self.size += len(data)


class ExportReader:
    """Reads an export: iterate once over its envelopes, then `check`.

    An envelope proves itself and may be used at once, also where the export turns out to be cut.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._hash = file, hashlib.sha256()
        self.envelopes = 0
        self._trailer = b""

    def __iter__(self) -> Iterator[bytes]:
        """Yield the envelopes.

        Raises:
            RejectedError: when the file is no export, is cut, or has more envelopes, or a longer one, than is allowed.
        """
        self._hash.update(_magic(self._file, _EXPORT, KIND))
        while length := _length(self._file, KIND):
            if length > envelope.MAX_BYTES or self.envelopes >= MAX_ENVELOPES:
                raise RejectedError(f"holds more than {MAX_ENVELOPES} envelopes, or one too long", where=KIND)
            sealed = _read(self._file, length, KIND)
            self._hash.update(_LENGTH.pack(length) + sealed)
            self.envelopes += 1
            yield sealed
        self._trailer = self._file.read(signed.MAX_BYTES + 1)

    def check(self, keys: Mapping[str, bytes], device: str) -> None:
        """Check the trailer by the device's keys (id -> public key).

        Raises:
            RejectedError: when it is not signed by one of them, or vouches for other envelopes than were read.
        """
        fields = Fields(signed.verify(KIND, self._trailer, keys), KIND)
        if fields.text("device", pattern=DEVICE_ID) != device:
            fields.fail("device", f"is not {device}")
        if (fields.integer("envelopes"), fields.text("sha256")) != (self.envelopes, self._hash.hexdigest()):
            fields.fail("sha256", "is of other envelopes: the file was changed")


def answers_to_bytes(acknowledgements: Iterable[bytes]) -> bytes:
    """Put acknowledgements into a file, in the order in which they were signed."""
    return _ANSWERS + b"".join(_LENGTH.pack(len(data)) + data for data in acknowledgements)


def read_answers(file: BinaryIO) -> Iterator[bytes]:
    """Yield the acknowledgements of a file; each is still to be judged.

    Raises:
        RejectedError: when it is no file of answers, is cut, or holds more than is allowed.
    """
    where = "answer to an export"
    _magic(file, _ANSWERS, where)
    count = 0
    while (start := file.read(_LENGTH.size)) != b"":
        length = _LENGTH.unpack(start)[0] if len(start) == _LENGTH.size else 0
        if not 0 < length <= MAX_TO_DEVICE_BYTES or count >= MAX_ANSWERS:
            raise RejectedError("is cut, or holds too much", where=where)
        count += 1
        yield _read(file, length, where)


def _magic(file: BinaryIO, magic: bytes, where: str) -> bytes:
    if file.read(len(magic)) != magic:
        raise RejectedError("is not a file of this kind", where=where)
    return magic


def _length(file: BinaryIO, where: str) -> int:
    return int(_LENGTH.unpack(_read(file, _LENGTH.size, where))[0])


def _read(file: BinaryIO, length: int, where: str) -> bytes:
    data = file.read(length)
    if len(data) != length:
        raise RejectedError("is cut short", where=where, todo="Copy it again; what stands before the cut counts")
    return data
