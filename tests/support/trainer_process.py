"""The centre's command line as a process of its own, for tests that end it, kill it, and read what it says."""

import contextlib
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.support.waiting import eventually

MAIN = "from trainer.cli.main import main; main()"


class TrainerProcess:
    """`edgewatt-trainer` with arguments; its standard error is kept in a file."""

    def __init__(self, home: Path, *arguments: str) -> None:
        self._log_path = home / "process.log"
        command = [sys.executable, "-c", MAIN, "--home", str(home), *arguments]
        with self._log_path.open("ab") as log:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=log)

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    @property
    def log(self) -> str:
        """Everything that processes of this home have said."""
        return self._log_path.read_text()

    def said(self, text: str, times: int = 1) -> None:
        """Wait until it has been said so often, by all processes of this home together."""
        eventually(lambda: self.log.count(text) >= times or not self.running)
        assert self.log.count(text) >= times, self.log

    def terminate(self) -> int:
        """SIGTERM; the exit code."""
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(20)

    def kill(self) -> None:
        """SIGKILL."""
        self._process.kill()
        self._process.wait(20)


@contextlib.contextmanager
def running_trainer(home: Path, *arguments: str) -> Iterator[TrainerProcess]:
    """A started process that never outlives the block."""
    process = TrainerProcess(home, *arguments)
    try:
        yield process
    finally:
        process.kill()
