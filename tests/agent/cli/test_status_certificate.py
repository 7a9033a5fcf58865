"""`edgewatt status` shows when the device's certificate ends, and that a newer one is due."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from agent.cli.status import _certificate
from agent.contract.certificates import certificate_request
from agent.contract.enrolment import Enrolment
from agent.contract.keys import SigningKey, TlsKey
from agent.contract.trust import Broker
from agent.store.identity import ClientTls
from tests.support.agent_process import Agent
from tests.support.small_centre import SmallCentre
from tests.support.stores import Bench
from trainer.fleet.certificates import CLIENT_DAYS, Authority

DAY_MS = 86_400_000


@pytest.mark.parametrize(
    ("age_days", "words"),
    [
        (1, "ends 20"),
        (CLIENT_DAYS - 5, "a newer one is due"),
        (CLIENT_DAYS + 5, "ended 20"),
    ],
)
def test_the_end_of_the_certificate_is_told_without_an_agent(tmp_path: Path, age_days: int, words: str) -> None:
    bench, tls = Bench(tmp_path / "state"), TlsKey.generate()
    issued_ms = time.time_ns() // 1_000_000 - age_days * DAY_MS
    authority = Authority.create(tmp_path / "authority", "works", issued_ms)
    chain = authority.issue(certificate_request(tls, "d1"), "d1", issued_ms).pem
    enrolment = Enrolment("d1", "t" * 32, 2**42, Broker("b", 8883, "x"), SmallCentre("d1").trust(), "{}")
    bench.identity.enrol(enrolment, SigningKey.generate(), ClientTls(tls, chain))
    bench.store.close()
    agent = Agent(tmp_path)
    told = agent.ask("status")["certificate"]
    assert abs(told["ends_ms"] - issued_ms - CLIENT_DAYS * DAY_MS) <= DAY_MS
    assert told["renewal_from_ms"] < told["ends_ms"]
    (line,) = [line for line in agent.run("status").out.splitlines() if line.startswith("certificate")]
    assert words in line


def test_requests_without_an_answer_are_told() -> None:
    now_ms = time.time_ns() // 1_000_000
    told = {"ends_ms": now_ms + DAY_MS, "renewal_from_ms": now_ms - DAY_MS, "asked": 3}
    assert "asked for 3 times" in _certificate(told, "UTC")


def test_a_device_without_a_certificate_has_none_to_tell(tmp_path: Path) -> None:
    Bench(tmp_path / "state").store.close()
    agent = Agent(tmp_path)
    assert agent.ask("status")["certificate"] is None
    assert "certificate" not in agent.run("status").out
