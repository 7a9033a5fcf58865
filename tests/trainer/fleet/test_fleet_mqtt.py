"""The centre's link to the broker, against a real Mosquitto and a real amqtt."""

import contextlib
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from agent.contract.errors import ConfigError
from tests.support.amqtt_broker import running_amqtt
from tests.support.broker import Mosquitto, running_mosquitto
from tests.support.halfopen import half_open
from tests.support.waiting import eventually
from trainer.fleet.mqtt import IN_FLIGHT, BrokerLink, Incoming


@contextlib.contextmanager
def link(port: int, **options: Any) -> Iterator[BrokerLink]:
    made = BrokerLink("127.0.0.1", port, **{"subscriptions": ["t/#"], **options})
    try:
        yield made
    finally:
        made.close()


@contextlib.contextmanager
def sender(port: int) -> Iterator[Client]:
    client = Client(CallbackAPIVersion.VERSION2)
    client.connect("127.0.0.1", port)
    client.loop_start()
    try:
        yield client
    finally:
        client.disconnect()
        client.loop_stop()


def connect(made: BrokerLink, caplog: pytest.LogCaptureFixture) -> None:
    """Poll until the subscriptions are granted."""
    caplog.set_level(logging.INFO)
    caplog.clear()
    eventually(lambda: made.poll(0.05) or "connected to broker" in caplog.text)


def collect(made: BrokerLink, count: int, *, done: bool = True) -> list[Incoming]:
    messages: list[Incoming] = []

    def enough() -> bool:
        for message in made.poll(0.05):
            messages.append(message)
            if done:
                made.done(message)
        return len(messages) >= count

    eventually(enough)
    return messages


def test_every_message_is_delivered_once_in_order(mosquitto: Mosquitto, caplog: pytest.LogCaptureFixture) -> None:
    with link(mosquitto.port) as made, sender(mosquitto.port) as client:
        connect(made, caplog)
        for number in range(200):
            client.publish("t/x", str(number), qos=1)
        assert [message.payload for message in collect(made, 200)] == [str(number).encode() for number in range(200)]


def test_the_broker_holds_back_while_messages_are_not_done(
    mosquitto: Mosquitto, caplog: pytest.LogCaptureFixture
) -> None:
    with link(mosquitto.port) as made, sender(mosquitto.port) as client:
        connect(made, caplog)
        for number in range(3 * IN_FLIGHT):
            client.publish("t/x", str(number), qos=1).wait_for_publish(20)
        waiting = collect(made, 20, done=False)  # Mosquitto's own limit is 20
        for _ in range(10):
            waiting += made.poll(0.05)
        assert len(waiting) <= IN_FLIGHT
        for message in waiting:
            made.done(message)
        assert len(collect(made, 3 * IN_FLIGHT - len(waiting))) == 3 * IN_FLIGHT - len(waiting)


def test_it_comes_back_with_a_new_session_and_says_so_once(
    mosquitto: Mosquitto, caplog: pytest.LogCaptureFixture
) -> None:
    with link(mosquitto.port) as made:
        connect(made, caplog)
        old = Incoming("t/x", b"", 1, 1, made.session)
        mosquitto.stop()
        eventually(lambda: made.poll(0.05) or not made.connected)
        assert not made.publish("t/x", b"lost")
        eventually(lambda: made.poll(0.05) or caplog.text.count("is away") >= 1)
        mosquitto.start()
        connect(made, caplog)
        assert made.session == 2
        made.done(old)  # of a session that is gone: the broker must not hear of it
        assert made.publish("t/x", b"back")
        assert [message.payload for message in collect(made, 1)] == [b"back"]


def test_it_notices_a_line_that_died_without_a_word_and_comes_back(
    mosquitto: Mosquitto, caplog: pytest.LogCaptureFixture
) -> None:
    with half_open(mosquitto.port) as proxy, link(proxy.port, keepalive_s=1) as made:
        connect(made, caplog)
        proxy.freeze()
        eventually(lambda: made.poll(0.05) or not made.connected)
        proxy.thaw()
        connect(made, caplog)
        assert made.session == 2
        assert made.publish("t/x", b"back")
        assert [message.payload for message in collect(made, 1)] == [b"back"]


def test_of_two_that_share_one_gets_each_message(mosquitto: Mosquitto, caplog: pytest.LogCaptureFixture) -> None:
    shared: dict[str, Any] = {"subscriptions": ["all/#"], "shared": ["t/#"]}
    with link(mosquitto.port, **shared) as one, link(mosquitto.port, **shared) as two, sender(mosquitto.port) as client:
        connect(one, caplog)
        connect(two, caplog)
        for number in range(100):
            client.publish("t/x", str(number), qos=1)
        client.publish("all/x", "both", qos=1)
        got: dict[BrokerLink, list[bytes]] = {one: [], two: []}

        def enough() -> bool:
            for made, payloads in got.items():
                for message in made.poll(0.02):
                    payloads.append(message.payload)
                    made.done(message)
            return len(got[one]) + len(got[two]) >= 102

        eventually(enough)
        assert sorted(got[one] + got[two]) == sorted(
            [b"both", b"both", *(str(number).encode() for number in range(100))]
        )
        assert min(len(got[one]), len(got[two])) > 20


def test_a_message_larger_than_any_envelope_does_not_reach_the_centre(
    mosquitto: Mosquitto, caplog: pytest.LogCaptureFixture
) -> None:
    with link(mosquitto.port) as made, sender(mosquitto.port) as client:
        connect(made, caplog)
        client.publish("t/x", bytes(9 * 2**20), qos=1).wait_for_publish(20)
        client.publish("t/x", b"small", qos=1)
        assert [message.payload for message in collect(made, 1)] == [b"small"]


def test_a_broker_that_knows_only_3_1_1_is_served(caplog: pytest.LogCaptureFixture) -> None:
    with running_amqtt() as port, link(port, subscriptions=[], shared=["t/#"]) as made:  # and knows no sharing
        connect(made, caplog)
        assert made.publish("t/x", b"hello")
        assert [message.payload for message in collect(made, 1)] == [b"hello"]


def test_a_refused_connection_is_said_in_words(
    tmp_path_factory: pytest.TempPathFactory, caplog: pytest.LogCaptureFixture
) -> None:
    passwords = tmp_path_factory.mktemp("broker") / "passwords"
    passwords.write_text("")
    with (
        running_mosquitto(settings=("allow_anonymous false", f"password_file {passwords}")) as broker,
        link(broker.port) as made,
    ):
        eventually(lambda: made.poll(0.05) or "refuses the connection" in caplog.text)
        assert not made.connected


def test_a_certificate_authority_that_is_none_is_refused() -> None:
    with pytest.raises(ConfigError, match="PEM"):
        BrokerLink("localhost", 1, ca_pem="not a certificate", subscriptions=[])
