"""The link to the broker, against a real Mosquitto and a real amqtt."""

import contextlib
import datetime as dt
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.contract.errors import ConfigError
from agent.contract.messages import MAX_TO_DEVICE_BYTES
from agent.sync.mqtt import MqttLink
from agent.sync.rivals import Rivals
from tests.support.amqtt_broker import running_amqtt
from tests.support.broker import Mosquitto, free_port, running_mosquitto
from tests.support.halfopen import half_open
from tests.support.waiting import eventually

QUICK = (0.05, 0.2)


@contextlib.contextmanager
def link(port: int, name: str = "press-1", **options) -> Iterator[MqttLink]:
    made = MqttLink("127.0.0.1", port, name, backoff_s=QUICK, **options)
    made.start()
    try:
        yield made
    finally:
        made.stop()


def collect(link_: MqttLink, found: list) -> bool:
    found.extend(link_.receive())
    return bool(found)


def test_carries_messages_over_mqtt_5(mosquitto: Mosquitto):
    with link(mosquitto.port, "a", subscriptions=["t/in"]) as a, link(mosquitto.port, "b") as b:
        eventually(lambda: a.connected and b.connected)
        assert b.publish("t/in", b"hello")
        found = []
        eventually(lambda: collect(a, found))
        assert found == [("t/in", b"hello")]
        assert a.protocol == "5"


def test_publish_says_no_when_not_connected():
    never = MqttLink("127.0.0.1", free_port(), "x", backoff_s=QUICK)
    assert not never.publish("t", b"x")
    never.start()
    assert not never.publish("t", b"x")
    never.stop()
    assert not never.connected


def test_returns_with_subscriptions_and_birth_after_the_broker_was_away(mosquitto: Mosquitto, caplog):
    with link(mosquitto.port, "dev", subscriptions=["t/in"], birth=("t/status", b"online")) as dev:
        eventually(lambda: dev.connected)
        mosquitto.stop()
        eventually(lambda: not dev.connected)
        assert not dev.publish("t", b"x")
        time.sleep(0.5)  # several failed attempts, one line
        mosquitto.start()
        eventually(lambda: dev.connected)
        with link(mosquitto.port, "other", subscriptions=["t/status"]) as other:
            found = []
            eventually(lambda: collect(other, found))
            assert found == [("t/status", b"online")]
            assert other.publish("t/in", b"again")
            heard = []
            eventually(lambda: collect(dev, heard))
        assert dev.connections == 2
    lines = [record.getMessage() for record in caplog.records if record.name == "agent.sync.mqtt"]
    assert [("away" in line, "back" in line) for line in lines] == [(True, False), (False, True)]


def test_stop_leaves_the_will_behind_and_a_lost_line_too(mosquitto: Mosquitto):
    with link(mosquitto.port, "watch", subscriptions=["t/status"]) as watch:
        eventually(lambda: watch.connected)
        found: list = []
        with link(mosquitto.port, "dev", will=("t/status", b"off"), birth=("t/status", b"on")) as dev:
            eventually(lambda: dev.connected)
            eventually(lambda: collect(watch, found))
        eventually(lambda: collect(watch, found) and len(found) == 2)
        assert [payload for _, payload in found] == [b"on", b"off"]
        found.clear()
        with (
            link(mosquitto.port, "dev", will=("t/status", b"off"), birth=("t/status", b"on")) as dev,
            link(mosquitto.port, "dev-2") as kicker,
        ):
            eventually(lambda: dev.connected and kicker.connected)
            dev._client.socket().shutdown(socket.SHUT_RDWR)  # the line breaks without a word
            eventually(lambda: collect(watch, found) and (b"off" in [payload for _, payload in found]))


def test_refuses_when_too_much_waits_unsent():
    """A broker that accepts and then reads nothing more: the memory of the device stays bounded, stop still works."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        done = threading.Event()

        def deaf() -> None:
            peer, _ = server.accept()
            peer.recv(1024)
            peer.sendall(bytes.fromhex("2003000000"))  # CONNACK of MQTT 5, success
            done.wait(30)
            peer.close()

        thread = threading.Thread(target=deaf)
        thread.start()
        with link(server.getsockname()[1], max_unsent=4) as dev:
            eventually(lambda: dev.connected)
            taken = [dev.publish("t", bytes(100_000)) for _ in range(10)]
        done.set()
        thread.join()
    assert taken == [True] * 4 + [False] * 6


def test_notices_a_line_that_died_without_a_word_and_comes_back(mosquitto: Mosquitto):
    with half_open(mosquitto.port) as proxy, link(proxy.port, keepalive_s=1, answer_s=1.0) as dev:
        eventually(lambda: dev.connected)
        proxy.freeze()
        eventually(lambda: not dev.connected)
        proxy.thaw()
        eventually(lambda: dev.connected)
        assert dev.connections == 2
        assert dev.publish("t", b"x")


def test_drops_what_the_inbox_cannot_hold_and_counts_it(mosquitto: Mosquitto):
    with (
        link(mosquitto.port, "dev", subscriptions=["t/#"], max_inbox=3) as dev,
        link(mosquitto.port, "other") as other,
    ):
        eventually(lambda: dev.connected and other.connected)
        for index in range(10):
            assert other.publish("t/x", b"%d" % index)
        eventually(lambda: dev.dropped == 7)
        assert [payload for _, payload in dev.receive()] == [b"0", b"1", b"2"]


def test_drops_a_message_beyond_the_limit_and_stays_connected(mosquitto: Mosquitto):
    with link(mosquitto.port, "dev", subscriptions=["t/#"]) as dev, link(mosquitto.port, "other") as other:
        eventually(lambda: dev.connected and other.connected)
        assert other.publish("t/x", bytes(MAX_TO_DEVICE_BYTES + 1))
        assert other.publish("t/x", b"small")
        found = []
        eventually(lambda: collect(dev, found))
        assert found == [("t/x", b"small")]
        assert (dev.connected, dev.dropped) == (True, 1)


def test_goes_on_with_3_1_1_where_the_broker_knows_no_5():
    with (
        running_amqtt() as port,
        link(port, "a", subscriptions=["t/in"]) as a,  # is refused
        link(port, "b", birth=("t/status", b"on"), will=("t/status", b"off"), answer_s=2.0) as b,  # hangs
    ):
        eventually(lambda: a.connected and b.connected)
        assert (a.protocol, b.protocol) == ("3.1.1", "3.1.1")
        assert b.publish("t/in", b"hello")
        found = []
        eventually(lambda: collect(a, found))
        assert found == [("t/in", b"hello")]


def _certificates(folder: Path) -> str:
    import ipaddress

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "broker")])
    now = dt.datetime.now(dt.UTC)
    cert = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = cert.public_bytes(serialization.Encoding.PEM)
    (folder / "broker.pem").write_bytes(pem)
    (folder / "broker.key").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return pem.decode()


def test_speaks_tls_with_the_enrolled_authority_and_with_no_other(tmp_path: Path):
    pem = _certificates(tmp_path)
    other = tmp_path / "other"
    other.mkdir()
    foreign = _certificates(other)
    settings = (f"certfile {tmp_path}/broker.pem", f"keyfile {tmp_path}/broker.key")
    folder = tmp_path / "broker"
    folder.mkdir()
    with running_mosquitto(folder, settings=settings) as broker:
        with link(broker.port, ca_pem=pem) as dev:
            eventually(lambda: dev.connected)
        with link(broker.port, ca_pem=foreign) as dev:
            eventually(lambda: "CERTIFICATE_VERIFY_FAILED" in dev._reason)
            assert dev.connections == 0
        with link(broker.port) as dev:  # no TLS at all
            eventually(lambda: dev._away)
            assert dev.connections == 0


def test_a_defect_in_one_connection_is_logged_once_and_the_next_one_is_made(tmp_path: Path, caplog):
    authority = _certificates(tmp_path)
    times = iter([RuntimeError("deque mutated during iteration")] * 2)

    def clock_is_good() -> bool:
        defect = next(times, None)
        if defect is not None:
            raise defect
        return True

    settings = (f"certfile {tmp_path}/broker.pem", f"keyfile {tmp_path}/broker.key")
    folder = tmp_path / "broker"
    folder.mkdir()
    with (
        running_mosquitto(folder, settings=settings) as broker,
        link(broker.port, ca_pem=authority, check_time=clock_is_good) as dev,
    ):
        eventually(lambda: dev.connected)
    told = [record for record in caplog.records if record.exc_info]
    assert [record.getMessage() for record in told] == [f"the line to broker 127.0.0.1:{broker.port} met a defect"]


def test_says_when_another_device_takes_its_name_again_and_again(mosquitto: Mosquitto):
    ours, theirs = (
        MqttLink("127.0.0.1", mosquitto.port, "press-1", backoff_s=(0.05, 0.1), rng=lambda: 0.5) for _ in range(2)
    )
    ours.start()
    try:
        eventually(lambda: ours.connected)
        assert ours.rival == ""
        theirs.start()
        eventually(lambda: ours.rival or theirs.rival)
        assert "Enroll this device anew" in (ours.rival or theirs.rival)
        eventually(lambda: ours.connected or theirs.connected)  # and one of them has the line now
    finally:
        for link in (ours, theirs):
            link.stop()


def test_leaves_the_line_to_a_rival_for_longer_and_longer_until_there_was_peace():
    rivals, pauses = Rivals(), []
    for second in range(10):
        rivals.ended(second, taken_over=True, short=True)
        pauses.append(rivals.pause_s(second))
    assert pauses == [0, 0, 15, 30, 60, 120, 240, 300, 300, 300]
    assert "uses this identity" in rivals.trouble(9 + 899)
    assert (rivals.trouble(9 + 900), rivals.pause_s(9 + 900)) == ("", 0)
    rivals.ended(2000, taken_over=True, short=True)
    assert rivals.pause_s(2000) == 0  # a single one may be this device itself, after a line that died


def test_a_line_that_breaks_now_and_then_is_no_rival():
    rivals = Rivals()
    for second in range(0, 4000, 200):
        rivals.ended(second, taken_over=False, short=second % 800 != 0)
        assert (rivals.trouble(second), rivals.pause_s(second)) == ("", 0)
    for second in range(4000, 4005):
        rivals.ended(second, taken_over=False, short=True)
    assert "may use this identity, or the line is bad" in rivals.trouble(4005)
    assert rivals.pause_s(4005) == 0


def test_rejects_an_authority_that_is_none():
    with pytest.raises(ConfigError, match="certificate"):
        MqttLink("127.0.0.1", 1, "x", ca_pem="-----BEGIN CERTIFICATE-----\nabc\n-----END CERTIFICATE-----\n")
