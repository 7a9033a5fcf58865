"""What the ingest process does beside messages: in time, each although another fails, told once."""

from pathlib import Path
from typing import cast

from agent.contract import jsonform
from agent.contract.errors import UnavailableError
from tests.support.centre import Centre
from trainer.cli.broker import chores_at
from trainer.fleet.brokercontrol import CONTROL, EnrolmentCloser
from trainer.fleet.mqtt import BrokerLink, Incoming
from trainer.fleet.securedbroker import SecuredBroker
from trainer.fleet.service import Chore, Service


class DeadLink:
    """A broker that is away: the chores are due all the same."""

    session, connected = 0, False

    def poll(self, timeout_s: float) -> list[Incoming]:
        return []

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> bool:
        return False

    def done(self, message: Incoming) -> None: ...

    def drop(self) -> None: ...


def test_a_chore_that_fails_is_left_alone_for_minutes_and_holds_up_no_other(centre: Centre, caplog) -> None:
    now_s, done = 0.0, {"good": 0, "bad": 0}

    def bad() -> None:
        done["bad"] += 1
        raise UnavailableError("the broker's list was not read again")

    def good() -> None:
        done["good"] += 1

    service = Service(
        centre.engine,
        DeadLink(),
        centre.ingest,
        centre.repository,
        now_ms=centre.clock.now,
        monotonic=lambda: now_s,
        chores=[Chore(5, bad), Chore(5, good)],
    )
    for second in range(0, 300, 5):
        now_s = second
        service.step()
    assert done == {"good": 60, "bad": 1}
    now_s = 300
    service.step()
    assert done == {"good": 61, "bad": 2}
    assert caplog.text.count("was not read again") == 2


def test_a_revocation_that_the_broker_was_not_told_is_tried_again_at_once(centre: Centre, tmp_path: Path) -> None:
    now_s, tries = 0.0, tmp_path / "tries"
    command = ("sh", "-c", f"echo once >> {tries}; exit 1")
    secured = SecuredBroker("b", 8883, 8884, tmp_path / "files", command, tmp_path / "keys")
    secured.files.mkdir()
    link = DeadLink()
    service = Service(
        centre.engine,
        link,
        centre.ingest,
        centre.repository,
        now_ms=centre.clock.now,
        monotonic=lambda: now_s,
        chores=chores_at(secured, centre.engine, centre.authority, cast(BrokerLink, link)),
    )
    for second in (0, 5, 10):
        now_s = second
        service.step()
    assert tries.read_text().count("once") == 3


def test_an_enrolment_that_is_over_is_told_to_the_broker_once_and_again_after_a_newer_one() -> None:
    over, told, there = ["press-1"], [], False

    def publish(topic: str, payload: bytes) -> bool:
        if there:
            told.append(
                (
                    topic,
                    [command["command"] for command in jsonform.loads(payload, where="", max_bytes=9999)["commands"]],
                )
            )
        return there

    closer = EnrolmentCloser(lambda: over, publish)
    closer()
    there = True
    closer()
    closer()
    assert told == [(CONTROL, ["deleteClient", "deleteRole"])]
    over.append("press-2")
    closer()
    assert len(told) == 2
    over.remove("press-1")  # a newer file was made
    closer()
    over.append("press-1")
    closer()
    assert len(told) == 3
