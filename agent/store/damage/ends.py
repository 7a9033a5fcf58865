"""How far each stream went, told apart from the database, so that what is lost with that can be told by its numbers.

A sealed note in the ring's file. It says at least how far, never too much: it is written after the rows it speaks of.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from agent.contract import jsonform
from agent.contract.errors import RejectedError
from agent.contract.jsonform import Fields
from agent.contract.topics import STREAMS

MAX_BYTES = 1536
WITHIN = 4096  # bytes of the ring's file, from its begin, that hold the notes
MOST_EPOCHS = 8
_MAGIC, _LENGTH, _NONCE = b"EWE1", 2, 12
_HEAD = len(_MAGIC) + _LENGTH

Place = tuple[int, str]  # epoch and stream


def seal(lasts: Mapping[Place, int], key: bytes) -> bytes:
    """Seal the last number of each stream of the newest epochs, as many as there is room for."""
    epochs = sorted({epoch for epoch, _ in lasts})[-MOST_EPOCHS:]
    while True:
        streams = {
            str(epoch): {stream: last for (one, stream), last in lasts.items() if one == epoch} for epoch in epochs
        }
        nonce = os.urandom(_NONCE)
        sealed = nonce + ChaCha20Poly1305(key).encrypt(nonce, jsonform.dumps({"ends": streams}), _MAGIC)
        if _HEAD + len(sealed) <= MAX_BYTES:
            return _MAGIC + len(sealed).to_bytes(_LENGTH) + sealed
        epochs = epochs[1:]


def find(content: bytes, key: bytes) -> dict[Place, int]:
    """Return the greatest number of each stream of all notes that begin in these bytes and open."""
    lasts: dict[Place, int] = {}
    at = content.find(_MAGIC)
    while at >= 0:
        for place, last in _opened(content[at : at + MAX_BYTES], key).items():
            lasts[place] = max(last, lasts.get(place, 0))
        at = content.find(_MAGIC, at + 1)
    return lasts


def _opened(data: bytes, key: bytes) -> dict[Place, int]:
    sealed = data[_HEAD : _HEAD + int.from_bytes(data[len(_MAGIC) : _HEAD])]
    try:
        plain = ChaCha20Poly1305(key).decrypt(sealed[:_NONCE], sealed[_NONCE:], _MAGIC)
        ends = Fields(jsonform.loads(plain, where="ends", max_bytes=MAX_BYTES), "ends").child("ends")
        return {
            (int(epoch), stream): ends.child(epoch).integer(stream, 1)
            for epoch in ends.as_dict()
            for stream in ends.child(epoch).as_dict()
            if stream in STREAMS
        }
    except (InvalidTag, ValueError, RejectedError):  # ValueError: too short to be sealed
        return {}
