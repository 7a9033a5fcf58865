"""The agent as a device runs it: memory, share of a core, cold start, size on disk.

The wheel without extras is installed into an environment of its own and `edgewatt run` is started from there as the systemd
unit does it (its environment, its `ExecStartPre`, which is part of a start's time), with twenty simulated meters at a second, a
model that forecasts, a tariff, and sync through a real Mosquitto to a real ingest process. What is installed is measured
when all starts are over, with what they compiled.
"""

import contextlib
import hashlib
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import time
import venv
from pathlib import Path

from agent.contract.bundle import Bundle
from agent.contract.enrolment import Enrolment
from agent.contract.trust import Broker
from agent.store.identity import Identity
from agent.store.store import Store
from agent.update.slots import ModelSlots, SlotRecord
from tests.benchmarks.meters import configuration
from tests.support import central_queries as queries
from tests.support.agent_process import TARIFF
from tests.support.broker import running_mosquitto
from tests.support.bundles import TINY, plant_history
from tests.support.centre import DAY_MS, make_centre
from tests.support.trainer_process import running_trainer
from tests.support.unit import unit_environment, unit_preparation

FOLDER = Path("build/bench/agent").absolute()
ROOT = Path(__file__).parents[2]
SECONDS = int(os.environ.get("BENCH_AGENT_S", "600"))
_STARTS = 5
_SLOT_MS = 1_800_000
_HISTORY_DAYS = 36
_MORE = """
[forecast]
every_minutes = 30
[tariff]
file = "{tariff}"
[alerts]
peak_kw = 450
"""


def run():
    """Install, prepare a device that has run for a month, start it often, and let it run."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    _install()
    centre = make_centre(FOLDER, f"sqlite:///{FOLDER / 'centre.db'}")
    centre.clock.ms = time.time_ns() // 1_000_000
    with (
        running_mosquitto(FOLDER) as broker,
        running_trainer(FOLDER, "ingest", "--broker", f"{broker.host}:{broker.port}") as ingest,
    ):
        ingest.said("connected to broker")
        token, expires_ms = centre.registry.add("d1", valid_ms=DAY_MS)
        where = Broker(broker.host, broker.port)
        root = centre.repository.root().decode()
        enrolment = Enrolment("d1", token, expires_ms, where, centre.online.trust, root)
        (FOLDER / "d1.enrolment").write_bytes(enrolment.to_bytes())
        _configure()
        _command("enroll", "d1.enrolment")
        _live_a_month()
        starts = [_start_and_stop() for _ in range(_STARTS)]
        found = _run_for(SECONDS)
        stored = queries.readings_stored(centre.engine, "d1")
    centre.engine.dispose()
    install_mib = _installed_mib()
    return {
        **found,
        "cold_start_s": statistics.median(starts),
        "cold_start_s_max": max(starts),
        "cold_starts": _STARTS,
        "install_mib": install_mib,
        "readings_at_the_centre": stored,
    }


def _install():
    print("  install ...", file=sys.stderr, flush=True)
    folder = FOLDER / "venv"
    venv.create(folder, with_pip=True, symlinks=True)
    pip = [str(folder / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "--quiet", "install"]
    subprocess.run([*pip, str(ROOT)], check=True)


def _installed_mib():
    (packages,) = (FOLDER / "venv" / "lib").glob("python3.*/site-packages")
    files = (path for path in packages.rglob("*") if path.is_file() and "/pip/" not in str(path))
    return sum(path.stat().st_size for path in files) / 2**20


def _configure():
    text = configuration(zone="+10:00", slot_minutes=30) + _MORE.format(tariff=TARIFF)
    (FOLDER / "agent.toml").write_text(text)


def _live_a_month():
    """What a device has that was installed a month ago: an active model, and the slots of its plant."""
    state = FOLDER / "state"
    slots = ModelSlots(state / "models")
    data = TINY.read_bytes()
    manifest = Bundle.from_bytes(data).manifest
    record = SlotRecord(hashlib.sha256(data).hexdigest(), len(data), manifest.name, manifest.version)
    slots.install_candidate(data, record)
    slots.activate_candidate()
    now_ms = time.time_ns() // 1_000_000
    end_ms = now_ms // _SLOT_MS * _SLOT_MS
    begin_ms = end_ms - _HISTORY_DAYS * 48 * _SLOT_MS
    identity = Identity.open(state / "identity")
    identity.begin_boot()
    store = Store(state / "store.db", identity, {}, now_ms=lambda: now_ms, monotonic=time.monotonic)
    rows = [
        {
            "time_ms": begin_ms + number * _SLOT_MS,
            "length_s": 1800,
            "energy_wh": round(power_kw * 500),
            "power_kw": round(float(power_kw), 4),
            "completeness": 1.0,
            "flags": [],
        }
        for number, power_kw in enumerate(plant_history(_HISTORY_DAYS))
    ]
    for at in range(0, len(rows), 100):
        store.append("slots", rows[at : at + 100])
    store.close()


def _start_and_stop():
    process, took_s = _start()
    _stop(process)
    return took_s


def _start():
    """Start the agent; seconds until it says that it samples."""
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(FOLDER), "LANG": "C.UTF-8", **unit_environment()}
    address = FOLDER / "notify.sock"
    address.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ear, (FOLDER / "agent.log").open("ab") as log:
        ear.bind(str(address))
        ear.settimeout(60)
        begin = time.monotonic()
        python = FOLDER / "venv" / "bin" / "python"
        subprocess.run([python, *unit_preparation()], cwd=FOLDER, env=environment, check=True)
        process = subprocess.Popen(
            [FOLDER / "venv" / "bin" / "edgewatt", "--config", "agent.toml", "run"],
            cwd=FOLDER,
            env={**environment, "NOTIFY_SOCKET": str(address)},
            stdout=log,
            stderr=log,
        )
        try:
            while ear.recv(4096) != b"READY=1":
                pass
        except BaseException:
            process.kill()
            raise
        return process, time.monotonic() - begin


def _stop(process):
    process.send_signal(signal.SIGTERM)
    process.wait(30)


def _run_for(seconds):
    print(f"  {seconds} s ...", file=sys.stderr, flush=True)
    process, _ = _start()
    try:
        begin, used = time.monotonic(), _cpu_s(process.pid)
        time.sleep(seconds)
        cpu = (_cpu_s(process.pid) - used) / (time.monotonic() - begin)
        fields = dict(line.split(":", 1) for line in Path(f"/proc/{process.pid}/status").read_text().splitlines())
        status = json.loads(_command("status", "--json"))
    finally:
        with contextlib.suppress(ProcessLookupError):
            _stop(process)
    return {
        "rss_mib": int(fields["VmHWM"].split()[0]) / 1024,
        "rss_mib_at_the_end": int(fields["VmRSS"].split()[0]) / 1024,
        "threads": int(fields["Threads"]),
        "cpu_percent": 100 * cpu,
        "measured_s": seconds,
        "sampled": status["sampled"],
        "forecast_by": status["model"]["forecast_by"],
        "link": status["buffer"]["link"]["state"],
        "troubles": status["troubles"],
    }


def _cpu_s(pid):
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _command(*arguments):
    command = [FOLDER / "venv" / "bin" / "edgewatt", "--config", "agent.toml", *arguments]
    return subprocess.run(command, cwd=FOLDER, stdout=subprocess.PIPE, text=True, check=True).stdout
