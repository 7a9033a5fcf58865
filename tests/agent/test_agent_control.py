"""The Unix socket: only named operations, bounded requests, a bad caller disturbs nobody."""

from __future__ import annotations

import json
import socket
import stat
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Self

import pytest

import agent.control
from agent.contract.errors import ConfigError, EdgewattError, RejectedError, StorageError, UnavailableError
from agent.control import MAX_REQUEST_BYTES, Control, Operation, ask


class Loop:
    """Stands for the daemon: answers on a thread of its own until it is stopped."""

    def __init__(self, path: Path) -> None:
        self.control = Control(path)
        self.asked: list[tuple[Operation, Mapping[str, Any]]] = []
        self.error: Exception | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        while not self._stop.wait(0.005):
            self.control.answer(self._handle)

    def _handle(self, operation: Operation, arguments: Mapping[str, Any]) -> dict[str, Any]:
        self.asked.append((operation, arguments))
        if self.error is not None:
            raise self.error
        return {"schema": 1, "operation": str(operation), **arguments}

    def __enter__(self) -> Self:
        self.control.start()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self.control.close()


@pytest.fixture
def loop(tmp_path: Path) -> Iterator[Loop]:
    with Loop(tmp_path / "agent.sock") as running:
        yield running


def say(path: Path, data: bytes) -> dict[str, Any]:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(10)
        connection.connect(str(path))
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        answer = b""
        while piece := connection.recv(65_536):
            answer += piece
    return json.loads(answer)


def test_answers_a_named_operation_with_its_arguments(loop: Loop, tmp_path: Path) -> None:
    answer = ask(tmp_path / "agent.sock", Operation.ALERTS_ACK, id="a1")
    assert answer == {"schema": 1, "operation": "alerts.ack", "id": "a1"}
    assert loop.asked == [(Operation.ALERTS_ACK, {"id": "a1"})]


def test_the_socket_is_for_owner_and_group_only(loop: Loop, tmp_path: Path) -> None:
    assert stat.S_IMODE((tmp_path / "agent.sock").stat().st_mode) == 0o660


@pytest.mark.parametrize("error", [ConfigError, UnavailableError, RejectedError, StorageError])
def test_errors_arrive_in_their_own_class(loop: Loop, tmp_path: Path, error: type[EdgewattError]) -> None:
    todo = "Mend it: " + "one of many " * 100
    loop.error = error("is wrong", where="somewhere", todo=todo)
    with pytest.raises(error, match=rf"somewhere: is wrong\. {todo}") as caught:
        ask(tmp_path / "agent.sock", Operation.STATUS)
    assert caught.value.exit_code == error.exit_code


def test_a_defect_is_not_shown_and_the_loop_goes_on(loop: Loop, tmp_path: Path) -> None:
    loop.error = ZeroDivisionError("secret detail")
    with pytest.raises(EdgewattError, match="internal error") as caught:
        ask(tmp_path / "agent.sock", Operation.STATUS)
    assert "secret" not in str(caught.value)
    loop.error = None
    assert ask(tmp_path / "agent.sock", Operation.STATUS)["operation"] == "status"


@pytest.mark.parametrize(
    ("request_bytes", "expected"),
    [
        (b"\n", "is not valid JSON"),
        (b"", "is not one line"),
        (b'{"operation": "status"}', "is not one line"),
        (b"[1]\n", "is not a JSON object"),
        (b"{}\n", "is missing"),
        (b'{"operation": 4}\n', "is not a string"),
        (b'{"operation": "shell"}\n', "'shell' is unknown"),
        (b'{"operation": "status", "arguments": 3}\n', "is not an object"),
        (b'{"operation": "status", "operation": "cost"}\n', "a key stands twice"),
        (b"\xff\xfe\n", "is not valid JSON"),
        (b"[" * 5000 + b"\n", "is not valid JSON"),
        (b"x" * (3 * MAX_REQUEST_BYTES) + b"\n", "allowed"),
        (b"x" * (30 * MAX_REQUEST_BYTES), "longer than"),
    ],
)
def test_refuses_what_is_not_a_request_and_asks_nothing(
    loop: Loop, tmp_path: Path, request_bytes: bytes, expected: str
) -> None:
    try:
        answer = say(tmp_path / "agent.sock", request_bytes)
    except (BrokenPipeError, ConnectionResetError):  # refused before all was said
        answer = {"ok": False, "error": {"kind": "rejected", "what": expected}}
    assert answer["ok"] is False
    assert answer["error"]["kind"] == "rejected"
    assert expected in answer["error"]["what"]
    assert loop.asked == []
    assert ask(tmp_path / "agent.sock", Operation.STATUS)["operation"] == "status"


def test_a_caller_that_says_nothing_holds_the_ear_only_for_a_moment(loop: Loop, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as idle:
        idle.connect(str(tmp_path / "agent.sock"))
        assert ask(tmp_path / "agent.sock", Operation.STATUS)["operation"] == "status"


def test_a_caller_that_leaves_before_the_answer_disturbs_nobody(loop: Loop, tmp_path: Path) -> None:
    for _ in range(3):
        with socket.socket(socket.AF_UNIX) as hasty:
            hasty.connect(str(tmp_path / "agent.sock"))
            hasty.sendall(b'{"operation": "status"}\n')
    assert ask(tmp_path / "agent.sock", Operation.COST)["operation"] == "cost"


def test_nobody_listening_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match=r"does not answer.*edgewatt run"):
        ask(tmp_path / "agent.sock", Operation.STATUS)


def test_takes_over_the_socket_of_an_agent_that_was_killed(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "agent.sock"))
    with Loop(tmp_path / "agent.sock"):
        assert ask(tmp_path / "agent.sock", Operation.STATUS)["operation"] == "status"
    assert not (tmp_path / "agent.sock").exists()


def test_does_not_take_over_the_socket_of_a_living_agent(loop: Loop, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="another agent listens"):
        Control(tmp_path / "agent.sock").start()
    assert ask(tmp_path / "agent.sock", Operation.STATUS)["operation"] == "status"


def test_does_not_remove_a_file_that_is_not_a_socket(tmp_path: Path) -> None:
    (tmp_path / "agent.sock").write_text("precious")
    with pytest.raises(ConfigError, match="not a socket"):
        Control(tmp_path / "agent.sock").start()
    assert (tmp_path / "agent.sock").read_text() == "precious"


def test_a_path_that_is_too_long_for_a_socket_is_a_configuration_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"device\.socket"):
        Control(tmp_path / ("x" * 200)).start()


class Idle:
    """A daemon that is busy: it answers only when the test says so."""

    def __init__(self, path: Path) -> None:
        self.path, self.control = path, Control(path)
        self.asked: list[Operation] = []
        self.meanwhile: Callable[[], None] = lambda: None

    def turn(self) -> int:
        return self.control.answer(self._handle)

    def until_asked(self) -> None:
        while self.control._questions.empty():
            time.sleep(0.001)

    def _handle(self, operation: Operation, _: Mapping[str, Any]) -> dict[str, Any]:
        self.meanwhile()
        self.asked.append(operation)
        return {"done": True}


@pytest.fixture
def idle(tmp_path: Path) -> Iterator[Idle]:
    daemon = Idle(tmp_path / "agent.sock")
    daemon.control.start()
    yield daemon
    daemon.control.close()


def test_what_is_refused_as_busy_is_not_done_later(idle: Idle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agent.control, "_ANSWER_S", 0.02)
    with pytest.raises(UnavailableError, match="busy"):
        ask(idle.path, Operation.MODEL_ROLLBACK)
    assert idle.turn() == 0
    assert idle.asked == []


def test_what_was_begun_before_it_would_be_refused_is_answered(idle: Idle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agent.control, "_ANSWER_S", 0.5)
    idle.meanwhile = lambda: time.sleep(0.6)
    answers: list[dict[str, Any]] = []
    caller = threading.Thread(target=lambda: answers.append(ask(idle.path, Operation.MODEL_ROLLBACK)))
    caller.start()
    idle.until_asked()
    assert idle.turn() == 1
    caller.join()
    assert answers == [{"done": True}]


def test_what_somebody_asked_who_has_left_is_not_done(idle: Idle) -> None:
    with socket.socket(socket.AF_UNIX) as hasty:
        hasty.connect(str(idle.path))
        hasty.sendall(b'{"operation": "model.rollback"}\n')
        idle.until_asked()
    assert idle.turn() == 0
    assert idle.asked == []


def test_an_agent_that_breaks_off_may_have_done_it(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "agent.sock"))
        server.listen()

        def hear_and_die() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(1024)

        dying = threading.Thread(target=hear_and_die)
        dying.start()
        with pytest.raises(UnavailableError, match=r"does not answer.*Look whether it was done"):
            ask(tmp_path / "agent.sock", Operation.MODEL_ROLLBACK)
        dying.join()
