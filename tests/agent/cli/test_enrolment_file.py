"""An enrolment file of which a part cannot work enrols nothing, and says which part it is."""

import contextlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.cli.enrolmentfile import check_parts
from agent.cli.main import run_command
from agent.contract.enrolment import Enrolment
from agent.contract.errors import RejectedError
from agent.contract.keys import SEAL_PUBLIC_BYTES
from agent.contract.trust import Broker, FleetKey, FleetTrust, KeyState, KeyUse
from tests.support.centre import make_centre
from trainer.fleet.certificates import Authority

Change = Callable[[Enrolment], Enrolment]


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Enrolment:
    """The file of a centre whose broker asks for certificates."""
    folder = tmp_path_factory.mktemp("centre")
    centre = make_centre(folder, f"sqlite:///{folder / 'centre.db'}")
    ca_pem = Authority.open(folder / "keys" / "authority").pem
    made = replace(centre.enrolment("press-shop-1"), broker=Broker("mqtt.example.net", 8883, ca_pem, 8884, "mqtt"))
    centre.engine.dispose()
    return made


def broker(**changes: Any) -> Change:
    return lambda file: replace(file, broker=replace(file.broker, **changes))


def key(use: KeyUse, **changes: Any) -> Change:
    def change(file: Enrolment) -> Enrolment:
        keys = tuple(replace(key, **changes) if key.use is use else key for key in file.trust.keys)
        return replace(file, trust=FleetTrust(file.trust.fleet, keys))

    return change


def root(edit: Callable[[dict[str, Any]], object]) -> Change:
    def change(file: Enrolment) -> Enrolment:
        value = json.loads(file.tuf_root)
        edit(value)
        return replace(file, tuf_root=json.dumps(value))

    return change


def without_threshold(value: dict[str, Any]) -> None:
    for signature in value["signatures"][1:]:
        signature["sig"] = "00" * 64


WRONG: dict[str, tuple[str, Change]] = {
    "no root": ("tuf_root", lambda file: replace(file, tuf_root="{}")),
    "root is no JSON": ("tuf_root", lambda file: replace(file, tuf_root="root")),
    "root was changed": ("tuf_root", root(lambda value: value["signed"].update(version=2))),
    "root has one good signature": ("tuf_root", root(without_threshold)),
    "root is another role": ("tuf_root", root(lambda value: value["signed"].update(_type="targets", targets={}))),
    "host has an empty label": ("broker.host", broker(host="mqtt..example.net")),
    "host is too long": ("broker.host", broker(host="a" * 64)),
    "host is an address with a number too large": ("broker.host", broker(host="10.0.0.256")),
    "host begins with a hyphen": ("broker.host", broker(host="-mqtt")),
    "server name is none": ("broker.server_name", broker(server_name="a:b")),
    "both ports are one": ("broker.enrol_port", broker(enrol_port=8883)),
    "authority is no certificate": ("broker.ca_pem", broker(ca_pem="-----BEGIN CERTIFICATE-----\nAAAA\n")),
    "authority is empty": ("broker.ca_pem", broker(ca_pem="")),
    "no key to seal to": ("trust.keys", key(KeyUse.SEAL, state=KeyState.REVOKED)),
    "acknowledgements under no active key": ("trust.keys", key(KeyUse.ACK, state=KeyState.DRAINING)),
    "no key of assignments": ("trust.keys", key(KeyUse.ASSIGN, state=KeyState.REVOKED)),
    "sealing key is no point of its lattice": (
        "trust.keys, seal",
        key(KeyUse.SEAL, public=b"\xff" * SEAL_PUBLIC_BYTES),
    ),
    "sealing key hides nothing": ("trust.keys, seal", key(KeyUse.SEAL, public=bytes(SEAL_PUBLIC_BYTES))),
}


def test_a_file_that_the_centre_has_written_passes(good: Enrolment) -> None:
    check_parts(good)
    for host in ("localhost", "10.0.0.5", "fd00::5", "mqtt.example.net."):
        check_parts(broker(host=host)(good))


@pytest.mark.parametrize("name", list(WRONG))
def test_a_part_that_cannot_work_is_named(good: Enrolment, name: str) -> None:
    part, change = WRONG[name]
    with pytest.raises(RejectedError) as caught:
        check_parts(change(good))
    assert caught.value.where.startswith(part)
    assert good.token not in str(caught.value)


def test_keys_of_the_wrong_length_are_refused_by_the_form(good: Enrolment) -> None:
    for use, size in ((KeyUse.SEAL, 32), (KeyUse.ACK, 31), (KeyUse.ASSIGN, 1216)):
        wrong = FleetKey(use, bytes(size), 0, KeyState.ACTIVE)
        file = replace(good, trust=FleetTrust("works", (wrong,)))
        with pytest.raises(RejectedError, match="public"):
            Enrolment.from_bytes(file.to_bytes())


@given(at=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_a_root_with_one_flipped_bit_passes_only_if_it_says_the_same(good: Enrolment, at: int, bit: int) -> None:
    data = bytearray(good.tuf_root.encode())
    data[at % len(data)] ^= 1 << bit
    changed = data.decode(errors="replace")
    with contextlib.suppress(RejectedError):
        check_parts(replace(good, tuf_root=changed))
        assert json.loads(changed)["signed"] == json.loads(good.tuf_root)["signed"]


@pytest.mark.parametrize("name", ["no root", "host is too long", "authority is no certificate"])
def test_the_command_names_file_and_part_and_makes_nothing(
    good: Enrolment, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    configs = Path(__file__).resolve().parents[3] / "firmware-configs"
    text = (configs / "agent.toml").read_text().replace("/var/lib/edgewatt", "state")
    (tmp_path / "agent.toml").write_text(text.replace("tariffs/", f"{configs}/tariffs/"))
    part, change = WRONG[name]
    (tmp_path / "wrong.enrolment").write_bytes(change(good).to_bytes())
    assert run_command(["--config", str(tmp_path / "agent.toml"), "enroll", str(tmp_path / "wrong.enrolment")]) == 65
    (line,) = capsys.readouterr().err.splitlines()
    assert "wrong.enrolment" in line
    assert part in line
    assert "device add" in line
    assert not (tmp_path / "state").exists()
