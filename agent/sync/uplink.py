"""What is sent to the centre, when, and when again.

Reads the store, seals, hands envelopes to the line and waits for the centre's signed word. A block ends in one of
three ways: *accepted* (a verified mark covers it), *rejected* (it cannot be sealed: passed over), *kept* (anything
else: it is sent again). Not thread-safe; the thread that owns the store calls it. Nothing here waits for the network.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from agent.contract import envelope
from agent.contract.acknowledgement import Acknowledgement
from agent.contract.blocks import BlockHeader
from agent.contract.errors import ConfigError, RejectedError
from agent.contract.keys import SigningKey
from agent.contract.topics import ENVELOPE_STREAM, URGENT, DeviceTopics
from agent.contract.trust import FleetTrust
from agent.sync.acks import AckJudge, AckResult, Floors, Verdict
from agent.sync.pacing import Pacing
from agent.sync.parking import Parking, is_covered
from agent.sync.ports import Line, Outbox, WaitingBlock

ALERTS = ("alerts",)  # do not wait their part of the spread after a connection

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class UplinkStats:
    """Counts since the start.

    Attributes:
        last_ack_ms: real time, None before the first acknowledgement that came by the line.
        clock_ahead_ms: this device's clock less the centre's, at that acknowledgement, its way here included.
        bytes_per_s: at what rate a backlog would leave, by what was acknowledged in the last minutes; None before.
    """

    envelopes: int
    bytes: int
    resent_blocks: int
    acks: int
    replayed: int
    rejected: int
    in_flight: int
    parked: int
    poisoned: int
    last_ack_ms: int | None
    clock_ahead_ms: int | None
    bytes_per_s: float | None

    def drain_s(self, backlog_bytes: int) -> float | None:
        """Estimate how long a backlog takes to leave; None where nothing was acknowledged yet."""
        return None if self.bytes_per_s is None else backlog_bytes / self.bytes_per_s


@dataclass(slots=True)
class _Flight:
    blocks: dict[int, BlockHeader]
    size: int
    sent_s: float
    deadline_s: float
    urgent: bool


class Uplink:
    """Sends durable blocks until the centre has acknowledged them.

    Invariants:
        - at most `max_in_flight` envelopes wait for an acknowledgement, and one more of alerts and events.
        - an envelope has at most `max_envelope_bytes`, or holds one block.
        - a block that the centre never acknowledges holds up no other.
        - nothing is marked but by a verified acknowledgement of this device that is no replay.
    """

    def __init__(
        self,
        device: str,
        signing_key: SigningKey,
        trust: FleetTrust,
        link: Line,
        *,
        real_ms: Callable[[], int],
        monotonic: Callable[[], float],
        max_envelope_bytes: int = 256 * 1024,
        max_in_flight: int = 4,
        resend_after_s: float = 30.0,
        backlog_bytes_s: float = 65_536.0,
        spread_s: float = 10.0,
        seen: tuple[str, int] | None = None,
        rng: Callable[[], float] = random.random,
    ) -> None:
        """Prepare; nothing is sent before `pump`.

        Args:
            device: id of this device.
            signing_key: signs envelopes.
            trust: the centre's keys; `uplink.trust` may be replaced by a newer set at any time.
            link: the line to the broker.
            real_ms: real time.
            monotonic: seconds, for waiting.
            max_envelope_bytes: of an envelope as sent; a block that is larger goes alone.
            max_in_flight: envelopes without an acknowledgement; reached by and by after each connection.
            resend_after_s: how long an acknowledgement may take; doubles, with jitter, up to 300 s while none comes.
            backlog_bytes_s: how much of the line may be taken by what is old.
            spread_s: after a connection all but alerts waits for a random part of it.
            seen: centre and counter of the last acknowledgement taken, told to the centre in each envelope.
            rng: uniform numbers in [0, 1).

        Raises:
            ConfigError: when a limit is out of range.
        """
        if not 1024 <= max_envelope_bytes <= envelope.MAX_BYTES // 2:
            raise ConfigError(f"max_envelope_bytes {max_envelope_bytes} is outside 1024..{envelope.MAX_BYTES // 2}")
        if max_in_flight < 1 or resend_after_s <= 0 or backlog_bytes_s <= 0:
            raise ConfigError("max_in_flight must be at least 1, resend_after_s and backlog_bytes_s above 0")
        self.trust = trust
        self._device, self._key, self._link = device, signing_key, link
        self._topics = DeviceTopics(device)
        self._real_ms, self._monotonic = real_ms, monotonic
        self._max_bytes, self._resend_s = max_envelope_bytes, resend_after_s
        self._pacing = Pacing(
            max_in_flight=max_in_flight,
            resend_after_s=resend_after_s,
            backlog_bytes_s=backlog_bytes_s,
            burst_bytes=max_envelope_bytes,
            spread_s=spread_s,
            rng=rng,
        )
        self._parking = Parking(resend_after_s, self._pacing.jittered)
        self._judge = AckJudge(device)
        self._seen = seen
        self._flights: list[_Flight] = []
        self._asked: list[_Flight] = []  # what has asked a silent centre: other blocks do so next, if there are any
        self._poison: set[int] = set()  # cannot be sealed; stays in the store, and is tried again after a restart
        self._connections = self._births = 0
        self._last_ack_s = float("-inf")
        self._last_ack_ms: int | None = None
        self._clock_ahead_ms: int | None = None
        self._complaint = ""
        self._envelopes = self._bytes = self._resent = 0
        self._acks = self._replayed = self._rejected = 0

    @property
    def last_ack_ms(self) -> int | None:
        """As in `stats`; may be read from any thread."""
        return self._last_ack_ms

    def stats(self) -> UplinkStats:
        """Return the counts for status and health."""
        return UplinkStats(
            envelopes=self._envelopes,
            bytes=self._bytes,
            resent_blocks=self._resent,
            acks=self._acks,
            replayed=self._replayed,
            rejected=self._rejected,
            in_flight=len(self._flights),
            parked=len(self._parking),
            poisoned=len(self._poison),
            last_ack_ms=self._last_ack_ms,
            clock_ahead_ms=self._clock_ahead_ms,
            bytes_per_s=self._pacing.bytes_per_s,
        )

    def pump(self, store: Outbox) -> None:
        """Send what is due. Call it often: it returns at once where nothing is.

        Raises:
            StorageError: when the store cannot be read.
        """
        if not self._link.connected:
            return
        now_s = self._monotonic()
        self._is_replaced(store)
        if self._link.connections != self._connections:
            self._connections = self._link.connections
            self._start_anew(now_s)
        self._expire(now_s)
        width = self._pacing.width(now_s)
        places = max(width - sum(not flight.urgent for flight in self._flights), 0)
        may_be_urgent = self._pacing.may_be_urgent(now_s)
        urgent_place = may_be_urgent and not any(flight.urgent for flight in self._flights)
        if places == 0 and not urgent_place:
            return
        queue = store.unacknowledged(
            max(places, 1) * self._max_bytes, skip=self._skipped(now_s), backlog=self._pacing.has_budget(now_s)
        )
        if self._is_replaced(store):
            return
        wanted = ALERTS if self._pacing.spreads(now_s) else URGENT
        urgent = [item for item in queue if may_be_urgent and item.block.header.stream in wanted]
        queue = [item for item in queue if item.block.header.stream not in URGENT]
        if urgent and urgent_place:
            # The centre refuses whole envelopes: what it may not take must not go with what it never saw.
            batch, _ = self._split([item for item in urgent if not self._parking.knows(item.id)] or urgent)
            urgent = [item for item in urgent if item not in batch]
            if not self._send(batch, now_s, urgent=True):
                return
        if places and not queue and self._asked:
            self._asked.clear()  # they are all there is: with the next turn
            return
        # The one envelope that asks is not of what has its own and may be what the centre refuses.
        queue = queue or urgent if width == 1 else [*urgent, *queue]
        while queue and places:
            batch, queue = self._split(queue)
            if not self._send(batch, now_s, urgent=False):
                return
            places -= 1
            if not self._pacing.has_budget(now_s):
                queue = [item for item in queue if not item.backlog]

    def on_ack(self, payload: bytes, store: Outbox, identity: Floors, *, carried: bool = False) -> AckResult:
        """Judge an acknowledgement and apply it.

        One that was carried here may be days old: it frees blocks, and tells nothing of the line or of the clock.

        Raises:
            StorageError: when it is good but cannot be applied or its counter not kept. It counts as not seen then:
                it, or a later one of the centre, is taken when the disk is well again.
        """
        judged = self._judge.judge(payload, self.trust, identity)
        if isinstance(judged, AckResult):
            if judged.verdict is Verdict.REJECTED:
                self._rejected += 1
                self._complain(f"an acknowledgement was rejected: {judged.reason}")
            else:
                self._replayed += 1
            return judged
        ack, new_centre = judged, self._judge.is_new(judged, identity)
        # Only another database of the centre can lack what was acknowledged: it was restored from a backup.
        recalled = store.recall(ack.marks) if new_centre and self._judge.knows_any(identity) else 0
        blocks = store.apply_marks(ack.marks)
        # After the marks: a crash between the two lets the same acknowledgement in once more, which changes nothing.
        self._judge.keep(ack, identity)
        self._seen = ack.centre, ack.counter
        if new_centre:
            self._parking.clear()
        self._acks += 1
        if not carried:
            self._last_ack_ms, self._last_ack_s = self._real_ms(), self._monotonic()
            self._clock_ahead_ms = self._last_ack_ms - ack.issued_at_ms
            self._note_asked()
            self._pacing.acknowledged()
        self._complaint = ""
        self._land(ack, carried=carried)
        return AckResult(Verdict.ACCEPTED, blocks, recalled, new_centre=new_centre)

    def _land(self, ack: Acknowledgement, *, carried: bool) -> None:
        for flight in self._flights:
            flight.blocks = {
                block_id: header for block_id, header in flight.blocks.items() if not is_covered(header, ack.marks)
            }
            if not flight.blocks and not carried:
                self._pacing.landed(flight.size, flight.sent_s, self._last_ack_s)
        self._flights = [flight for flight in self._flights if flight.blocks]
        self._parking.release(ack.marks)

    def _start_anew(self, now_s: float) -> None:
        """Forget what was under way on the connection before: nothing of it can be relied upon."""
        self._flights.clear()
        self._asked.clear()
        self._pacing.connected(now_s)
        self._parking.hurry()

    def _is_replaced(self, store: Outbox) -> bool:
        """Forget all that is known by ids of blocks when the store has begun anew: its ids have, too."""
        if store.births == self._births:
            return False
        self._births = store.births
        self._flights.clear()
        self._parking.clear()
        self._asked.clear()
        self._poison.clear()
        return True

    def _expire(self, now_s: float) -> None:
        late = [flight for flight in self._flights if flight.deadline_s <= now_s]
        if not late:
            return
        self._flights = [flight for flight in self._flights if flight.deadline_s > now_s]
        silent: list[_Flight] = []
        for flight in late:
            self._resent += len(flight.blocks)
            self._parking.halve(flight.blocks)
            if self._is_refused(flight, now_s):
                continue
            if flight.urgent:
                self._pacing.urgent_silent(now_s)
            else:
                silent.append(flight)
        if silent:
            self._flights.clear()  # they were sent into the same silence
            self._asked += silent
            self._pacing.silent(now_s)

    def _note_asked(self) -> None:
        """The centre is awake: it was, perhaps, the blocks that asked."""
        for flight in self._asked:
            for block_id, header in flight.blocks.items():
                self._parking.unanswered(block_id, header, self._last_ack_s, flight.sent_s)
        self._asked.clear()

    def _is_refused(self, flight: _Flight, now_s: float) -> bool:
        """Park what the centre does not take although it answers; False when it may be the centre that is silent.

        What is refused is often sent alone, so that nothing else can be acknowledged in time: what was acknowledged
        since the sending before shows as well that the centre is awake.
        """
        refused = True
        for block_id, header in flight.blocks.items():
            if self._last_ack_s >= self._parking.sent_before_s(block_id, flight.sent_s):
                self._parking.park(block_id, header, now_s, flight.sent_s, alone=len(flight.blocks) == 1)
            else:
                refused &= self._parking.is_refused(block_id)
                if flight.urgent or self._parking.is_refused(block_id):  # all else is never sent alone for long
                    self._parking.unanswered(block_id, header, now_s, flight.sent_s)
        return refused

    def _skipped(self, now_s: float) -> set[int]:
        flying = {block_id for flight in (*self._flights, *self._asked) for block_id in flight.blocks}
        return flying | self._parking.waiting(now_s) | self._poison

    def _split(self, queue: Sequence[WaitingBlock]) -> tuple[list[WaitingBlock], list[WaitingBlock]]:
        """Cut the front of the queue that fits and may go into one envelope; one block where not even that does."""
        try:
            count = envelope.take([item.block for item in queue], max_bytes=self._max_bytes)
        except RejectedError:  # one of them is damaged: it is found when it is sealed alone
            count = 0
        count = self._parking.most_together([item.id for item in queue[: max(count, 1)]])
        return list(queue[:count]), list(queue[count:])

    def _send(self, batch: Sequence[WaitingBlock], now_s: float, *, urgent: bool) -> bool:
        """Seal and hand over; False when nothing more can be sent now."""
        try:
            recipient = self.trust.recipient()
        except RejectedError as exc:
            self._complain(str(exc))
            return False
        try:
            data = envelope.seal(
                [item.block for item in batch],
                device=self._device,
                signing_key=self._key,
                recipient=recipient,
                created_ms=self._real_ms(),
                seen=self._seen,
                trust=self.trust.name,
            )
        except (ConfigError, RejectedError) as exc:  # only a block alone: `_split` has seen that several fit
            self._poison.add(batch[0].id)
            _log.warning("block %d cannot be sent and is passed over: %s", batch[0].id, exc)
            return True
        streams = {item.block.header.stream for item in batch}
        topic = self._topics.up(streams.pop() if len(streams) == 1 else ENVELOPE_STREAM)
        if not self._link.publish(topic, data):
            return False
        blocks = {item.id: item.block.header for item in batch}
        size = sum(len(item.block.body) for item in batch)
        self._flights.append(_Flight(blocks, size, now_s, now_s + self._pacing.jittered(self._resend_s), urgent))
        old = sum(len(item.block.body) for item in batch if item.backlog)
        self._pacing.spend(len(data) * old // size)
        self._envelopes += 1
        self._bytes += len(data)
        return True

    def _complain(self, text: str) -> None:
        """Log once, until something else is wrong: a flood of bad messages must not flood the log."""
        if text != self._complaint:
            self._complaint = text
            _log.warning("%s", text)
