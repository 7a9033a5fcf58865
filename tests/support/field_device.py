"""A device made of contract code only: it numbers rows, packs blocks, seals envelopes, and keeps what is not acknowledged.

`FieldDevice` is bytes in memory; `MqttDevice` carries them through a real broker. Times are plant times that start at `START_MS`.
"""

import contextlib
import queue
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from agent.contract import envelope
from agent.contract.acknowledgement import Acknowledgement, Mark
from agent.contract.blocks import Block, encode_readings, encode_rows
from agent.contract.channels import Channel, Reading
from agent.contract.enrolment import EnrolmentResponse
from agent.contract.keys import SigningKey
from agent.contract.topics import DeviceTopics
from agent.contract.trust import FleetTrust, KeyUse

START_MS = 1_400_000_000_000
POWER = Channel("power", "kW")
ENERGY = Channel("energy", "kWh", decimals=1)


@dataclass
class FieldDevice:
    """One device's side of the contract."""

    name: str
    trust: FleetTrust
    key: SigningKey = field(default_factory=SigningKey.generate)
    epoch: int = 1
    last: dict[str, int] = field(default_factory=dict)

    def readings(self, count: int, *, channel: Channel = POWER, step: float = 0.5) -> Block:
        """The next `count` readings, one a second."""
        first = self._take("readings", count)
        rows = [
            Reading(channel.name, START_MS + seq * 1000, round(seq * step, 3)) for seq in range(first, first + count)
        ]
        return encode_readings(rows, {channel.name: channel}, epoch=self.epoch, boot=1, first=first)

    def rows(self, stream: str, rows: Sequence[dict[str, Any]]) -> Block:
        """The next rows of another stream."""
        return encode_rows(stream, rows, epoch=self.epoch, boot=1, first=self._take(stream, len(rows)))

    def events(self, *texts: str) -> Block:
        """The next rows of `events`."""
        return self.rows("events", [{"time_ms": START_MS, "kind": "boot", "text": text} for text in texts])

    def seal(self, *blocks: Block, key: SigningKey | None = None, name: str | None = None) -> bytes:
        """An envelope of blocks."""
        return envelope.seal(
            blocks,
            device=name or self.name,
            signing_key=key or self.key,
            recipient=self.trust.recipient(),
            created_ms=START_MS,
            trust=self.trust.name,
        )

    def read_ack(self, data: bytes) -> Acknowledgement:
        """Verify an acknowledgement as the device does."""
        return Acknowledgement.from_bytes(data, self.trust.verifiers(KeyUse.ACK), device=self.name)

    def mark(self, data: bytes, stream: str = "readings") -> Mark:
        """The mark of one stream of the present epoch in an acknowledgement."""
        marks = {(mark.epoch, mark.stream): mark for mark in self.read_ack(data).marks}
        return marks[self.epoch, stream]

    def _take(self, stream: str, count: int) -> int:
        first = self.last.get(stream, 0) + 1
        self.last[stream] = first + count - 1
        return first


class MqttDevice:
    """A device's connection: everything that is sent to it is kept in the order in which it came."""

    def __init__(self, device: FieldDevice, host: str, port: int) -> None:
        self.device = device
        self.topics = DeviceTopics(device.name)
        self._inbox: queue.Queue[tuple[str, bytes, bool]] = queue.Queue()
        self._put_back: list[tuple[str, bytes, bool]] = []
        self._subscribed: queue.Queue[None] = queue.Queue()
        self._client = Client(CallbackAPIVersion.VERSION2, client_id=device.name, protocol=MQTTProtocolVersion.MQTTv5)
        self._client.on_connect = self._on_connect
        self._client.on_subscribe = lambda *_: self._subscribed.put(None)
        self._client.on_message = self._on_message
        self._client.reconnect_delay_set(1, 1)
        self._client.connect(host, port)
        self._client.loop_start()
        self._subscribed.get(timeout=20)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def send(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        self._client.publish(topic, payload, qos=1, retain=retain)

    def send_rows(self, *blocks: Block) -> bytes:
        data = self.device.seal(*blocks)
        self.send(self.topics.up("readings"), data)
        return data

    def receive(self, topic: str, within_s: float = 20.0) -> bytes:
        """The next message on one topic; others stay for later."""
        for index, message in enumerate(self._put_back):
            if message[0] == topic:
                return self._put_back.pop(index)[1]
        deadline = time.monotonic() + within_s
        while True:
            message = self._inbox.get(timeout=max(0.01, deadline - time.monotonic()))
            if message[0] == topic:
                return message[1]
            self._put_back.append(message)

    def mark(self, stream: str = "readings") -> Mark:
        """The mark in the next acknowledgement."""
        return self.device.mark(self.receive(self.topics.ack), stream)

    def waiting(self) -> list[str]:
        """Topics of the messages that nobody has asked for yet."""
        with contextlib.suppress(queue.Empty):
            while True:
                self._put_back.append(self._inbox.get_nowait())
        return [message[0] for message in self._put_back]

    def enrolled(self, response: bytes) -> EnrolmentResponse:
        keys = self.device.trust.verifiers(KeyUse.ACK)
        return EnrolmentResponse.from_bytes(response, keys, device=self.device.name, key=self.device.key.id)

    def _on_connect(self, client: Client, *_: Any) -> None:
        topics = (self.topics.ack, self.topics.assign, self.topics.repo_data, self.topics.enrol_response)
        client.subscribe([(topic, 1) for topic in topics])

    def _on_message(self, _client: Client, _data: Any, message: MQTTMessage) -> None:
        self._inbox.put((message.topic, bytes(message.payload), message.retain))
