"""Newer keys of the centre: taken and obeyed, unless the device would cut itself off with them."""

from dataclasses import replace

import pytest

from agent.contract import jsonform
from agent.contract.assignment import Item, ItemKind
from agent.contract.errors import RejectedError, StorageError
from agent.contract.keys import SigningKey
from agent.contract.trust import FleetKey, FleetTrust, KeyState, KeyUse
from tests.support.small_centre import SmallCentre
from tests.support.updating import Device, path_of


def trust_item(device: Device, trust: FleetTrust) -> Item:
    """Publish keys of the centre; the item that assigns them."""
    device.repo.publish({"trust/fleet.json": jsonform.dumps(trust.to_json())})
    return replace(device.repo.item("trust/fleet.json"), kind=ItemKind.TRUST)


def rotated(centre: SmallCentre, use: KeyUse, state: KeyState) -> tuple[FleetTrust, SigningKey]:
    """Trust with one more active key of a use, and the old one in another state."""
    new = SigningKey.generate()
    keys = [replace(key, state=state) if key.use is use else key for key in centre.trust().keys]
    return FleetTrust("works", (*keys, FleetKey(use, new.public, 1, KeyState.ACTIVE))), new


def test_takes_the_centres_newer_keys_and_obeys_them(device: Device):
    trust, new = rotated(device.centre, KeyUse.ASSIGN, KeyState.REVOKED)
    item = trust_item(device, trust)
    device.assign(items=(item, device.repo.item(path_of(1))))
    rows = device.settle()
    assert device.taken == [trust]
    assert [(row["kind"], row.get("item", row.get("action"))) for row in rows] == [
        ("update", "trust"),
        ("model", "candidate"),
    ]
    with pytest.raises(RejectedError, match="not trusted"):
        device.assign(2)
    device.centre.assign_key = new
    device.assign(items=(item, device.repo.item(path_of(2))))
    assert device.settle()[-1]["action"] == "candidate"
    assert device.taken == [trust]  # the same keys are not fetched again


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda trust: replace(trust, fleet="other"), "of fleet other"),
        (lambda trust: replace(trust, keys=trust.keys[1:]), "no active key for seal"),
        (lambda trust: replace(trust, keys=()), "no active key for ack, assign, seal"),
    ],
)
def test_refuses_keys_with_which_it_would_cut_itself_off(device: Device, change, match: str):
    item = trust_item(device, change(device.centre.trust()))
    device.assign(items=(item,))
    rows = device.settle()
    assert [match in row["text"] for row in rows] == [True]
    assert device.taken == []
    assert device.updater.trust == device.centre.trust()
    assert device.settle() == []
    device.run_version(1)


def test_keys_that_are_no_keys_are_refused(device: Device):
    device.repo.publish({"trust/fleet.json": b"{}"})
    device.assign(items=(replace(device.repo.item("trust/fleet.json"), kind=ItemKind.TRUST),))
    assert ["was refused" in row["text"] for row in device.settle()] == [True]
    assert device.taken == []


def test_keys_that_cannot_be_kept_are_taken_later(device: Device):
    trust, _ = rotated(device.centre, KeyUse.ACK, KeyState.DRAINING)
    device.take_error = StorageError("the disk is full")
    device.assign(items=(trust_item(device, trust),))
    with pytest.raises(StorageError):
        device.settle()
    assert device.updater.trust == device.centre.trust()
    device.take_error = None
    device.now_s += 1000
    device.settle()
    assert device.taken == [trust]
    assert device.updater.trust == trust
