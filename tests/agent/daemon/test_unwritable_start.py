"""A real daemon that starts on a disk which takes nothing: it samples, says so, and goes on by itself when it can."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.config import load
from agent.contract.enrolment import Enrolment
from agent.contract.keys import SigningKey
from agent.contract.trust import Broker
from agent.daemon.build import build
from agent.store.identity import Identity
from agent.store.reader import Reader
from tests.support.agent_process import Agent
from tests.support.disks import Disk, small_disk
from tests.support.small_centre import SmallCentre


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    with small_disk(tmp_path / "state", size_kib=8192) as disk:
        yield disk


@pytest.fixture
def agent(tmp_path: Path, disk: Disk) -> Iterator[Agent]:
    with Agent(tmp_path, rate=3600) as agent:
        yield agent


def times(disk: Disk) -> list[int]:
    reader = Reader.open(disk.folder / "store.db", Identity.read(disk.folder / "identity").storage_key)
    try:
        return [row.time_ms for row in reader.readings("power", 0, 2**53)]
    finally:
        reader.close()


@pytest.mark.parametrize("how", ["full", "read-only"])
def test_an_agent_that_starts_on_such_a_disk_samples_and_all_is_committed_once_it_is_well(
    agent: Agent, disk: Disk, how: str
) -> None:
    daemon = build(load(agent.config))
    daemon.start()
    daemon.close()
    before = times(disk)
    assert len(before) >= 1
    disk.fill() if how == "full" else disk.read_only()
    agent.start()
    agent.until(lambda: agent.ask("buffer", "status")["pending_rows"] > 6)
    agent.until(lambda: bool(agent.ask("alerts", "list")["alerts"]))
    status, waiting = agent.ask("status"), agent.ask("buffer", "status")
    assert (status["live"], status["state"], "disk" in status["troubles"]) == (True, "degraded", True)
    assert "store-failing" in {alert["rule"] for alert in agent.ask("alerts", "list")["alerts"]}
    assert waiting["storage_error"]
    assert "in memory" in agent.run("buffer", "status").out
    assert "kept in memory" in agent.log()
    for command in (["cost"], ["sync", "status"], ["model", "status"]):
        assert agent.run(*command).code == 0
    assert times(disk) == before
    last_ms = agent.ask("status")["last_reading_ms"]
    disk.make_room() if how == "full" else disk.read_only(yes=False)
    agent.until(lambda: not agent.ask("buffer", "status")["storage_error"])
    agent.until(lambda: agent.ask("buffer", "status")["pending_rows"] == 0)
    agent.until(lambda: agent.ask("status")["slot_end_ms"] > last_ms)
    assert agent.ask("status")["troubles"] == {}
    assert agent.stop() == 0
    after = times(disk)
    assert max(Counter(after).values()) == 1
    assert before == after[: len(before)]
    kept = after[len(before) :]
    assert last_ms in kept
    assert kept == list(range(kept[0], kept[-1] + 1, 1_800_000))
    slots = json.loads(agent.run("status", "--json").out)
    assert slots["slot_end_ms"] > last_ms


def test_with_both_counters_lost_a_device_samples_and_says_what_to_do(agent: Agent, disk: Disk) -> None:
    identity = Identity.open(disk.folder / "identity")
    enrolment = Enrolment("d1", "t" * 32, 2**42, Broker("127.0.0.1", 1), SmallCentre("d1").trust(), "{}")
    identity.enrol(enrolment, SigningKey.generate())
    identity.begin_boot()
    for name in ("counters.json", "counters.json.copy"):
        (disk.folder / "identity" / name).write_bytes(b"\0")
    agent.start()
    agent.until(lambda: agent.ask("buffer", "status")["rows"]["readings"] > 1)
    assert "counters.json and its copy are lost" in agent.log()
    assert "edgewatt enroll FILE" in agent.ask("status")["troubles"]["identity"]
    assert agent.ask("sync", "status")["enrolled"] is False
