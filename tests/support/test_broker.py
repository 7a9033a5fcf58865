"""The broker fixture is itself a promise: a real broker that goes, comes back on the same port, and never stays behind."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import paho.mqtt.client as mqtt
import pytest

from tests.support.broker import BrokerError, Mosquitto, find_mosquitto, running_mosquitto


def round_trip(broker: Mosquitto, payload: bytes) -> bytes:
    got: list[bytes] = []
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
    client.on_message = lambda _client, _data, message: got.append(message.payload)
    client.on_connect = lambda *_args: client.subscribe("t", qos=1)
    client.on_subscribe = lambda *_args: client.publish("t", payload, qos=1)
    client.connect(broker.host, broker.port)
    deadline = time.monotonic() + 10
    while not got and time.monotonic() < deadline:
        client.loop(0.05)
    client.disconnect()
    return got[0]


def test_carries_messages_and_comes_back_on_the_same_port(mosquitto):
    port = mosquitto.port
    assert round_trip(mosquitto, b"one") == b"one"
    mosquitto.stop()
    assert not mosquitto.running
    with pytest.raises(ConnectionRefusedError):
        round_trip(mosquitto, b"lost")
    mosquitto.start()
    assert mosquitto.port == port
    assert round_trip(mosquitto, b"two") == b"two"
    assert "New client connected" in mosquitto.log


def test_ends_the_broker_when_the_body_fails(tmp_path):
    pids = []

    def fail_inside():
        with running_mosquitto(tmp_path) as broker:
            pids.append(broker.pid)
            raise KeyError

    with pytest.raises(KeyError):
        fail_inside()
    (pid,) = pids
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_the_broker_does_not_outlive_a_killed_test_run():
    code = (
        "import sys, time\nfrom tests.support.broker import running_mosquitto\n"
        "with running_mosquitto() as broker:\n    print(broker.pid, flush=True)\n    time.sleep(60)\n"
    )
    root = Path(__file__).resolve().parents[2]
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, cwd=root) as child:
        broker_pid = int(child.stdout.readline())
        child.send_signal(signal.SIGKILL)
        child.wait()
    deadline = time.monotonic() + 10
    while _alive(broker_pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _alive(broker_pid)


def test_says_what_to_install_when_mosquitto_is_missing(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("tests.support.broker._EXTRA_PATH", ())
    with pytest.raises(BrokerError, match="apt-get install mosquitto"):
        find_mosquitto()


def test_shows_the_log_when_the_broker_refuses_its_configuration(tmp_path):
    with (
        pytest.raises(BrokerError, match="no_such_setting"),
        running_mosquitto(tmp_path, settings=("no_such_setting 1",)),
    ):
        pass


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # A zombie that nobody reaps is as dead as can be.
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
