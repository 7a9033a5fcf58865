"""Bytes that flip in the heads of rows: SQLite then gives values of types that no column holds, and NULL for some."""

import random
import shutil

import pytest

from agent.contract.errors import StorageError
from tests.soak.damage import places
from tests.support.stores import T0, Bench, alert, readings

MOST = 30


def filled(folder):
    """A closed store with blocks, a journal, a ring and a note."""
    bench = Bench(folder, pack_after_s=2)
    for number in range(12):
        bench.store.append("readings", readings(number * 20, 20))
        bench.store.append("alerts", [alert(number)])
        bench.pass_time(1)
    bench.store.keep("learnt", b"x")
    bench.store.close()
    return bench


def test_what_a_query_finds_damaged_is_mended_before_the_next_one(tmp_path):
    bench = filled(tmp_path / "whole")
    failed = 0
    for place in places(bench.folder)["page_header"]:
        folder = tmp_path / str(place.begin)
        shutil.copytree(bench.folder, folder)
        with (folder / "store.db").open("r+b") as file:
            file.seek(place.begin)
            file.write(b"\xff" * 8)
        again = Bench(folder)
        try:
            again.store.readings("load_kw", 0, 2 * T0)
            again.store.rows("alerts", 0, 2 * T0)
        except StorageError:
            failed += 1
        again.store.readings("load_kw", 0, 2 * T0)
        again.store.rows("alerts", 0, 2 * T0)
        again.store.close()
    assert failed


@pytest.mark.parametrize("mask", [0x80, 0x0C])
def test_a_store_starts_and_goes_on_whatever_is_flipped_in_the_head_of_a_row(tmp_path, mask):
    bench = filled(tmp_path / "whole")
    found = places(bench.folder)
    heads = [
        at for kind in ("cell_header", "index", "page_one") for one in found[kind] for at in range(one.begin, one.end)
    ]
    for at in random.Random(mask).sample(heads, MOST):
        folder = tmp_path / f"{mask}-{at}"
        shutil.copytree(bench.folder, folder)
        path = folder / "store.db"
        content = bytearray(path.read_bytes())
        content[at] ^= mask
        path.write_bytes(content)
        again = Bench(folder, pack_after_s=2)
        for number in range(10):
            again.store.append("readings", readings(1000 + number, 1))
            again.pass_time(1)
        assert again.store.stats().storage_error == "", at
        assert again.store.readings("load_kw", T0 + 1000_000, 2 * T0) == readings(1000, 10)
        again.store.close()
        shutil.rmtree(folder)
