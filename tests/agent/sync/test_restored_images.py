"""A device put back from an image or salvaged, a centre put back from its backup: real store, uplink, central database."""

import secrets
import shutil

import pytest

from agent.contract.channels import Reading
from agent.contract.rows import alert_row, event_row
from agent.contract.topics import DeviceTopics
from agent.sync.acks import Verdict, last_seen
from agent.sync.uplink import Uplink
from tests.support import central_queries
from tests.support.centre import make_centre
from tests.support.damage import placed, salvage, scribble
from tests.support.small_centre import Wire
from tests.support.stores import T0, Bench
from trainer.fleet import database as db

NAME = "press-1"


class Plant:
    """A device and its centre; nothing is on the wire but what `exchange` carries."""

    def __init__(self, folder):
        self.folder = folder
        self.database = folder / "centre.db"
        self.centre = make_centre(folder / "centre", f"sqlite:///{self.database}")
        device = self.centre.device(NAME)
        self.key, self.trust = device.key, device.trust
        self.device = folder / "device"
        self.bench = Bench(self.device, randbelow=secrets.randbelow)
        self.made = 0
        self.boot()

    def boot(self):
        """What the daemon does at each start."""
        self.wire = Wire()
        self.uplink = Uplink(
            NAME,
            self.key,
            self.trust,
            self.wire,
            real_ms=self.centre.clock.now,
            monotonic=lambda: self.bench.clock_s,
            max_in_flight=100,
            seen=last_seen(self.bench.identity),
            rng=lambda: 0.5,
        )
        self.bench.store.append("events", [event_row(T0, "boot", "start")])

    def sample(self, count, *, life=0):
        """`count` readings; two lives of one image measure different things."""
        times = range(self.made, self.made + count)
        rows = [Reading("load_kw", T0 + index * 1000, float(index % 1000 + life)) for index in times]
        self.bench.store.append("readings", rows)
        self.made += count
        self.bench.pass_time(2)
        self.bench.pass_time(400)

    def exchange(self, *, take=lambda _: True):
        """Send until nothing waits; return what the acknowledgements did."""
        results = []
        for _ in range(20):
            self.bench.pass_time(400)
            self.uplink.pump(self.bench.store)
            for _topic, data in self.wire.news():
                if take(data):
                    self.centre.clock.ms += 1000
                    answers = self.centre.ingest.handle(DeviceTopics(NAME).up("batch"), data)
                    results += [
                        self.uplink.on_ack(answer.payload, self.bench.store, self.bench.identity) for answer in answers
                    ]
            if not self.bench.store.stats().backlog_rows:
                break
        return results

    def image(self):
        """Copy the device's folder as it lies on disk; the device goes on."""
        shutil.copytree(self.device, self.folder / "image")

    def restore_image(self):
        self.bench.store.close()
        shutil.rmtree(self.device)
        shutil.copytree(self.folder / "image", self.device)
        self.bench.start()
        self.boot()

    def at_the_centre(self):
        return central_queries.readings(self.centre.engine, NAME, "load_kw")

    def holes(self):
        return [state for state in central_queries.stream_states(self.centre.engine, NAME) if state.missing]

    def rejections(self):
        return self.centre.dump()["rejection"]


@pytest.fixture
def plant(tmp_path):
    return Plant(tmp_path)


def test_a_restored_device_image_loses_and_doubles_nothing(plant):
    """What the first life made after the image, the second makes under other numbers, offline and over two starts."""
    plant.sample(50)
    plant.exchange()
    plant.sample(30)
    plant.bench.store.append("alerts", [alert_row(T0, "peak", "raised", "high", "peak ahead")])
    plant.image()
    plant.sample(20, life=0.1)
    plant.bench.restart()  # both lives begin epochs
    plant.boot()
    plant.sample(20, life=0.1)
    plant.exchange()
    first_life = plant.at_the_centre()
    plant.restore_image()
    plant.sample(25, life=0.2)
    plant.bench.restart()
    plant.boot()
    plant.sample(25, life=0.2)
    results = plant.exchange()
    assert {result.verdict for result in results} == {Verdict.ACCEPTED}
    assert plant.bench.store.stats().backlog_rows == 0
    stored = plant.at_the_centre()
    assert sorted(first_life) == sorted(row for row in stored if row[1] % 1 < 0.15)
    assert sum(row[1] % 1 > 0.15 for row in stored) == 50
    assert len(stored) == len(set(stored)) == 50 + 30 + 40 + 50
    assert (plant.holes(), plant.rejections()) == ([], [])
    assert len(central_queries.rows(plant.centre.engine, NAME, "alerts")) == 1


def test_rows_that_went_with_another_life_of_the_device_are_declared_lost(plant):
    """The first life sent its second block and died with the first: only the second life can say that it is gone."""
    plant.sample(10)
    plant.exchange()
    plant.image()
    plant.sample(20, life=0.1)
    for channel in range(2):
        plant.bench.store.append("alerts", [alert_row(T0 + channel, "peak", "raised", "high", "peak")])
        plant.bench.store.unacknowledged(1)  # a block each
    lost = plant.bench.store.unacknowledged(10**6)
    wanted = {(one.block.header.stream, one.block.header.first) for one in lost} - {("alerts", 1), ("readings", 11)}
    assert ("alerts", 2) in wanted
    plant.sample(5, life=0.1)
    plant.uplink.pump(Only(plant.bench.store, {("alerts", 2), ("readings", 31)}))
    for _topic, data in plant.wire.news():
        plant.centre.ingest.handle(DeviceTopics(NAME).up("batch"), data)
    assert {hole.stream for hole in plant.holes()} == {"alerts", "readings"}
    plant.restore_image()
    plant.exchange()
    assert plant.holes() == []
    gaps = [row for row in central_queries.rows(plant.centre.engine, NAME, "events") if row["kind"] == "gap"]
    assert {(gap["stream"], gap["first"], gap["last"]) for gap in gaps} == {("alerts", 1, 1), ("readings", 11, 30)}
    assert len(gaps) == 2


class Only:
    """An outbox of which some blocks are never offered."""

    def __init__(self, store, wanted):
        self.store, self.wanted = store, wanted

    @property
    def births(self):
        return self.store.births

    def unacknowledged(self, limit_bytes, **options):
        found = self.store.unacknowledged(10**7, **options)
        return [one for one in found if (one.block.header.stream, one.block.header.first) in self.wanted]


def test_a_block_that_was_taken_for_safe_and_is_not_is_sent_again(plant):
    """A flag that flipped on disk: the centre misses the rows, nothing waits, so the block does again."""
    plant.sample(10)
    plant.exchange()
    plant.sample(10)
    plant.bench.execute("UPDATE block SET acknowledged = 1 WHERE stream = 'readings'")
    plant.bench.execute("UPDATE stream_state SET waiting_rows = 0, waiting_blocks = 0, waiting_bytes = 0")
    plant.sample(10)
    plant.exchange()
    assert plant.holes() == []
    assert len(plant.at_the_centre()) == 30


def test_a_restored_centre_asks_for_what_it_lacks_and_doubles_nothing(plant):
    plant.sample(50)
    plant.exchange()
    plant.centre.engine.dispose()
    shutil.copy(plant.database, plant.folder / "backup.db")
    plant.sample(30)
    plant.exchange()
    plant.bench.restart()
    plant.boot()
    plant.sample(20)
    plant.exchange()
    before = plant.at_the_centre()
    events = central_queries.rows(plant.centre.engine, NAME, "events")
    for times in (1, 2):  # from the same backup twice: the ids that it gave out since are not given out again
        plant.centre.engine.dispose()
        shutil.copy(plant.folder / "backup.db", plant.database)
        for log in ("-wal", "-shm"):
            (plant.folder / f"centre.db{log}").unlink(missing_ok=True)
        assert len(plant.at_the_centre()) == 50
        plant.sample(1)
        results = plant.exchange()
        assert any(result.new_centre and result.recalled for result in results)
        stored = plant.at_the_centre()
        assert stored[:-times] == before
        assert len(stored) == len(set(stored)) == 100 + times
        assert central_queries.rows(plant.centre.engine, NAME, "events") == events
        assert (plant.holes(), plant.bench.store.stats().backlog_rows) == ([], 0)
    sent = len(plant.wire.sent)
    plant.exchange()
    assert len(plant.wire.sent) == sent


def test_a_device_that_claims_too_much_makes_only_itself_send_again(plant):
    other = plant.centre.device("press-2")
    ident = db.centre_id(plant.centre.engine)
    plant.sample(10)
    plant.exchange()
    plant.uplink._seen = (ident, 10**9)
    plant.sample(10)
    assert any(result.new_centre for result in plant.exchange())
    (answer,) = plant.centre.ingest.handle(DeviceTopics("press-2").up("batch"), other.seal(other.readings(5)))
    assert other.read_ack(answer.payload).centre == ident


@pytest.mark.parametrize("harmed", [False, True])
def test_salvage_doubles_nothing_at_the_centre_and_tells_it_what_is_lost(plant, harmed):
    """Rows that it has, rows on their way, rows that wait in the ring; one block of what it has not is damaged."""
    plant.sample(50)
    plant.exchange()
    plant.sample(30)
    plant.sample(40)
    plant.bench.store.append("alerts", [alert_row(T0, "peak", "raised", "high", "peak ahead")])
    plant.sample(7)
    plant.bench.store.append("readings", [Reading("load_kw", T0 + plant.made * 1000, 1.0)])
    plant.bench.store.close()
    if harmed:
        block = next(block for block in placed(plant.bench) if (block.stream, block.first) == ("readings", 51))
        scribble(plant.bench.path, plant.bench.path.read_bytes().find(block.data) + 200, b"garbage")
        ring = plant.bench.path.with_name("store.db-ring")
        ring.write_bytes(ring.read_bytes().replace(b'"first":51', b'"first":15'))  # or the ring would help out
    scribble(plant.bench.path, 0, b"X" * 16)
    plant.bench.start()
    plant.boot()
    assert plant.bench.store.last_time_ms("readings", "load_kw") == T0 + plant.made * 1000
    plant.made += 1
    plant.sample(20)
    plant.exchange()
    event = salvage(plant.bench)
    plant.exchange()
    stored = plant.at_the_centre()
    assert len(stored) == len(set(stored)) == len({row[0] for row in stored}) == plant.made - (30 if harmed else 0)
    assert (plant.holes(), plant.rejections()) == ([], [])
    assert len(central_queries.rows(plant.centre.engine, NAME, "alerts")) == 1
    events = central_queries.rows(plant.centre.engine, NAME, "events")
    gaps = [row for row in events if row["kind"] == "gap"]
    assert [(gap["stream"], gap["first"], gap["last"]) for gap in gaps] == ([("readings", 51, 80)] if harmed else [])
    assert [row for row in events if "blocks" in row] == [event]
    assert event["damaged"] == int(harmed)
    assert plant.bench.store.stats().backlog_rows == 0
