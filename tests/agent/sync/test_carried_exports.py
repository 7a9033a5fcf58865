"""A plant without a network: a real daemon, its export, the centre's import, and the answer carried back."""

import contextlib
import io
import sqlite3

import pytest

from agent.contract.exits import run_command
from tests.support import central_queries
from tests.support.agent_process import Agent
from trainer.cli.main import trainer
from trainer.fleet import database as db


@pytest.fixture
def plant(tmp_path):
    """An enrolled device that runs, its centre, and no broker anywhere."""
    plant = Plant(tmp_path)
    with plant.agent.start():
        yield plant


class Plant:
    def __init__(self, folder):
        self.folder = folder
        self.centre("init")
        self.agent = Agent(folder)
        enrolment = folder / "d1.enrolment"
        self.centre("device", "add", "d1", "--broker", "127.0.0.1:1", "--out", enrolment)
        assert self.agent.run("enroll", str(enrolment), "--request-out", str(folder / "request")).code == 0
        self.centre("device", "accept", folder / "request", "--out", folder / "response")
        assert self.agent.run("enroll", str(enrolment), "--response", str(folder / "response")).code == 0

    def centre(self, *arguments, code=0):
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            done = run_command(
                trainer, ["--home", str(self.folder / "centre"), *map(str, arguments)], "edgewatt-trainer"
            )
        assert done == code, err.getvalue()
        return err.getvalue()

    def status(self):
        return self.agent.ask("buffer", "status")


def freed(status):
    """Rows that the centre has acknowledged."""
    return sum(status["rows"].values()) - status["backlog_rows"]


def test_a_medium_carries_a_backlog_and_its_answer_frees_it(plant):
    stick, answer = plant.folder / "d1.ewx", plant.folder / "d1.ewy"
    plant.agent.until(lambda: plant.status()["rows"]["slots"] >= 5 and plant.status()["backlog_blocks"] >= 5)
    written = plant.agent.ask("buffer", "export", str(stick))
    assert written["envelopes"] >= 1
    before = plant.status()
    plant.centre("buffer", "import", stick, "--out", answer)
    assert plant.status()["backlog_rows"] >= before["backlog_rows"]  # nothing leaves by an export alone
    taken = plant.agent.ask("buffer", "import", str(answer))
    assert (taken["replayed"], taken["rejected"]) == (0, 0)
    assert taken["accepted"] >= 1
    assert taken["blocks"] >= 1
    assert freed(plant.status()) > freed(before)  # the backlog itself grows meanwhile
    # Carried twice it changes nothing, and the same answer frees nothing twice.
    assert plant.agent.ask("buffer", "import", str(answer))["blocks"] == 0
    engine = db.open_database(f"sqlite:///{plant.folder / 'centre' / 'centre.db'}")
    stored = central_queries.readings_stored(engine, "d1")
    assert stored > 0
    plant.centre("buffer", "import", stick, "--out", answer)
    assert central_queries.readings_stored(engine, "d1") == stored
    # The rest follows on the next stick; together they are without a hole.
    plant.agent.ask("buffer", "export", str(stick))
    plant.centre("buffer", "import", stick, "--out", answer)
    plant.agent.ask("buffer", "import", str(answer))
    assert central_queries.readings_stored(engine, "d1") > stored
    assert central_queries.readings_missing(engine, "d1") == central_queries.readings_duplicated(engine, "d1") == 0
    engine.dispose()
    # What is cut is stored as far as it goes, and told.
    cut = plant.folder / "cut.ewx"
    cut.write_bytes(stick.read_bytes()[:-10])
    assert "cut short" in plant.centre("buffer", "import", cut, "--out", answer, code=65)
    # An answer for another device, and a file of another kind, change nothing.
    assert plant.agent.run("buffer", "import", str(stick)).code == 65
    assert plant.agent.run("buffer", "import", str(plant.folder / "none")).code == 78


def test_a_running_device_is_verified_and_repaired(plant):
    plant.agent.until(lambda: plant.status()["rows"]["slots"] >= 5)
    before = plant.status()["rows"]
    assert plant.agent.ask("buffer", "verify")["damaged"] == []
    (name,) = plant.agent.ask("buffer", "repair")["set_aside"]
    plant.agent.until(lambda: plant.status()["set_aside"] == [])
    after = plant.status()["rows"]
    assert all(after[stream] >= before[stream] for stream in ("readings", "slots", "forecasts"))
    assert plant.agent.ask("buffer", "verify")["contradiction"] == ""
    plant.agent.stop()
    with contextlib.closing(sqlite3.connect(plant.agent.folder / "state" / "store.db")) as other, other:
        other.execute("UPDATE block SET data = zeroblob(length(data)) WHERE id = (SELECT min(id) FROM block)")
    done = plant.agent.run("buffer", "verify")
    assert done.code == 65
    assert "damaged" in done.err
    assert name not in done.out
