"""A bad network for MQTT: a proxy on loopback that takes packets apart and harms them, by seed, in both directions.

A packet with a message may come twice, with and without the mark of a repetition; later ones may pass it; it and its
receipt may take long; the connection may break in the middle of it, or go deaf without being closed.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import random
import threading
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from typing import Any

from tests.support.broker import HOST

_PUBLISH, _PUBACK, _DUP = 3, 4, 0x08


class Harm(enum.StrEnum):
    """What becomes of a packet."""

    TWICE = "twice"
    MARKED_TWICE = "marked twice"  # the second one says that it is a repetition
    LATE = "late"  # others pass it
    HELD = "held"  # longer than anybody waits for it
    CUT = "cut"  # a part of it comes, and the connection breaks
    DEAF = "deaf"  # neither it nor anything after it comes, either way, on a connection that stays open


@dataclass(frozen=True)
class Weather:
    """How likely a packet is harmed, and how.

    Attributes:
        twice, late, held: parts of all packets; the first of messages only.
        late_s, held_s: for how long.
        cut_every: messages of a direction, of which the last is cut; 0: none.
        deaf_at: which message of all makes its connection deaf; 0: none.
    """

    twice: float = 0.1
    late: float = 0.15
    held: float = 0.05
    late_s: tuple[float, float] = (0.005, 0.05)
    held_s: tuple[float, float] = (0.1, 0.6)
    cut_every: int = 0
    deaf_at: int = 0


@dataclass
class _Way:
    """One direction, over all connections."""

    random: random.Random
    messages: int = 0


@dataclass
class _Connection:
    writers: tuple[asyncio.StreamWriter, ...]
    is_over: bool = False  # for both sides, whether they know it or not

    def break_off(self) -> None:
        for writer in self.writers:
            writer.transport.abort()


class BadLine:
    """A started proxy before one port.

    Attributes:
        port: where it listens.
        harmed: counts what it did.
    """

    def __init__(self, target: int, seed: int, weather: Weather) -> None:
        self._target, self._weather = target, weather
        self._there, self._back = (_Way(random.Random(f"{seed} {name}")) for name in ("there", "back"))
        self._loop = asyncio.new_event_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._connections: list[_Connection] = []
        self.harmed: Counter[Harm] = Counter()
        self._server = self._loop.run_until_complete(asyncio.start_server(self._serve, HOST, 0))
        self.port = int(self._server.sockets[0].getsockname()[1])
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _end(self) -> None:
        self._server.close()
        for connection in self._connections:
            connection.break_off()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.sleep(0)  # what was broken off is closed in the next turn

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection(HOST, self._target)
        except OSError:
            writer.transport.abort()
            return
        connection = _Connection((writer, far_writer))
        self._connections.append(connection)
        self._spawn(self._forward(connection, reader, far_writer, self._there))
        self._spawn(self._forward(connection, far_reader, writer, self._back))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _forward(
        self, connection: _Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, way: _Way
    ) -> None:
        def give(data: bytes) -> None:
            if not connection.is_over and not writer.is_closing():
                writer.write(data)

        with contextlib.suppress(OSError, EOFError):
            while not connection.is_over:
                packet = await _packet(reader)
                if packet[0] >> 4 in (_PUBLISH, _PUBACK):
                    self._harm(connection, packet, give, way)
                else:
                    give(packet)
        if not connection.is_over:
            connection.break_off()

    def _harm(self, connection: _Connection, packet: bytes, give: Callable[[bytes], None], way: _Way) -> None:
        weather, chance = self._weather, way.random
        harm = self._draw(way, is_message=packet[0] >> 4 == _PUBLISH)
        if harm is not None:
            self.harmed[harm] += 1
        if harm is Harm.DEAF:
            connection.is_over = True
        elif harm is Harm.CUT:
            give(packet[: chance.randrange(1, len(packet))])
            connection.is_over = True
            self._loop.call_later(0.01, connection.break_off)
        elif harm in (Harm.LATE, Harm.HELD):
            span_s = weather.late_s if harm is Harm.LATE else weather.held_s
            self._loop.call_later(chance.uniform(*span_s), give, packet)
        else:
            give(packet)
            if harm is Harm.TWICE:
                give(packet)
            elif harm is Harm.MARKED_TWICE:
                give(bytes([packet[0] | _DUP]) + packet[1:])

    def _draw(self, way: _Way, *, is_message: bool) -> Harm | None:
        weather = self._weather
        way.messages += is_message
        both = self._there.messages + self._back.messages
        if is_message and both == weather.deaf_at:
            return Harm.DEAF
        if is_message and weather.cut_every and way.messages % weather.cut_every == 0:
            return Harm.CUT
        parts: dict[Harm | None, float] = {Harm.LATE: weather.late, Harm.HELD: weather.held}
        if is_message:
            parts |= {Harm.TWICE: weather.twice / 2, Harm.MARKED_TWICE: weather.twice / 2}
        parts[None] = 1 - sum(parts.values())
        return way.random.choices(list(parts), list(parts.values()))[0]


async def _packet(reader: asyncio.StreamReader) -> bytes:
    data = await reader.readexactly(2)
    length, shift = data[1] & 0x7F, 7
    while data[-1] & 0x80:
        data += await reader.readexactly(1)
        length |= (data[-1] & 0x7F) << shift
        shift += 7
    return data + await reader.readexactly(length)


@contextlib.contextmanager
def bad_line(target: int, seed: int, weather: Weather) -> Iterator[BadLine]:
    """A started proxy, ended on leaving."""
    line = BadLine(target, seed, weather)
    try:
        yield line
    finally:
        line.close()
