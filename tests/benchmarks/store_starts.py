"""How long `edgewatt run` takes to its first sample with a store of 1 GB: ended well, killed, and damaged."""

import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path

from agent.contract.errors import UnavailableError
from agent.control import Operation, ask
from tests.benchmarks.meters import configuration
from tests.soak import big

ROOT = Path(__file__).parents[2]
STARTS = 5
_RUNS_S = 3.0  # between a start and its end: some readings, an unfinished window
_WITHIN_S = 120.0


class Device:
    """A folder with a configuration and a copy of the store."""

    def __init__(self, folder):
        self.folder = folder
        folder.mkdir(parents=True)
        self.fresh()
        (folder / "agent.toml").write_text(configuration(zone="UTC", slot_minutes=15))

    def fresh(self):
        """Put the store back as it was made."""
        shutil.rmtree(self.folder / "state", ignore_errors=True)
        shutil.copytree(big.cached(), self.folder / "state")

    def start(self, how):
        """Start, wait for the first sample and the first durable one, let it run, end it `how`; seconds to both."""
        command = [sys.executable, "-m", "agent.cli.main", "--config", str(self.folder / "agent.toml"), "run"]
        begin = time.monotonic()
        with (self.folder / "agent.log").open("ab") as log:
            process = subprocess.Popen(command, stderr=log, env={**os.environ, "PYTHONPATH": str(ROOT)})
        try:
            sampled = self._until(begin, lambda: self._asked(Operation.STATUS)["sampled"] > 0)
            durable = self._until(begin, self._is_durable)
            time.sleep(_RUNS_S)
        finally:
            process.send_signal(how)
            process.wait(60)
        return sampled, durable

    def _is_durable(self):
        answer = self._asked(Operation.STATUS)
        return answer["last_reading_ms"] is not None and answer["buffer"]["backlog_rows"] > 0

    def _asked(self, operation):
        return ask(self.folder / "agent.sock", operation)

    def _until(self, begin, condition):
        while time.monotonic() - begin < _WITHIN_S:
            try:
                if condition():
                    return time.monotonic() - begin
            except UnavailableError:
                pass
            time.sleep(0.02)
        raise UnavailableError(f"no sample within {_WITHIN_S:.0f} s", where=str(self.folder / "agent.log"))


def run(folder):
    """Measure all starts; `big` makes the store the first time."""
    device = Device(folder)
    size = (folder / "state" / "store.db").stat().st_size
    device.start(signal.SIGTERM)  # its pages come into the cache
    clean = [device.start(signal.SIGTERM) for _ in range(STARTS)]
    device.start(signal.SIGKILL)
    killed = [device.start(signal.SIGKILL) for _ in range(STARTS)]
    damaged = []
    for seed in range(STARTS):
        device.fresh()
        _scribble(folder / "state" / "store.db", random.Random(seed))
        damaged.append(device.start(signal.SIGKILL))
    return {
        "start_store_bytes": size,
        **_figures("start", clean),
        **_figures("start_after_kill", killed),
        **_figures("start_damaged", damaged),
    }


def _figures(name, starts):
    sampled, durable = zip(*starts, strict=True)
    return {
        f"{name}_s": round(statistics.median(sampled), 2),
        f"{name}_s_max": round(max(sampled), 2),
        f"{name}_durable_s": round(statistics.median(durable), 2),
        f"{name}s": len(starts),
    }


def _scribble(path, noise):
    """Garble the first page, behind its header, and 64 KiB in the middle."""
    with path.open("r+b") as file:
        for at, length in ((100, 3_900), (path.stat().st_size // 8192 * 4096, 65_536)):
            file.seek(at)
            file.write(noise.randbytes(length))
