"""The centre knows which of its keys devices hold, and takes none away that they need."""

from collections.abc import Callable
from pathlib import Path

import pytest

from agent.contract.enrolment import seal_request
from agent.contract.errors import ConfigError, UnavailableError
from agent.contract.exits import run_command
from agent.contract.topics import DeviceTopics
from agent.contract.trust import FleetTrust, KeyState, KeyUse
from tests.support.centre import Centre
from tests.support.field_device import FieldDevice
from trainer.cli.main import trainer
from trainer.fleet import trusted
from trainer.fleet.rotation import can_do_without, change, rotate


def online(centre: Centre) -> Path:
    return centre.folder / "keys" / "online"


def send(centre: Centre, device: FieldDevice) -> None:
    assert centre.ingest.handle(DeviceTopics(device.name).up("readings"), device.seal(device.readings(3)))


def told(centre: Centre, trust: FleetTrust) -> FleetTrust:
    trusted.hand_out(centre.engine, trust)
    return trust


def lacking(centre: Centre, key: str, state: KeyState) -> list[str]:
    return trusted.without(centre.engine, can_do_without(online(centre), key, state, centre.clock.ms))


def test_a_device_counts_as_informed_only_by_its_own_signed_word(any_centre: Centre) -> None:
    centre = any_centre
    old = told(centre, centre.online.trust)
    awake, asleep, _silent = (centre.device(name) for name in ("awake", "asleep", "silent"))
    for device in (awake, asleep):
        send(centre, device)
    assert [holder.trust for holder in trusted.holders(centre.engine)] == [old, old, None]
    rotate(online(centre), KeyUse.ACK, centre.clock.ms)
    awake.trust = told(centre, centre.reopened().trust)
    assert lacking(centre, centre.online.ack.id, KeyState.DRAINING) == ["asleep", "awake", "silent"]
    send(centre, awake)
    assert lacking(centre, centre.online.ack.id, KeyState.DRAINING) == ["asleep", "silent"]
    centre.registry.revoke("silent")
    assert lacking(centre, centre.online.ack.id, KeyState.REVOKED) == ["asleep"]
    asleep.trust = awake.trust
    send(centre, asleep)
    assert lacking(centre, centre.online.ack.id, KeyState.REVOKED) == []


def test_a_name_that_was_never_handed_out_informs_nobody(centre: Centre) -> None:
    device = centre.device()
    send(centre, device)  # it holds the keys of an enrolment that this database does not know
    rotate(online(centre), KeyUse.SEAL, centre.clock.ms)
    assert lacking(centre, centre.online.trust.recipient().id, KeyState.REVOKED) == ["press-1"]


def test_a_device_that_takes_anothers_place_is_not_taken_for_it(centre: Centre) -> None:
    told(centre, centre.online.trust)
    send(centre, centre.device())
    enrolment, key = centre.enrolment("press-1", replace=True), FieldDevice("press-1", centre.online.trust).key
    request = seal_request(enrolment, key, created_ms=centre.clock.ms)
    centre.registry.judge(request, topic_device=None, seal=centre.online.seal, ack=centre.online.ack)
    assert [holder.trust for holder in trusted.holders(centre.engine)] == [None]


@pytest.mark.parametrize("use", list(KeyUse))
@pytest.mark.parametrize("state", [KeyState.DRAINING, KeyState.REVOKED])
def test_what_a_device_needs_of_a_key_depends_on_its_use(centre: Centre, use: KeyUse, state: KeyState) -> None:
    old = told(centre, centre.online.trust)
    key = next(key.id for key in old.keys if key.use is use)
    centre.clock.ms += 1
    rotate(online(centre), use, centre.clock.ms)
    new = centre.reopened().trust
    serves = can_do_without(online(centre), key, state, centre.clock.ms)
    # What is sealed to a draining key is opened still; what the successor signs is not believed by who knows it not.
    assert (serves(old), serves(new)) == (use is KeyUse.SEAL and state is KeyState.DRAINING, True)


@pytest.fixture
def command(centre: Centre, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    """Run a command of the centre: its code, and what it said."""

    def run(*words: str) -> tuple[int, str]:
        options = "--home", str(centre.folder), "--offline-keys", str(centre.folder / "offline")
        code = run_command(trainer, [*options, *words], "edgewatt-trainer")
        return code, capsys.readouterr().err

    return run


@pytest.mark.parametrize("word", ["drain", "revoke"])
def test_a_key_that_a_device_needs_goes_only_by_force_and_the_device_is_named(
    centre: Centre, command: Callable[..., tuple[int, str]], word: str
) -> None:
    told(centre, centre.online.trust)
    device, old = centre.device(), centre.online.assign.id
    send(centre, device)
    assert command("keys", "rotate", "assign", "--in-days", "0")[0] == 0
    before = {path.name: path.read_bytes() for path in online(centre).iterdir()}
    code, said = command("keys", word, old)
    assert code == UnavailableError.exit_code
    assert "press-1" in said
    assert "device add NAME --replace" in said
    assert {path.name: path.read_bytes() for path in online(centre).iterdir()} == before
    code, said = command("keys", word, old, "--force")
    assert (code, "press-1" in said) == (0, True)


def test_a_key_goes_without_a_word_once_the_devices_have_told(
    centre: Centre, command: Callable[..., tuple[int, str]]
) -> None:
    device, old = centre.device(), centre.online.ack.id
    assert command("keys", "rotate", "ack", "--in-days", "0")[0] == 0
    assert command("trust", "publish")[0] == 0
    assert command("keys", "drain", old)[0] == UnavailableError.exit_code
    device.trust = centre.reopened().trust
    send(centre, device)
    code, said = command("keys", "drain", old)
    assert (code, "press-1" in said) == (0, False)
    assert command("keys", "revoke", old)[0] == 0
    with pytest.raises(ConfigError, match="for good"):
        change(online(centre), old, KeyState.DRAINING, centre.clock.ms)
