"""systemd hears READY and WATCHDOG, where it listens; nothing breaks where it does not."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from agent.daemon.notify import Notifier


def test_says_ready_and_alive_to_the_service_manager(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(5)
        environment = {
            "NOTIFY_SOCKET": str(tmp_path / "notify"),
            "WATCHDOG_USEC": "30000000",
            "WATCHDOG_PID": str(os.getpid()),
        }
        notifier = Notifier(environment)
        notifier.ready()
        notifier.alive()
        notifier.status("sampling")
        notifier.stopping()
        assert [manager.recv(100) for _ in range(4)] == [b"READY=1", b"WATCHDOG=1", b"STATUS=sampling", b"STOPPING=1"]
        assert notifier.watchdog_s == 30


def test_without_a_service_manager_nothing_is_said() -> None:
    notifier = Notifier({})
    notifier.ready()
    notifier.alive()
    assert notifier.watchdog_s is None


def test_a_watchdog_for_another_process_is_not_ours() -> None:
    assert Notifier({"WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "1"}).watchdog_s is None


def test_a_service_manager_that_has_gone_does_not_stop_the_agent(tmp_path: Path) -> None:
    Notifier({"NOTIFY_SOCKET": str(tmp_path / "gone")}).ready()
