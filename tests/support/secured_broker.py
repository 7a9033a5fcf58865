"""A real Mosquitto with the files of firmware-configs/mosquitto, and the centre that rules it.

Only paths, ports and the log are put in place of those in the files; everything else is as shipped.
"""

import contextlib
import queue
import shutil
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from agent.contract.enrolment import Enrolment, EnrolmentResponse
from agent.contract.exits import run_command
from agent.contract.keys import SigningKey, TlsKey
from agent.store.identity import ClientTls
from agent.sync.enrol import request_file, response_file
from agent.sync.tls import TlsSettings, make_context
from tests.support.broker import ALWAYS, HOST, Mosquitto, free_port
from tests.support.waiting import eventually
from trainer.cli.home import Home
from trainer.cli.main import trainer
from trainer.fleet.securedbroker import CA, INGEST, SecuredBroker

CONFIGS = Path(__file__).resolve().parents[2] / "firmware-configs" / "mosquitto"
PLUGIN = "mosquitto_dynamic_security.so"
WITHIN_S = 20.0


class SecuredMosquitto(Mosquitto):
    """The broker as shipped: a listener with certificates, one for enrolment, dynamic security."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.enrol_port = free_port()
        self.files = folder / "files"
        self.pid_path = folder / "pid"
        self._rights = folder / "dynamic-security.json"
        shutil.copy(CONFIGS / "dynamic-security.json", self._rights)

    def _configuration(self) -> str:
        text = (CONFIGS / "mosquitto.conf").read_text()
        for shipped, here in {
            "/usr/lib/x86_64-linux-gnu/mosquitto_dynamic_security.so": str(find_plugin()),
            "/var/lib/mosquitto/dynamic-security.json": str(self._rights),
            "/etc/mosquitto/edgewatt": str(self.files),
            "listener 8883": f"listener {self.port} {HOST}",
            "listener 8884": f"listener {self.enrol_port} {HOST}",
        }.items():
            assert shipped in text, shipped
            text = text.replace(shipped, here)
        return "\n".join((*ALWAYS, text))

    def start(self) -> None:
        super().start()
        self.pid_path.write_text(str(self.pid))


def find_plugin() -> Path:
    """The plugin of this machine's own architecture."""
    for folder in ("/usr/lib", "/usr/lib64", "/usr/local/lib"):
        for path in sorted([*Path(folder).glob(f"*/{PLUGIN}"), *Path(folder).glob(PLUGIN)]):
            return path
    raise AssertionError(f"{PLUGIN} is missing: it comes with Debian's mosquitto")


@dataclass
class SecuredFleet:
    """A centre in a folder, and the broker that it rules."""

    home: Home
    broker: SecuredMosquitto

    def command(self, *arguments: str) -> int:
        """Run one command of the centre, in this process; its exit code."""
        return run_command(trainer, ["--home", str(self.home.folder), *arguments], "edgewatt-trainer")

    def add(self, name: str, *more: str) -> Enrolment:
        """Register a device; what the file says that its technician carries to it."""
        file = self.home.folder / f"{name}.enrolment"
        assert self.command("device", "add", name, "--out", str(file), *more) == 0
        return Enrolment.from_bytes(file.read_bytes())

    def enrolled(self, name: str) -> "Enrolled":
        """Register and enrol a device, by two files."""
        enrolment, key, tls = self.add(name), SigningKey.generate(), TlsKey.generate()
        request, answer = self.home.folder / f"{name}.request", self.home.folder / f"{name}.answer"
        request.write_bytes(request_file(enrolment, key, tls, now_ms=1))
        assert self.command("device", "accept", str(request), "--out", str(answer)) == 0
        response = response_file(enrolment, key, answer.read_bytes(), tls)
        return Enrolled(enrolment, key, ClientTls(tls, response.certificate), response)

    def centre(self, name: str = INGEST[0]) -> "Peer":
        """Connect as the ingest process, or another of the centre's clients."""
        certificate, key = SecuredBroker.load(self.home.broker, self.home.authority).certificate(name)
        tls = ClientTls(TlsKey(key.read_text()), certificate.read_text())
        return Peer(self.broker.port, self.ca_pem, "centre", tls=tls)

    @property
    def ca_pem(self) -> str:
        return (self.broker.files / CA).read_text()


@dataclass
class Enrolled:
    """One device that is enrolled."""

    enrolment: Enrolment
    key: SigningKey
    tls: ClientTls
    response: EnrolmentResponse

    def connect(self, broker: SecuredMosquitto, client_id: str = "", *, will: str = "") -> "Peer":
        """Connect as this device, under its own client id or another."""
        ca_pem, name = self.enrolment.broker.ca_pem, client_id or self.enrolment.device
        return Peer(broker.port, ca_pem, name, tls=self.tls, will=will)


class Peer:
    """One connection, and everything that the broker says on it; it never comes back by itself."""

    def __init__(
        self,
        port: int,
        ca_pem: str,
        client_id: str,
        *,
        tls: ClientTls | None = None,
        user: tuple[str, str] | None = None,
        will: str = "",
    ) -> None:
        self.messages: queue.Queue[tuple[str, bytes]] = queue.Queue()
        self._told: queue.Queue[Any] = queue.Queue()
        self.refused = ""
        self.up = self.ended = False
        self._client = Client(
            CallbackAPIVersion.VERSION2,
            client_id=client_id,
            protocol=MQTTProtocolVersion.MQTTv5,
            reconnect_on_failure=False,
        )
        self._client.tls_set_context(make_context(TlsSettings(ca_pem, "", lambda: tls), check_time=True))
        if will:
            self._client.will_set(will, b"gone", qos=1)
        if user is not None:
            self._client.username_pw_set(*user)
        self._client.on_connect = self._on_connect
        self._client.on_disconnect = self._on_disconnect
        self._client.on_subscribe = lambda _c, _d, _m, reasons, _p: self._told.put(str(reasons[0]))
        self._client.on_publish = lambda _c, _d, _m, reason, _p: self._told.put(str(reason))
        self._client.on_message = self._on_message
        try:
            self._client.connect(HOST, port)
        except (OSError, ssl.SSLError) as exc:
            self.refused = str(exc)
            return
        self._client.loop_start()
        eventually(lambda: self.up or self.ended or self.refused)

    def publish(self, topic: str, payload: bytes = b"x", *, retain: bool = False) -> str:
        """Publish; what the broker says of it."""
        self._client.publish(topic, payload, qos=1, retain=retain)
        return str(self._told.get(timeout=WITHIN_S))

    def subscribe(self, topic: str) -> str:
        """Subscribe; what the broker says of it."""
        self._client.subscribe(topic, 1)
        return str(self._told.get(timeout=WITHIN_S))

    def receive(self) -> tuple[str, bytes]:
        """The next message."""
        return self.messages.get(timeout=WITHIN_S)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def cut(self) -> None:
        """End the connection without a word."""
        self._client.socket().shutdown(socket.SHUT_RDWR)
        eventually(lambda: self.ended)
        self._client.loop_stop()

    @property
    def kept_out(self) -> bool:
        """Whether the broker never accepted this connection."""
        return not self.up and bool(self.ended or self.refused)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _on_connect(self, _client: Client, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        if reason.is_failure:
            self.refused = str(reason)
        else:
            self.up = True

    def _on_disconnect(self, *_: Any) -> None:
        self.ended = True

    def _on_message(self, _client: Client, _data: Any, message: MQTTMessage) -> None:
        self.messages.put((message.topic, bytes(message.payload)))


@contextlib.contextmanager
def secured_fleet(folder: Path) -> Iterator[SecuredFleet]:
    """A centre and its broker, both started with nothing but the commands of the centre."""
    broker = SecuredMosquitto(folder)
    fleet = SecuredFleet(Home.of(folder / "centre"), broker)
    assert fleet.command("init", "--fleet", "works") == 0
    files = "--files", str(broker.files), "--port", str(broker.port), "--enrol-port", str(broker.enrol_port)
    reload_command = f"sh -c 'kill -HUP $(cat {broker.pid_path})'"
    assert (
        fleet.command("broker", "init", "--name", HOST, "--name", "localhost", *files, "--reload", reload_command) == 0
    )
    try:
        broker.start()
        yield fleet
    finally:
        broker.stop()
