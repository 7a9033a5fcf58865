"""Answers devices that ask for pieces of the update repository; trust never depends on these answers."""

from __future__ import annotations

import os
from pathlib import Path

from agent.contract.messages import NOT_FOUND, OK, REFUSED, RepoData, RepoGet


class Pieces:
    """Reads the repository's folder; nothing outside of `metadata/` and `targets/` can be asked for."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder.resolve()

    def answer(self, request: RepoGet) -> RepoData:
        """Return the piece, or say that the file is not there or the offset lies beyond its end.

        The contract's path form has no dotted component; symbolic links that lead out of the repository are refused.
        """
        path = (self._folder / request.path).resolve()
        if not path.is_relative_to(self._folder):
            return RepoData(request.id, REFUSED, 0, request.offset, b"")
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        except OSError:
            return RepoData(request.id, NOT_FOUND, 0, request.offset, b"")
        try:
            total = os.fstat(descriptor).st_size
            if not path.is_file() or request.offset > total:
                return RepoData(request.id, REFUSED, 0, request.offset, b"")
            data = os.pread(descriptor, request.length, request.offset)
        finally:
            os.close(descriptor)
        return RepoData(request.id, OK, total, request.offset, data)
