"""How bytes of the update repository reach the device: in pieces over MQTT, or from a folder (USB). Trust is TUF's.

Decides requests, repetition and resuming; knows nothing of signatures. python-tuf calls a fetcher from the
download's thread; `MqttFetcher.deliver` is called from the daemon's thread.
"""

from __future__ import annotations

import re
import secrets
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from tuf.api.exceptions import DownloadError, DownloadHTTPError
from tuf.ngclient import FetcherInterface

from agent.contract.messages import MAX_PIECE_BYTES, NOT_FOUND, OK, REPO_PATH, RepoData, RepoGet
from agent.contract.topics import DeviceTopics

METADATA_URL, TARGETS_URL = "metadata/", "targets/"
_HASHED = re.compile(r"targets/(?:.+/)?([0-9a-f]{64})\.[^/]+")
_SUFFIX = ".part"


class Partials:
    """Begun downloads of targets, by the SHA-256 that they shall have. At most one is kept: the last begun.

    What is kept is not trusted: whoever asks for it verifies the whole and calls `drop` when it is wrong.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def held(self, sha256: str) -> bytes:
        """Return what is there of one target, and forget all others."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            for other in self._folder.glob(f"*{_SUFFIX}"):
                if other.stem != sha256:
                    other.unlink()
            return self._path(sha256).read_bytes()
        except FileNotFoundError:
            return b""
        except OSError as exc:
            raise DownloadError(f"a partial download cannot be read ({exc.strerror})") from exc

    def append(self, sha256: str, data: bytes) -> None:
        """Add the next piece. Not fsynced: a piece lost with the power is asked for again, a wrong one is found."""
        try:
            with self._path(sha256).open("ab") as file:
                file.write(data)
        except OSError as exc:
            raise DownloadError(f"a partial download cannot be kept ({exc.strerror})") from exc

    def drop(self, sha256: str) -> None:
        """Forget a target that is complete, or wrong."""
        self._path(sha256).unlink(missing_ok=True)

    def _path(self, sha256: str) -> Path:
        return self._folder / f"{sha256}{_SUFFIX}"


class RepositoryFetcher(FetcherInterface):
    """A fetcher that another thread can end."""

    def close(self) -> None:
        """Let a download that waits fail at once."""


class MqttFetcher(RepositoryFetcher):
    """Asks the centre for pieces by `repo/get` and waits for them on `repo/data`.

    One request is under way at a time; one that stays unanswered is repeated under a new id. A piece that was not asked
    for is ignored.
    """

    def __init__(
        self,
        send: Callable[[str, bytes], bool],
        device: str,
        partials: Partials,
        *,
        answer_s: float = 10.0,
        attempts: int = 4,
    ) -> None:
        """Prepare.

        Args:
            send: hands topic and payload to the line without waiting; False when it cannot.
            device: id of this device.
            partials: where begun targets are kept.
            answer_s: how long one answer may take.
            attempts: how often one piece is asked for.
        """
        self._send, self._topic = send, DeviceTopics(device).repo_get
        self._partials, self._answer_s, self._attempts = partials, answer_s, attempts
        self._changed = threading.Condition()
        self._asked = ""
        self._answer: RepoData | None = None
        self._closed = False

    def deliver(self, payload: bytes) -> None:
        """Take a message of `repo/data`.

        Raises:
            RejectedError: when it is malformed.
        """
        answer = RepoData.from_bytes(payload)
        with self._changed:
            if self._asked and answer.id == self._asked:
                self._answer, self._asked = answer, ""
                self._changed.notify_all()

    def close(self) -> None:
        """Let a waiting download fail at once."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _fetch(self, url: str) -> Iterator[bytes]:
        path = _checked(url)
        hashed = _HASHED.fullmatch(path)
        sha256 = hashed[1] if hashed else ""
        offset = 0
        if sha256:
            held = self._partials.held(sha256)
            for at in range(0, len(held), MAX_PIECE_BYTES):
                yield held[at : at + MAX_PIECE_BYTES]
            offset = len(held)
        total = offset + 1
        while offset < total:
            answer = self._piece(path, offset)
            if offset == answer.total and not answer.data:
                return  # all of it was held already
            if not answer.data or answer.offset != offset or offset + len(answer.data) > answer.total:
                raise DownloadError(f"{path}: the centre answered with another piece than was asked for")
            # The reader breaks off here when it has had more than it allows; then nothing of it is kept.
            yield answer.data
            if sha256:
                self._partials.append(sha256, answer.data)
            offset, total = offset + len(answer.data), answer.total

    def _piece(self, path: str, offset: int) -> RepoData:
        for _ in range(self._attempts):
            request = RepoGet(secrets.token_hex(8), path, offset, MAX_PIECE_BYTES)
            answer = self._ask(request)
            if answer is None:
                continue
            if answer.status == NOT_FOUND:
                raise DownloadHTTPError(f"{path}: the centre does not have it", 404)
            if answer.status != OK:
                raise DownloadHTTPError(f"{path}: the centre refuses it", 400)
            return answer
        raise DownloadError(f"{path}: no answer from the centre")

    def _ask(self, request: RepoGet) -> RepoData | None:
        with self._changed:
            if self._closed:
                raise DownloadError("the update client is being closed")
            self._asked, self._answer = request.id, None
        if not self._send(self._topic, request.to_bytes()):
            raise DownloadError("there is no connection to the centre")
        with self._changed:
            self._changed.wait_for(lambda: self._answer is not None or self._closed, self._answer_s)
            self._asked = ""
            return self._answer


class FolderFetcher(RepositoryFetcher):
    """Reads a copy of the repository (`metadata/`, `targets/`) that was carried to the device."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def _fetch(self, url: str) -> Iterator[bytes]:
        path = self._folder / _checked(url)
        try:
            if not stat.S_ISREG(path.stat().st_mode):
                raise DownloadHTTPError(f"{path}: is not a file", 404)
            with path.open("rb") as file:
                while piece := file.read(MAX_PIECE_BYTES):
                    yield piece
        except (FileNotFoundError, NotADirectoryError) as exc:
            raise DownloadHTTPError(f"{path}: there is no such file", 404) from exc
        except OSError as exc:
            raise DownloadError(f"{path}: cannot be read ({exc.strerror})") from exc


def _checked(url: str) -> str:
    if re.fullmatch(REPO_PATH, url) is None:
        raise DownloadError(f"{url!r} is not a path of the repository")
    return url
