"""The demonstration's stage: commands that run to their end, processes that run beside it, and their orderly end.

Every process logs to a file of its own below `log/`; none outlives the stage, not even when the stage is killed.
"""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Self

# The kernel ends a child together with its parent, even when that was killed (util-linux; Linux only).
_LIFELINE = ("setpriv", "--pdeathsig", "TERM") if shutil.which("setpriv") else ()
_STOP_WITHIN_S = 20.0


class StageError(RuntimeError):
    """A command or a process did not do its part; the message names its log."""


class Process:
    """One background process of the demonstration."""

    def __init__(self, name: str, argv: list[str], log: Path) -> None:
        self.name = name
        self.log = log
        self._argv = argv
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Process id of the running process."""
        if self._process is None:
            raise StageError(f"{self.name} is not running")
        return self._process.pid

    def start(self) -> None:
        """Start, or start again."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*_LIFELINE, *self._argv], stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )

    def check(self) -> None:
        """Complain when the process has ended by itself.

        Raises:
            StageError: with the end of its log.
        """
        if self._process is not None and self._process.poll() is not None:
            raise StageError(f"{self.name} ended with code {self._process.returncode}; {tail(self.log)}")

    def kill(self) -> None:
        """End it as a power cut would: SIGKILL, no word to say."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()

    def stop(self) -> int:
        """End it in order and return its exit code."""
        process, self._process = self._process, None
        if process is None:
            return 0
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(_STOP_WITHIN_S)
            except subprocess.TimeoutExpired:
                process.kill()
        return process.wait()


class Stage:
    """Runs commands and holds background processes; use as a context manager."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._processes: list[Process] = []
        self._commands = 0
        (folder / "log").mkdir(parents=True, exist_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in reversed(self._processes):
            process.stop()

    def run(self, *argv: str, show: bool = False, timeout_s: float = 400) -> dict[str, Any]:
        """Run one of edgewatt's commands to its end.

        Args:
            argv: the command and its arguments.
            show: let its standard error (progress bars) through to the terminal.
            timeout_s: give up after this time.

        Returns:
            The object it printed with `--json`, else an empty one.

        Raises:
            StageError: when it exits other than 0.
        """
        self._commands += 1
        words = argv[3:] if argv[1].startswith("--") else argv[1:]
        log = self.folder / "log" / f"{self._commands:02d}-{Path(argv[0]).name}-{words[0]}.log"
        with log.open("wb") as errors:
            try:
                done = subprocess.run(
                    [*_LIFELINE, *command(*argv)],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=None if show else errors,
                    timeout=timeout_s,
                    check=False,
                )
            except subprocess.TimeoutExpired as exc:
                raise StageError(f"{' '.join(argv)} did not end within {timeout_s:.0f} s") from exc
        if done.returncode:
            raise StageError(f"{' '.join(argv)} exited with {done.returncode}; {'' if show else tail(log)}")
        if "--json" not in argv:
            return {}
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer

    def start(self, name: str, *argv: str) -> Process:
        """Start a background process."""
        process = Process(name, command(*argv), self.folder / "log" / f"{name}.log")
        self._processes.append(process)
        process.start()
        return process

    def check(self) -> None:
        """Complain when any background process has ended by itself."""
        for process in self._processes:
            process.check()


def command(*argv: str) -> list[str]:
    """Return the full command: edgewatt's own programs come from this environment, whatever PATH says."""
    here = Path(sys.executable).parent / argv[0]
    return [str(here) if here.exists() else argv[0], *argv[1:]]


def tail(log: Path, lines: int = 15) -> str:
    """Return where a log is and how it ends."""
    text = log.read_text(errors="replace").splitlines()[-lines:] if log.exists() else []
    return "\n".join([f"log {log}:", *text])


def wait_until(what: str, ready: Any, stage: Stage, timeout_s: float) -> None:
    """Poll `ready()` until it is true.

    Raises:
        StageError: when it is still false after `timeout_s`, or a process ended meanwhile.
    """
    end = time.monotonic() + timeout_s
    while not ready():
        stage.check()
        if time.monotonic() > end:
            raise StageError(f"{what} did not happen within {timeout_s:.0f} s")
        time.sleep(0.2)


def peak_rss_mib(pid: int) -> float:
    """Return the largest resident memory that a running process has had, in MiB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return 0.0
