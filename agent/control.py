"""The daemon's ear: one JSON request a connection over a Unix socket, answered between two turns of the loop.

    request    {"operation": "alerts.ack", "arguments": {"id": "..."}} and a newline, at most 192 KiB
    answer     {"ok": true, "answer": {...}}  or  {"ok": false, "error": {"kind", "what", "where", "todo"}}, a newline

Decides who may ask (the file's mode: owner and group), how much may be said and how long it may take. It does not know
what the operations do. A thread of its own accepts; `Control.answer` runs on the daemon's thread, so that whoever
answers needs no locks.
"""

from __future__ import annotations

import contextlib
import enum
import logging
import os
import queue
import select
import socket
import stat
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agent.contract import jsonform
from agent.contract.errors import ConfigError, EdgewattError, RejectedError, StorageError, UnavailableError
from agent.contract.jsonform import Fields

MAX_REQUEST_BYTES = 192 * 2**10  # an acknowledgement that was carried here, in base64
MAX_ANSWER_BYTES = 4 * 2**20
MODE = 0o660
_READ_S = 2.0  # one slow caller may hold the ear for no longer
_ANSWER_S = 10.0  # what was not begun by then is refused
_WORK_S = 30.0  # and what was begun by then is waited for
_BACKLOG = 16
_LOOK = "Look whether it was done (edgewatt status) before you ask again"
_log = logging.getLogger(__name__)

Handler = Callable[["Operation", Mapping[str, Any]], dict[str, Any]]


class Operation(enum.StrEnum):
    """Everything that can be asked; there is no way to ask for anything else."""

    STATUS = "status"
    FORECAST = "forecast"
    COST = "cost"
    PLAN = "plan"
    ALERTS_LIST = "alerts.list"
    PEAK = "peak"
    ALERTS_ACK = "alerts.ack"
    ALERTS_SHELVE = "alerts.shelve"
    ALERTS_UNSHELVE = "alerts.unshelve"
    BUFFER_STATUS = "buffer.status"
    BUFFER_REPAIR = "buffer.repair"
    BUFFER_IMPORT = "buffer.import"
    SYNC_STATUS = "sync.status"
    MODEL_STATUS = "model.status"
    MODEL_ROLLBACK = "model.rollback"


_KINDS: dict[str, type[EdgewattError]] = {
    "config": ConfigError,
    "unavailable": UnavailableError,
    "rejected": RejectedError,
    "storage": StorageError,
    "internal": EdgewattError,
}


def _kind_of(error: EdgewattError) -> str:
    return next((kind for kind, cls in _KINDS.items() if isinstance(error, cls)), "internal")


@dataclass
class _Question:
    """One request. Who claims it first decides: the loop carries it out, or the ear refuses it."""

    operation: Operation
    arguments: Mapping[str, Any]
    caller: socket.socket
    reply: queue.SimpleQueue[bytes] = field(default_factory=queue.SimpleQueue)
    _claim: threading.Lock = field(default_factory=threading.Lock)

    def claim(self) -> bool:
        """Whether nobody has claimed it before."""
        return self._claim.acquire(blocking=False)


class Control:
    """Listens on `path` from `start` to `close`.

    Invariants:
        - a caller that sends too much, too slowly or nonsense gets an error and disturbs nobody else;
        - handlers run only inside `answer`;
        - what is refused as busy, or asked by somebody who has left before it was begun, is not carried out.

    Raises:
        ConfigError: at `start`, when another agent answers there, or the path cannot be a socket.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._questions: queue.SimpleQueue[_Question] = queue.SimpleQueue()
        self._stop = threading.Event()
        self._server: socket.socket | None = None
        self._thread = threading.Thread(target=self._serve, name="control", daemon=True)

    def start(self) -> None:
        """Listen."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            _clear_stale(self._path)
            self._server = _listen(self._path)
        except OSError as exc:
            raise ConfigError(
                f"cannot listen ({exc.strerror or exc})", where=str(self._path), todo="Mend device.socket or its rights"
            ) from exc
        self._thread.start()

    def answer(self, handler: Handler) -> int:
        """Answer what has been asked since the last call; return how many."""
        count = 0
        while True:
            try:
                question = self._questions.get_nowait()
            except queue.Empty:
                return count
            if not question.claim():
                continue
            if _has_left(question.caller):
                question.reply.put(_refusal(UnavailableError("nobody waits for it")))
                continue
            question.reply.put(_reply(handler, question))
            count += 1

    def close(self) -> None:
        """Stop listening and remove the socket."""
        self._stop.set()
        if self._server is not None:
            with contextlib.suppress(OSError):
                self._server.shutdown(socket.SHUT_RDWR)  # wakes accept(), which close() alone does not
            self._server.close()
            self._thread.join(timeout=_READ_S + 1)
            self._path.unlink(missing_ok=True)
            self._server = None

    def _serve(self) -> None:
        assert self._server is not None  # noqa: S101 - start() sets it before the thread
        while not self._stop.is_set():
            try:
                connection, _ = self._server.accept()
            except TimeoutError:
                continue
            except OSError:
                if self._stop.wait(0.1):  # closed, or out of file handles for a moment
                    return
                continue
            with connection, contextlib.suppress(OSError):
                connection.sendall(self._hear(connection) + b"\n")

    def _hear(self, connection: socket.socket) -> bytes:
        try:
            question = _Question(*_parse(_read_line(connection, MAX_REQUEST_BYTES, _READ_S)), connection)
        except EdgewattError as exc:
            return _refusal(exc)
        self._questions.put(question)
        try:
            return question.reply.get(timeout=_ANSWER_S)
        except queue.Empty:
            if question.claim():
                return _refusal(UnavailableError("the agent is busy, nothing was done", todo="Ask again"))
        try:
            return question.reply.get(timeout=_WORK_S)
        except queue.Empty:
            return _refusal(UnavailableError("the agent is still at it", where=question.operation, todo=_LOOK))


def ask(path: Path, operation: Operation, **arguments: Any) -> dict[str, Any]:
    """Ask the daemon that listens at `path`.

    Raises:
        UnavailableError: when none does, or it does not answer in time.
        EdgewattError: what the daemon says, in its own class.
    """
    request = jsonform.dumps({"operation": str(operation), "arguments": arguments})
    patience_s, said = _ANSWER_S + _WORK_S + _READ_S, False
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(patience_s)
            connection.connect(str(path))
            connection.sendall(request + b"\n")
            said = True
            data = _read_line(connection, MAX_ANSWER_BYTES, patience_s)
    except PermissionError as exc:
        raise UnavailableError(
            "you may not speak to the agent", where=str(path), todo="Join the group edgewatt, or use sudo"
        ) from exc
    except (OSError, RejectedError) as exc:
        todo = _LOOK if said else "Start it: edgewatt run"
        raise UnavailableError("the agent does not answer", where=str(path), todo=todo) from exc
    fields = Fields(jsonform.loads(data, where="answer", max_bytes=MAX_ANSWER_BYTES), "answer")
    if fields.flag("ok"):
        return fields.child("answer").as_dict()
    error = fields.child("error")
    raise _KINDS.get(error.text("kind"), EdgewattError)(
        error.text("what", max_length=65_536),
        where=error.text("where", max_length=4096),
        todo=error.text("todo", max_length=65_536),
    )


def _listen(path: Path) -> socket.socket:
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        os.fchmod(server.fileno(), 0o600)  # before bind: there is no moment in which others could connect
        server.bind(str(path))
        path.chmod(MODE)
        server.listen(_BACKLOG)
        server.settimeout(0.5)
    except OSError:
        server.close()
        raise
    return server


def _clear_stale(path: Path) -> None:
    """Remove the socket of an agent that was killed."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise ConfigError("exists and is not a socket", where=str(path), todo="Mend device.socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            path.unlink(missing_ok=True)
            return
    raise ConfigError("another agent listens there", where=str(path), todo="Stop it first")


def _read_line(connection: socket.socket, most: int, timeout_s: float) -> bytes:
    deadline = time.monotonic() + timeout_s
    data = b""
    while b"\n" not in data:
        if len(data) > most:
            raise RejectedError(f"is longer than {most} bytes", where="request")
        connection.settimeout(max(0.01, deadline - time.monotonic()))
        try:
            piece = connection.recv(65_536)
        except TimeoutError as exc:
            raise RejectedError("did not come in time", where="request") from exc
        if not piece or time.monotonic() > deadline:
            raise RejectedError("is not one line of JSON", where="request")
        data += piece
    return data.partition(b"\n")[0]


def _has_left(caller: socket.socket) -> bool:
    """Whether the other side has closed, not only said all that it has to say."""
    poll = select.poll()
    poll.register(caller, 0)
    return bool(poll.poll(0))


def _parse(data: bytes) -> tuple[Operation, dict[str, Any]]:
    fields = Fields(jsonform.loads(data, where="request", max_bytes=MAX_REQUEST_BYTES), "request")
    operation = fields.text("operation", max_length=64)
    if operation not in set(Operation):
        fields.fail("operation", f"{operation!r} is unknown; possible: {', '.join(Operation)}")
    arguments = fields.child("arguments").as_dict() if "arguments" in fields else {}
    return Operation(operation), arguments


def _reply(handler: Handler, question: _Question) -> bytes:
    try:
        return jsonform.dumps({"ok": True, "answer": handler(question.operation, question.arguments)})
    except EdgewattError as exc:
        return _refusal(exc)
    except Exception:  # noqa: BLE001 - a defect in one answer must not stop the loop that samples
        _log.exception("operation %s failed", question.operation)
        return _refusal(EdgewattError("an internal error; the agent's log has the details", where=question.operation))


def _refusal(error: EdgewattError) -> bytes:
    body = {"kind": _kind_of(error), "what": error.what, "where": error.where, "todo": error.todo}
    return jsonform.dumps({"ok": False, "error": body})
