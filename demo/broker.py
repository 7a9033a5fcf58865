"""The demonstration's broker: Mosquitto where there is one (apt installs it for root), else amqtt from PyPI."""

from __future__ import annotations

import contextlib
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from demo.stage import Stage, StageError
from tests.support.broker import HOST, BrokerError, find_mosquitto, free_port, running_mosquitto


class Broker(Protocol):
    """What the demonstration does with its broker."""

    port: int

    def start(self) -> None:
        """Accept connections, on the same port as ever."""

    def stop(self) -> None:
        """Cut every connection."""


class Amqtt:
    """amqtt as a process of its own: MQTT 3.1.1 only, enough for first contact."""

    def __init__(self, stage: Stage) -> None:
        self.port = free_port()
        config = stage.folder / "amqtt.yaml"
        config.write_text(
            f"listeners:\n  default:\n    type: tcp\n    bind: {HOST}:{self.port}\n"
            "plugins:\n  amqtt.plugins.authentication.AnonymousAuthPlugin:\n    allow_anonymous: true\n"
        )
        program = str(Path(sys.executable).parent / "amqtt")
        self._process = stage.start("amqtt", program, "-c", str(config))
        self._wait()

    def start(self) -> None:
        """Start again."""
        self._process.start()
        self._wait()

    def stop(self) -> None:
        """End the process."""
        self._process.stop()

    def _wait(self) -> None:
        for _ in range(100):
            with contextlib.suppress(OSError), socket.create_connection((HOST, self.port), timeout=0.5):
                return
            self._process.check()
            time.sleep(0.1)
        raise StageError(f"amqtt does not listen on {HOST}:{self.port}")


@contextlib.contextmanager
def running_broker(stage: Stage) -> Iterator[tuple[str, Broker]]:
    """Yield the broker's name and the running broker."""
    try:
        find_mosquitto()
    except BrokerError:
        yield "amqtt", Amqtt(stage)
        return
    with running_mosquitto(stage.folder / "log") as mosquitto:
        yield "mosquitto", mosquitto
