"""The agent's one thread of work: sample -> store -> close slots -> forecast -> cost -> alerts -> sync -> update.

Decides the order and that no room's failure stops the sampling; everything else is the rooms' decision. The line to
the broker, the download of an update and the ear for commands have threads of their own, which touch nothing here.
"""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from agent.contract.errors import ConfigError
from agent.contract.rows import event_row
from agent.contract.zones import utc_iso
from agent.daemon.answers import Answers
from agent.daemon.health import Pulse, peak_rss_mib, rss_mib
from agent.daemon.history import KEEP_DAYS
from agent.daemon.rooms import Rooms
from agent.daemon.sampling import Sampling
from agent.daemon.troubles import Troubles
from agent.daemon.views import stored_slots

if TYPE_CHECKING:
    from agent.contract.rows import Forecast
    from agent.contract.slots import Slot

_COSTS_EVERY_S = 0.5  # real time; a fast replay must not spend itself on bills that the next one replaces
_LOOK_EVERY_S = 1.0  # real time
_SALVAGE_S = 1800.0  # real time; in so long the rows of 1 GiB come back, of which slots are made or which are slots
_CLOCK_SLACK_MS = 3_600_000  # small steps back are a clock being set; readings of a slot may run ahead of it
_RESERVED_FULL = (
    "alerts, events and slots that wait for the centre fill more than store.reserved_mib: readings make room for them. "
    "Bring the device to its centre, or carry an export there"
)
_log = logging.getLogger(__name__)


class Daemon:
    """Runs the rooms until it is told to stop.

    Invariants:
        - one failing room stops no other, and never the sampling;
        - readings are taken with the same plant time by which slots are closed;
        - what was taken in before `run` returns is durable, where the disk allows.
    """

    def __init__(
        self,
        rooms: Rooms,
        answers: Callable[[Daemon], Answers],
        *,
        tick_s: float,
        health_s: float,
        reserved_bytes: int,
        monotonic: Callable[[], float],
        on_close: Callable[[], None],
        make_again: Callable[[], Rooms],
    ) -> None:
        """Compose.

        Args:
            rooms: the collaborators.
            answers: makes what answers commands.
            tick_s: real time between two turns.
            health_s: real time between two health rows.
            reserved_bytes: what alerts, events and slots may fill before somebody is told.
            monotonic: seconds that never step.
            on_close: closes the store, and releases what else the builder holds.
            make_again: makes the rooms from the store, once it could be opened.
        """
        self.rooms = rooms
        self.troubles = Troubles(self._report)
        self.pulse = Pulse(health_s, tick_s)
        self._sampling = Sampling(self.troubles)
        self.started_s = monotonic()
        self._since_ms = rooms.clock.now_ms()
        self._answers = answers(self)
        self._tick_s, self._reserved_bytes = tick_s, reserved_bytes
        self._monotonic = monotonic
        self._on_close, self._make_again = on_close, make_again
        self._whole = rooms.store.is_open
        self._stop = threading.Event()
        self._looked_s = self.started_s
        self._salvaged = 0
        self._salvage_s: float | None = None  # since when slots wait for rows that may come back
        self._waits = False
        self._costs_due = True
        self._costs_s = self.started_s - _COSTS_EVERY_S

    def run(self) -> None:
        """Work until SIGTERM or SIGINT, then end with everything committed.

        Raises:
            ConfigError: when the control socket cannot be used.
        """
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._stop.set())
        try:
            self.start()
            while not self._stop.is_set():
                self.turn()
                self._stop.wait(self._tick_s)
        finally:
            self.close()

    def start(self) -> None:
        """Open the ear and the line, and take the first samples."""
        self.rooms.control.start()
        if self._whole:
            self._begin()
        self.turn()
        self.rooms.notifier.ready()
        _log.info("the agent runs")

    def _begin(self) -> None:
        if self.rooms.exchange is not None:
            self.rooms.exchange.link.start()
        # Before the first turn: a forecast that is due then is the installed model's.
        self.troubles.run("update", self.rooms.models.refresh)

    def turn(self) -> None:
        """One turn of the loop. Before the store was opened it only samples, watches and tells."""
        self.pulse.turn(self._monotonic())
        run = self.troubles.run
        run("time", self._look_at_time)
        now_ms = self.rooms.clock.now_ms()
        self._look_at_clock(now_ms)
        run("sources", lambda: self._sampling.turn(self.rooms, now_ms, whole=self._whole))
        if self._whole and self.rooms.time.is_settled:  # else all that is made of times waits
            run("slots", lambda: self._close_slots(now_ms))
            run("forecast", lambda: self._forecast(now_ms))
            run("costs", self._cost)
            run("plan", lambda: self._plan(now_ms))
            run("slot weeks", lambda: self.rooms.slot_weeks.turn(self.rooms.history.end_ms))
        run("alerts", lambda: self._watch(now_ms))
        if self._whole:
            run("sync", self._exchange)
            run("update", lambda: self._update(now_ms))
        run("store", self._keep)
        if not self._whole and self.rooms.store.is_open:
            run("start", self._complete)
        run("health", lambda: self._health(now_ms))
        run("commands", self._listen)
        self.rooms.notifier.alive()

    def close(self) -> None:
        """End everything, the store last."""
        rooms = self.rooms
        rooms.notifier.stopping()
        self.troubles.run("commands", rooms.control.close)
        self.troubles.run("update", rooms.models.close)
        if rooms.planning is not None:
            self.troubles.run("plan", rooms.planning.close)
        if rooms.exchange is not None:
            self.troubles.run("sync", rooms.exchange.link.stop)
        self.troubles.run("health", lambda: self._beat(rooms.clock.now_ms()))
        self._on_close()
        _log.info("the agent has ended")

    @property
    def exhausted(self) -> bool:
        """Whether no source will ever give another reading: the end of a replay."""
        return all(source.exhausted for source in self.rooms.sources)

    def _complete(self) -> None:
        """Begin as at any start: what was sampled meanwhile is in the store by now, and slots are made of it."""
        self.rooms = self._make_again()
        self._whole = True
        self._begin()

    # -- the protocol ---------------------------------------------------------------------------------------------

    def _look_at_time(self) -> None:
        """Let everything that remembers times go on when the clock was set."""
        rooms = self.rooms
        step_ms = rooms.time.turn()
        if step_ms is not None:
            self._since_ms += step_ms
            rooms.board.stepped(step_ms)
            rooms.calibrating.forget_after(rooms.clock.now_ms())
            rooms.models.clock_was_set()
            if (planning := rooms.planning) is not None:
                self.troubles.run("plan", lambda: planning.clock_was_set(step_ms))
            if rooms.ahead is not None:
                rooms.ahead.replanned()
        rooms.time.settle(self._go_on)

    def _go_on(self) -> None:
        """Go on by another clock: slots were made anew."""
        self.rooms.watching.clock_was_set(self.rooms.clock.now_ms())
        if self.rooms.costs is not None:
            self.rooms.costs.forget()

    def _look_at_clock(self, now_ms: int) -> None:
        """Say so when plant time lies before what is stored: everything that waits for its time then stands still."""
        if complaint := self.rooms.time.watch.complaint():
            self.troubles.note("clock", complaint)
            return
        if not self.rooms.time.is_settled:
            return  # slots are not placed by it yet
        next_ms = self.rooms.closer.next_ms
        behind_ms = 0 if next_ms is None else next_ms - now_ms
        if behind_ms <= _CLOCK_SLACK_MS:
            self.troubles.note("clock", "")
        elif "clock" not in self.troubles.open:
            self.troubles.note(
                "clock",
                f"plant time is {utc_iso(now_ms)}, but data reaches to {utc_iso(next_ms or 0)}: one is wrong. "
                "Check the device's clock; slots and forecasts go on after that time",
            )

    def _waits_for_salvage(self) -> bool:
        """Whether slots would be made without rows that are about to come back, and count instead of those then."""
        now_s = self._monotonic()
        if not self.rooms.store.is_salvaging:
            self._salvage_s = None
        elif self._salvage_s is None:
            self._salvage_s = now_s
        waits = self._salvage_s is not None and now_s - self._salvage_s < _SALVAGE_S
        if self._waits and not waits:
            self._take_up()
        self._waits = waits
        return waits

    def _take_up(self) -> None:
        """Let slots go on as the store has them by now."""
        self.rooms.history.restore(stored_slots(self.rooms.store, KEEP_DAYS))
        self.rooms.time.place()
        self.rooms.watching.history_was_made_anew()
        if self.rooms.costs is not None:
            self.rooms.costs.forget()

    def _close_slots(self, now_ms: int) -> None:
        if self._waits_for_salvage():
            return
        slots: list[Slot] = self.rooms.closer.due(now_ms, exhausted=self.exhausted)
        if not slots:
            return
        self.rooms.store.append("slots", [slot.to_row() for slot in slots])
        self.rooms.closer.closed(slots)
        for slot in slots:
            self.rooms.history.add(slot)
            self.rooms.models.learn(slot)
            self.rooms.calibrating.learn(slot)
        self.rooms.watching.closed(slots)

    def _forecast(self, now_ms: int) -> None:
        origin_ms = self.rooms.forecasting.due_origin_ms()
        if origin_ms is None:
            return
        made = self.rooms.forecasting.make(origin_ms)
        self._costs_due = True
        if made is None:
            return
        self.rooms.watching.issued(made)
        rows = [made.published.to_row(now_ms)]
        shadow: Forecast | None = self.rooms.models.shadow(made.raw, *self.rooms.history.power_kw(origin_ms))
        if shadow is not None:
            self.rooms.calibrating.shadow(shadow)
            rows.append(shadow.to_row(now_ms))
        self.rooms.store.append("forecasts", rows)
        if self.rooms.planning is not None:
            self.rooms.planning.begin(made.published)

    def _plan(self, now_ms: int) -> None:
        planning, costs = self.rooms.planning, self.rooms.costs
        if planning is None or self.rooms.closer.is_behind(now_ms, exhausted=self.exhausted):
            return  # a plan of days that are being caught up with would count as what was advised
        if costs is None or not costs.is_gathered:
            return  # what a ratchet bills in any case is not known yet
        if rows := planning.turn(now_ms):
            self.rooms.store.append("events", rows)
            if self.rooms.ahead is not None:
                self.rooms.ahead.replanned()
                self.rooms.watching.replanned()
                self._costs_due = True

    def _cost(self) -> None:
        now_s, until_ms = self._monotonic(), self.rooms.history.end_ms
        if self.rooms.costs is None or until_ms is None or not self.rooms.costs.gather(until_ms):
            return
        if not self._costs_due or now_s - self._costs_s < _COSTS_EVERY_S:
            return
        self._costs_due, self._costs_s = False, now_s
        self.troubles.note("prices", self.rooms.costs.trouble)
        # As of the newest slot: after the end of a replay, or behind a backlog, the clock is further than the data.
        rows = self.rooms.costs.rows(until_ms, self.rooms.expected())
        if rows:
            self.rooms.watching.costed(rows, self.rooms.costs.earlier, self.rooms.clock.now_ms())
            self.rooms.store.append("costs", rows)

    def _watch(self, now_ms: int) -> None:
        if self.exhausted:
            return  # the replay is over: silence is no longer news
        known = self.rooms.time.is_settled
        if not known:  # silence has no length then
            self._since_ms = now_ms
        observed = self.rooms.watching.observe(
            now_ms,
            since_ms=self._since_ms,
            forecast=self.rooms.expected(),
            covered_ms=self.rooms.watching.covered_ms(self.rooms.sources) if known else {},
            model=self.rooms.models.labels()["active"],
            storage_error=self.troubles.open.get("disk", ""),
        )
        rows = self.rooms.board.update(observed)
        if rows:
            self.rooms.store.append("alerts", rows)

    def _exchange(self) -> None:
        if self.rooms.exchange is not None:
            self.rooms.exchange.turn(self.troubles)

    def _update(self, now_ms: int) -> None:
        rows = self.rooms.models.turn(now_ms)
        if rows:
            self.rooms.store.append("events", rows)
            self._beat(now_ms)

    def _keep(self) -> None:
        self.rooms.store.keep_readings_from(self.rooms.closer.needed_ms)
        self.rooms.store.tick()
        if self.rooms.store.salvaged != self._salvaged:
            self._take_up()
            self._salvaged = self.rooms.store.salvaged
        now_s = self._monotonic()
        if now_s - self._looked_s >= _LOOK_EVERY_S:
            self._looked_s = now_s
            stats = self.rooms.store.stats()
            self.troubles.note("disk", stats.storage_error)
            full = stats.kept_bytes > self._reserved_bytes
            self.troubles.note("reserved space", _RESERVED_FULL if full else "")

    def _health(self, now_ms: int) -> None:
        if self.pulse.due(self._monotonic()):
            self._beat(now_ms)

    def _listen(self) -> None:
        self.rooms.control.answer(self._answers.answer)

    # -- telling --------------------------------------------------------------------------------------------------

    def _beat(self, now_ms: int) -> None:
        latest = self.rooms.forecasting.latest
        stats = self.rooms.store.stats()
        exchange = self.rooms.exchange
        row: dict[str, Any] = {
            "time_ms": now_ms,
            "rss_mib": round(rss_mib(), 1),
            "peak_rss_mib": round(peak_rss_mib(), 1),
            "lag_ms": round(self.pulse.lag_ms),
            "backlog_rows": stats.backlog_rows,
            "bytes_on_disk": stats.bytes_on_disk,
            "written_today_bytes": stats.written_today_bytes,
            "completeness": self.rooms.history.completeness(),
            "fallback": latest is None or latest.source != "active",
            "exhausted": self.exhausted,
            "connected": None if exchange is None else exchange.link.connected,
            "troubles": dict(self.troubles.open),
            **self.rooms.models.labels(),
        }
        self.rooms.store.append("health", [row])
        self.pulse.beaten()
        self.rooms.notifier.status(
            f"{stats.backlog_rows} rows wait for the centre; troubles: {len(self.troubles.open)}"
        )

    def _report(self, room: str, text: str) -> None:
        kind = "source" if room.startswith(("source", "channel")) else "trouble"
        now_ms = self.rooms.clock.now_ms()
        try:
            self.rooms.store.append("events", [event_row(now_ms, kind, f"{room}: {text}", room=room)])
        except ConfigError as exc:
            _log.warning("an event could not be kept: %s", exc)
