"""Commands without an agent on a read-only disk, and a medium that is too small or that goes away."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.contract.channels import Reading
from agent.contract.durable import new_file
from agent.contract.enrolment import Enrolment
from agent.contract.errors import StorageError
from agent.contract.keys import SigningKey
from agent.contract.rows import event_row
from agent.contract.trust import Broker
from tests.support.agent_process import Agent
from tests.support.disks import Disk, small_disk
from tests.support.small_centre import SmallCentre
from tests.support.stores import T0, Bench

ROWS = 30_000
READING = {
    "status": 0,
    "buffer status": 0,
    "buffer verify": 0,
    "alerts list": 0,
    "cost": 0,
    "model status": 0,
    "sync status": 0,
    "forecast": 75,  # there is none, which is what it says
}


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    with small_disk(tmp_path / "state", size_kib=16_384) as disk:
        yield disk


@pytest.fixture
def bench(disk: Disk) -> Bench:
    """An enrolled device with a backlog of some 100 KiB."""
    bench, noise = Bench(disk.folder), random.Random(3)
    enrolment = Enrolment("d1", "t" * 32, 2**42, Broker("b", 1883), SmallCentre("d1").trust(), "{}")
    bench.identity.enrol(enrolment, SigningKey.generate())
    bench.store.append(
        "readings", [Reading("load_kw", T0 + 1000 * at, noise.randrange(20_000) / 10) for at in range(ROWS)]
    )
    bench.store.append("events", [event_row(T0, "test", "something")])
    return bench


@pytest.mark.parametrize("end", ["stopped", "killed"])
def test_every_reading_command_works_on_a_read_only_disk(tmp_path: Path, disk: Disk, bench: Bench, end: str) -> None:
    agent = Agent(tmp_path)
    if end == "stopped":
        bench.store.close()
    else:  # as SIGKILL leaves it: what was written last stands in the log
        files = {file.name: file.read_bytes() for file in disk.folder.glob("store.db*")}
        bench.store.close()
        for name, content in files.items():
            (disk.folder / name).write_bytes(content)
    assert bool((disk.folder / "store.db-wal").exists()) == (end == "killed")
    disk.read_only()
    for command, code in READING.items():
        done = agent.run(*command.split())
        assert (done.code, bool(done.out)) == (code, code == 0), (command, done.err)
        assert "disk I/O error" not in done.err
    rows = agent.ask("buffer", "status")["rows"]
    assert {stream: count for stream, count in rows.items() if count} == {"readings": ROWS, "events": 1}
    assert agent.run("buffer", "export", str(tmp_path / "d1.ewx")).code == 0
    assert (tmp_path / "d1.ewx").stat().st_size > 65_536
    refused = agent.run("buffer", "export", str(disk.folder / "d1.ewx"))
    assert refused.code == 74
    assert "Read-only file system" in refused.err


def test_a_log_that_cannot_be_read_on_a_read_only_disk_is_named(tmp_path: Path, disk: Disk, bench: Bench) -> None:
    log = (disk.folder / "store.db-wal").read_bytes()
    bench.store.close()
    (disk.folder / "store.db-wal").write_bytes(log)  # a power cut: the index of the log is no more
    disk.read_only()
    done = Agent(tmp_path).run("status")
    assert done.code == 74
    assert "its file system is read-only" in done.err


def test_a_medium_without_room_is_named_and_nothing_is_left_on_it(tmp_path: Path, bench: Bench) -> None:
    agent = Agent(tmp_path)
    with small_disk(tmp_path / "stick", size_kib=64) as stick:
        done = agent.run("buffer", "export", str(stick.folder / "d1.ewx"))
        assert (done.code, done.out) == (74, "")
        assert "No space left on device" in done.err
        assert "d1.ewx" in done.err
        assert list(stick.folder.iterdir()) == []
    assert bench.store.stats().backlog_rows == ROWS + 1


def test_a_medium_that_goes_away_while_it_is_written_is_named(tmp_path: Path) -> None:
    with small_disk(tmp_path / "stick", size_kib=64) as stick:
        file = stick.folder / "d1.ewx"
        with contextlib.ExitStack() as stack:
            target = stack.enter_context(new_file(file))
            target.write(bytes(1000))
            stick.take_away()
            with pytest.raises(StorageError, match=r"d1\.ewx: cannot be written"):
                stack.close()
        assert list(stick.folder.iterdir()) == []
