"""Notes: small learnt things that are on disk with the rows they speak of, or not at all."""

from __future__ import annotations

import sqlite3

import pytest

from agent.contract.errors import RejectedError
from agent.store.notes import MOST_NOTES
from agent.store.reader import Reader
from tests.support.stores import T0, alert


def test_a_note_outlives_sigkill_once_rows_were_committed_with_it(bench):
    bench.store.keep("learnt", b"one")
    bench.store.append("alerts", [alert(1)])
    assert bench.crash().note("learnt") == b"one"


def test_a_note_that_no_commit_took_along_is_gone_with_its_rows(bench):
    bench.store.keep("learnt", b"one")
    bench.store.commit()
    bench.store.keep("learnt", b"two")
    assert bench.store.note("learnt") == b"two"
    assert bench.crash().note("learnt") == b"one"


def test_a_note_alone_is_committed_within_the_window(bench):
    bench.store.keep("learnt", b"one")
    bench.pass_time(1.1)
    assert bench.crash().note("learnt") == b"one"


def test_a_note_replaces_the_one_of_its_name_only(bench):
    for name, data in (("a", b"1"), ("b", b"2"), ("a", b"3")):
        bench.store.keep(name, data)
        bench.store.commit()
    store = bench.restart()
    assert (store.note("a"), store.note("b"), store.note("c")) == (b"3", b"2", None)


def test_the_notes_written_longest_ago_go(bench):
    for number in range(MOST_NOTES + 2):
        bench.store.keep(f"note {number}", b"x")
        bench.store.commit()
        bench.store.keep("note 0", b"fresh")
        bench.store.commit()
    kept = [number for number in range(MOST_NOTES + 2) if bench.store.note(f"note {number}") is not None]
    assert kept == [0, *range(3, MOST_NOTES + 2)]


def test_notes_are_read_beside_the_writer_and_tell_nothing_to_who_has_no_key(bench):
    bench.store.keep("calibration/plant@3", b"a secret plant")
    bench.store.commit()
    reader = Reader.open(bench.path, bench.identity.storage_key)
    assert reader.note("calibration/plant@3") == b"a secret plant"
    reader.close()
    on_disk = b"".join(file.read_bytes() for file in bench.folder.glob("store.db*"))
    assert b"secret plant" not in on_disk
    assert b"plant@3" not in on_disk


@pytest.mark.parametrize("harm", ["data = x'00'", "data = zeroblob(200)"])
def test_a_damaged_note_is_refused_and_the_rows_stay(bench, harm):
    bench.store.append("alerts", [alert(1)])
    bench.store.keep("learnt", b"one")
    bench.store.commit()
    bench.execute(f"UPDATE note SET {harm}")
    with pytest.raises(RejectedError, match="damaged"):
        bench.store.note("learnt")
    assert bench.store.rows("alerts", 0, T0 * 2) == [alert(1)]
    bench.store.keep("learnt", b"anew")
    bench.store.commit()
    assert bench.restart().note("learnt") == b"anew"


def test_a_note_put_in_the_place_of_another_is_refused(bench):
    for name in ("a", "b"):
        bench.store.keep(name, name.encode())
    bench.store.commit()
    bench.execute("UPDATE note SET data = (SELECT data FROM note ORDER BY id LIMIT 1)")
    assert bench.store.note("a") == b"a"
    with pytest.raises(RejectedError, match="note b"):
        bench.store.note("b")


def test_a_store_of_the_version_before_notes_is_read_and_brought_up(bench):
    bench.store.append("alerts", [alert(1)])
    bench.store.close()
    other = sqlite3.connect(bench.path)
    later = ("note", "mark", "salvage", "salvage_found", "salvage_end", "thin", "clock", "channel_time")
    other.executescript("".join(f"DROP TABLE {name};" for name in later) + "PRAGMA user_version = 1")
    other.close()
    reader = Reader.open(bench.path, bench.identity.storage_key)
    assert reader.note("learnt") is None
    reader.close()
    store = bench.start()
    assert store.note("learnt") is None
    store.keep("learnt", b"one")
    store.commit()
    assert bench.restart().note("learnt") == b"one"


def test_on_a_full_disk_a_note_waits_with_the_rows_and_comes_with_them(bench):
    db = bench.store._journal.shelves.db
    pages = db.execute("PRAGMA page_count").fetchone()[0]
    db.execute(f"PRAGMA max_page_count = {pages}")
    bench.store.keep("learnt", bytes(100_000))
    bench.store.append("alerts", [alert(1)])
    assert "Free space" in bench.store.stats().storage_error
    assert bench.store.note("learnt") == bytes(100_000)
    db.execute("PRAGMA max_page_count = 100000")
    bench.pass_time(2)
    assert bench.store.stats().storage_error == ""
    store = bench.crash()
    assert store.note("learnt") == bytes(100_000)
    assert store.rows("alerts", 0, T0 * 2) == [alert(1)]
