"""The line to the broker: the only module that knows paho.

Decides how the broker is reached (protocol version, back-off, subscriptions, birth and will); decides nothing about
what is sent. Nothing may depend on it: what it holds in memory is lost with the connection; the caller sends it again.

One supervisor thread makes a fresh client for every connection, so that no half-sent message of an old connection
lives on in paho's queue. `publish`, `receive`, `connected` may be called from any thread and never block.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import random
import socket
import threading
import time
from collections.abc import Callable, Sequence

from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.reasoncodes import ReasonCode

from agent.contract.errors import ConfigError
from agent.contract.messages import MAX_TO_DEVICE_BYTES
from agent.contract.unheard import end_when_unheard
from agent.store.identity import ClientTls
from agent.sync.rivals import Rivals
from agent.sync.tls import TlsSettings, make_context

Message = tuple[str, bytes]

_GOODBYE_S = 2.0
_QOS = 1
_TAKEN_OVER = "Session taken over"

_log = logging.getLogger(__name__)


class MqttLink:
    """Keeps one connection to one broker, for as long as it is started.

    Invariants:
        - `publish` and `receive` never wait for the network.
        - at most `max_unsent` messages wait inside paho; more are refused, not queued.
        - at most `max_inbox` messages wait to be received; more are dropped and counted (senders repeat).
        - every connection starts clean: it subscribes anew and publishes the birth message.
        - back-off begins anew only after a session that lasted longer than two of its longest pauses.
    """

    def __init__(
        self,
        host: str,
        port: int,
        client_id: str,
        *,
        ca_pem: str = "",
        server_name: str = "",
        client_tls: Callable[[], ClientTls | None] = lambda: None,
        check_time: Callable[[], bool] = lambda: True,
        username: str = "",
        password: str = "",
        will: Message | None = None,
        subscriptions: Sequence[str] = (),
        birth: Message | None = None,
        max_unsent: int = 32,
        max_inbox: int = 256,
        backoff_s: tuple[float, float] = (1.0, 60.0),
        answer_s: float = 5.0,
        keepalive_s: int = 30,
        rng: Callable[[], float] = random.random,
    ) -> None:
        """Prepare a link; nothing is connected before `start`.

        Args:
            host: name or address of the broker.
            port: its port.
            client_id: unique at the broker; the device id.
            ca_pem: certificates that vouch for the broker; empty for a connection without TLS.
            server_name: the name in its certificate, where that is not `host`.
            client_tls: the device's own key and certificate, asked for at each connection: it may have been renewed.
            check_time: whether the clock is good enough to judge the dates of the broker's certificate; asked at each
                connection. Its issuer and its name are judged always.
            username: for a broker that knows this client by no certificate.
            password: likewise.
            will: topic and payload that the broker retains when the connection breaks, and that `stop` leaves behind.
            subscriptions: topics, renewed at each connection.
            birth: topic and payload, retained, published at each connection.
            max_unsent: messages that may wait in memory for the broker's receipt.
            max_inbox: messages that may wait for `receive`.
            backoff_s: first and longest pause between attempts; each is jittered by half.
            answer_s: how long a broker may take to accept or refuse a connection.
            keepalive_s: silence after which the broker is asked for a sign; a second one ends the connection.
            rng: uniform numbers in [0, 1).

        Raises:
            ConfigError: when `ca_pem` holds no certificate, or the client's key and certificate do not fit.
        """
        self._host, self._port, self._client_id = host, port, client_id
        self._tls = TlsSettings(ca_pem, server_name, client_tls) if ca_pem else None
        self._check_time = check_time
        if self._tls is not None:
            make_context(self._tls, check_time=True)  # complains now rather than at each connection
        self._username, self._password = username, password
        self._will, self._birth, self._subscriptions = will, birth, tuple(subscriptions)
        self._max_unsent, self._backoff_s, self._rng = max_unsent, backoff_s, rng
        self._answer_s, self._keepalive_s = answer_s, keepalive_s
        self._inbox: queue.Queue[Message] = queue.Queue(max_inbox)
        self._protocol = MQTTProtocolVersion.MQTTv5
        self._client: Client | None = None
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()
        self._changed = threading.Condition()
        self._up = False  # the broker has accepted the present connection
        self._over = False  # the present connection has ended or was refused
        self._reason = self._defect = ""
        self._rivals = Rivals()
        self._accepted_s = 0.0
        self._away = False  # whether the loss has been logged
        self._changed_s = time.monotonic()
        self.connections = 0
        self.dropped = 0

    @property
    def connected(self) -> bool:
        """Whether the broker has accepted the present connection."""
        return self._up

    @property
    def reason(self) -> str:
        """Why there is no connection, or why the last one ended; empty while all is well."""
        return "" if self._up else self._reason

    @property
    def rival(self) -> str:
        """What is wrong where another device seems to use this one's name; empty while all is well."""
        return self._rivals.trouble(time.monotonic())

    @property
    def state_s(self) -> float:
        """How many seconds the link has been as it is: connected, or not."""
        return time.monotonic() - self._changed_s

    @property
    def protocol(self) -> str:
        """The version in use: `5`, or `3.1.1` once this broker has refused 5, which is remembered until the end."""
        return "5" if self._protocol == MQTTProtocolVersion.MQTTv5 else "3.1.1"

    def start(self) -> None:
        """Begin to connect, and go on for ever, in a thread of its own."""
        if self._thread is None:
            self._stop.clear()
            self._thread = threading.Thread(target=self._supervise, name="mqtt", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Leave the will behind, disconnect and end the thread. Waits a few seconds at most."""
        if self._thread is None:
            return
        if self._will is not None:
            self.publish(*self._will, retain=True)
        self._stop.set()
        with self._changed:
            self._changed.notify_all()
        self._thread.join(_GOODBYE_S + self._answer_s)
        self._thread = None

    def publish(self, topic: str, payload: bytes, retain: bool = False) -> bool:
        """Hand a message to the network thread; True says only that it was taken, not that it arrived.

        Returns False when there is no connection or too much waits already.
        """
        client = self._client
        if client is None or not self._up:
            return False
        return client.publish(topic, payload, qos=_QOS, retain=retain).rc == MQTTErrorCode.MQTT_ERR_SUCCESS

    def receive(self) -> list[Message]:
        """Take all messages that came since the last call, oldest first."""
        messages: list[Message] = []
        while True:
            try:
                messages.append(self._inbox.get_nowait())
            except queue.Empty:
                return messages

    def _supervise(self) -> None:
        pause = self._backoff_s[0]
        while not self._stop.is_set():
            try:
                accepted = self._connection()
            except Exception as exc:  # noqa: BLE001 - without this thread the device is offline until its restart
                accepted = False
                self._meet_defect(exc)
            if accepted and not self._stop.is_set():
                now_s = time.monotonic()
                short = now_s - self._accepted_s < 2 * self._backoff_s[1]
                self._rivals.ended(now_s, taken_over=self._reason == _TAKEN_OVER, short=short)
                if not short:
                    pause = self._backoff_s[0]
            if self._stop.is_set():
                return
            if not self._away:
                self._away = True
                _log.warning("broker %s:%d is away: %s", self._host, self._port, self._reason)
            self._stop.wait(max(pause, self._rivals.pause_s(time.monotonic())) * (0.5 + self._rng()))
            pause = min(pause * 2, self._backoff_s[1])

    def _meet_defect(self, exc: Exception) -> None:
        """Tell the whole story, once for each kind, and leave things as after any lost connection."""
        self._reason = f"internal error: {type(exc).__name__}: {exc}"
        if self._reason != self._defect:
            self._defect = self._reason
            _log.error("the line to broker %s:%d met a defect", self._host, self._port, exc_info=exc)
        self._client = None
        self._set(up=False, over=True)

    def _connection(self) -> bool:
        """Run one connection from its beginning to its end; say whether the broker ever accepted it."""
        self._reason, self._over = "no answer", False
        try:
            client = self._make_client()
            if self._protocol == MQTTProtocolVersion.MQTTv5:
                # No properties (such as a limit of packet size): a broker of 3.1.1 may take them for the client id, and
                # then waits for more instead of refusing the version.
                client.connect(self._host, self._port, self._keepalive_s, clean_start=True)
            else:
                client.connect(self._host, self._port, self._keepalive_s)
        except (OSError, ValueError, ConfigError) as exc:
            self._reason = str(exc) or type(exc).__name__
            return False
        self._client = client
        client.loop_start()
        try:
            answered = self._wait(lambda: self._up or self._over, self._answer_s)
            accepted = answered and self._up
            if accepted:
                self._wait(lambda: self._over, None)
            elif not answered and not self._stop.is_set():
                # A will has properties too in MQTT 5, and they hang the same brokers: try the other version next.
                self._other_protocol()
        finally:
            self._close(client)
        return accepted

    def _other_protocol(self) -> None:
        modern = self._protocol == MQTTProtocolVersion.MQTTv5
        self._protocol = MQTTProtocolVersion.MQTTv311 if modern else MQTTProtocolVersion.MQTTv5

    def _wait(self, condition: Callable[[], bool], timeout_s: float | None) -> bool:
        """Wait for paho's thread, or for `stop`; say whether it was the former."""
        with self._changed:
            self._changed.wait_for(lambda: condition() or self._stop.is_set(), timeout_s)
            return condition()

    def _set(self, *, up: bool, over: bool) -> None:
        with self._changed:
            if up != self._up:
                self._changed_s = time.monotonic()
            self._up, self._over = up, over
            self._changed.notify_all()

    def _make_client(self) -> Client:
        modern = self._protocol == MQTTProtocolVersion.MQTTv5
        client = Client(
            CallbackAPIVersion.VERSION2,
            client_id=self._client_id,
            # MQTT 5 says it at connect, by clean_start
            clean_session=None if modern else True,
            protocol=self._protocol,
            reconnect_on_failure=False,
        )
        client.max_queued_messages_set(self._max_unsent)
        client.max_inflight_messages_set(self._max_unsent)
        if self._tls is not None:
            client.tls_set_context(make_context(self._tls, check_time=self._check_time()))
        if self._username:
            client.username_pw_set(self._username, self._password)
        if self._will is not None:
            client.will_set(*self._will, qos=_QOS, retain=True)
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_message = self._on_message
        client.on_socket_open = end_when_unheard
        return client

    def _close(self, client: Client) -> None:
        """End paho's thread. A peer that no longer reads must not hold it: then the socket is shut under it."""
        self._client = None
        if self._up:
            client.disconnect()
            with self._changed:
                self._changed.wait_for(lambda: self._over, _GOODBYE_S)
        sock = client.socket()
        if isinstance(sock, socket.socket):
            with contextlib.suppress(OSError):  # closed by paho's thread in the meantime
                sock.shutdown(socket.SHUT_RDWR)
        client.disconnect()
        client.drop_out_messages()
        client.loop_stop()
        self._set(up=False, over=True)

    # The callbacks run in paho's thread.

    def _on_connect(
        self, client: Client, _userdata: object, _flags: ConnectFlags, reason: ReasonCode, _properties: object
    ) -> None:
        if reason.is_failure:
            self._reason = str(reason)
            if self._protocol == MQTTProtocolVersion.MQTTv5 and reason == "Unsupported protocol version":
                self._other_protocol()
            self._set(up=False, over=True)
            return
        if self._subscriptions:
            client.subscribe([(topic, _QOS) for topic in self._subscriptions])
        if self._birth is not None:
            client.publish(*self._birth, qos=_QOS, retain=True)
        self.connections += 1
        self._accepted_s = time.monotonic()
        if self._away:
            self._away = False
            _log.warning("broker %s:%d is back (MQTT %s)", self._host, self._port, self.protocol)
        self._set(up=True, over=False)

    def _on_disconnect(
        self, _client: Client, _userdata: object, _flags: DisconnectFlags, reason: ReasonCode, _properties: object
    ) -> None:
        if self._up:
            self._reason = str(reason)
        self._set(up=False, over=True)

    def _on_message(self, _client: Client, _userdata: object, message: MQTTMessage) -> None:
        if len(message.payload) > MAX_TO_DEVICE_BYTES:
            self.dropped += 1
            return
        try:
            self._inbox.put_nowait((message.topic, bytes(message.payload)))
        except (queue.Full, UnicodeDecodeError):
            self.dropped += 1
