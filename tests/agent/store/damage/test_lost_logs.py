"""What goes with the log, or with files that somebody removes: it is declared, also where nothing else tells of it."""

import pytest

from tests.support.stores import T0, alert, readings


def declared(bench):
    rows = bench.store.rows("events", 0, T0 * 2)
    return {(row["stream"], row["epoch"], row["first"], row["last"]) for row in rows if row["kind"] == "gap"}


def kill_and_cut_the_log(bench, keep):
    """The folder as a kill leaves it, with so much of the log."""
    log = bench.path.with_name("store.db-wal")
    data = log.read_bytes()
    files = {path: path.read_bytes() for path in (bench.path, bench.path.with_name("store.db-ring"))}
    bench.store._journal.shelves.close()
    bench.store._guard.unlock()
    for path, content in files.items():
        path.write_bytes(content)
    bench.path.with_name("store.db-shm").unlink(missing_ok=True)
    log.unlink(missing_ok=True)
    if keep:
        log.write_bytes(data[: int(len(data) * keep)])


@pytest.mark.parametrize("keep", [0, 0.5])
def test_rows_whose_log_is_gone_or_cut_are_declared_to_the_last_number(bench, keep):
    bench.restart()  # the tables are in the database
    for at in range(6):
        bench.store.append("alerts", [alert(at)])
        bench.store.append("readings", readings(at * 5, 5))
        bench.store.commit()
    kill_and_cut_the_log(bench, keep)
    store = bench.start()
    for _ in range(50):
        bench.pass_time(1.1)  # what is set aside of the log is salvaged first
    assert not store._journal.salvage.is_due
    kept = len(store.rows("alerts", 0, T0 * 2))
    assert kept < 6
    assert declared(bench) == {("alerts", 2, kept + 1, 6)}
    assert len(store.readings("load_kw", 0, T0 * 2)) == 30  # the ring has them
    bench.crash()
    bench.restart()
    assert declared(bench) == {("alerts", 2, kept + 1, 6)}  # once


def test_after_a_clean_end_or_a_kill_nothing_is_declared(bench):
    for at in range(4):
        bench.store.append("alerts", [alert(at)])
        bench.store.append("readings", readings(at * 5, 5))
        bench.pass_time(61)
        (bench.crash if at % 2 else bench.restart)()
    bench.now_ms += 500 * 86_400_000
    bench.pass_time(61)
    bench.crash()
    assert declared(bench) == set()


@pytest.mark.parametrize("removed", ["store.db", "store.db-ring"])
def test_a_file_that_is_removed_under_a_running_agent_is_noticed_and_what_was_in_it_told(bench, removed):
    bench.store.append("alerts", [alert(1)])
    bench.store.append("readings", readings(0, 5))
    bench.store.commit()
    first = bench.identity.epoch
    (bench.folder / removed).unlink()
    for _ in range(200):
        bench.pass_time(1.1)
        if bench.identity.epoch != first and not bench.store._journal.salvage.is_due:
            break
    assert bench.identity.epoch > first
    rows = [row["text"] for row in bench.store.rows("events", 0, T0 * 2) if row["kind"] == "store"]
    assert any("removed while it was open" in text for text in rows)
    assert bench.store.rows("alerts", 0, T0 * 2) or ("alerts", first, 1, 1) in declared(bench)
    bench.store.append("alerts", [alert(2)])
    assert alert(2) in bench.restart().rows("alerts", 0, T0 * 2)
