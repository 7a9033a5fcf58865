"""The readings' journal: what it took is there until it is let go, whatever else in the file is torn or garbled."""

from __future__ import annotations

import random
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.contract.errors import StorageError
from agent.store import ring
from agent.store.ring import MAX_RECORD_BYTES, DamagedRingError, Ring, RingFullError
from tests.support.stores import failing

SMALL = 16_384
ROOM = SMALL - 4096  # before it stands the name
SECTOR = 512


@pytest.fixture
def made(tmp_path, monkeypatch):
    monkeypatch.setattr(ring, "SIZE_BYTES", SMALL)
    path = tmp_path / "store.db-ring"
    return path, ring.create(path)


def reopened(path, ident, released=0):
    found = Ring(path, ident, released)
    held = found.held()
    found.close()
    return held


def data_of(number, size=100):
    return random.Random(number).randbytes(size)


# -- the file -----------------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(st.lists(st.one_of(st.integers(0, 3000), st.sampled_from(["let one go", "let all go", "open again"]))))
def test_any_order_of_writing_letting_go_and_opening_keeps_what_is_held(steps):
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(ring, "SIZE_BYTES", SMALL)
        path = Path(folder, "ring")
        ident = ring.create(path)
        mine, expected, released = Ring(path, ident, 0), {}, 0
        for step in steps:
            if step == "open again":
                mine.close()
                mine = Ring(path, ident, released)
            elif isinstance(step, str):
                released = mine.last if step == "let all go" else min(expected, default=mine.last)
                mine.release(released)
                expected = {number: data for number, data in expected.items() if number > released}
            else:
                last = mine.last
                try:
                    number = mine.append(data_of(last + 1, step))
                except RingFullError:
                    assert expected
                    assert mine.last == last
                else:
                    assert number == last + 1
                    expected[number] = data_of(number, step)
            assert mine.held() == expected
            sectors = sum(-(-(20 + len(data)) // SECTOR) for data in expected.values())
            assert mine.used() == sectors * SECTOR / ROOM
        mine.close()
        assert reopened(path, ident, released) == expected


@pytest.mark.parametrize("released", [0, 1, 2])
def test_a_torn_write_costs_its_own_record_alone(made, released):
    path, ident = made
    mine = Ring(path, ident, 0)
    for number in (1, 2, 3):
        mine.append(data_of(number, 1200))
    mine.release(released)
    before = path.read_bytes()
    mine.append(data_of(4, 1200))
    mine.close()
    after = path.read_bytes()
    changed = [at for at in range(0, SMALL, SECTOR) if before[at : at + SECTOR] != after[at : at + SECTOR]]
    assert len(changed) == 3
    for kept in range(2 ** len(changed) - 1):
        torn = bytearray(before)
        for place, at in enumerate(changed):
            if kept >> place & 1:
                torn[at : at + SECTOR] = after[at : at + SECTOR]
        path.write_bytes(torn)
        assert reopened(path, ident, released) == {n: data_of(n, 1200) for n in (1, 2, 3) if n > released}


def test_a_flipped_bit_anywhere_costs_one_record_at_most(made):
    path, ident = made
    mine = Ring(path, ident, 0)
    for number in range(1, 9):
        mine.append(data_of(number))
    mine.close()
    content, whole = path.read_bytes(), reopened(path, ident)
    chance = random.Random(3)
    for _ in range(300):
        flipped = bytearray(content)
        at = chance.randrange(len(content))
        flipped[at] ^= 1 << chance.randrange(8)
        path.write_bytes(flipped)
        found = reopened(path, ident)
        assert len(found) >= len(whole) - 1
        assert found.items() <= whole.items()


def test_records_of_another_ring_are_not_seen(made):
    path, ident = made
    mine = Ring(path, ident, 0)
    mine.append(b"theirs")
    mine.close()
    with pytest.raises(DamagedRingError):
        reopened(path, bytes(16))


@pytest.mark.parametrize("harm", ["zeroed", "cut", "cut within a sector", "empty"])
def test_a_file_that_is_not_the_whole_ring_is_refused(made, harm):
    path, ident = made
    mine = Ring(path, ident, 0)
    mine.append(b"one")
    mine.close()
    size = {"zeroed": SMALL, "cut": 4096, "cut within a sector": 10_000, "empty": 0}[harm]
    path.write_bytes(bytes(size) if harm == "zeroed" else path.read_bytes()[:size])
    with pytest.raises(DamagedRingError):
        Ring(path, ident, 0)


def test_after_a_change_to_larger_sectors_what_is_held_goes_first(made, monkeypatch):
    path, ident = made
    mine = Ring(path, ident, 0)
    for number in (1, 2, 3):
        mine.append(data_of(number))
    mine.close()
    monkeypatch.setattr(ring, "_WAYS", ring._WAYS[1:])
    larger = Ring(path, ident, 0)
    with pytest.raises(RingFullError):
        larger.append(b"four")
    larger.release(3)
    assert larger.append(b"four") == 4
    larger.close()
    assert reopened(path, ident, 3) == {4: b"four"}


def test_a_full_ring_takes_nothing_and_what_is_too_large_never_fits(made):
    path, ident = made
    mine = Ring(path, ident, 0)
    with pytest.raises(RingFullError):
        mine.append(bytes(MAX_RECORD_BYTES))
    for number in range(1, ROOM // SECTOR + 1):
        mine.append(data_of(number))
    content = path.read_bytes()
    with pytest.raises(RingFullError):
        mine.append(b"")
    assert path.read_bytes() == content
    mine.release(1)
    mine.append(b"")
    mine.close()


def test_the_number_of_a_failed_write_is_not_given_out_again(made, monkeypatch):
    path, ident = made
    mine = Ring(path, ident, 0)
    with monkeypatch.context() as patch:
        patch.setattr(ring.os, "pwritev", failing())
        with pytest.raises(StorageError, match="Input/output"):
            mine.append(b"one")
    assert mine.append(b"two") == 2
    mine.close()
    assert reopened(path, ident) == {2: b"two"}


@pytest.mark.parametrize("refused", [1, 2])
def test_a_file_system_without_direct_writes_is_written_all_the_same(made, monkeypatch, refused):
    path, ident = made
    monkeypatch.setattr(ring, "_WAYS", [(flag, sector) for flag, sector in ring._WAYS[refused:]])
    mine = Ring(path, ident, 0)
    mine.append(b"one")
    mine.append(data_of(2, 5000 if refused == 2 else 2000))
    mine.close()
    assert list(reopened(path, ident)) == [1, 2]
