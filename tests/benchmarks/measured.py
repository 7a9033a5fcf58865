"""A command in a process of its own, with its time and the memory that it and its children held together."""

import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

from agent.contract.errors import UnavailableError

_EVERY_S = 0.25
_PAGE_KIB = 4


@dataclass(frozen=True)
class Measured:
    """What a process said and took.

    Attributes:
        rss_mib: greatest sum of resident memory over the process and all below it, looked at four times a second;
            pages that they share count for each.
    """

    stdout: str
    seconds: float
    rss_mib: float


def run_measured(*arguments, where):
    """Run `python ARGUMENTS`; what it says on stderr is passed on.

    Raises:
        UnavailableError: when it fails.
    """
    begin, most = monotonic(), 0.0
    process = subprocess.Popen([sys.executable, *map(str, arguments)], stdout=subprocess.PIPE, text=True)
    over = threading.Event()

    def watch():
        nonlocal most
        while not over.wait(_EVERY_S):
            most = max(most, _tree_kib(process.pid) / 1024)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        said, _ = process.communicate()
    finally:
        process.kill()
        over.set()
        watcher.join()
    if process.returncode:
        raise UnavailableError(f"ended with {process.returncode}", where=where, todo="See what it said above")
    return Measured(said, round(monotonic() - begin, 1), round(most, 1))


def _tree_kib(root):
    parents, resident = {}, {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                # The command may hold spaces and brackets; the fields begin after the last one.
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:  # it has ended meanwhile
                continue
            parents[int(entry.name)] = int(fields[1])
            resident[int(entry.name)] = int(fields[21]) * _PAGE_KIB
    return sum(kib for pid, kib in resident.items() if _is_below(pid, root, parents))


def _is_below(pid, root, parents):
    while pid and pid != root:
        pid = parents.get(pid, 0)
    return pid == root
