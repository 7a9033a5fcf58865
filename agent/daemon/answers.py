"""What the running daemon answers to commands: what its store tells, and what only the living know."""

from __future__ import annotations

import base64
import importlib.metadata
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from agent.alerts.board import MOST_SHELF_S
from agent.contract.errors import RejectedError, UnavailableError
from agent.contract.jsonform import Fields
from agent.control import Operation
from agent.daemon.health import peak_rss_mib, rss_mib
from agent.daemon.views import Answer, View

if TYPE_CHECKING:
    from agent.daemon.loop import Daemon


class Answers:
    """One method an operation. Runs on the daemon's thread, between two turns."""

    def __init__(self, daemon: Daemon, view: View, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        """Answer for `daemon`, whose store `view` reads."""
        self._daemon = daemon
        self._view = view
        self._monotonic = monotonic
        self._operations: dict[Operation, Callable[[Fields], Answer]] = {
            Operation.STATUS: lambda _: self._status(),
            Operation.FORECAST: lambda _: self._view.forecast(),
            Operation.COST: lambda _: self._view.cost(),
            Operation.PLAN: lambda _: self._view.plan(self._daemon.rooms.clock.now_ms()),
            Operation.ALERTS_LIST: self._alerts,
            Operation.PEAK: lambda _: self._peak(),
            Operation.ALERTS_ACK: self._acknowledge,
            Operation.ALERTS_SHELVE: self._shelve,
            Operation.ALERTS_UNSHELVE: self._unshelve,
            Operation.BUFFER_STATUS: lambda _: self._buffer(),
            Operation.BUFFER_REPAIR: lambda _: self._repair(),
            Operation.BUFFER_IMPORT: self._take_answer,
            Operation.SYNC_STATUS: lambda _: self._sync(),
            Operation.MODEL_STATUS: lambda _: self._model(),
            Operation.MODEL_ROLLBACK: self._roll_back,
        }

    def answer(self, operation: Operation, arguments: Mapping[str, Any]) -> Answer:
        """Answer one request.

        Raises:
            EdgewattError: what the caller is to be told.
        """
        return self._operations[operation](Fields(dict(arguments), str(operation), RejectedError))

    def _status(self) -> Answer:
        daemon = self._daemon
        exchange, board = daemon.rooms.exchange, daemon.rooms.board
        state = "degraded" if daemon.troubles.open else "exhausted" if daemon.exhausted else "running"
        answer = self._view.status()
        return {
            **answer,
            "state": state,
            "exhausted": daemon.exhausted,
            "version": importlib.metadata.version("edgewatt"),
            "plant_time_ms": daemon.rooms.clock.now_ms(),
            "alerts_open": len({alert.rule for alert in board.open()} - set(board.shelves())),
            "connected": None if exchange is None else exchange.link.connected,
            "buffer": {**answer["buffer"], **self._way_out(answer["buffer"]["backlog_bytes"])},
            "uptime_ms": round((self._monotonic() - daemon.started_s) * 1000),
            "rss_mib": round(rss_mib(), 1),
            "peak_rss_mib": round(peak_rss_mib(), 1),
            "lag_ms": round(daemon.pulse.lag_ms),
            "troubles": dict(daemon.troubles.open),
            "sampled": sum(source.stats().sampled for source in daemon.rooms.sources),
            "shortage": daemon.rooms.forecasting.shortage,
            "model": self._model(),
            "certificate": exchange.certificate() if exchange is not None else answer["certificate"],
        }

    def _alerts(self, arguments: Fields) -> Answer:
        return self._view.alerts(closed_too="closed_too" in arguments and arguments.flag("closed_too"))

    def _acknowledge(self, arguments: Fields) -> Answer:
        alert_id = arguments.text("id", max_length=200)
        rows = self._daemon.rooms.board.acknowledge(alert_id, self._daemon.rooms.clock.now_ms())
        if rows:
            self._daemon.rooms.store.append("alerts", rows)
        return {"id": alert_id, "acknowledged": True}

    def _shelve(self, arguments: Fields) -> Answer:
        alert_id, for_s = arguments.text("id", max_length=200), arguments.integer("for_s", 60, MOST_SHELF_S)
        rooms = self._daemon.rooms
        now_ms = rooms.clock.now_ms()
        rooms.store.append("alerts", rooms.board.shelve(alert_id, now_ms + for_s * 1000, now_ms))
        return {"id": alert_id, **self._view.head(), "until_ms": now_ms + for_s * 1000}

    def _unshelve(self, arguments: Fields) -> Answer:
        name = arguments.text("id", max_length=200)
        rooms = self._daemon.rooms
        rooms.store.append("alerts", rooms.board.unshelve(name, rooms.clock.now_ms()))
        return {"id": name, "shelved": False}

    def _peak(self) -> Answer:
        rooms = self._daemon.rooms
        now_ms = rooms.clock.now_ms()
        return {**self._view.head(), "time_ms": now_ms, "demands": rooms.watching.peaks.told(now_ms)}

    def _repair(self) -> Answer:
        store = self._daemon.rooms.store
        began = store.repair()
        stats = store.stats()
        return {"began": began, "set_aside": list(stats.set_aside), "storage_error": stats.storage_error}

    def _take_answer(self, arguments: Fields) -> Answer:
        exchange = self._daemon.rooms.exchange
        if exchange is None and self._view.is_enrolled:
            raise UnavailableError("the store is not open yet", where="buffer import", todo="See edgewatt status")
        if exchange is None:
            raise RejectedError("this device is not enrolled", where="buffer import", todo="Run edgewatt enroll FILE")
        try:
            data = base64.b64decode(arguments.text("acknowledgement", max_length=2**18), validate=True)
        except ValueError as exc:
            raise RejectedError("is not base64", where="acknowledgement") from exc
        result = exchange.acknowledged(data, carried=True)
        return {"verdict": str(result.verdict), "blocks": result.blocks, "reason": result.reason}

    def _buffer(self) -> Answer:
        answer = self._view.buffer()
        return {**answer, **self._way_out(answer["backlog_bytes"])}

    def _way_out(self, backlog_bytes: int) -> Answer:
        """How the line to the centre is, how long the backlog takes to leave by it, and what is known of the clock."""
        exchange, watch = self._daemon.rooms.exchange, self._daemon.rooms.time.watch
        clock = {"quality": watch.quality, "ahead_ms": watch.ahead_ms}
        if exchange is None:
            state = "away" if self._view.is_enrolled else "not enrolled"  # away: the store is not open yet
            link = {"state": state, "protocol": None, "since_ms": None}
            return {"drain_s": None, "link": link, "clock": clock}
        stats, connected = exchange.uplink.stats(), exchange.link.connected
        drain_s = stats.drain_s(backlog_bytes) if connected else None
        return {
            "drain_s": None if drain_s is None else round(drain_s, 1),
            "link": {
                "state": "connected" if connected else "away",
                "protocol": exchange.link.protocol,
                "since_ms": round(exchange.link.state_s * 1000),
            },
            "clock": clock,
        }

    def _sync(self) -> Answer:
        answer = self._view.sync()
        exchange = self._daemon.rooms.exchange
        if exchange is None:
            return answer
        stats = exchange.uplink.stats()
        age_ms = None if stats.last_ack_ms is None else max(0, round(time.time() * 1000) - stats.last_ack_ms)
        return {
            **answer,
            "connected": exchange.link.connected,
            "protocol": exchange.link.protocol,
            "sent_envelopes": stats.envelopes,
            "sent_bytes": stats.bytes,
            "resent_blocks": stats.resent_blocks,
            "in_flight": stats.in_flight,
            "parked": stats.parked,
            "acknowledgements": stats.acks,
            "replayed": stats.replayed,
            "rejected": stats.rejected + sum(self._daemon.troubles.passed.values()),
            "dropped": exchange.link.dropped,
            "last_ack_ms": stats.last_ack_ms,
            "last_ack_age_ms": age_ms,
        }

    def _model(self) -> Answer:
        return {**self._view.model(), **self._daemon.rooms.models.labels()}

    def _roll_back(self, arguments: Fields) -> Answer:
        reason = arguments.text("reason", max_length=256) if "reason" in arguments else "asked for by a command"
        self._daemon.rooms.models.roll_back(reason)
        return {"rolled_back": True, **self._daemon.rooms.models.labels()}
