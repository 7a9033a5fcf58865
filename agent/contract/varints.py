"""Whole arrays of signed integers as zigzag LEB128 bytes, without a Python loop over values."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from agent.contract.errors import RejectedError

_MAX_BYTES = 10


def encode(values: NDArray[np.int64]) -> bytes:
    """Encode int64 values [n]; small magnitudes take one byte."""
    wide = values.astype(np.int64)
    zigzag = ((wide << 1) ^ (wide >> 63)).astype(np.uint64)
    lengths = np.ones(len(zigzag), dtype=np.int64)
    for count in range(1, _MAX_BYTES):
        lengths += (zigzag >> np.uint64(7 * count)) != 0
    starts = np.cumsum(lengths) - lengths
    out = np.zeros(int(lengths.sum()), dtype=np.uint8)
    for position in range(int(lengths.max(initial=0))):
        mask = lengths > position
        piece = (zigzag[mask] >> np.uint64(7 * position)) & np.uint64(0x7F)
        more = (lengths[mask] > position + 1).astype(np.uint64) << np.uint64(7)
        out[starts[mask] + position] = (piece | more).astype(np.uint8)
    return out.tobytes()


def decode(data: bytes, count: int, where: str) -> NDArray[np.int64]:
    """Decode exactly `count` values.

    Raises:
        RejectedError: when the bytes hold another number of values, end within one, or one exceeds 64 bits or is
            written longer than need be: the same values are the same bytes.
    """
    raw = np.frombuffer(data, dtype=np.uint8)
    ends = np.flatnonzero(raw < 0x80)
    if len(ends) != count or (len(raw) and (not len(ends) or ends[-1] != len(raw) - 1)):
        raise RejectedError(f"columns hold {len(ends)} values where {count} are stated", where=where)
    starts = np.concatenate(([0], ends[:-1] + 1)) if count else ends
    lengths = ends - starts + 1
    if count and int(lengths.max()) > _MAX_BYTES:
        raise RejectedError("a column value is longer than 64 bits", where=where)
    last = raw[ends]
    if np.any((last == 0) & (lengths > 1)) or np.any((last > 1) & (lengths == _MAX_BYTES)):
        raise RejectedError("a column value is not in its one shortest form of 64 bits", where=where)
    zigzag = np.zeros(count, dtype=np.uint64)
    for position in range(int(lengths.max(initial=0))):
        mask = lengths > position
        piece = (raw[starts[mask] + position] & np.uint8(0x7F)).astype(np.uint64)
        zigzag[mask] |= piece << np.uint64(7 * position)
    return (zigzag >> np.uint64(1)).astype(np.int64) ^ -(zigzag & np.uint64(1)).astype(np.int64)
