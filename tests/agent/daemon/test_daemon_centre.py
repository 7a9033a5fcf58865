"""A daemon and a real centre over a real broker: enrolment, a model over MQTT, its trial, a bad model, every row once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from paho.mqtt import publish

from agent.contract.messages import MAX_TO_DEVICE_BYTES
from agent.contract.topics import DeviceTopics
from tests.support import central_queries as queries
from tests.support.agent_process import CSV, Agent
from tests.support.broker import Mosquitto
from tests.support.bundles import tiny_bytes, with_wrong_golden, write_history_csv
from tests.support.trainer_process import MAIN, running_trainer
from trainer.fleet.database import open_database

DAYS = 32  # twelve of them on the clock, at two seconds each: the first trial needs about three


class Centre:
    """The centre's commands, each in a process of its own."""

    def __init__(self, home: Path, broker: str) -> None:
        self.home = home
        self.broker = broker

    def run(self, *arguments: str) -> None:
        command = [sys.executable, "-c", MAIN, "--home", str(self.home), *arguments]
        subprocess.run(command, check=True, capture_output=True, timeout=120)

    def publish(self, folder: Path, name: str, bundle: bytes) -> None:
        (folder / name).write_bytes(bundle)
        self.run("publish", str(folder / name))


@pytest.fixture
def centre(tmp_path: Path, mosquitto: Mosquitto) -> Centre:
    made = Centre(tmp_path / "centre", f"{mosquitto.host}:{mosquitto.port}")
    made.run("init")
    made.publish(tmp_path, "good.ewb", tiny_bytes())
    made.publish(tmp_path, "bad.ewb", with_wrong_golden(tiny_bytes(), version=2))
    made.run("device", "add", "d1", "--broker", made.broker, "--out", str(tmp_path / "d1.enrolment"))
    return made


def test_from_enrolment_to_a_model_on_trial_active_and_taken_back(tmp_path: Path, centre: Centre) -> None:
    write_history_csv(tmp_path / "load.csv", days=DAYS)
    with running_trainer(centre.home, "ingest", "--broker", centre.broker), Agent(tmp_path, source=CSV) as agent:
        text = agent.config.read_text() + "[update]\nshadow_days = 1\n[sync]\nresend_after_s = 2\nspread_s = 0\n"
        agent.config.write_text(text.replace("rate = 57600", "rate = 43200"))
        enrolled = agent.run("enroll", str(tmp_path / "d1.enrolment"))
        assert enrolled.code == 0, enrolled.err
        centre.run("assign", "d1", "models/tiny-plant-1.ewb")
        agent.start()
        agent.until(lambda: agent.ask("model", "status")["active"] == "tiny-plant@1")
        agent.until(lambda: agent.ask("forecast")["model"] == "tiny-plant@1")
        assert agent.ask("forecast")["fallback"] is False

        centre.run("assign", "d1", "models/tiny-plant-2.ewb")
        agent.until(lambda: "refused" in (agent.ask("model", "status")["last_event"] or ""))
        status = agent.ask("model", "status")
        assert status["active"] == "tiny-plant@1"
        assert status["candidate"] is None

        agent.kill()  # a power cut
        agent.start()
        agent.until(lambda: agent.ask("model", "status")["active"] == "tiny-plant@1")
        agent.until(lambda: agent.ask("status")["exhausted"])
        agent.until(lambda: agent.ask("sync", "status")["backlog_rows"] < 10)

        host, _, port = centre.broker.rpartition(":")
        publish.single(DeviceTopics("d1").ack, bytes(MAX_TO_DEVICE_BYTES + 1), qos=1, hostname=host, port=int(port))
        agent.until(lambda: agent.ask("sync", "status")["dropped"] == 1)
        assert "1 messages too large" in agent.run("sync", "status").out

        buffer = agent.ask("buffer", "status")
        assert (buffer["link"]["state"], buffer["link"]["protocol"]) == ("connected", "5")
        assert buffer["link"]["since_ms"] > 0
        assert buffer["clock"]["quality"] == "bounded"
        assert buffer["drain_s"] is not None
        assert agent.ask("status")["buffer"].keys() == buffer.keys() - {"live", "schema"}
        for command in (["status"], ["buffer", "status"]):
            text = agent.run(*command).out
            assert len(text.splitlines()) <= 24  # one screen
            for word in ("waiting", "gone in about", "oldest", "given up", "damaged", "connected for", "bounded"):
                assert word in text
        assert agent.run("model", "rollback").code == 0
        assert agent.ask("model", "status")["active"] is None
        engine = open_database(f"sqlite:///{centre.home / 'centre.db'}")
        try:
            agent.until(lambda: queries.readings_stored(engine, "d1") == DAYS * 48)
            assert queries.readings_missing(engine, "d1") == 0
            assert queries.readings_duplicated(engine, "d1") == 0
            agent.until(
                lambda: (
                    {
                        (row["action"], row["version"])
                        for row in queries.rows(engine, "d1", "events")
                        if row["kind"] == "model"
                    }
                    >= {("candidate", 1), ("activated", 1), ("rolled-back", 1)}
                )
            )
        finally:
            engine.dispose()
        assert agent.stop() == 0
