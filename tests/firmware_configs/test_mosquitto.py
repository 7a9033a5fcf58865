"""The shipped configuration of the broker on a real Mosquitto: who gets in, what they may do, how they are shut out."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.contract.errors import ConfigError, RejectedError, UnavailableError
from agent.contract.keys import SigningKey, TlsKey
from agent.contract.topics import STREAMS, DeviceTopics
from agent.store.identity import ClientTls
from agent.sync.enrol import enrol_over_mqtt
from agent.sync.mqtt import MqttLink
from tests.support.broker import HOST
from tests.support.field_device import FieldDevice
from tests.support.secured_broker import CONFIGS, Peer, SecuredFleet, secured_fleet
from tests.support.trainer_process import running_trainer
from tests.support.waiting import eventually
from trainer.cli.broker import control_of, link_to
from trainer.fleet.brokercontrol import CONTROL, RESPONSE, BrokerControl, closing_message
from trainer.fleet.certificates import Authority
from trainer.fleet.securedbroker import COMMAND, CRL, SERVER_CERTIFICATE, SERVER_KEY, SecuredBroker

DENIED = "Not authorized"
CUT_WITHIN_S = 5.0


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredFleet]:
    """One centre and one broker for this file; each test has devices of its own."""
    with secured_fleet(tmp_path_factory.mktemp("fleet")) as made:
        yield made


def test_a_device_does_all_that_its_work_needs(fleet: SecuredFleet):
    press, topics = fleet.enrolled("press-1"), DeviceTopics("press-1")
    with press.connect(fleet.broker) as device, fleet.centre() as centre:
        heard = [topics.ack, topics.assign, topics.repo_data, topics.cert_response]
        told = [*map(topics.up, (*STREAMS, "batch")), topics.status, topics.repo_get, topics.cert_request]
        assert [device.subscribe(topic) for topic in heard] == ["Granted QoS 1"] * len(heard)
        assert centre.subscribe("ew/v1/+/up/+") == centre.subscribe("$share/ingest/ew/v1/+/status") == "Granted QoS 1"
        assert DENIED not in [device.publish(topic) for topic in told]
        assert DENIED not in [centre.publish(topic) for topic in heard]
        assert {device.receive()[0] for _ in heard} == set(heard)
        assert centre.receive() == (topics.up("readings"), b"x")


def test_a_device_cannot_publish_outside_its_subtree(fleet: SecuredFleet):
    press = fleet.enrolled("press-2")
    fleet.enrolled("press-3")
    own, other = DeviceTopics("press-2"), DeviceTopics("press-3")
    foreign = [other.up("readings"), other.status, other.repo_get, other.cert_request, other.enrol_request, other.ack]
    for_the_centre = [own.ack, own.assign, own.repo_data, own.enrol_request, CONTROL, "$SYS/broker/uptime", "x"]
    with fleet.centre() as centre, press.connect(fleet.broker) as device:
        centre.subscribe("ew/v1/#")
        for topic in (*foreign, *for_the_centre):
            assert device.publish(topic) == DENIED, topic
        device.publish(own.up("events"), b"mine")
        assert centre.receive() == (own.up("events"), b"mine")  # and nothing before it
        assert centre.messages.empty()
        device.close()
        for topic in (other.status, own.ack, own.status):  # nor leave it behind
            press.connect(fleet.broker, will=topic).cut()
        assert centre.receive() == (own.status, b"gone")
        assert centre.messages.empty()


def test_a_device_cannot_subscribe_outside_its_subtree(fleet: SecuredFleet):
    press = fleet.enrolled("press-4")
    fleet.enrolled("press-5")
    own, other = DeviceTopics("press-4"), DeviceTopics("press-5")
    with press.connect(fleet.broker) as device, fleet.centre() as centre:
        for topic in (
            *(other.ack, other.assign, other.enrol_response, other.up("readings")),
            *("#", "+/+/+/ack", "ew/v1/#", "ew/v1/+/ack", f"$share/x/{other.ack}", f"{CONTROL}/response", "$SYS/#"),
            *("ew/v1/press-4/#", own.up("readings")),  # its own subtree, too, but for what is written for it
        ):
            assert device.subscribe(topic) == DENIED, topic
        device.subscribe(own.ack)
        centre.publish(other.ack, b"theirs")
        centre.publish(own.ack, b"mine")
        assert device.receive() == (own.ack, b"mine")
        assert device.messages.empty()


def test_the_centres_two_kinds_of_client_have_no_part_in_each_others_work(fleet: SecuredFleet):
    topics = DeviceTopics("press-15")
    with fleet.centre() as ingest, fleet.centre(COMMAND) as commander:
        for topic in (RESPONSE, f"{CONTROL}/#", "#"):
            assert ingest.subscribe(topic) == DENIED, topic
        assert ingest.publish(topics.up("readings")) == DENIED  # it speaks for no device
        for topic in (topics.up("readings"), "ew/v1/#", "$share/x/ew/v1/+/status", topics.ack):
            assert commander.subscribe(topic) == DENIED, topic
        for topic in (topics.ack, topics.assign, topics.repo_data, topics.enrol_response, topics.cert_response):
            assert commander.publish(topic) == DENIED, topic
        assert commander.subscribe(RESPONSE) == "Granted QoS 1"
        assert commander.publish(CONTROL, b'{"commands": [{"command": "listClients"}]}') != DENIED
        assert commander.receive()[0] == RESPONSE


def test_a_device_cannot_take_another_clients_id(fleet: SecuredFleet):
    victim, thief = fleet.enrolled("press-6"), fleet.enrolled("press-7")
    topics = DeviceTopics("press-6")
    with victim.connect(fleet.broker) as session:
        session.subscribe(topics.ack)
        with thief.connect(fleet.broker, client_id="press-6") as other, fleet.centre() as centre:
            assert other.publish(DeviceTopics("press-7").status) != DENIED  # it is in, as who it is
            assert other.publish(topics.status) == DENIED
            centre.publish(topics.ack, b"still there")
            assert session.receive() == (topics.ack, b"still there")
        assert not session.ended


def test_nobody_gets_in_without_a_certificate_of_this_authority(fleet: SecuredFleet, tmp_path: Path):
    press = fleet.enrolled("press-8")
    stranger = Authority.create(tmp_path / "authority", "other", time.time_ns() // 1_000_000)
    key, forged = stranger.client("press-8", time.time_ns() // 1_000_000)
    for tls in (None, ClientTls(key, forged.pem)):
        with Peer(fleet.broker.port, fleet.ca_pem, "press-8", tls=tls) as peer:
            assert peer.kept_out
    own = DeviceTopics("press-8").enrol_user
    for user in (
        None,
        ("press-8", ""),
        ("press-8", press.enrolment.token),
        (own, ""),
        (own, "x" * 43),
        ("centre.command", ""),
    ):
        with Peer(fleet.broker.enrol_port, fleet.ca_pem, "x", user=user) as peer:
            assert peer.kept_out, user


def test_a_token_opens_the_topics_of_its_enrolment_only(fleet: SecuredFleet):
    enrolment, topics = fleet.add("press-9"), DeviceTopics("press-9")
    with Peer(fleet.broker.enrol_port, fleet.ca_pem, "press-9", user=(topics.enrol_user, enrolment.token)) as peer:
        assert peer.subscribe(topics.enrol_response) == "Granted QoS 1"
        assert peer.publish(topics.enrol_request) != DENIED
        for topic in (topics.up("readings"), topics.status, DeviceTopics("press-1").enrol_request):
            assert peer.publish(topic) == DENIED, topic
        for topic in (topics.ack, "ew/v1/+/enrol/response"):
            assert peer.subscribe(topic) == DENIED, topic
    assert enrolment.token not in fleet.broker.log


def test_an_enrolment_token_works_once(fleet: SecuredFleet):
    enrolment, topics = fleet.add("press-10"), DeviceTopics("press-10")
    key, tls = SigningKey.generate(), TlsKey.generate()
    with running_trainer(fleet.home.folder, "ingest") as ingest:
        ingest.said("connected to broker")
        answer = enrol_over_mqtt(enrolment, key, tls=tls)
        with pytest.raises(RejectedError, match="has been used"):
            enrol_over_mqtt(enrolment, SigningKey.generate(), tls=TlsKey.generate())
        device = FieldDevice("press-10", enrolment.trust, key)
        with Peer(fleet.broker.port, fleet.ca_pem, "", tls=ClientTls(tls, answer.certificate)) as peer:
            peer.subscribe(topics.ack)
            peer.publish(topics.up("events"), device.seal(device.events("here")))
            assert device.mark(peer.receive()[1], "events").high == 1
        assert enrolment.token not in ingest.log
    with fleet.centre() as centre:  # what the centre says of enrolments that are over
        centre.publish(CONTROL, closing_message(["press-10"]))
    user = topics.enrol_user, enrolment.token
    with Peer(fleet.broker.enrol_port, fleet.ca_pem, "", user=user) as peer:
        assert peer.kept_out


def test_a_revoked_device_is_cut_within_5_s_and_stays_out(fleet: SecuredFleet):
    press, other = fleet.enrolled("press-11"), fleet.enrolled("press-12")
    list_before = (fleet.broker.files / CRL).read_bytes()
    with press.connect(fleet.broker) as session, other.connect(fleet.broker) as neighbour:
        begun = time.monotonic()
        assert fleet.command("device", "revoke", "press-11") == 0
        eventually(lambda: session.ended, CUT_WITHIN_S - (time.monotonic() - begun))
        assert not neighbour.ended
    for client_id in ("press-11", "press-12", ""):
        with press.connect(fleet.broker, client_id) as again:
            assert again.kept_out
    assert fleet.command("device", "revoke", "press-11") == 0  # again, as after a failure: it changes nothing
    with other.connect(fleet.broker) as neighbour:
        assert neighbour.up

    (fleet.broker.files / CRL).write_bytes(list_before)  # as if the new list had never reached the broker
    fleet.broker.stop()
    fleet.broker.start()
    with press.connect(fleet.broker) as again:
        assert again.publish(DeviceTopics("press-11").up("readings")) == DENIED
        assert again.subscribe(DeviceTopics("press-11").ack) == DENIED


def test_a_device_that_was_revoked_can_be_enrolled_anew(fleet: SecuredFleet):
    old = fleet.enrolled("press-13")
    assert fleet.command("device", "revoke", "press-13") == 0
    new = fleet.enrolled("press-13")
    with new.connect(fleet.broker) as device:
        assert device.publish(DeviceTopics("press-13").status) != DENIED
    with old.connect(fleet.broker) as device:
        assert device.kept_out


def test_a_device_without_a_clock_connects_and_refuses_another_name(tmp_path: Path):
    with secured_fleet(tmp_path) as fleet:
        press = fleet.enrolled("press-1")
        # For this certificate our clock stands years too early, as that of a board without a battery does.
        authority = Authority.open(fleet.home.authority)
        key, server = authority.server([HOST], time.time_ns() // 1_000_000 + 3 * 365 * 86_400_000)
        (fleet.broker.files / SERVER_CERTIFICATE).write_text(server.pem)
        (fleet.broker.files / SERVER_KEY).write_text(key.pem)
        fleet.broker.stop()
        fleet.broker.start()

        def reaches(*, check_time: bool, name: str = "", ca_pem: str = fleet.ca_pem) -> bool:
            link = MqttLink(
                HOST,
                fleet.broker.port,
                "press-1",
                ca_pem=ca_pem,
                server_name=name,
                client_tls=lambda: press.tls,
                check_time=lambda: check_time,
                backoff_s=(30, 30),
            )
            link.start()
            try:
                eventually(lambda: link.connected or link._away)
                return link.connected
            finally:
                link.stop()

        stranger = Authority.create(tmp_path / "authority", "other", time.time_ns() // 1_000_000)
        assert reaches(check_time=False)
        assert not reaches(check_time=True)
        assert not reaches(check_time=False, name="mqtt.example.net")
        assert not reaches(check_time=False, ca_pem=stranger.pem)


def test_a_command_that_the_broker_does_not_take_is_an_error(fleet: SecuredFleet):
    secured = SecuredBroker.load(fleet.home.broker, fleet.home.authority)
    with control_of(secured) as control, pytest.raises(ConfigError, match="refuses makeCoffee"):
        control.run([{"command": "makeCoffee"}])
    press = fleet.enrolled("press-14")
    for name, text in (("press-14.pem", press.tls.chain), ("press-14.key", press.tls.key.pem)):
        (fleet.home.authority / name).write_text(text)
    link = link_to(secured, "press-14", [RESPONSE])
    with pytest.raises(UnavailableError, match="does not answer"):
        BrokerControl(link, within_s=1).run([{"command": "listClients"}])  # a device has no say
    link.close()


def test_the_readme_names_every_kind_of_client(fleet: SecuredFleet):
    text = (CONFIGS / "README.md").read_text()
    for name in ("centre.command", "centre.ingest-1", "enrol.", "8883", "8884"):
        assert name in text
