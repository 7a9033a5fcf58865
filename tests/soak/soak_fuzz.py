"""Hostile bytes into every parser of outside bytes (`fuzz_targets.py`), half of them past its first check.

A parser may return a value or refuse; any other exception is a crash, and so is an input that takes memory or time without
bound: each process has 3 GiB, an input `HANG_S` seconds.
"""

import collections
import multiprocessing
import random
import resource
import signal
import sys
import time
import traceback

from tests.soak.fuzz_targets import Target, targets

INPUTS, LIMIT_S, HANG_S = 1_000_000, 900.0, 5
PROCESSES, BATCH = 2, 2_000
MEMORY = 3 * 2**30


def attack(target: Target, data: bytes) -> str:
    """Return "taken", "refused", or what crashed."""
    signal.alarm(HANG_S)
    try:
        target.parse(data)
    except target.refuses:
        return "refused"
    except BaseException:  # noqa: BLE001 - any other exception is what this looks for, a hang's and a lack of memory's too
        return traceback.format_exc(limit=-4)
    finally:
        signal.alarm(0)
    return "taken"


def _hung(*_: object) -> None:
    raise RuntimeError(f"took more than {HANG_S} s")


def prepare() -> None:
    """Give this process its limits."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    signal.signal(signal.SIGALRM, _hung)


def batch(seed: int) -> tuple[collections.Counter, list[dict]]:
    """`BATCH` inputs, every second one behind the first check; the same seed gives the same inputs."""
    noise, table = random.Random(seed), targets()
    kinds = [[name for name in table if table[name].behind == behind] for behind in (False, True)]
    counts, crashes = collections.Counter(), []
    for number in range(BATCH):
        name = noise.choice(kinds[number % 2])
        data = table[name].make(noise)
        outcome = attack(table[name], data)
        counts[name] += 1
        counts["behind"] += number % 2
        if outcome in {"taken", "refused"}:
            counts[outcome] += 1
        else:
            crashes.append({"target": name, "input": data[:4096].hex(), "error": outcome})
    return counts, crashes


def run():
    """Spread `INPUTS` over all targets, at most `LIMIT_S` seconds."""
    begin, counts, crashes, done = time.monotonic(), collections.Counter(), [], 0
    seeds = range(20261122, 20261122 + INPUTS // BATCH)
    with multiprocessing.get_context("spawn").Pool(PROCESSES, initializer=prepare) as pool:
        for number, (more, found) in enumerate(pool.imap_unordered(batch, seeds), start=1):
            counts += more
            crashes += found
            done += BATCH
            if number % 25 == 0:
                print(f"fuzz: {done} of {INPUTS} inputs, {len(crashes)} crashes", file=sys.stderr, flush=True)
            if time.monotonic() - begin > LIMIT_S:
                break
    names = sorted(targets())
    return {
        "fuzz_inputs": done,
        "fuzz_inputs_behind_first_check": counts["behind"],
        "refused": counts["refused"],
        "taken": counts["taken"],
        "targets": len(names),
        "inputs_by_target": {name: counts[name] for name in names},
        "crashes": len(crashes),
        "failures": crashes[:5],
    }
