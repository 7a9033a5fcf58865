"""Whether SQLite passed over committed changes when it read its log, and a copy of the log for the salvage then.

SQLite reads its log up to the first frame that is not as it was written: what a power cut leaves ends there. A bit that
flips in the middle ends it there, too, and takes all that was committed later with it, without a word.
"""

from __future__ import annotations

import contextlib
import logging
import os
import struct
import sys
from pathlib import Path

from agent.store.damage import aside, logform

_SALTS = slice(16, 24)  # of the log's head
_LAST_FRAME = slice(16, 20)  # of the index beside the log
_FLIPPED_BITS = 4
_log = logging.getLogger(__name__)


def keep_passed_over(path: Path) -> None:
    """Copy the log of a database that was read once and not written yet, where more was committed than was read.

    A copy that cannot be made is told in the log of the agent only: sampling goes on.
    """
    try:
        if _is_passed_over(path):
            name = aside.copy_log(path)
            _log.warning("the log of the store is damaged: what SQLite passed over is salvaged from %s", name)
    except OSError as exc:
        _log.warning("the log of the store is damaged and cannot be copied (%s)", exc.strerror or exc)


def _is_passed_over(path: Path) -> bool:
    log, index = (path.with_name(path.name + ending) for ending in ("-wal", "-shm"))
    if not log.exists() or not index.exists():
        return False
    start = _read_open(index, _LAST_FRAME.stop)
    if len(start) < _LAST_FRAME.stop:
        return False
    read = int.from_bytes(start[_LAST_FRAME], sys.byteorder)
    with log.open("rb") as file:
        head, first = file.read(logform.HEAD_BYTES), file.read(logform.FRAME_HEAD_BYTES)
        if len(first) < logform.FRAME_HEAD_BYTES:
            return False
        # When it begins anew only its head is of the new generation at first; where the head is damaged, a frame tells.
        salts = head[_SALTS] if _is_whole(head) else first[logform.SALTS]
        file.seek(logform.HEAD_BYTES + read * logform.FRAME_BYTES)
        while len(frame := file.read(logform.FRAME_HEAD_BYTES)) == logform.FRAME_HEAD_BYTES:
            if any(frame[logform.DATABASE_PAGES]) and _is_like(frame[logform.SALTS], salts):
                return True
            file.seek(logform.PAGE, 1)
    return False


def _is_whole(head: bytes) -> bool:
    """Whether the head of a log has the checksum that stands at its end (SQLite's file format, section 4.2)."""
    words = struct.unpack(">6I" if head[3] & 1 else "<6I", head[:24])
    one = two = 0
    for even, odd in zip(words[::2], words[1::2], strict=True):
        one = (one + even + two) % 2**32
        two = (two + odd + one) % 2**32
    return struct.unpack(">2I", head[24:]) == (one, two)


def _is_like(one: bytes, other: bytes) -> bool:
    """Whether they differ in a few bits at most: salts of two generations differ in many."""
    return (int.from_bytes(one) ^ int.from_bytes(other)).bit_count() <= _FLIPPED_BITS


def _read_open(path: Path, size: int) -> bytes:
    """Read the start of a file by the descriptor that SQLite has of it.

    Opened and closed once more, the file would lose every lock that this process has on it (POSIX): another process
    then takes the index for one that nobody uses, cuts it to nothing, and the agent dies of a bus error.
    """
    wanted = str(path.resolve())
    for entry in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):  # closed meanwhile
            if str(entry.readlink()) == wanted:
                return os.pread(int(entry.name), size, 0)
    return b""
