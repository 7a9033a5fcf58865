"""The log of the database, damaged in the middle: what was committed after that is not lost without a word."""

import shutil

import pytest

from tests.support.stores import T0, Bench, alert

HEAD, FRAME = 32, 24 + 4096
ALERTS = 12


@pytest.fixture
def left(tmp_path):
    """What a kill leaves of a store with twelve alerts, each a transaction of its own: a folder with a log."""
    bench = Bench(tmp_path / "before")
    for number in range(ALERTS):
        bench.store.append("alerts", [alert(number)])
    shutil.copytree(bench.folder, tmp_path / "left", ignore=shutil.ignore_patterns("*-shm"))
    bench.store.close()
    return tmp_path / "left"


def frames(folder):
    log = (folder / "store.db-wal").read_bytes()
    return range((len(log) - HEAD) // FRAME)


def copied(left, tmp_path, number):
    folder = tmp_path / f"copy-{number}"
    shutil.copytree(left, folder)
    return folder


def flip(folder, at):
    path = folder / "store.db-wal"
    log = bytearray(path.read_bytes())
    log[at] ^= 4
    path.write_bytes(log)


def gone_on(folder):
    """The store opened again, after so long that whatever is salvaged has come back."""
    bench = Bench(folder)
    for _ in range(40):
        bench.pass_time(1)
    return bench


@pytest.mark.parametrize("place", [3, 12, 24 + 2000, 24 + 4090], ids=["number", "salt", "page", "its end"])
def test_what_was_committed_after_a_damaged_frame_of_the_log_comes_back_or_is_declared(left, tmp_path, place):
    for number in frames(left):
        folder = copied(left, tmp_path, number)
        flip(folder, HEAD + number * FRAME + place)
        bench = gone_on(folder)
        found = [row["text"] for row in bench.store.rows("alerts", 0, 2 * T0)]
        gaps = [row for row in bench.store.rows("events", 0, 2 * T0) if row["kind"] == "gap"]
        lost = {seq for gap in gaps if gap["stream"] == "alerts" for seq in range(gap["first"], gap["last"] + 1)}
        assert sorted(found) == sorted(set(found))
        held = {int(text.split()[1]) + 1 for text in found}
        assert held | lost >= set(range(1, ALERTS + 1))
        assert not held & lost
        bench.store.close()
        shutil.rmtree(folder)


def test_a_damaged_head_of_the_log_loses_nothing(left, tmp_path):
    for place in (0, 8, 16, 24):
        folder = copied(left, tmp_path, place)
        flip(folder, place)
        bench = gone_on(folder)
        assert len(bench.store.rows("alerts", 0, 2 * T0)) == ALERTS
        bench.store.close()


def test_a_whole_log_is_not_kept(left, caplog):
    bench = gone_on(left)
    assert len(bench.store.rows("alerts", 0, 2 * T0)) == ALERTS
    assert "log of the store is damaged" not in caplog.text
    bench.store.close()


def test_a_log_that_ends_in_an_unfinished_transaction_is_not_kept(left, tmp_path, caplog):
    for number in frames(left):
        folder = copied(left, tmp_path, number)
        path = folder / "store.db-wal"
        path.write_bytes(path.read_bytes()[: HEAD + number * FRAME])
        bench = gone_on(folder)
        assert "log of the store is damaged" not in caplog.text
        bench.store.close()
        shutil.rmtree(folder)


def test_a_log_that_a_kill_left_when_only_its_head_was_begun_anew_is_not_kept(tmp_path, caplog):
    bench = Bench(tmp_path / "before")
    for number in range(ALERTS):
        bench.store.append("alerts", [alert(number)])
    log = bench.path.with_name("store.db-wal")
    old = log.read_bytes()
    bench.execute("PRAGMA wal_checkpoint(RESTART)")
    shutil.copytree(bench.folder, tmp_path / "after", ignore=shutil.ignore_patterns("*-shm"))
    bench.store.append("alerts", [alert(ALERTS)])
    new = log.read_bytes()
    assert new[:HEAD] != old[:HEAD]
    (tmp_path / "after" / "store.db-wal").write_bytes(new[:HEAD] + old[HEAD:])
    bench.store.close()
    bench = gone_on(tmp_path / "after")
    assert len(bench.store.rows("alerts", 0, 2 * T0)) == ALERTS
    assert "log of the store is damaged" not in caplog.text
    bench.store.close()
