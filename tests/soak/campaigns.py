"""What the fault campaigns share: the shim, workers, progress, and the sum of what they found."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.soak.child import PHASES
from tests.soak.judge import Verdict
from tests.soak.observer import ROOT, SHIM, Run

WORK = ROOT / "build" / "soak" / "work"
RESTART_S = 10.0
_WORKERS = 2
_MOST_TOLD = 3  # findings of one verdict
_MOST_FAILURES = 200


@dataclass
class Findings:
    """What one session found; sessions add up.

    Attributes:
        faults: how often a fault was made, by kind.
        counts: of the judge, and others of that kind, by name.
        restart_s: from the start of a process to its first durable ticket.
        failures: each in words, with what is needed to see it again.
        pause_s: the longest time in which a device told nothing, once it had begun.
    """

    faults: Counter[str] = field(default_factory=Counter)
    counts: Counter[str] = field(default_factory=Counter)
    restart_s: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    pause_s: float = 0.0

    def judged(self, verdict: Verdict, where: str) -> None:
        """Add a verdict."""
        self.counts.update(verdict.counts())
        if not verdict.is_clean:
            self.failures += [f"{where}: {text}" for text in verdict.findings[:_MOST_TOLD]]

    def started(self, seconds: float | None, where: str) -> None:
        """Add the time that a start took, where it came so far."""
        if seconds is None:
            return
        self.restart_s.append(seconds)
        if seconds > RESTART_S:
            self.failures.append(f"{where}: the first durable ticket came after {seconds:.1f} s")

    def ran(self, run: Run, where: str) -> None:
        """Add what a run in a process of its own showed of its times."""
        self.started(run.start_s, where)
        if run.stopped:
            self.failures.append(f"{where}: {run.stopped}")
        self.pause_s = max(self.pause_s, run.pause_s)
        if run.pause_s > RESTART_S:
            self.failures.append(f"{where}: nothing was taken in for {run.pause_s:.1f} s")

    def add(self, other: Findings) -> None:
        """Add what another session found."""
        self.faults.update(other.faults)
        self.counts.update(other.counts)
        self.restart_s += other.restart_s
        self.pause_s = max(self.pause_s, other.pause_s)
        self.failures += other.failures

    def figures(self) -> dict[str, Any]:
        """The figures that every campaign reports."""
        names = ("acknowledged_lost", "duplicates_at_centre", "unreported_gaps", "wrong_values")
        more = {name: count for name, count in sorted(self.counts.items()) if name not in names}
        starts = sorted(self.restart_s)
        return {
            **{name: self.counts[name] for name in names},
            **more,
            "restart_s_max": round(starts[-1], 2) if starts else None,
            "restart_s_median": round(starts[len(starts) // 2], 2) if starts else None,
            "pause_s_max": round(self.pause_s, 2),
            "faults": dict(sorted(self.faults.items())),
            "failures_count": len(self.failures),
            "failures": self.failures[:_MOST_FAILURES],
        }


def build_shim() -> None:
    """Compile the shim where it is missing or old."""
    source = Path(__file__).with_name("shim.c")
    if SHIM.exists() and SHIM.stat().st_mtime >= source.stat().st_mtime:
        return
    SHIM.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(["cc", "-shared", "-fPIC", "-O2", "-Wall", "-o", str(SHIM), str(source), "-ldl"], check=True)


def phases() -> list[str]:
    """The phases that this version of the agent has."""
    found = [name for name, module, _ in PHASES if importlib.util.find_spec(module) is not None]
    return list(dict.fromkeys(found))


def run_all(name: str, tasks: Iterable[tuple[Any, ...]], session: Callable[..., Findings]) -> Findings:
    """Run sessions on all processors and add up what they find, with a line of progress for each.

    Each gets a folder of its own and the task's values.
    """
    folder = WORK / name
    shutil.rmtree(folder, ignore_errors=True)
    total, begin = Findings(), time.monotonic()
    todo = list(enumerate(tasks))
    with ProcessPoolExecutor(_WORKERS) as pool:
        futures = {pool.submit(session, folder / str(number), *task): task for number, task in todo}
        for done, future in enumerate(as_completed(futures), start=1):
            task = futures[future]
            try:
                found = future.result()
            except Exception as exc:  # noqa: BLE001 - a defect of a session is a finding, and ends no other
                found = Findings(failures=[f"session {task}: {type(exc).__name__}: {exc}"])
            total.add(found)
            print(
                f"  {name} {done}/{len(todo)} after {time.monotonic() - begin:.0f} s: "
                f"{total.faults.total()} faults, {len(total.failures)} failures",
                file=sys.stderr,
                flush=True,
            )
    return total


def numbered(seed: int, tasks: Iterable[tuple[Any, ...]]) -> Iterator[tuple[Any, ...]]:
    """Give each task a seed of its own, before its other values."""
    for number, task in enumerate(tasks):
        yield seed + number, *task
