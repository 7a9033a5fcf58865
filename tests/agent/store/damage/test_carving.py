"""Carving: what opens is found, wherever it lies; what does not open is never taken for a block."""

from __future__ import annotations

import random
import secrets

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.contract.blocks import Block, BlockHeader, seal_block
from agent.store.damage.carving import DATABASE, LOG, RING, Carver
from agent.store.damage.logform import PAGE
from tests.support.damage import PARTS, fill
from tests.support.stores import T0, Bench

KEY = bytes(range(32))


def files_of(bench):
    files = {part: bench.path.with_name(bench.path.name + part) for part in PARTS}
    return {part: file.read_bytes() for part, file in files.items() if file.exists()}


def carve(files, key):
    """Everything that opens, as it is sealed."""
    carver = Carver(lambda part, at, size: bytes(files.get(part, b"")[at : at + size]), key)
    finds = [find for part, content in files.items() for find in carver.search(part, 0, len(content))]
    opened = [(find.part, carver.open(find.part, find.at, find.size)) for find in finds]
    return [(part, *found) for part, found in opened if found is not None]


def rows_of(carved, stream="readings"):
    heads = [block.header for _, block, _ in carved]
    return {seq for head in heads if head.stream == stream for seq in range(head.first, head.last + 1)}


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    """A store with blocks in the database, others in the log and rows in the ring; its files and what is in them."""
    bench = Bench(tmp_path_factory.mktemp("filled"))
    fill(bench, 300, 1500, 40, 9000)
    bench.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    fill(bench, 700, 8500)
    fill(bench, 20, pack=False)
    sealed = {bytes(data) for (data,) in bench.execute("SELECT data FROM block UNION SELECT data FROM journal")}
    sealed |= set(bench.store._journal.shelves.ring._ring.held().values())
    files, key = files_of(bench), bench.identity.storage_key
    bench.store.close()
    return files, key, sealed


def test_every_row_is_found_in_database_log_and_ring(filled):
    files, key, sealed = filled
    carved = carve(files, key)
    assert {part for part, _, _ in carved} == {DATABASE, LOG, RING}
    assert sealed <= {data for _, _, data in carved}
    assert rows_of(carved) == set(range(1, 20_061))
    assert rows_of(carved, "alerts") == rows_of(carved, "slots") == set(range(1, 8))


def test_nothing_opens_under_another_key(filled):
    files, _, _ = filled
    assert carve(files, bytes(32)) == []


def test_blocks_of_every_size_are_put_together_again(tmp_path):
    """Sizes around each border at which a row of SQLite goes on in one page more."""
    bench = Bench(tmp_path)
    shelves = bench.store._journal.shelves
    sizes = [*range(3700, 4200, 3), *range(7900, 8300, 5), 12_300, 65_536, 1_000_000]
    for number, size in enumerate(sizes, 1):
        header = BlockHeader("readings", 1, 1, number, number, T0, T0, "columns/1")
        shelves.put_block(Block(header, secrets.token_bytes(size)))
    bench.store.close()
    assert rows_of(carve(files_of(bench), bench.identity.storage_key)) == set(range(1, len(sizes) + 1))


@pytest.mark.parametrize("kept", [("",), ("-wal",), ("-ring",)])
def test_a_part_alone_gives_what_is_in_it(filled, kept):
    files, key, _ = filled
    carved = carve({part: content for part, content in files.items() if part in kept}, key)
    assert carved
    everything = rows_of(carve(files, key))
    rows = rows_of(carved)
    assert rows < everything
    expected = {"": set(range(1, 10_841)), "-wal": set(range(10_841, 20_041)), "-ring": set(range(20_041, 20_061))}
    assert rows >= expected[kept[0]]


@pytest.mark.parametrize("harm", ["heads of pages", "no head of the file", "cut within a page", "another byte before"])
def test_what_is_no_block_may_be_garbage(filled, harm):
    files, key, _ = filled
    whole = rows_of(carve({"": files[""]}, key))
    content = bytearray(files[""])
    if harm == "heads of pages":
        for page in range(0, len(content), PAGE):
            if content[page] == 13:  # a leaf of a table: its head and its pointers
                content[page : page + 12] = secrets.token_bytes(12)
        assert rows_of(carve({"": content}, key)) == whole
    elif harm == "no head of the file":
        content[:PAGE] = bytes(PAGE)
        assert rows_of(carve({"": content}, key)) == whole
    elif harm == "cut within a page":
        begins = sorted(content.find(data) for _, _, data in carve({"": content}, key) if data in content)
        carved = carve({"": content[: begins[-1] + 100]}, key)
        assert rows_of(carved) < whole
        assert {data for _, _, data in carved} >= {data for _, _, data in carve({"": content[: begins[-1]]}, key)}
        assert carved
    else:  # what lies at another place of its page is no row of SQLite, but it is a block
        data = next(data for _, _, data in carve({"": content}, key) if len(data) < 1000)
        assert len(carve({"": b"x" * 77 + data + b"y" * 5000}, key)) == 1


def test_what_the_log_has_over_the_database_is_found_when_pages_changed_hands(filled):
    """A block begins in the database and goes on in pages that only the log still has."""
    files, key, _ = filled
    whole = carve(files, key)
    content = bytearray(files[""])
    _, _, data = max(
        ((part, block, data) for part, block, data in whole if part == DATABASE), key=lambda one: len(one[2])
    )
    begin = content.find(data[:64])
    pages = [
        at for at in range(0, len(content), PAGE) if at // PAGE != begin // PAGE and content[at + 4 : at + 68] in data
    ]
    log = bytearray(files[LOG])
    for at in pages:
        frame = (at // PAGE + 1).to_bytes(4) + bytes(4) + log[40:48] + bytes(8)
        log += frame + content[at : at + PAGE]
        content[at : at + PAGE] = secrets.token_bytes(PAGE)
    assert pages
    assert data not in {data for _, _, data in carve({"": content}, key)}
    assert data in {data for _, _, data in carve({"": content, "-wal": log}, key)}


def _garble(content, chance):
    kind = chance.randrange(4)
    at = chance.randrange(len(content))
    if kind == 0:
        content[at] ^= 1 << chance.randrange(8)
    elif kind == 1:
        size = chance.choice([16, 512, PAGE])
        content[at : at + size] = chance.randbytes(len(content[at : at + size]))
    elif kind == 2:
        del content[at:]
    else:
        other = chance.randrange(len(content))
        content[at : at + PAGE] = content[other : other + len(content[at : at + PAGE])]


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32), harms=st.integers(1, 30))
def test_whatever_is_garbled_only_what_was_written_is_returned(filled, seed, harms):
    files, key, _ = filled
    chance = random.Random(seed)
    garbled = {part: bytearray(content) for part, content in files.items()}
    for _ in range(harms):
        content = garbled[chance.choice(PARTS)]
        if content:
            _garble(content, chance)
    known = {data for _, _, data in carve(files, key)}
    assert {data for _, _, data in carve(garbled, key)} <= known


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=3000), st.integers(0, 5000), st.integers(0, 2**31), st.sampled_from(PARTS))
def test_any_bytes_may_be_searched_and_opened(content, at, size, part):
    carver = Carver(lambda _, at, size: content[at : at + size], KEY)
    assert all(find.at < len(content) for find in carver.search(part, 0, len(content)))
    assert carver.open(part, at, size) is None


@pytest.mark.parametrize(("claimed", "found"), [(2**32 - 1, 0), (8 * 2**20 - 1000, 1)])
def test_a_block_that_claims_to_be_endless_is_given_up(claimed, found):
    """In a page that leads to itself, whichever way it is read."""
    whole = seal_block(Block(BlockHeader("slots", 1, 1, 1, 1, T0, T0, "json/1"), bytes(100)), KEY)
    head = whole[: whole.find(b"}") + 1] + claimed.to_bytes(4)
    page = head + (b"\0\0\0\2" * PAGE)[: PAGE - len(head)]
    content = page + b"\0\0\0\2" * (PAGE // 4)
    carver = Carver(lambda part, at, size: content[at : at + size] if part == DATABASE else b"", KEY)
    finds = carver.search(DATABASE, 0, len(content))
    assert len(finds) == found
    assert all(carver.open(find.part, find.at, find.size) is None for find in finds)
