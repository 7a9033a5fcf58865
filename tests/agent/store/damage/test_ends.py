"""How far streams went, told apart from the database: the newest note that is whole counts, nothing else does."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from agent.contract.topics import STREAMS
from agent.store import ring
from agent.store.damage import ends
from agent.store.ring import Ring

KEY = bytes(range(32))
lasts = st.dictionaries(st.tuples(st.integers(1, 2**53 - 1), st.sampled_from(STREAMS)), st.integers(1, 2**53 - 1))


@given(lasts)
def test_the_newest_epochs_are_told_whatever_the_numbers(told):
    data = ends.seal(told, KEY)
    assert len(data) <= ends.MAX_BYTES
    found = ends.find(b"before" + data + b"behind", KEY)
    epochs = sorted({epoch for epoch, _ in told})
    kept = {epoch for epoch, _ in found}
    assert found == {place: last for place, last in told.items() if place[0] in kept}
    assert kept == set(epochs[len(epochs) - len(kept) :])
    assert len(kept) >= min(len(epochs), 4)
    assert ends.find(data, bytes(32)) == {}


@given(st.binary(max_size=4000), st.integers(0, 4000), lasts)
def test_bytes_that_nobody_sealed_tell_nothing(noise, at, told):
    sealed = ends.seal(told, KEY)
    assert ends.find(noise[:at] + sealed[:-1] + b"?" + noise[at:], KEY).items() <= told.items()
    assert ends.find(noise + b"EWE1" + noise, KEY) == {}


def test_a_torn_note_leaves_the_one_before_and_every_record(tmp_path):
    path = tmp_path / "ring"
    mine = Ring(path, ring.create(path), 0)
    mine.append(b"record")
    chance = random.Random(1)
    for number in range(1, 9):
        mine.note(ends.seal({(1, "alerts"): number}, KEY))
        content = path.read_bytes()
        assert ends.find(content[:4096], KEY) == {(1, "alerts"): number}
        torn = bytearray(content)
        at = content.rfind(ends.seal({}, KEY)[:4], 0, 4096) if number % 2 == 0 else content.find(b"EWE1")
        torn[at + 30] ^= 1 << chance.randrange(8)
        assert ends.find(bytes(torn[:4096]), KEY) == ({(1, "alerts"): number - 1} if number > 1 else {})
        assert mine.held() == {1: b"record"}
        assert set(ring.scan(path, mine._ident)) == {1}
    mine.close()
