"""A real `edgewatt run` in a process of its own, with a configuration in a folder of its own."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, Self

from agent.cli.main import run_command
from tests.support.configs import device
from tests.support.unit import unit_environment

CONFIG = """
[[channel]]
name = "power"
unit = "kW"
interval_s = 1800
{source}
[clock]
plant_start = 2014-01-21T00:00:00+10:00
rate = {rate}
[forecast]
every_minutes = 120
[tariff]
file = "{tariff}"
[alerts]
peak_kw = 150
[store]
commit_window_s = 0.2
pack_after_s = 1
[loop]
tick_ms = 40
health_s = 1
"""
SIMULATOR = '[[source]]\nkind = "simulator"\nchannels = ["power"]\nseed = 3\n'
CSV = (
    '[[source]]\nkind = "csv"\npath = "load.csv"\nchannel = "power"\nzone = "+10:00"\n'
    'timestamp_column = "timestamp"\nvalue_column = "load"\n'
)
TARIFF = Path(__file__).parents[2] / "firmware-configs" / "tariffs" / "victoria-large-business.toml"


class Done(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str


class Agent:
    """One device: its folder, its commands, and its daemon while that runs."""

    def __init__(self, folder: Path, *, source: str = SIMULATOR, rate: float = 57_600) -> None:
        self.folder = folder
        self.config = folder / "agent.toml"
        self.config.write_text(
            device(zone="Australia/Melbourne", slot_minutes=30) + CONFIG.format(source=source, rate=rate, tariff=TARIFF)
        )
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> Self:
        """Start the daemon and wait until it answers."""
        with (self.folder / "agent.log").open("ab") as log:
            self.process = subprocess.Popen([*self._command(), "run"], stderr=log, stdout=log, env=self._environment())
        self.until(lambda: (self.folder / "agent.sock").exists() and self.run("status").code == 0)
        return self

    def kill(self) -> None:
        """End the daemon as a power cut would."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """End the daemon as systemd would; return its exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=30)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process is not None and self.process.poll() is None:
            self.kill()

    def run(self, *arguments: str) -> Done:
        """Run one command of this device, in this process: the same as in one of its own, without the start."""
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = run_command(["--config", str(self.config), *arguments])
        return Done(code, out.getvalue(), err.getvalue())

    def spawn(self, *arguments: str) -> Done:
        """Run one command in a process of its own."""
        command = [*self._command(), *arguments]
        done = subprocess.run(
            command, check=False, capture_output=True, text=True, env=self._environment(), timeout=120
        )
        return Done(done.returncode, done.stdout, done.stderr)

    def ask(self, *arguments: str) -> dict[str, Any]:
        """Run one reading command; return its JSON object."""
        done = self.run(*arguments, "--json")
        assert done.code == 0, done.err
        answer: dict[str, Any] = json.loads(done.out)
        assert answer["schema"] == 1
        return answer

    def until(self, condition: Callable[[], bool], timeout_s: float = 90.0) -> None:
        """Wait for something to become true, with the log at hand when it does not."""
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert self.process is None or self.process.poll() is None, self.log()
            assert time.monotonic() < deadline, self.log()
            time.sleep(0.1)

    def log(self) -> str:
        """What the daemon said."""
        return (self.folder / "agent.log").read_text()

    def _command(self) -> list[str]:
        return [sys.executable, "-m", "agent.cli.main", "--config", str(self.config)]

    def _environment(self) -> dict[str, str]:
        return {**os.environ, **unit_environment(), "PYTHONPATH": str(Path(__file__).parents[2])}
