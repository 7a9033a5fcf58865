"""How bodies are compressed, and opened again within a limit. What is compressed is the contract, not how: readers take
any deflate stream (RFC 1950).
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence

from agent.contract.errors import RejectedError

_OWN_CODES_BYTES = 1024  # below that a table of codes costs more than it saves


def compress(parts: Sequence[bytes], *, noise: bool) -> bytes:
    """Compress parts of one body.

    Args:
        parts: of which each has values of one kind.
        noise: whether they are differences around zero. Fewer matches and more codes then save an eighth, and codes of
            its own for each part another twelfth.
    """
    engine = zlib.compressobj(9, strategy=zlib.Z_FILTERED if noise else zlib.Z_DEFAULT_STRATEGY)
    packed = b""
    for part in parts[:-1]:
        packed += engine.compress(part)
        if len(part) >= _OWN_CODES_BYTES:
            packed += engine.flush(zlib.Z_BLOCK)
    return packed + engine.compress(parts[-1]) + engine.flush()


def decompress(data: bytes, limit: int, where: str) -> bytes:
    """Return a body.

    Raises:
        RejectedError: when it is not compressed data, or larger than `limit`.
    """
    engine = zlib.decompressobj()
    try:
        body = engine.decompress(data, limit + 1)
    except zlib.error as exc:
        raise RejectedError(f"is not compressed data ({exc})", where=where) from exc
    if len(body) > limit or not engine.eof or engine.unused_data:
        raise RejectedError(f"is cut short, or larger than {limit} bytes", where=where)
    return body
