"""A client of MQTT 3.1.1 in a few lines of asyncio: a thousand of them fit into one process, which paho's do not.

Only what a device needs: one subscription, QoS 1 both ways, clean sessions, back-off. It is the uplink's `Line`.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import ssl
import struct
from collections.abc import Callable

_CONNECT, _PUBLISH, _SUBSCRIBE, _PING = 0x10, 0x32, 0x82, 0xC0
_MOST_UNSENT_BYTES = 2**20


class TinyClient:
    """Keeps one connection to one broker, for as long as `run` runs.

    Attributes:
        connected: whether the broker has accepted the present connection and its subscription.
        connections: how many it has accepted.
    """

    def __init__(
        self,
        host: str,
        port: int,
        client_id: str,
        topic: str,
        on_message: Callable[[bytes], None],
        *,
        context: ssl.SSLContext | None = None,
        keepalive_s: int = 30,
        backoff_s: tuple[float, float] = (1.0, 60.0),
    ) -> None:
        self._address, self._id, self._topic, self._on_message = (host, port), client_id, topic, on_message
        self._context, self._keepalive_s, self._backoff_s = context, keepalive_s, backoff_s
        self._writer: asyncio.StreamWriter | None = None
        self._number = 0
        self.connected = False
        self.connections = 0

    def publish(self, topic: str, payload: bytes) -> bool:
        """Hand a message to the network; False when there is none, or too much waits for it."""
        writer = self._writer
        if writer is None or not self.connected or writer.transport.get_write_buffer_size() > _MOST_UNSENT_BYTES:
            return False
        writer.write(_packet(_PUBLISH, _text(topic) + self._next() + payload))
        return True

    async def run(self) -> None:
        """Connect, and again, until cancelled."""
        pause_s = self._backoff_s[0]
        while True:
            with contextlib.suppress(OSError, EOFError, ValueError, ssl.SSLError):
                try:
                    await self._connection()
                finally:
                    if self.connected:
                        pause_s = self._backoff_s[0]
                    self.connected = False
                    if self._writer is not None:
                        self._writer.close()
                        self._writer = None
            await asyncio.sleep(pause_s * (0.5 + random.random()))
            pause_s = min(2 * pause_s, self._backoff_s[1])

    async def _connection(self) -> None:
        reader, self._writer = await asyncio.open_connection(*self._address, ssl=self._context)
        variable = _text("MQTT") + bytes([4, 2]) + struct.pack(">H", self._keepalive_s)
        self._writer.write(_packet(_CONNECT, variable + _text(self._id)))
        kind, body = await _read(reader, 30.0)
        if kind >> 4 != 2 or body[1]:
            raise ValueError("the broker refuses")
        self._writer.write(_packet(_SUBSCRIBE, self._next() + _text(self._topic) + b"\x01"))
        asked = False
        while True:
            try:
                kind, body = await _read(reader, self._keepalive_s)
            except TimeoutError:
                if asked:
                    raise
                asked = True
                self._writer.write(bytes([_PING, 0]))
                continue
            asked = False
            if kind >> 4 == 9:  # SUBACK
                if body[-1] & 0x80:
                    raise ValueError("the broker refuses the subscription")
                self.connected, self.connections = True, self.connections + 1
            elif kind >> 4 == 3:
                self._take(kind, body)

    def _take(self, kind: int, body: bytes) -> None:
        (length,) = struct.unpack_from(">H", body)
        at = 2 + length
        if kind & 6:
            assert self._writer is not None
            self._writer.write(_packet(0x40, body[at : at + 2]))
            at += 2
        self._on_message(body[at:])

    def _next(self) -> bytes:
        self._number = self._number % 65_535 + 1
        return struct.pack(">H", self._number)


def _text(text: str) -> bytes:
    data = text.encode()
    return struct.pack(">H", len(data)) + data


def _packet(kind: int, body: bytes) -> bytes:
    size, length = bytearray(), len(body)
    while True:
        length, digit = length >> 7, length & 0x7F
        size.append(digit | (0x80 if length else 0))
        if not length:
            return bytes([kind]) + bytes(size) + body


async def _read(reader: asyncio.StreamReader, within_s: float) -> tuple[int, bytes]:
    async with asyncio.timeout(within_s):
        kind = (await reader.readexactly(1))[0]
    length = shift = 0
    while True:
        digit = (await reader.readexactly(1))[0]
        length |= (digit & 0x7F) << shift
        shift += 7
        if not digit & 0x80:
            return kind, await reader.readexactly(length)
