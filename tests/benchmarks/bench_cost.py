"""`edgewatt cost month` late in a year of quarter-hours: the whole command, as a device starts it.

    make bench BENCH=cost

Goal: `cost_month_s` at most 1 s in each case. The agent does not run; the commands read the store beside it or alone
in the same way. The year is made through the real store, a block a slot as a device makes them, then

- `packed`: with the copy of weeks that are over, which a running agent keeps, under a tariff by period and demand;
- `ratchet`: the same under a demand that looks back eleven months;
- `without_copy`, `ratchet_without_copy`: before an agent has kept the copy, as after an update (no goal);
- `unpacked`: every slot still in the journal, which no device does: it packs every 300 s and at 2,000 pieces.

`cost_month_cpu_s` is the command's own time on the processor, which other work on the machine hardly changes. The
environment of the device's TFLite runtime is taken where there is one, else
this one.
"""

import json
import math
import os
import resource
import shutil
import statistics
import subprocess
import sys
from pathlib import Path
from time import monotonic

from agent.contract.slots import Slot
from agent.daemon.slotweeks import KEEP_WEEKS, SlotWeeks
from tests.support.billing import at
from tests.support.costplants import HEAD, NIGHT_AND_DAY, CostPlant
from tests.support.stores import Bench

FOLDER = Path("build/bench/cost").absolute()
ROOT = Path(__file__).parents[2]
DEVICE = ROOT / ".venv-tflite" / "bin" / "python"
BEGIN_MS, SLOT_S, SLOTS = at(2025, 11, 20, 14), 900, 365 * 96
_REPEATS = 5
_DEMAND = "price_per_kw = 10.00\n"
RATCHET = NIGHT_AND_DAY.replace(_DEMAND, _DEMAND + "ratchet = {share = 0.8, months = 11}\n")


def run():
    """Make the stores, then ask."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    packed, unpacked = _plant("packed"), _plant("unpacked")
    _fill(packed, pack=True)
    found = {"without_copy": _month_s(packed), "ratchet_without_copy": _month_s(packed, RATCHET)}
    _keep_weeks(packed)
    found |= {"packed": _month_s(packed), "ratchet": _month_s(packed, RATCHET)}
    _fill(unpacked, pack=False)
    found["unpacked"] = _month_s(unpacked)
    return {
        "slots": SLOTS,
        "cost_month_s": {name: round(statistics.median(wall), 3) for name, (wall, _) in found.items()},
        "cost_month_s_max": {name: round(max(wall), 3) for name, (wall, _) in found.items()},
        "cost_month_cpu_s": {name: round(statistics.median(cpu), 3) for name, (_, cpu) in found.items()},
        "goal_s": 1.0,
        "repeats": _REPEATS,
        "load_average": round(os.getloadavg()[0], 2),
        "environment": DEVICE.parts[-3] if DEVICE.exists() else Path(sys.prefix).name,
        "store_mib": round((packed.folder / "state" / "store.db").stat().st_size / 2**20, 1),
    }


def _plant(name):
    (FOLDER / name / "state").mkdir(parents=True)
    return CostPlant(FOLDER / name, NIGHT_AND_DAY, minutes=SLOT_S // 60)


def _fill(plant, *, pack):
    bench = Bench(plant.folder / "state")
    store = bench.store
    for number in range(SLOTS):
        power_kw = 50 + 20 * math.sin(number / 15.3) + 10 * math.sin(number / 3000)
        slot = Slot(BEGIN_MS + number * SLOT_S * 1000, SLOT_S, round(power_kw * 250), power_kw, 1.0)
        bench.now_ms = slot.end_ms
        store.append("slots", [slot.to_row()])
        if pack:
            store._journal.pack(("slots",))
        if number % 96 == 95:
            print(f"\r  {plant.folder.name}: {number // 96 + 1:3} of 365 days", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    store.close()


def _keep_weeks(plant):
    bench = Bench(plant.folder / "state")
    weeks = SlotWeeks(bench.store)
    for _ in range(KEEP_WEEKS + 2):
        weeks.turn(BEGIN_MS + SLOTS * SLOT_S * 1000)
    bench.store.close()


def _month_s(plant, tariff=NIGHT_AND_DAY):
    """Seconds on the clock and on the processor of each run."""
    (plant.folder / "tariff" / "0.toml").write_text(HEAD + tariff)
    python = DEVICE if DEVICE.exists() else Path(sys.executable)
    command = [str(python), "-m", "agent.cli.main", *plant.command("cost", "month", "--json")]
    wall, cpu = [], []
    for _ in range(_REPEATS + 1):
        begin, used = monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
        said = subprocess.run(
            command, check=True, capture_output=True, cwd=plant.folder, env={**os.environ, "PYTHONPATH": str(ROOT)}
        )
        wall.append(monotonic() - begin)
        now = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu.append(now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime)
        assert json.loads(said.stdout)["month_end"] is not None
    return wall[1:], cpu[1:]  # the first one makes what Python keeps of modules
