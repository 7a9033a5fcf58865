"""The store of a device: appends a second, bytes on disk and written a reading, beside plain rows of SQLite; starts.

Each part runs in a process of its own (`store_parts.py`), so that memory and written bytes are its own; written bytes are
what the kernel counts (`/proc/self/io`).
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.benchmarks import store_starts

FOLDER = Path("build/bench/store")
SECONDS = int(os.environ.get("BENCH_SECONDS", "120"))
DAY_S = int(os.environ.get("BENCH_DAY_S", "86400"))
_TIMEOUT_S = 3600


def run():
    """Measure all parts."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    ours, rows = _part("append", SECONDS), _part("append_rows", SECONDS)
    day, day_rows = _part("day", DAY_S), _part("day_rows", min(DAY_S, 3600))
    print("  starts with 1 GB ...", file=sys.stderr, flush=True)
    starts = store_starts.run(FOLDER / "starts")
    return {
        **ours,
        "peer": "plain rows of SQLite in WAL mode, one commit a second, synchronous = FULL, not encrypted",
        "peer_appends_per_s": rows["appends_per_s"],
        "appends_ratio_to_peer": ours["appends_per_s"] / rows["appends_per_s"],
        **day,
        **starts,
        **{f"peer_{name}": value for name, value in day_rows.items()},
        "bytes_on_disk_ratio_to_peer": day["bytes_on_disk_per_reading"] / day_rows["bytes_on_disk_per_reading"],
        "bytes_written_ratio_to_peer": day["bytes_written_per_reading"] / day_rows["bytes_written_per_reading"],
    }


def _part(name, amount):
    print(f"  {name} {amount} ...", file=sys.stderr, flush=True)
    command = [sys.executable, "-m", "tests.benchmarks.store_parts", name, str(FOLDER / name), str(amount)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, timeout=_TIMEOUT_S)
    return json.loads(done.stdout)
