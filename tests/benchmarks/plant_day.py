"""A whole device without a process, threads or waiting: the daemon's own rooms, twenty meters, clocks that are moved.

What it sends goes straight into a real `Ingest`, what that answers comes straight back; both ways are counted.
"""

from agent import config as configured
from agent.contract import envelope
from agent.contract.rows import event_row
from agent.contract.slots import Slot
from agent.contract.tariff.tariff import Tariff
from agent.contract.topics import DeviceTopics
from agent.control import Control
from agent.daemon.alerting import make_board
from agent.daemon.answers import Answers
from agent.daemon.calibrating import Calibrating
from agent.daemon.clockwatch import ClockRoom, ClockWatch, Plant
from agent.daemon.exchange import Exchange
from agent.daemon.forecasting import Costs, Forecasting
from agent.daemon.history import History
from agent.daemon.loop import Daemon
from agent.daemon.models import Models
from agent.daemon.notify import Notifier
from agent.daemon.rooms import Rooms
from agent.daemon.slots import SlotCloser
from agent.daemon.slotweeks import SlotWeeks
from agent.daemon.watching import Watching
from agent.inference.ladder import Ladder
from agent.planning.costs import CostWatch
from agent.sources.base import SourceStats
from agent.store.identity import Identity
from agent.store.store import Store
from agent.sync.uplink import Uplink
from agent.update.slots import ModelSlots
from tests.benchmarks.meters import START_MS, Meters, channels, configuration
from tests.support.agent_process import TARIFF

POWER = "power_0"
_ZONE = "Australia/Melbourne"
_SLOT_S, _HORIZON = 900, 96
_SILENT = "factor_18", 1800, 3300  # a meter that falls out for 25 minutes: one alarm, and its end


class PlantDay:
    """One device at one centre; time is moved by `run`.

    Attributes:
        up: payloads that were published.
        down: payloads that came back.
    """

    def __init__(self, folder, centre, *, pack_after_s, health_s):
        self.now_s = 0
        self.up, self.down = [], []
        self._centre = centre
        field = centre.device("press-1")
        identity = Identity.open(folder / "identity")
        identity.begin_boot()
        self.store = Store(
            folder / "store.db",
            identity,
            channels(),
            now_ms=self.now_ms,
            monotonic=lambda: float(self.now_s),
            pack_after_s=pack_after_s,
        )
        link = _Line(self, DeviceTopics(field.name))
        uplink = Uplink(
            field.name, field.key, field.trust, link, real_ms=self.now_ms, monotonic=lambda: float(self.now_s)
        )
        exchange = Exchange(
            field.name, link, uplink, self.store, identity, on_assignment=lambda _: None, on_piece=lambda _: None
        )
        self.daemon = Daemon(
            self._rooms(folder, exchange),
            lambda daemon: Answers(daemon, None),
            tick_s=1.0,
            health_s=health_s,
            reserved_bytes=2**30,
            monotonic=lambda: float(self.now_s),
            on_close=self.store.close,
            make_again=lambda: self.daemon.rooms,
        )
        text = f"start {identity.boot} of {field.name}, edgewatt 0.1.0"
        more = {"boot": identity.boot, "epoch": identity.epoch, "version": "0.1.0", "zone": _ZONE}
        self.store.append("events", [event_row(self.now_ms(), "boot", text, **more)])

    def now_ms(self):
        """Plant time, and real time."""
        return START_MS + self.now_s * 1000

    def run(self, seconds):
        """Let so many seconds pass, one turn of the daemon each."""
        for _ in range(seconds):
            self._centre.clock.ms = self.now_ms()
            self.daemon.turn()
            self.now_s += 1

    def close(self):
        """Close the store."""
        self.store.close()

    def _rooms(self, folder, exchange):
        history = History(_SLOT_S, _month_before())
        ladder = Ladder(_SLOT_S, _HORIZON)
        slots = ModelSlots(folder / "models")
        models = Models(slots, ladder, load=None, updater=None)
        calibrating = Calibrating(self.store, history, initial=models.calibration, tell=print)
        text = configuration(zone=_ZONE, slot_minutes=_SLOT_S // 60) + "[alerts]\npeak_kw = 450.0\n"
        config, tariff = configured.parse(text, folder=folder), Tariff.load(TARIFF)
        closer = SlotCloser(
            channels()[POWER],
            _SLOT_S,
            grace_s=60.0,
            readings=self.store.readings,
            last_slot_ms=history.last.start_ms,
            first_reading_ms=None,
            last_reading_ms=None,
        )
        sources, forecasting = [_Meters()], Forecasting(ladder, history, calibrating, every_minutes=60)
        plant = Plant(self.store, sources, closer, history, forecasting, POWER, is_steady=False)
        return Rooms(
            clock=self,
            time=ClockRoom(None, ClockWatch(None, floor_ms=lambda: 0, heard=lambda: None), plant),
            store=self.store,
            sources=sources,
            closer=closer,
            history=history,
            calibrating=calibrating,
            forecasting=forecasting,
            costs=Costs(CostWatch(tariff), history),
            slot_weeks=SlotWeeks(self.store),
            board=make_board(config, tariff, self.store),
            watching=Watching(self.store, config, history, tariff, self.now_ms()),
            models=models,
            exchange=exchange,
            control=Control(folder / "none.sock"),
            notifier=Notifier({}),
        )

    def take(self, topic, payload):
        """Carry a payload to the centre, and its answers back."""
        self.up.append(payload)
        answers = self._centre.ingest.handle(topic, payload)
        self.down += [answer.payload for answer in answers]
        return [(answer.topic, answer.payload) for answer in answers]

    def sent_readings(self):
        """The blocks of readings that were sent."""
        keys = self._centre.online.seal
        for payload in self.up:
            _, blocks = envelope.open_envelope(
                payload,
                device="press-1",
                signer_public=lambda key: self._centre.registry.public_key("press-1", key),
                recipient_key=lambda key: keys[key],
            )
            yield from (block for block in blocks if block.header.stream == "readings")


class _Meters:
    """The meters as a source: a second's readings in that second."""

    exhausted = has_own_times = False

    def __init__(self):
        self.channels = tuple(channels().values())
        self._meters, self._next, self._sampled = Meters(), 0, 0

    def resume(self, last_time_ms):
        pass

    def poll(self, now_ms):
        silent, begin, end = _SILENT
        found = []
        while START_MS + self._next * 1000 <= now_ms:
            rows = self._meters.second(self._next)
            if begin <= self._next % 7200 < end:
                rows = [row for row in rows if row.channel != silent]
            found += rows
            self._next += 1
        self._sampled += len(found)
        return found

    def stats(self):
        return SourceStats(sampled=self._sampled)


class _Line:
    """The line to the broker, which is always there."""

    connected, connections, protocol, state_s, rival = True, 1, "5", 0.0, ""

    def __init__(self, plant, topics):
        self._plant, self._ack, self._inbox = plant, topics.ack, []

    def publish(self, topic, payload):
        self._inbox += self._plant.take(topic, payload)
        return True

    def receive(self):
        found, self._inbox = self._inbox, []
        return found


def _month_before():
    """The slots of the five weeks before, so that there are forecasts and costs from the first hour on."""
    meters = Meters(seed=2)
    count = 36 * 96
    for number in range(count):
        power_kw = round(meters.second(number)[0].value, 4)
        start_ms = START_MS - (count - number) * _SLOT_S * 1000
        yield Slot(start_ms, _SLOT_S, round(power_kw * 250), power_kw, 1.0)
