"""The centre's connection to the broker; the only importer of paho here.

Decides how a broker is reached and when to try again; knows nothing of what messages mean. Single-threaded: whoever
owns the link calls `poll` often, and everything happens inside of its calls. Every connection is a new client and a
new session, so that nothing of an old one can be mistaken for the present.

A message is acknowledged to the broker by `done`, after it was dealt with: the broker holds back while the centre is
slow, and at most `IN_FLIGHT` messages wait here. Correctness does not rest on that: what is lost is sent again by its
device, because no signed acknowledgement came.
"""

from __future__ import annotations

import logging
import random
import secrets
import ssl
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from agent.contract.envelope import MAX_BYTES
from agent.contract.errors import ConfigError
from agent.contract.unheard import end_when_unheard

IN_FLIGHT = 32
_CONNECT_S, _CONNACK_S = 5.0, 5.0
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.5, 30.0
_FRAME_BYTES = 4096  # topic, properties and headers around a payload
_MAX_WAITING = 10_000  # answers that the broker does not take; devices ask again
_UNSUPPORTED_VERSION = 132
_NOT_SHARED = 158
_OTHER = {
    MQTTProtocolVersion.MQTTv5: MQTTProtocolVersion.MQTTv311,
    MQTTProtocolVersion.MQTTv311: MQTTProtocolVersion.MQTTv5,
}
_LOG = logging.getLogger(__name__)


class Incoming(NamedTuple):
    """A message, and what `done` needs to know of it."""

    topic: str
    payload: bytes
    mid: int
    qos: int
    session: int


class BrokerLink:
    """One client that keeps coming back.

    Attributes:
        session: rises with every connection that the broker accepted; 0 before the first.
        connected: whether there is one now.

    Args:
        host, port: where the broker listens.
        ca_pem: its certificate authority; empty for a broker without TLS.
        certificate: files of the centre's own certificate and key, for a broker that asks for one.
        subscriptions: topic filters.
        shared: topic filters of which one connection of the group `share` gets each message, where the broker can do
            that (MQTT 5); else every one gets all, which costs work and changes nothing.
        share: name of the group.
        keepalive_s: silence after which the broker is asked for a sign; a second one ends the connection.
        monotonic: a clock in seconds, for back-off.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        ca_pem: str = "",
        certificate: tuple[Path, Path] | None = None,
        subscriptions: Sequence[str],
        shared: Sequence[str] = (),
        share: str = "edgewatt",
        keepalive_s: int = 30,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._host, self._port = host, port
        self._tls = _context(ca_pem, certificate) if ca_pem else None
        self._subscriptions, self._shared, self._share = list(subscriptions), list(shared), share
        self._keepalive_s = keepalive_s
        self._monotonic = monotonic
        self._protocol = MQTTProtocolVersion.MQTTv5
        self._inbox: deque[Incoming] = deque()
        self._client: Client | None = None
        self._wait_s, self._next_try = _FIRST_WAIT_S, monotonic()
        self._deadline = 0.0
        self._told_away = False
        self.session = 0
        self.connected = False

    def poll(self, timeout_s: float) -> list[Incoming]:
        """Connect when it is time, move bytes for about `timeout_s`, and return what has come."""
        if self._client is None:
            pause = self._next_try - self._monotonic()
            if pause > 0:
                time.sleep(min(pause, timeout_s))
                return []
            self._open()
        wait_s = timeout_s
        while self._client is not None and self._turn(self._client, wait_s):
            wait_s = 0.0  # more may be there already
        messages = list(self._inbox)
        self._inbox.clear()
        return messages

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> bool:
        """Hand a message over with QoS 1; False when there is no connection or too much is waiting."""
        if self._client is None or not self.connected:
            return False
        return self._client.publish(topic, payload, qos=1, retain=retain).rc == MQTTErrorCode.MQTT_ERR_SUCCESS

    def done(self, message: Incoming) -> None:
        """Tell the broker that a message was dealt with, where it is still waiting for that."""
        if self._client is not None and self.connected and message.session == self.session:
            self._client.ack(message.mid, message.qos)

    def drop(self) -> None:
        """Cut the connection and come back after a pause, with a new session."""
        self._lost("dropped by the centre")

    def close(self) -> None:
        """Say good-bye to the broker."""
        if self._client is not None:
            self._client.disconnect()
        self._client, self.connected = None, False

    def _turn(self, client: Client, wait_s: float) -> bool:
        """Let paho work once; whether another turn may bring more."""
        before = len(self._inbox)
        code = client.loop(wait_s)
        if client is not self._client:
            return False  # a callback has replaced it
        if code != MQTTErrorCode.MQTT_ERR_SUCCESS:
            self._lost(f"the connection broke ({code.name})")
        elif not self.connected and self._monotonic() > self._deadline:
            if self.session == 0:
                self._protocol = _OTHER[self._protocol]  # some brokers fall silent instead of refusing MQTT 5
            self._lost("the broker does not answer")
        return before < len(self._inbox) < IN_FLIGHT

    def _open(self) -> None:
        modern = self._protocol == MQTTProtocolVersion.MQTTv5
        client = Client(
            CallbackAPIVersion.VERSION2,
            client_id=f"edgewatt-centre-{secrets.token_hex(6)}",
            clean_session=None if modern else True,
            protocol=self._protocol,
            reconnect_on_failure=False,
            manual_ack=True,
        )
        client.on_connect, client.on_message, client.on_subscribe = (
            self._on_connect,
            self._on_message,
            self._on_subscribe,
        )
        client.on_socket_open = end_when_unheard
        client.connect_timeout = _CONNECT_S
        client.max_queued_messages_set(_MAX_WAITING)
        if self._tls is not None:
            client.tls_set_context(self._tls)
        self._client, self._deadline = client, self._monotonic() + _CONNACK_S
        only_5: dict[str, Any] = {"clean_start": True, "properties": _limits()} if modern else {}
        try:
            client.connect(self._host, self._port, keepalive=self._keepalive_s, **only_5)
        except (OSError, UnicodeError) as exc:  # the latter: a name that can be no host
            self._lost(str(exc))

    def _lost(self, why: str) -> None:
        client, self._client = self._client, None
        self.connected = False
        self._inbox.clear()
        if client is not None:
            client.on_connect = client.on_message = None
            client.disconnect()
        self._next_try = self._monotonic() + self._wait_s * random.uniform(0.5, 1.0)  # noqa: S311  # spreads load, guards nothing
        self._wait_s = min(2 * self._wait_s, _LONGEST_WAIT_S)
        if not self._told_away:
            _LOG.warning("broker %s:%d is away: %s; trying again", self._host, self._port, why)
            self._told_away = True

    def _on_connect(self, client: Client, _data: Any, _flags: Any, reason: ReasonCode, properties: Any) -> None:
        if client is not self._client:
            return
        if reason.is_failure:
            if reason.value == _UNSUPPORTED_VERSION and self._protocol == MQTTProtocolVersion.MQTTv5:
                _LOG.info("broker %s:%d does not speak MQTT 5; going on with 3.1.1", self._host, self._port)
                self._protocol = MQTTProtocolVersion.MQTTv311
                self._wait_s = 0.0
            self._lost(f"it refuses the connection ({reason})")
            self._wait_s = max(self._wait_s, _FIRST_WAIT_S)
            return
        self.session += 1
        self.connected = True
        self._wait_s, self._told_away = _FIRST_WAIT_S, False
        shares = self._protocol == MQTTProtocolVersion.MQTTv5 and _can_share(properties)
        self._subscribe(client, self._shared, self._share if shares else "")

    def _subscribe(self, client: Client, topics: Sequence[str], share: str) -> None:
        group = f"$share/{share}/" if share else ""
        # One request: what a broker says to it comes once, and then all is granted or told.
        client.subscribe([*((topic, 1) for topic in self._subscriptions), *((group + topic, 1) for topic in topics)])

    def _on_subscribe(self, client: Client, _data: Any, _mid: int, reasons: list[ReasonCode], _more: Any) -> None:
        if client is self._client and any(reason.value == _NOT_SHARED for reason in reasons):
            self._subscribe(client, self._shared, "")
            return
        _LOG.info("connected to broker %s:%d", self._host, self._port)
        for reason in reasons:
            if reason.is_failure:
                _LOG.error("it refuses a subscription (%s): give the centre's user the right to read", reason)

    def _on_message(self, client: Client, _data: Any, message: MQTTMessage) -> None:
        if client is not self._client:
            return
        try:
            topic = message.topic
        except UnicodeDecodeError:
            topic = ""  # judged like any other topic that no device writes
        self._inbox.append(Incoming(topic, bytes(message.payload), message.mid, message.qos, self.session))


def _can_share(properties: Any) -> bool:
    """Whether a broker of MQTT 5 shares subscriptions: it does unless it says otherwise."""
    return bool(getattr(properties, "SharedSubscriptionAvailable", 1))


def _limits() -> Properties:
    properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]  # paho leaves it so
    properties.ReceiveMaximum = IN_FLIGHT
    properties.MaximumPacketSize = MAX_BYTES + _FRAME_BYTES
    return properties


def _context(ca_pem: str, certificate: tuple[Path, Path] | None) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cadata=ca_pem)
    except (ssl.SSLError, ValueError) as exc:
        raise ConfigError("is not a certificate in PEM form", where="the broker's certificate authority") from exc
    if certificate is not None:
        try:
            context.load_cert_chain(*certificate)
        except OSError as exc:  # ssl.SSLError is one
            raise ConfigError(
                "is missing, damaged, or does not fit its key",
                where=str(certificate[0]),
                todo="Run `edgewatt-trainer broker init` again",
            ) from exc
    return context
