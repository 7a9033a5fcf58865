"""What `edgewatt run` asks of the C library."""

import subprocess
import sys

import pytest

HEAPS = """
import re, threading
from agent.cli.run import share_one_heap
{ask}
hold, stop = [], threading.Event()
def work():
    hold.append([bytearray(5000) for _ in range(50)])
    stop.wait(30)
threads = [threading.Thread(target=work) for _ in range(3)]
for thread in threads: thread.start()
while len(hold) < 3: pass
reserved = [line for line in open("/proc/self/maps") if re.match(r"\\S+ ---p 00000000 00:00 0", line)]
sizes = [int(b, 16) - int(a, 16) for a, b in (line.split()[0].split("-") for line in reserved)]
stop.set()
print(sum(60 << 20 < size <= 64 << 20 for size in sizes))  # what glibc keeps free behind a thread's own heap
"""


@pytest.mark.parametrize(("ask", "heaps"), [("share_one_heap()", "0"), ("", "3")])
def test_threads_of_the_daemon_share_one_heap(ask, heaps):
    done = subprocess.run([sys.executable, "-c", HEAPS.format(ask=ask)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == heaps
