"""A device under test: the real store, identity and uplink, fed with rows that are a pure function of their number.

As a program (`python -m tests.soak.child PLAN`) it tells each ticket and each change of durability over a pipe to its
observer, and marks them in the shim's trace, until its plan is done or the shim kills it. A named phase is the
outermost call of `PHASES` that is running: nothing in the agent knows of it.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import importlib
import importlib.util
import json
import os
import random
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Protocol

from agent.contract.errors import EdgewattError, StorageError
from agent.contract.keys import SigningKey
from agent.contract.rows import event_row
from agent.contract.trust import FleetTrust
from agent.store.identity import Identity
from agent.store.store import Store
from agent.sync.acks import last_seen
from agent.sync.uplink import Uplink
from tests.soak import rows

# Name, and the call that is it. One line more for what comes: a module that is not there yet is passed over.
PHASES = (
    ("append", "agent.store.store", "Store.append"),
    ("commit", "agent.store.journal", "Journal.change"),
    ("pack", "agent.store.journal", "Journal.pack"),
    ("migration", "agent.store.schema", "_prepare"),
    ("eviction", "agent.store.custody", "Custody.retain"),
    ("sync", "agent.sync.uplink", "Uplink.pump"),
    ("sync", "agent.sync.uplink", "Uplink.on_ack"),
    ("salvage", "agent.store.damage.salvage", "Salvage.step"),
)
PHASE_NAMES = tuple(dict.fromkeys(name for name, _, _ in PHASES))  # numbered from 1 in a trace
MOST_BYTES = 1 << 30
REAL_MS = 1_795_000_000_000
_DRAIN_TURNS, _QUIET_TURNS = 2_000, 40


@dataclass(frozen=True)
class Plan:
    """What a run of a device does.

    Attributes:
        folder: its state.
        name, key, trust: who it is to the centre; the key as hexadecimal, the trust as JSON.
        seed, number: of its rows; the first number of this run.
        steps: turns of the loop with new rows; then, with `drain`, until nothing waits for the centre.
        step_s: plant seconds of a turn.
        many: readings of an append.
        connected: whether the centre can be reached.
        end_by_kill: end without closing.
    """

    folder: str
    name: str
    key: str
    trust: Any
    seed: int = 0
    number: int = 0
    steps: int = 100
    step_s: float = 0.25
    many: int = 20
    connected: bool = True
    drain: bool = False
    end_by_kill: bool = False
    pack_after_s: float = 8.0
    max_bytes: int = MOST_BYTES

    def to_json(self) -> str:
        """The form on a command line."""
        return json.dumps(asdict(self))


class Line(Protocol):
    """What a device needs of its way to the centre."""

    connected: bool
    connections: int

    def publish(self, topic: str, payload: bytes) -> bool:
        """Send an envelope."""
        ...

    def acks(self, wait_s: float) -> Sequence[bytes]:
        """The acknowledgements that have come since."""
        ...


class Device:
    """One run. `tell` gets every ticket and every change of durability as soon as it is known.

    Raises:
        EdgewattError: when the agent would not start.
    """

    def __init__(self, plan: Plan, line: Line, tell: Callable[[dict[str, Any]], None]) -> None:
        self.plan, self.line, self._tell = plan, line, tell
        self.number, self.clock_s, self.troubles = plan.number, 0.0, 0
        self._durable: tuple[int, dict[str, int]] = (0, {})
        folder = Path(plan.folder)
        self.identity = Identity.open(folder / "identity")
        self.identity.begin_boot()
        self.store = Store(
            folder / "store.db",
            self.identity,
            rows.CHANNELS,
            now_ms=lambda: rows.time_ms(self.number),
            monotonic=lambda: self.clock_s,
            pack_after_s=plan.pack_after_s,
            max_bytes=plan.max_bytes,
        )
        for stream, buffer in self.store._journal.buffers.items():
            buffer.renumber = functools.partial(self._renumbered, stream, buffer, buffer.renumber)
        self.uplink = Uplink(
            plan.name,
            SigningKey(bytes.fromhex(plan.key)),
            FleetTrust.from_json(plan.trust),
            line,
            real_ms=lambda: REAL_MS,
            monotonic=lambda: self.clock_s,
            max_envelope_bytes=32_768,
            spread_s=1.0,
            seen=last_seen(self.identity),
            rng=random.Random(plan.seed).random,
        )
        start = event_row(rows.time_ms(self.number), "boot", "a start", boot=self.identity.boot)
        self.store.append("events", [start])
        self.tell_durable()

    def run(self) -> None:
        """Do what the plan says."""
        for step in range(self.plan.steps):
            self.step(step)
        if self.plan.drain:
            self._tell({"left": self.drain()})

    def step(self, step: int) -> None:
        """One turn: rows, upkeep, sync. Every fifth turn is upkeep only, so that it meets a window that is over."""
        self.clock_s += self.plan.step_s
        if step % 5 != 4:
            self.append("readings", self.plan.many)
        if step % 7 == 3:
            self.append(rows.OTHER_STREAMS[step // 7 % len(rows.OTHER_STREAMS)], 1 + step % 3)
        if step % 60 == 41:
            self.store.keep("learnt", str(self.number).encode())
        self.turn()

    def append(self, stream: str, count: int) -> None:
        """Take rows in and tell their ticket."""
        number, epoch, last = self.number, self.identity.epoch, self.store.last_seq(stream)
        self.number += count
        self.store.append(stream, [rows.row(self.plan.seed, stream, number + place) for place in range(count)])
        if self.identity.epoch == epoch:  # else they were numbered again, and told so
            self._tell({"ticket": [epoch, stream, last + 1, last + count, number]})
        self.tell_durable()

    def turn(self, wait_s: float = 0.0) -> None:
        """What a loop does besides sampling. A disk that fails is met again in the next turn, as in the daemon."""
        self.store.tick()
        self.tell_durable()
        with self._troubled():
            self.uplink.pump(self.store)
        for ack in self.line.acks(wait_s):
            with self._troubled():
                self.uplink.on_ack(ack, self.store, self.identity)
        self.tell_durable()

    def drain(self) -> int:
        """Let time pass until nothing waits for the centre; return how many rows still do when that does not help.

        It is to stay so for a while: damage is searched for, and what is found brought back, in the background.
        """
        quiet = left = 0
        for _ in range(_DRAIN_TURNS):
            self.clock_s += 1.0
            self.turn(wait_s=0.02 if self.uplink.stats().in_flight else 0.0)
            stats = self.store.stats()
            left = stats.backlog_rows + stats.pending_rows
            busy = left or self.uplink.stats().in_flight or self.store._journal.salvage.is_due
            quiet = 0 if busy else quiet + 1
            if quiet == _QUIET_TURNS:
                return 0
        return left

    def tell_durable(self) -> None:
        """Tell how far the streams are durable, where that has changed."""
        epoch, durable = self.identity.epoch, self.store.durable_through()
        before = self._durable[1] if self._durable[0] == epoch else {}
        changed = {stream: last for stream, last in durable.items() if last != before.get(stream, 0)}
        if changed:
            self._durable = (epoch, durable)
            self._tell({"epoch": epoch, "durable": changed})

    def _renumbered(self, stream: str, buffer: Any, renumber: Callable[[], None]) -> None:
        """Rows in memory are taken over into a new epoch: their tickets become others."""
        renumber()
        for seq, row in enumerate(buffer.rows, start=buffer.first):
            number = rows.number_of(stream, row)
            if number is not None:
                self._tell({"ticket": [self.identity.epoch, stream, seq, seq, number]})

    @contextlib.contextmanager
    def _troubled(self) -> Any:
        try:
            yield
        except StorageError:
            self.troubles += 1


class PipeLine:
    """A line over the pipe to the observer, who is the centre, too."""

    def __init__(self, pipe: Connection, tell: Callable[[dict[str, Any]], None], *, connected: bool) -> None:
        self._pipe, self._tell, self._sent = pipe, tell, 0
        self.connected, self.connections = connected, int(connected)

    def publish(self, topic: str, payload: bytes) -> bool:
        """Send an envelope, and mark that it left."""
        self._sent += 1
        self._pipe.send_bytes(b"E" + topic.encode() + b"\0" + payload)
        self._tell({"sent": self._sent})
        return True

    def acks(self, wait_s: float) -> list[bytes]:
        """What has come."""
        found = []
        while self._pipe.poll(0.0 if found else wait_s):
            found.append(self._pipe.recv_bytes())
        return found


def name_phases(shim: ctypes.CDLL) -> None:
    """Let the shim know which phase is running: the outermost call of `PHASES`."""
    running: list[str] = []

    def named(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        number = PHASE_NAMES.index(name) + 1

        @functools.wraps(call)
        def inside(*args: Any, **options: Any) -> Any:
            if running:
                return call(*args, **options)
            running.append(name)
            shim.shim_phase(number, name.encode())
            try:
                return call(*args, **options)
            finally:
                running.pop()
                shim.shim_phase(0, b"")

        return inside

    for name, module, path in PHASES:
        if importlib.util.find_spec(module) is None:
            continue
        *owner, attribute = path.split(".")
        holder = functools.reduce(getattr, owner, importlib.import_module(module))
        setattr(holder, attribute, named(name, getattr(holder, attribute)))


def main() -> None:
    """Run the plan of the command line."""
    plan, pipe = Plan(**json.loads(sys.argv[1])), Connection(int(sys.argv[2]))
    shim = ctypes.CDLL(None) if "SHIM_ROOT" in os.environ else None

    def tell(message: dict[str, Any]) -> None:
        text = json.dumps(message).encode()
        if shim is not None:
            shim.shim_mark(text)
        pipe.send_bytes(b"T" + text)

    if shim is not None:
        name_phases(shim)
    try:
        device = Device(plan, PipeLine(pipe, tell, connected=plan.connected), tell)
        device.run()
    except EdgewattError as exc:
        tell({"stopped": str(exc)})
        raise SystemExit(3) from exc
    if plan.end_by_kill:
        os.kill(os.getpid(), signal.SIGKILL)
    device.store.close()
    tell({"ended": device.number, "durable": device.store.durable_through(), "epoch": device.identity.epoch})


if __name__ == "__main__":
    main()
