"""A real Mosquitto on a free loopback port, for tests and for the demonstration.

It decides how the broker is found, configured, watched and ended; it knows nothing of topics or payloads.
Nothing is kept over a restart (persistence off): queued messages, retained messages and sessions are lost with ``stop()``, which
is the harshest thing that a plant's broker does to a device.

In a test::

    def test_something(mosquitto):        # the fixture of tests/conftest.py: one new broker for this test
        connect("127.0.0.1", mosquitto.port)
        mosquitto.stop()                  # the network is cut
        mosquitto.start()                 # and back, on the same port

Elsewhere::

    with running_mosquitto(folder) as broker:
        ...

One broker is used from one thread at a time. The process never outlives the context manager, nor (on Linux) the thread that started it.
"""

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

HOST = "127.0.0.1"

# Debian installs the broker where an ordinary user's PATH does not look.
_EXTRA_PATH = ("/usr/sbin", "/usr/local/sbin", "/opt/homebrew/sbin")
# The kernel ends the broker together with the thread that started it, even when that was killed (util-linux; Linux only).
_LIFELINE = ("setpriv", "--pdeathsig", "TERM") if shutil.which("setpriv") else ()
# What a broker of a test needs, whatever its configuration.
ALWAYS = (
    # Started by root it would become another user, who may not read this folder and loses the lifeline.
    "user root",
    "log_dest stderr",
    "log_type all",
    "connection_messages true",
)
_START_WITHIN_S = 10.0
_STOP_WITHIN_S = 5.0


class BrokerError(RuntimeError):
    """Mosquitto is missing, or did not start or stop; the message says what to do."""


def find_mosquitto() -> str:
    """Path of the ``mosquitto`` program.

    Raises:
        BrokerError: It is not installed; the message is the command to type.
    """
    path = os.pathsep.join((os.environ.get("PATH", ""), *_EXTRA_PATH))
    found = shutil.which("mosquitto", path=path)
    if found is None:
        raise BrokerError("Mosquitto is missing (looked on PATH and in /usr/sbin): sudo apt-get install mosquitto")
    return found


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


class Mosquitto:
    """One broker process with anonymous access on ``host:port``.

    Invariants:
    - ``port`` never changes, so that clients find the broker again after ``stop()`` and ``start()``.
    - ``start()`` returns only when the port accepts connections; ``stop()`` only when the process is gone.
    - ``start()`` of a running and ``stop()`` of a stopped broker do nothing.
    """

    def __init__(self, folder: Path, *, settings: tuple[str, ...] = ()) -> None:
        """Prepare, but do not start, a broker.

        Args:
            folder: An existing folder for its configuration and log.
            settings: More lines for mosquitto.conf.
        """
        self.host = HOST
        self.port = free_port()
        self.log_path = folder / "mosquitto.log"
        self._config_path = folder / "mosquitto.conf"
        self._settings = settings
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def running(self) -> bool:
        """Whether the process is alive."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int | None:
        """Process id, or None when stopped."""
        return self._process.pid if self._process is not None and self.running else None

    @property
    def log(self) -> str:
        """Everything that the broker has logged so far, over all its starts."""
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def start(self) -> None:
        """Start the broker and wait until it accepts connections.

        Raises:
            BrokerError: Mosquitto is missing, or it ended or stayed deaf; its log is in the message.
        """
        if self.running:
            return
        program = find_mosquitto()
        self._config_path.write_text(self._configuration())
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                [*_LIFELINE, program, "-c", str(self._config_path)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # Ctrl-C in the terminal must reach the tests, not the broker: they end it in order.
                start_new_session=True,
            )
        deadline = time.monotonic() + _START_WITHIN_S
        while time.monotonic() < deadline:
            if not self.running:
                break
            with contextlib.suppress(OSError), socket.create_connection((self.host, self.port), timeout=0.5):
                return
            time.sleep(0.02)
        self.stop()
        raise BrokerError(f"Mosquitto did not start on {self.host}:{self.port}; its log:\n{self.log}")

    def _configuration(self) -> str:
        return "\n".join(
            (
                f"listener {self.port} {self.host}",
                "allow_anonymous true",
                "persistence false",
                *ALWAYS,
                *self._settings,
                "",
            )
        )

    def stop(self) -> None:
        """End the broker; every client loses its connection and every session is forgotten."""
        process, self._process = self._process, None
        if process is None:
            return
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(_STOP_WITHIN_S)
            except subprocess.TimeoutExpired:
                process.kill()
        process.wait()


@contextlib.contextmanager
def running_mosquitto(folder: Path | None = None, *, settings: tuple[str, ...] = ()) -> Iterator[Mosquitto]:
    """A started broker, ended on leaving, whatever happens inside.

    Args:
        folder: Where configuration and log are kept; a temporary folder when None.
        settings: More lines for mosquitto.conf, for example ``("max_packet_size 100000",)``.

    Raises:
        BrokerError: Mosquitto is missing or does not start.
    """
    with contextlib.ExitStack() as stack:
        if folder is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="edgewatt-broker-")))
        broker = Mosquitto(folder, settings=settings)
        stack.callback(broker.stop)
        broker.start()
        yield broker
