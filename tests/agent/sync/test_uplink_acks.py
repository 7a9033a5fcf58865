"""Which acknowledgements the uplink believes: none that is tampered with, replayed, another's or a replaced centre's."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.contract.keys import SigningKey
from agent.sync.acks import Verdict
from tests.support.uplinks import World


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_tampered_acknowledgement_changes_nothing(data):
    world = World()
    world.store.add("slots")
    world.pump()
    world.receive_all()
    good = bytearray(world.centre.acknowledge())
    at = data.draw(st.integers(0, len(good) - 1))
    good[at] ^= data.draw(st.integers(1, 255))
    before = world.state()
    assert world.ack(bytes(good)).verdict is Verdict.REJECTED
    assert world.state() == before
    assert world.uplink.stats().in_flight == 1


@pytest.mark.parametrize("length", [0, 1, 16, 70_000])
def test_rubbish_for_an_acknowledgement_changes_nothing(length: int):
    world = World()
    before = world.state()
    assert world.ack(b"\0" * length or b"\0").verdict is Verdict.REJECTED
    assert world.state() == before


def test_an_acknowledgement_for_another_device_changes_nothing():
    world = World()
    world.store.add("slots")
    world.pump()
    world.receive_all()
    before = world.state()
    result = world.ack(world.centre.acknowledge(device="press-2"))
    assert (result.verdict, world.state()) == (Verdict.REJECTED, before)
    assert "press-1" in result.reason


def test_an_acknowledgement_by_a_key_for_other_things_changes_nothing():
    world = World()
    world.store.add("slots")
    world.pump()
    world.receive_all()
    before = world.state()
    world.centre.ack_key = world.centre.assign_key
    assert (world.ack().verdict, world.state()) == (Verdict.REJECTED, before)
    world.centre.ack_key = SigningKey.generate()
    assert (world.ack().verdict, world.state()) == (Verdict.REJECTED, before)


def test_a_replayed_acknowledgement_is_ignored_also_after_a_restart():
    world = World()
    world.store.add("slots")
    world.pump()
    world.receive_all()
    old = world.centre.acknowledge()
    world.ack(old)
    world.store.add("slots")
    world.pump()
    world.receive_all()
    world.ack()
    before = world.state()
    assert (world.ack(old).verdict, world.state()) == (Verdict.REPLAYED, before)
    world.boot()
    assert (world.ack(old).verdict, world.state()) == (Verdict.REPLAYED, before)


def test_sends_again_what_a_restored_centre_lost():
    world = World()
    world.store.add("slots")
    world.pump()
    world.receive_all()
    backup = {key: set(rows) for key, rows in world.centre.rows.items()}
    world.ack()
    world.store.add("slots")
    world.pump()
    world.receive_all()
    late = world.centre.acknowledge()  # of the centre that is to be lost; an attacker keeps it
    world.ack()
    assert world.store.waiting() == set()
    world.centre.restored(backup)
    result = world.ack()
    # the mark is that of the backup: rows 11..20 are missing beyond it
    assert (result.verdict, result.new_centre, result.recalled) == (Verdict.ACCEPTED, True, 1)
    assert world.store.waiting() == {2}
    assert len(world.pump()) == 1
    before = world.state()
    assert (world.ack(late).verdict, world.state()) == (Verdict.REPLAYED, before)
    world.boot()
    world.centre.now_ms += 3_600_000
    world.pump()
    world.receive_all()
    assert world.ack().verdict is Verdict.ACCEPTED
    assert world.store.waiting() == set()


def test_a_kept_back_acknowledgement_of_a_replaced_centre_frees_nothing():
    world = World()
    world.store.add("slots")
    world.pump()
    world.receive_all()
    world.ack()
    world.centre.rows["slots", 1] = set(range(1, 101))
    kept_back = world.centre.acknowledge()  # never delivered: its counter is still unused
    world.centre.now_ms += 600_000
    world.centre.restored({})
    world.centre.rows["slots", 1] = set()
    world.ack()
    before = world.state()
    assert (world.ack(kept_back).verdict, world.state()) == (Verdict.REPLAYED, before)
