r"""Signed messages of the centre: `EWS1 | key id (8) | u32 length | JSON body | Ed25519 signature (64)`.

The signature covers `edgewatt/<kind>/v1\0` and all bytes before it, so one kind never passes for another. Before the
signature is checked only the fixed prefix is read.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any

from cryptography.exceptions import InvalidSignature

from agent.contract import jsonform
from agent.contract.errors import ConfigError, RejectedError
from agent.contract.keys import KEY_ID_BYTES, SIGNATURE_BYTES, SigningKey, verify_key

_MAGIC = b"EWS1"
_PREFIX = len(_MAGIC) + KEY_ID_BYTES + 4
MAX_BYTES = 65_536


def sign(kind: str, body: Mapping[str, Any], key: SigningKey, *, max_bytes: int = MAX_BYTES) -> bytes:
    """Return the message bytes.

    Raises:
        ConfigError: when it would be longer than its receiver reads.
    """
    text = jsonform.dumps(body)
    if _PREFIX + len(text) + SIGNATURE_BYTES > max_bytes:
        raise ConfigError(f"a message of {len(text)} bytes is too long", where=kind, todo="Put less into it")
    message = _MAGIC + bytes.fromhex(key.id) + struct.pack(">I", len(text)) + text
    return message + key.sign(_context(kind) + message)


def verify(kind: str, data: bytes, keys: Mapping[str, bytes], *, max_bytes: int = MAX_BYTES) -> dict[str, Any]:
    """Return the body of a message of `kind` signed by one of `keys` (id -> public key).

    Raises:
        RejectedError: when too long, malformed, by an unknown key, or altered.
    """
    if not _PREFIX + SIGNATURE_BYTES <= len(data) <= max_bytes or data[: len(_MAGIC)] != _MAGIC:
        raise RejectedError("is not a signed message of this size", where=kind)
    signer = data[len(_MAGIC) : len(_MAGIC) + KEY_ID_BYTES].hex()
    length = struct.unpack_from(">I", data, len(_MAGIC) + KEY_ID_BYTES)[0]
    if length != len(data) - _PREFIX - SIGNATURE_BYTES:
        raise RejectedError("is cut short or has bytes too many", where=kind)
    if signer not in keys:
        raise RejectedError(f"is signed by key {signer}, which is not trusted for this", where=kind)
    message, signature = data[:-SIGNATURE_BYTES], data[-SIGNATURE_BYTES:]
    try:
        verify_key(keys[signer]).verify(signature, _context(kind) + message)
    except InvalidSignature as exc:
        raise RejectedError("has a signature that does not fit", where=kind) from exc
    return jsonform.loads(message[_PREFIX:], where=kind, max_bytes=max_bytes)


def _context(kind: str) -> bytes:
    return f"edgewatt/{kind}/v1".encode() + b"\0"
