"""Bytes that flip in the heads of rows: SQLite then gives values of types that no column holds, and NULL for some."""

import random
import shutil

import pytest

from tests.soak.damage import places
from tests.support.stores import T0, Bench, alert, readings

MOST = 30


@pytest.mark.parametrize("mask", [0x80, 0x0C])
def test_a_store_starts_and_goes_on_whatever_is_flipped_in_the_head_of_a_row(tmp_path, mask):
    bench = Bench(tmp_path / "whole", pack_after_s=2)
    for number in range(12):
        bench.store.append("readings", readings(number * 20, 20))
        bench.store.append("alerts", [alert(number)])
        bench.pass_time(1)
    bench.store.keep("learnt", b"x")
    bench.store.close()
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
